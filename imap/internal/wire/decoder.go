package wire

import (
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/goniec-mail/goniec/internal/crlf"
)

// The defaults of Limits.
const (
	DefaultLine         = 64 << 10
	DefaultLiterals     = 1000
	DefaultLiteralBytes = 1 << 20
	DefaultDiscard      = 64 << 20
	DefaultDepth        = 100
)

// Limits bounds one command. Zero means the default, negative no limit (but Line, which always has
// one).
type Limits struct {
	Line         int   // octets of one line, without its CRLF
	Literals     int   // literals of the command
	LiteralBytes int64 // octets of all literals that String and its like take into memory
	Discard      int64 // octets of literals that Skip consumes
	Depth        int   // lists inside each other
}

// Decoder reads commands or responses. Its methods return zero values after the first error (see
// Err). It is not safe for concurrent use. It is made to live inside a connection.
type Decoder struct {
	Limits Limits
	// Continue is called before each synchronising literal is read: a server sends its continuation
	// request there. Nil for reading responses, whose literals follow at once.
	Continue func() error
	// UTF8 says that mailbox names are UTF-8 and not modified UTF-7.
	UTF8 bool

	r    *crlf.Reader
	line []byte // what is left of the current line; of the Reader, valid until it reads again
	err  error

	depth    int
	literals int
	octets   int64
	raw      crlf.RawReader // the literal that is being read

	inLiteral bool // the line behind raw was not read yet
}

// Reset makes d read from r, whose position is the start of a command.
func (d *Decoder) Reset(r *crlf.Reader) {
	d.r = r
	d.clear()
}

func (d *Decoder) clear() {
	d.line, d.err = nil, nil
	d.depth, d.literals, d.octets = 0, 0, 0
	d.raw.Reset(d.r, 0)
	d.inLiteral = false
}

// Begin reads the first line of the next command or response. Its error is Err's.
func (d *Decoder) Begin() error {
	d.clear()
	d.nextLine()
	return d.err
}

func (d *Decoder) nextLine() {
	line, err := d.r.ReadLine(orDefault(d.Limits.Line, DefaultLine))
	d.inLiteral = false
	d.line = line // also beside an error: Skip looks at its end
	if err != nil {
		d.fail(lineFault(err))
	}
}

// orDefault applies the rule of limits: zero means the default.
func orDefault[T int | int64](limit, def T) T {
	if limit == 0 {
		return def
	}
	return limit
}

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Fail makes err the error of the command, unless there is one already: for what only the caller
// can see to be wrong.
func (d *Decoder) Fail(text string) { d.fail(&Error{Text: text}) }

// Err returns the first error. It is an *Error, or an error of the connection.
func (d *Decoder) Err() error { return d.err }

// AtEnd reports whether the line, and so the command, has nothing more; true after an error.
func (d *Decoder) AtEnd() bool { return d.err != nil || len(d.line) == 0 }

// End demands that the command has nothing more, and returns Err.
func (d *Decoder) End() error {
	if d.err == nil && len(d.line) > 0 {
		d.fail(syntax("too many arguments at %.20q", d.line))
	}
	return d.err
}

// Skip consumes what is left of the command, so that the next one can begin: the rest of the line
// and literals that come without being asked for. The error is Fatal or one of the connection. It
// is called after every command.
func (d *Decoder) Skip() error {
	if fatal(d.err) {
		return d.err
	}
	left := orDefault(d.Limits.Discard, DefaultDiscard)
	for {
		if !d.inLiteral {
			h, ok, err := literalAtEnd(d.line)
			d.line = nil
			if err != nil || !ok || h.sync {
				return err
			}
			d.raw.Reset(d.r, h.size)
		}
		if err := d.discard(&left); err != nil {
			return err
		}
		d.err = nil
		if d.nextLine(); fatal(d.err) {
			return d.err
		}
	}
}

// fatal reports whether the stream is out of step or broken.
func fatal(err error) bool {
	if err == nil {
		return false
	}
	var e *Error
	return !errors.As(err, &e) || e.Fatal
}

// discard consumes what is left of the literal that was begun.
func (d *Decoder) discard(left *int64) error {
	n := d.raw.Left()
	if n == 0 {
		return nil
	}
	if *left >= 0 {
		if n > *left {
			return &Error{Text: "literal is too large", TooBig: true, Fatal: true}
		}
		*left -= n
	}
	return d.raw.Discard()
}

// Peek returns the next octet without reading it; 0 at the end of the line.
func (d *Decoder) Peek() byte {
	if d.AtEnd() {
		return 0
	}
	return d.line[0]
}

// Try reads c if it comes next.
func (d *Decoder) Try(c byte) bool {
	if d.AtEnd() || d.line[0] != c {
		return false
	}
	d.line = d.line[1:]
	return true
}

// Expect reads c; anything else is an error.
func (d *Decoder) Expect(c byte) {
	if !d.Try(c) {
		d.wanted(strconv.QuoteRune(rune(c)))
	}
}

// SP reads one space; anything else is an error. The grammar of IMAP has exactly one between two
// arguments.
func (d *Decoder) SP() {
	if !d.Try(' ') {
		d.wanted("a space")
	}
}

func (d *Decoder) wanted(what string) {
	if d.err != nil {
		return
	}
	if len(d.line) == 0 {
		d.fail(syntax("%s is missing at the end", what))
		return
	}
	d.fail(syntax("%s is missing at %.20q", what, d.line))
}

// take reads the longest run of octets of a class.
func (d *Decoder) take(class func(byte) bool) []byte {
	if d.err != nil {
		return nil
	}
	n := 0
	for n < len(d.line) && class(d.line[n]) {
		n++
	}
	out := d.line[:n]
	d.line = d.line[n:]
	return out
}

func (d *Decoder) word(class func(byte) bool, what string) string {
	w := d.take(class)
	if len(w) == 0 {
		d.wanted(what)
	}
	return string(w)
}

// Tag reads the tag of a command.
func (d *Decoder) Tag() string { return d.word(isTag, "a tag") }

// Atom reads an atom.
func (d *Decoder) Atom() string { return d.word(IsAtomChar, "an atom") }

// Keyword reads an atom and returns it in upper case: names of commands and their items.
func (d *Decoder) Keyword() string {
	return upper(d.word(IsAtomChar, "a word"))
}

// PeekKeyword returns the word that comes next, in upper case, without reading it; "" when none does.
func (d *Decoder) PeekKeyword() string {
	if d.err != nil {
		return ""
	}
	n := 0
	for n < len(d.line) && n < maxPeek && IsAtomChar(d.line[n]) {
		n++
	}
	return upper(string(d.line[:n]))
}

// maxPeek is more than the longest word that anybody peeks for.
const maxPeek = 32

// Name reads a run of letters, digits and ".-" in upper case: an item that "[" or "<" may follow.
func (d *Decoder) Name() string { return upper(d.word(isName, "a name")) }

// upper is strings.ToUpper for ASCII: other letters must not become ASCII ones.
func upper(s string) string {
	for i := range len(s) {
		if s[i] >= 'a' && s[i] <= 'z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'a' && b[i] <= 'z' {
					b[i] -= 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// Text reads the rest of the line.
func (d *Decoder) Text() string { return string(d.take(func(byte) bool { return true })) }

// IsAtomChar reports whether c is an ATOM-CHAR of RFC 9051 §9.
func IsAtomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > ' ' && c < 0x7F
}

func isTag(c byte) bool { return c != '+' && (IsAtomChar(c) || c == ']') }

func isAString(c byte) bool { return IsAtomChar(c) || c == ']' }

func isListChar(c byte) bool { return isAString(c) || c == '%' || c == '*' }

func isName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Number reads a number of 32 bits.
func (d *Decoder) Number() uint32 { return uint32(d.number(32)) }

// Number64 reads a number of 63 bits: sizes and mod-sequences (RFC 9051 number64, RFC 7162).
func (d *Decoder) Number64() int64 { return int64(d.number(63)) }

func (d *Decoder) number(bits int) uint64 {
	digits := d.word(isDigit, "a number")
	if d.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(digits, 10, bits)
	if err != nil {
		d.fail(syntax("number %.25s is too large", digits))
		return 0
	}
	return n
}

// List reads "(", items separated by single spaces, and ")". item is called for each and must read
// at least one octet. The empty list is allowed.
func (d *Decoder) List(item func()) {
	d.Expect('(')
	if d.Try(')') || d.err != nil {
		return
	}
	if !d.Enter() {
		return
	}
	defer d.Leave()
	for d.err == nil {
		item()
		if d.Try(')') {
			return
		}
		d.SP()
	}
}

// Enter counts one more level of nesting, for callers with lists of their own. False, with an error,
// means that there are too many.
func (d *Decoder) Enter() bool {
	d.depth++
	if limit := orDefault(d.Limits.Depth, DefaultDepth); limit >= 0 && d.depth > limit {
		d.fail(tooBig("too many levels of nesting"))
	}
	return d.err == nil
}

// Leave ends a level of nesting.
func (d *Decoder) Leave() { d.depth-- }

// AString reads an atom or a string.
func (d *Decoder) AString() string {
	switch d.Peek() {
	case '"', '{', '~':
		if d.Peek() != '~' || d.literal8Follows() {
			return d.String()
		}
	}
	return d.word(isAString, "an atom or a string")
}

// literal8Follows tells "~{" from an atom that begins with "~".
func (d *Decoder) literal8Follows() bool { return len(d.line) > 1 && d.line[1] == '{' }

// NString reads a string or NIL; ok is false for NIL.
func (d *Decoder) NString() (s string, ok bool) {
	switch d.Peek() {
	case '"', '{', '~':
		return d.String(), d.err == nil
	}
	if w := d.word(IsAtomChar, "a string or NIL"); d.err == nil && upper(w) != "NIL" {
		d.fail(syntax("a string or NIL is missing at %.20q", w))
	}
	return "", false
}

// ListMailbox reads a pattern of LIST.
func (d *Decoder) ListMailbox() string {
	switch d.Peek() {
	case '"', '{':
		return d.mailbox(d.String())
	}
	return d.mailbox(d.word(isListChar, "a mailbox name"))
}

// String reads a quoted string or a literal.
func (d *Decoder) String() string {
	switch d.Peek() {
	case '"':
		return d.quoted()
	case '{', '~':
		return d.literalString()
	}
	d.wanted("a string")
	return ""
}

// quoted reads a quoted string. UTF-8 in it is read in every mode; octets that are not UTF-8 are an
// error.
func (d *Decoder) quoted() string {
	d.line = d.line[1:]
	var out []byte // only when something is escaped
	for i := 0; i < len(d.line); i++ {
		switch c := d.line[i]; {
		case c == '"':
			out = append(out, d.line[:i]...)
			d.line = d.line[i+1:]
			return d.checkUTF8(out)
		case c == '\\':
			if i+1 == len(d.line) || d.line[i+1] != '"' && d.line[i+1] != '\\' {
				d.fail(syntax("bad escape in a quoted string"))
				return ""
			}
			out = append(append(out, d.line[:i]...), d.line[i+1])
			d.line = d.line[i+2:]
			i = -1
		}
	}
	d.fail(syntax("quoted string has no end"))
	return ""
}

func (d *Decoder) checkUTF8(b []byte) string {
	if !utf8.Valid(b) {
		d.fail(syntax("quoted string is not UTF-8"))
		return ""
	}
	return string(b)
}

// readAll reads exactly n octets; memory grows with what arrives.
func readAll(r io.Reader, n int64) ([]byte, error) {
	buf := make([]byte, 0, min(n, 4<<10))
	for int64(len(buf)) < n {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		free := buf[len(buf):min(int64(cap(buf)), n)]
		m, err := r.Read(free)
		buf = buf[:len(buf)+m]
		if err != nil && int64(len(buf)) < n {
			return nil, err
		}
	}
	return buf, nil
}

// PeekPair reports whether these two octets come next.
func (d *Decoder) PeekPair(pair string) bool {
	return d.err == nil && len(d.line) >= 2 && string(d.line[:2]) == pair
}
