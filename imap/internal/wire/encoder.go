package wire

import (
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/goniec-mail/goniec/internal/mutf7"
	"github.com/goniec-mail/goniec/mailbox"
)

// Output is where an Encoder writes: a crlf.Writer, a bytes.Buffer.
type Output interface {
	io.Writer
	io.StringWriter
	io.ByteWriter
}

// Encoder writes responses, or the parts of commands that need no continuation. Errors of the
// output are the output's to keep (crlf.Writer's are sticky). It is not safe for concurrent use.
type Encoder struct {
	// UTF8 says that quoted strings may hold UTF-8 and mailbox names are UTF-8.
	UTF8 bool

	w       Output
	scratch [40]byte
}

// Reset makes e write to w.
func (e *Encoder) Reset(w Output) { e.w = w }

// Raw writes s as it is: words of the protocol, and text made by AppendX.
func (e *Encoder) Raw(s string) { e.w.WriteString(s) }

// RawBytes writes b as it is.
func (e *Encoder) RawBytes(b []byte) { e.w.Write(b) }

// SP writes a space.
func (e *Encoder) SP() { e.w.WriteByte(' ') }

// CRLF ends a line.
func (e *Encoder) CRLF() { e.w.WriteString("\r\n") }

// Number writes a number.
func (e *Encoder) Number(n uint64) { e.w.Write(strconv.AppendUint(e.scratch[:0], n, 10)) }

// String writes a quoted string where s can be one, else a literal.
func (e *Encoder) String(s string) {
	if !quotable(s, e.UTF8) {
		e.LiteralHead(int64(len(s)))
		e.w.WriteString(s)
		return
	}
	e.w.WriteByte('"')
	writeEscaped(e.w, s)
	e.w.WriteByte('"')
}

// NString writes a string, or NIL when ok is false.
func (e *Encoder) NString(s string, ok bool) {
	if !ok {
		e.w.WriteString("NIL")
		return
	}
	e.String(s)
}

// LiteralHead writes the head of a literal whose octets the caller writes next.
func (e *Encoder) LiteralHead(size int64) {
	e.w.WriteByte('{')
	e.Number(uint64(size))
	e.w.WriteString("}\r\n")
}

// BinaryHead is LiteralHead for a literal8, which may hold NUL (RFC 3516).
func (e *Encoder) BinaryHead(size int64) {
	e.w.WriteByte('~')
	e.LiteralHead(size)
}

// Mailbox writes a mailbox name: as an atom where it can be one, for the sake of old clients.
func (e *Encoder) Mailbox(name string) {
	if !e.UTF8 {
		name = mutf7.Encode(name)
	}
	if name != "" && allAtom(name) && !equalNIL(name) {
		e.w.WriteString(name)
		return
	}
	e.String(name)
}

// equalNIL: a mailbox called NIL must not be read as nothing.
func equalNIL(s string) bool { return len(s) == 3 && upper(s) == "NIL" }

func allAtom(s string) bool {
	for i := range len(s) {
		if !IsAtomChar(s[i]) {
			return false
		}
	}
	return true
}

// quotable reports whether s can be a quoted string. RFC 9051 §4.3: no CR, LF, NUL; UTF-8 only
// where it is enabled. Long ones are literals, so that a line stays readable for the peer.
func quotable(s string, utf8Mode bool) bool {
	if len(s) > maxQuoted {
		return false
	}
	eightBit := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r' || c == '\n' || c == 0:
			return false
		case c >= utf8.RuneSelf:
			eightBit = true
		}
	}
	return !eightBit || utf8Mode && utf8.ValidString(s)
}

// maxQuoted is the longest quoted string that is written.
const maxQuoted = 1000

func writeEscaped(w Output, s string) {
	start := 0
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			w.WriteString(s[start:i])
			w.WriteByte('\\')
			start = i
		}
	}
	w.WriteString(s[start:])
}

// Flags writes a list of flags under a folder's keywords.
func (e *Encoder) Flags(f mailbox.Flags, keywords []string) {
	e.w.WriteByte('(')
	e.FlagNames(f, keywords)
	e.w.WriteByte(')')
}

// FlagNames writes the names of flags with spaces between them.
func (e *Encoder) FlagNames(f mailbox.Flags, keywords []string) {
	sep := false
	put := func(name string) {
		if sep {
			e.w.WriteByte(' ')
		}
		sep = true
		e.w.WriteString(name)
	}
	for i, name := range systemFlags {
		if f&(1<<i) != 0 {
			put(name)
		}
	}
	if f&^mailbox.SystemFlags == 0 {
		return
	}
	for i, k := range keywords {
		if f&mailbox.KeywordBit(i) != 0 {
			put(k)
		}
	}
}

// DateTime writes a date-time in quotes.
func (e *Encoder) DateTime(t time.Time) {
	e.w.WriteByte('"')
	e.w.Write(t.AppendFormat(e.scratch[:0], dateTime))
	e.w.WriteByte('"')
}

// UIDSet writes a set, piece by piece: it may have many intervals.
func (e *Encoder) UIDSet(s mailbox.UIDSet) {
	for i, r := range s {
		e.interval(i > 0, uint64(r.First), uint64(r.Last))
	}
}

// NumSet writes a set of numbers without "*".
func (e *Encoder) NumSet(s mailbox.NumSet) {
	for i, r := range s {
		e.interval(i > 0, uint64(r.First), uint64(r.Last))
	}
}

func (e *Encoder) interval(comma bool, first, last uint64) {
	b := e.scratch[:0]
	if comma {
		b = append(b, ',')
	}
	b = strconv.AppendUint(b, first, 10)
	if first != last {
		b = append(b, ':')
		b = strconv.AppendUint(b, last, 10)
	}
	e.w.Write(b)
}

// UIDs writes UIDs in their order, runs as ranges: what COPYUID needs, whose two sets correspond one
// to one (RFC 4315 §3).
func (e *Encoder) UIDs(uids []mailbox.UID) {
	for i := 0; i < len(uids); {
		j := i + 1
		for j < len(uids) && uids[j] == uids[j-1]+1 {
			j++
		}
		e.interval(i > 0, uint64(uids[i]), uint64(uids[j-1]))
		i = j
	}
}
