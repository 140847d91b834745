package imap

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mime"
)

// sectionKind is the text of a section (RFC 9051 §6.4.5.1).
type sectionKind uint8

const (
	sectionWhole  sectionKind = iota
	sectionHeader             // of the message, or of the message/rfc822 part
	sectionFields
	sectionText
	sectionMIME // header of the part
)

// section names a piece of a message.
type section struct {
	path   []int
	kind   sectionKind
	fields []string
	not    bool // HEADER.FIELDS.NOT

	partial       bool
	offset, count int64
}

// name writes the section as the response repeats it: with the origin of a partial, without its length.
func (s *section) name() string {
	var b strings.Builder
	b.WriteByte('[')
	for i, n := range s.path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.Itoa(n))
	}
	if s.kind != sectionWhole && len(s.path) > 0 {
		b.WriteByte('.')
	}
	switch s.kind {
	case sectionHeader:
		b.WriteString("HEADER")
	case sectionText:
		b.WriteString("TEXT")
	case sectionMIME:
		b.WriteString("MIME")
	case sectionFields:
		s.fieldNames(&b)
	}
	b.WriteByte(']')
	if s.partial {
		b.WriteString("<" + strconv.FormatInt(s.offset, 10) + ">")
	}
	return b.String()
}

func (s *section) fieldNames(b *strings.Builder) {
	b.WriteString("HEADER.FIELDS")
	if s.not {
		b.WriteString(".NOT")
	}
	b.WriteByte(' ')
	var e wire.Encoder
	e.Reset(b)
	for i, f := range s.fields {
		b.WriteString(opener(i))
		if f != "" && !strings.ContainsFunc(f, func(r rune) bool { return r >= 0x7F || !wire.IsAtomChar(byte(r)) }) {
			e.Raw(f)
		} else {
			e.String(f)
		}
	}
	b.WriteByte(')')
}

// needsStructure reports whether the section can only be found by parsing the whole message.
func (s *section) needsStructure() bool { return len(s.path) > 0 }

// cut applies the partial to a piece of so many octets.
func (s *section) cut(size int64) (offset, count int64) {
	if !s.partial {
		return 0, size
	}
	offset = min(s.offset, size)
	return offset, min(s.count, size-offset)
}

// piece is octets of a message to be sent: a range of the content, or bytes made from it.
type piece struct {
	from, to int64
	made     []byte // instead of the range, when it is not nil
}

// size is the length of the piece.
func (p *piece) size() int64 {
	if p.made != nil {
		return int64(len(p.made))
	}
	return p.to - p.from
}

// reader returns n octets from an offset of the piece.
func (p *piece) reader(c goniec.Content, offset, n int64) io.Reader {
	if p.made != nil {
		return bytes.NewReader(p.made[offset : offset+n])
	}
	return io.NewSectionReader(c, p.from+offset, n)
}

// find locates the section; ok is false where the message has no such part.
func (s *section) find(m *message) (p piece, ok bool, err error) {
	if !s.needsStructure() {
		return s.findRoot(m)
	}
	st, err := m.structure()
	if err != nil {
		return p, false, err
	}
	i, ok := st.Find(s.path...)
	if !ok {
		return p, false, nil
	}
	part := &st.Parts[i]
	switch s.kind {
	case sectionWhole:
		return piece{from: part.BodyStart, to: part.BodyEnd}, true, nil
	case sectionMIME:
		return piece{from: part.HeaderStart, to: part.BodyStart}, true, nil
	}
	// RFC 9051 §6.4.5.1: HEADER and TEXT of a part are those of the message inside it.
	if part.Kind != mime.Embedded {
		return p, false, nil
	}
	inner := &st.Parts[i+1]
	return s.ofMessage(m, inner.HeaderStart, inner.BodyStart, inner.BodyEnd)
}

// findRoot locates a section of the message itself.
func (s *section) findRoot(m *message) (piece, bool, error) {
	size := m.content.Size()
	if s.kind == sectionWhole {
		return piece{to: size}, true, nil
	}
	start, err := m.bodyStart()
	if err != nil {
		return piece{}, false, err
	}
	return s.ofMessage(m, 0, start, size)
}

// ofMessage locates a section of a message with these offsets.
func (s *section) ofMessage(m *message, header, body, end int64) (piece, bool, error) {
	switch s.kind {
	case sectionText:
		return piece{from: body, to: end}, true, nil
	case sectionFields:
		made, err := selectFields(io.NewSectionReader(m.content, header, body-header), s.fields, s.not)
		return piece{made: made}, true, err
	}
	return piece{from: header, to: body}, true, nil
}

// maxFields is how many octets of selected header fields are sent at the most.
const maxFields = 1 << 20

// selectFields returns the fields of a header whose names are, or are not, in a list, with the empty
// line behind them. Of a header with more than maxFields octets of them the rest is left out.
func selectFields(header io.Reader, names []string, not bool) ([]byte, error) {
	lines := newLineScanner(header)
	defer lines.close()
	out := make([]byte, 0, 512)
	take := false
	for {
		line, begins, err := lines.next()
		if err == io.EOF {
			return append(out, "\r\n"...), nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case begins && isBlank(line):
			take = false
		case begins && line[0] != ' ' && line[0] != '\t': // else a continuation
			take = nameIn(line, names) != not
		}
		if take && len(out)+len(line) <= maxFields {
			out = append(out, line...)
		}
	}
}

// nameIn reports whether a line begins a field that is in the list.
func nameIn(line []byte, names []string) bool {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return false
	}
	name := bytes.TrimRight(line[:i], " \t")
	for _, n := range names {
		if len(n) == len(name) && strings.EqualFold(n, string(name)) {
			return true
		}
	}
	return false
}

// isBlank reports whether a line is the empty one that ends a header.
func isBlank(line []byte) bool {
	return len(line) == 0 || line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}
