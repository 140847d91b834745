package mime

import "strings"

// A lexer walks over an unfolded structured field body (RFC 5322 §3.2). Its steps never go back
// and never call each other, so that any input takes linear time and no stack.
type lexer struct {
	s string
	i int
	// comment is the text of the last comment skipped, which old mail uses for names:
	// "joe@example.org (Joe)".
	comment string
	bad     bool // something did not end
}

func (x *lexer) done() bool { return x.i >= len(x.s) }

func (x *lexer) peek() byte {
	if x.i < len(x.s) {
		return x.s[x.i]
	}
	return 0
}

// eat consumes c if it is next.
func (x *lexer) eat(c byte) bool {
	if x.i < len(x.s) && x.s[x.i] == c {
		x.i++
		return true
	}
	return false
}

// skipCFWS skips white space and comments. Line ends count as white space: a value may come
// from elsewhere.
func (x *lexer) skipCFWS() {
	for x.i < len(x.s) {
		switch x.s[x.i] {
		case ' ', '\t', '\r', '\n':
			x.i++
		case '(':
			x.skipComment()
		default:
			return
		}
	}
}

// skipComment skips a comment; nesting is a counter, not recursion (P04).
func (x *lexer) skipComment() {
	start, depth := x.i+1, 0
	for ; x.i < len(x.s); x.i++ {
		switch x.s[x.i] {
		case '\\':
			x.i++
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 && x.i < len(x.s) {
			x.comment = x.s[start:x.i]
			x.i++
			return
		}
	}
	x.i = len(x.s)
	x.bad = true
	x.comment = x.s[min(start, len(x.s)):]
}

// quoted reads a quoted-string, whose opening quote is next, and returns its content without
// quoting. One that does not end goes to the end of the value.
func (x *lexer) quoted() string {
	x.i++
	start := x.i
	for ; x.i < len(x.s); x.i++ {
		switch x.s[x.i] {
		case '"':
			x.i++
			return x.s[start : x.i-1]
		case '\\':
			return x.quotedSlow(start)
		}
	}
	x.bad = true
	return x.s[start:]
}

// quotedSlow goes on at the first backslash.
func (x *lexer) quotedSlow(start int) string {
	var b strings.Builder
	b.WriteString(x.s[start:x.i])
	for ; x.i < len(x.s); x.i++ {
		c := x.s[x.i]
		if c == '"' {
			x.i++
			return b.String()
		}
		if c == '\\' && x.i+1 < len(x.s) {
			x.i++
			c = x.s[x.i]
		}
		b.WriteByte(c)
	}
	x.bad = true
	return b.String()
}

// until reads up to one of the octets of stop, white space or a comment.
func (x *lexer) until(stop *octets) string {
	start := x.i
	for x.i < len(x.s) && !stop[x.s[x.i]] {
		x.i++
	}
	return x.s[start:x.i]
}

// octets is a set.
type octets [256]bool

// stopAt is a set of stops, which always has white space and the beginning of a comment.
func stopAt(special string) *octets {
	var o octets
	for _, c := range []byte(" \t\r\n(" + special) {
		o[c] = true
	}
	return &o
}

var (
	endOfWord    = stopAt("")
	endOfTag     = stopAt(",")
	endOfItem    = stopAt(";")
	endOfName    = stopAt("=;")
	endOfValue   = stopAt(";\"")
	endOfType    = stopAt("/;=")
	endOfSubtype = stopAt(";=\"")
)

// quote writes s as a quoted-string.
func quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isAtext reports whether c may stand in an atom (RFC 5322 §3.2.3; octets above 0x7f by RFC
// 6532).
func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// isToken reports whether s is a MIME token (RFC 2045 §5.1).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
