package mime

import (
	"bytes"
	"io"
	"iter"
	"strings"
	"time"
)

// A Field is one header field as it stands in the message, line ends included. It is immutable.
type Field struct {
	raw  string
	name int // length of the name; 0 = the line is no field
	body int // where the field body starts, after the colon
}

// parseField finds the name of a field. RFC 5322 §4.5: obsolete syntax allows white space
// before the colon. A name may hold 8-bit octets here; what has no name is kept as a malformed
// field.
func parseField(raw string) Field {
	f := Field{raw: raw}
	n := nameLen(raw)
	i := n
	for i < len(raw) && isWSP(raw[i]) {
		i++
	}
	if n > 0 && i < len(raw) && raw[i] == ':' {
		f.name, f.body = n, i+1
	}
	return f
}

// nameLen counts the octets that may stand in a field name.
func nameLen[T string | []byte](s T) int {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == ':' || c == 0x7f {
			return i
		}
	}
	return len(s)
}

// Name returns the field name as written, "" for a malformed field. Names are compared without
// regard to case.
func (f Field) Name() string { return f.raw[:f.name] }

// Raw returns the field as it stands in the message, folding and line ends included.
func (f Field) Raw() string { return f.raw }

// Value returns the field body unfolded (RFC 5322 §2.2.3: line ends removed, nothing else) and
// without white space around it. It is what the parsers of this package take. It may hold any
// octet but CR LF pairs and LF; see Text for display.
func (f Field) Value() string { return unfold(f.raw[f.body:]) }

// Text returns the field body with encoded words decoded: valid UTF-8 without control
// characters, for display and search.
func (f Field) Text() string { return DecodeText(f.Value()) }

// unfold removes line ends; it allocates only for folded values.
func unfold(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	return string(appendUnfolded(make([]byte, 0, len(s)), []byte(s)))
}

// appendUnfolded appends s without its CRLFs and LFs.
func appendUnfolded(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\n')
		if i < 0 {
			return append(dst, s...)
		}
		line := s[:i]
		if i > 0 && s[i-1] == '\r' {
			line = s[:i-1]
		}
		dst = append(dst, line...)
		s = s[i+1:]
	}
}

// A Header is a list of fields in the order of the message, which keeps their raw octets. Edits
// touch only the fields they name. The zero value is an empty header. A Header is not safe for
// concurrent use while it is edited.
type Header struct {
	fields []Field
	end    string // the empty line as it was, "" if there was none
}

// ParseHeader reads a header block: everything up to and including the empty line. What follows
// that line is ignored. No input is an error; every octet of the block is kept, so that writing
// an unedited Header gives the block back.
func ParseHeader(block []byte) *Header {
	h, _ := readHeader(string(block))
	return h
}

// readHeader returns the header and how many octets it took.
func readHeader(block string) (*Header, int) {
	h := &Header{fields: make([]Field, 0, 16)}
	rest := block
	for rest != "" {
		n := fieldLen(rest)
		raw := rest[:n]
		rest = rest[n:]
		if raw == "\r\n" || raw == "\n" {
			h.end = raw
			break
		}
		h.fields = append(h.fields, parseField(raw))
	}
	return h, len(block) - len(rest)
}

// fieldLen is the length of the first line and its continuation lines. An empty line stands
// alone.
func fieldLen(s string) int {
	n := 0
	for {
		i := strings.IndexByte(s[n:], '\n')
		if i < 0 {
			return len(s)
		}
		n += i + 1
		blank := n == 1 || n == 2 && s[0] == '\r'
		if blank || n == len(s) || !isWSP(s[n]) {
			return n
		}
	}
}

// ReadHeader reads a header block from r, its empty line included, within the header limits of
// o. It ends where Parse says that the body begins, also where the empty line is missing. It may read past the block. The error is one of reading, or *Warning where a limit is
// exceeded: a header that was cut must not be taken for the whole.
func ReadHeader(r io.Reader, o Options) (*Header, error) {
	l := o.limits()
	var s scanner
	s.start(r)
	defer s.release()
	var block []byte
	for n, inside := 0, false; ; n++ {
		raw, ev, unfinished := s.field(inside)
		more := ev == headerField || ev == headerMore
		if name, _ := splitField(raw); ev == headerField && name == 0 {
			raw, more = s.oddLine(raw, n, unfinished)
		}
		block, inside = append(block, raw...), unfinished
		if !more {
			break
		}
		if int64(len(block)) > l.header || n >= l.fields {
			return nil, &Warning{Kind: WarnHeaderBytes, Offset: s.pos()}
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	return ParseHeader(block), nil
}

// Len returns the number of fields, malformed ones included.
func (h *Header) Len() int { return len(h.fields) }

// Field returns field i, counted from 0.
func (h *Header) Field(i int) Field { return h.fields[i] }

// All ranges over the fields in their order.
func (h *Header) All() iter.Seq2[int, Field] {
	return func(yield func(int, Field) bool) {
		for i, f := range h.fields {
			if !yield(i, f) {
				return
			}
		}
	}
}

// Fields ranges over the fields of one name, in their order.
func (h *Header) Fields(name string) iter.Seq2[int, Field] {
	return func(yield func(int, Field) bool) {
		for i, f := range h.fields {
			if strings.EqualFold(f.Name(), name) && !yield(i, f) {
				return
			}
		}
	}
}

// Lookup returns the first field of the name. Where a field occurs more often than it may, all
// readers of this package take the first; a policy that wants none of such messages asks Count.
func (h *Header) Lookup(name string) (Field, bool) {
	for _, f := range h.Fields(name) {
		return f, true
	}
	return Field{}, false
}

// Count returns how many fields have the name.
func (h *Header) Count(name string) int {
	n := 0
	for range h.Fields(name) {
		n++
	}
	return n
}

// Value returns the unfolded body of the first field of the name, "" if there is none.
func (h *Header) Value(name string) string {
	f, _ := h.Lookup(name)
	return f.Value()
}

// Text returns the first field of the name for display: see Field.Text.
func (h *Header) Text(name string) string {
	f, _ := h.Lookup(name)
	return f.Text()
}

// Addresses reads the first field of the name as an address list: see ParseAddresses.
func (h *Header) Addresses(name string) (Addresses, error) { return ParseAddresses(h.Value(name)) }

// Date reads the Date field: see ParseDate.
func (h *Header) Date() (time.Time, error) { return ParseDate(h.Value("Date")) }

// MessageIDs reads the first field of the name (Message-ID, In-Reply-To, References) as a list:
// see ParseMessageIDs.
func (h *Header) MessageIDs(name string) []string { return ParseMessageIDs(h.Value(name)) }

// ContentType reads the first Content-Type field: see ParseContentType.
func (h *Header) ContentType() (ContentType, error) { return ParseContentType(h.Value("Content-Type")) }

// Bytes returns the header as it is written, with its empty line if it had one.
func (h *Header) Bytes() []byte {
	var b bytes.Buffer
	h.WriteTo(&b) // a bytes.Buffer returns no error
	return b.Bytes()
}

// WriteTo writes the fields and, if the header had one, the empty line. Fields that were not
// edited are written as they were read.
func (h *Header) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for _, f := range h.fields {
		k, err := io.WriteString(w, f.raw)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	k, err := io.WriteString(w, h.end)
	return n + int64(k), err
}
