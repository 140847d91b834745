package wire

import (
	"bytes"
	"io"
	"math"
	"strconv"
)

// literal is the head of a literal, "{5}", "{5+}", "{5-}" (RFC 7888 LITERAL- has no form of its own), "~{5}".
type literal struct {
	size   int64
	sync   bool // waits for a continuation
	binary bool // literal8 of RFC 3516: may hold NUL
}

// errLiteral: what follows a literal whose size cannot be read is data, but nobody knows how much.
func errLiteral() error { return &Error{Text: "malformed literal", Fatal: true} }

// parseLiteral reads the head of a literal that fills b to its end.
func parseLiteral(b []byte) (h literal, err error) {
	if len(b) > 0 && b[0] == '~' {
		h.binary, b = true, b[1:]
	}
	if len(b) < 3 || b[0] != '{' || b[len(b)-1] != '}' {
		return h, errLiteral()
	}
	digits := b[1 : len(b)-1]
	h.sync = digits[len(digits)-1] != '+'
	if !h.sync {
		digits = digits[:len(digits)-1]
	}
	for _, c := range digits {
		if !isDigit(c) {
			return h, errLiteral()
		}
	}
	n, perr := strconv.ParseUint(string(digits), 10, 63)
	if perr != nil || n > math.MaxInt64 {
		return h, errLiteral()
	}
	h.size = int64(n)
	return h, nil
}

// literalAtEnd looks for a literal at the end of a line whose beginning was not understood.
func literalAtEnd(line []byte) (h literal, ok bool, err error) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return h, false, nil
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return h, false, nil
	}
	h, err = parseLiteral(line[i:])
	return h, err == nil, err
}

// head reads the head of the literal that ends the line.
func (d *Decoder) head() (h literal, ok bool) {
	if d.err != nil {
		return h, false
	}
	h, err := parseLiteral(d.line)
	if err != nil {
		d.fail(err)
		return h, false
	}
	return h, true
}

// count counts a literal against the limits of the command.
func (d *Decoder) count(octets int64) bool {
	d.literals++
	if limit := orDefault(d.Limits.Literals, DefaultLiterals); limit >= 0 && d.literals > limit {
		d.fail(tooBig("too many literals"))
	}
	if limit := orDefault(d.Limits.LiteralBytes, DefaultLiteralBytes); limit >= 0 && octets > limit-d.octets {
		d.fail(tooBig("literals are too large"))
	}
	d.octets += octets
	return d.err == nil
}

// start asks for the literal where that is needed, and goes behind its head.
func (d *Decoder) start(h literal) bool {
	d.line = nil
	if h.sync && d.Continue != nil {
		if err := d.Continue(); err != nil {
			d.fail(err)
			return false
		}
	}
	d.raw.Reset(d.r, h.size)
	d.inLiteral = true
	return true
}

// literalString reads a literal into memory, and the line behind it.
func (d *Decoder) literalString() string {
	h, ok := d.head()
	if !ok || !d.count(h.size) || !d.start(h) {
		return ""
	}
	b, err := readAll(&d.raw, h.size)
	if err != nil {
		d.fail(err)
		return ""
	}
	if !h.binary && bytes.IndexByte(b, 0) >= 0 {
		d.fail(syntax("NUL in a literal")) // RFC 9051 §4.3
	}
	if d.err != nil {
		return "" // Skip goes on behind the literal
	}
	if d.nextLine(); d.err != nil {
		return ""
	}
	return string(b)
}

// Literal is a literal that is read as a stream: APPEND's message, FETCH's body.
type Literal struct {
	Size   int64
	Binary bool // literal8: may hold NUL

	sync bool
	d    *Decoder
}

// LiteralHead reads the head of a literal and nothing more: the caller decides whether it wants
// it. Then it calls Open, or refuses the command, and Skip deals with the rest.
func (d *Decoder) LiteralHead() (l Literal) {
	if c := d.Peek(); c != '{' && c != '~' {
		d.wanted("a literal")
		return l
	}
	h, ok := d.head()
	if !ok {
		return l
	}
	d.literals++
	if limit := orDefault(d.Limits.Literals, DefaultLiterals); limit >= 0 && d.literals > limit {
		d.fail(tooBig("too many literals"))
		return l
	}
	return Literal{Size: h.size, Binary: h.binary, sync: h.sync, d: d}
}

// Open returns the content of the literal, after asking for it where that is needed. It has to be
// read to its end before CloseLiteral. A connection that ends too early gives
// io.ErrUnexpectedEOF.
func (l Literal) Open() io.Reader {
	if l.d == nil || l.d.err != nil || !l.d.start(literal{size: l.Size, sync: l.sync}) {
		return &failed{l.d}
	}
	return &literalReader{l.d}
}

// literalReader makes an error of the connection the error of the command.
type literalReader struct{ d *Decoder }

func (r *literalReader) Read(p []byte) (int, error) {
	n, err := r.d.raw.Read(p)
	if err != nil && err != io.EOF {
		r.d.fail(err)
	}
	return n, err
}

// failed is the content of a literal that could not be opened.
type failed struct{ d *Decoder }

func (f *failed) Read([]byte) (int, error) {
	if f.d == nil || f.d.err == nil {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, f.d.err
}

// CloseLiteral consumes what the caller left of the literal, and reads the line behind it.
func (d *Decoder) CloseLiteral() {
	if fatal(d.err) {
		return
	}
	if err := d.raw.Discard(); err != nil {
		d.fail(err)
		return
	}
	d.nextLine()
}
