package mime

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A ValueError says which value of the caller cannot be written into a message.
type ValueError struct {
	What   string // the field, parameter or part of the message
	Reason string
}

// Error returns "mime: " and the two.
func (e *ValueError) Error() string { return "mime: " + e.What + ": " + e.Reason }

// NewField makes a field of a name and an unencoded body. The body may be folded by the caller:
// CRLF followed by white space; longer bodies are folded at white space here (RFC 5322 §2.2.3).
// Any other control character, and U+2028 and U+2029, are an error, so that a value cannot
// begin a second field. Octets above 0x7f must be UTF-8 (RFC 6532); see EncodeText for the
// 7-bit form of text.
func NewField(name, value string) (Field, error) {
	if err := checkName(name); err != nil {
		return Field{}, err
	}
	if err := checkValue(name, strings.NewReplacer("\r\n ", " ", "\r\n\t", "\t").Replace(value)); err != nil {
		return Field{}, err
	}
	return parseField(fold(name, value)), nil
}

// checkName holds the caller to RFC 5322 §3.6.8: printable ASCII without colon.
func checkName(name string) error {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c == ':' || c > '~' {
			return &ValueError{What: "header field name", Reason: fmt.Sprintf("octet 0x%02x is not allowed", c)}
		}
	}
	if name == "" {
		return &ValueError{What: "header field name", Reason: "empty"}
	}
	return nil
}

// checkValue refuses what could end a line somewhere.
func checkValue(what, v string) error {
	if !utf8.ValidString(v) {
		return &ValueError{What: what, Reason: "not valid UTF-8"}
	}
	for _, r := range v {
		if r != '\t' && isControl(r) {
			return &ValueError{What: what, Reason: fmt.Sprintf("control character %U is not allowed", r)}
		}
	}
	return nil
}

// fold writes a field with lines of at most 78 octets where its white space allows that. It
// never makes a line of white space only, which some readers take for the end of the header.
func fold(name, value string) string {
	var b strings.Builder
	b.Grow(len(name) + len(value) + 8)
	b.WriteString(name)
	b.WriteByte(':')
	col := b.Len()
	for i, chunk := range foldChunks(value) {
		if i == 0 {
			chunk = " " + chunk
		}
		if col+len(chunk) > maxLine && i > 0 {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(chunk)
		col += len(chunk)
		if j := strings.LastIndexByte(chunk, '\n'); j >= 0 {
			col = len(chunk) - j - 1
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

// maxLine is the recommended length of a line without its CRLF (RFC 5322 §2.1.1).
const maxLine = 78

// foldChunks cuts a value before each run of white space that is followed by something else.
func foldChunks(v string) []string {
	var out []string
	start, wasWSP := 0, false
	for i := 0; i < len(v); i++ {
		wsp := isWSP(v[i])
		if wsp && !wasWSP && strings.Trim(v[i:], " \t\r\n") != "" && !strings.HasPrefix(v[max(i-2, 0):], "\r\n") {
			out = append(out, v[start:i])
			start = i
		}
		wasWSP = wsp
	}
	return append(out, v[start:])
}

// Prepend puts a field before all others, where trace fields go (RFC 5321 §4.4).
func (h *Header) Prepend(f Field) { h.fields = slices.Insert(h.fields, 0, f.terminated()) }

// Append puts a field after all others.
func (h *Header) Append(f Field) {
	if n := len(h.fields); n > 0 {
		h.fields[n-1] = h.fields[n-1].terminated()
	}
	h.fields = append(h.fields, f.terminated())
}

// Replace puts f in the place of the first field of its name and deletes the others of that
// name; without any it appends.
func (h *Header) Replace(f Field) {
	i := slices.IndexFunc(h.fields, func(g Field) bool { return strings.EqualFold(g.Name(), f.Name()) })
	if i < 0 {
		h.Append(f)
		return
	}
	h.fields[i] = f.terminated()
	rest := slices.DeleteFunc(h.fields[i+1:], func(g Field) bool { return strings.EqualFold(g.Name(), f.Name()) })
	h.fields = h.fields[:i+1+len(rest)]
}

// Delete removes every field of the name and returns how many there were.
func (h *Header) Delete(name string) int {
	before := len(h.fields)
	h.fields = slices.DeleteFunc(h.fields, func(f Field) bool { return strings.EqualFold(f.Name(), name) })
	return before - len(h.fields)
}

// terminated returns the field with a line end, which the last field of a cut message lacks.
func (f Field) terminated() Field {
	if !strings.HasSuffix(f.raw, "\n") {
		f.raw += "\r\n"
	}
	return f
}
