package mbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/goniec-mail/goniec"
)

// Writer writes messages one after the other, as files of one dialect. It neither locks nor syncs: see
// File for mailboxes that others use.
type Writer struct {
	w       io.Writer
	dialect Dialect
}

// NewWriter writes to w. What is there already must be an mbox of the same dialect, or nothing.
func NewWriter(w io.Writer, d Dialect) *Writer {
	if d == Auto {
		d = MboxRD
	}
	return &Writer{w, d}
}

// Write writes a message in network form and returns how many octets it took in the file. Lines end with LF there; a
// message that has other line ends than CRLF, or no line end at its end, is written as it is, and its From_
// line says so: a Reader gives back the same octets in any case. msg is read twice: what is no
// goniec.Content is spooled.
func (w *Writer) Write(ctx context.Context, from FromLine, msg io.Reader) (int64, error) {
	c, done, err := contentOf(ctx, msg, -1)
	if err != nil {
		return 0, err
	}
	defer done()
	rec, err := plan(ctx, w.dialect, from, c, "")
	if err != nil {
		return 0, err
	}
	err = rec.writeTo(ctx, w.w)
	return rec.size, err
}

// contentOf makes a Content of a message, spooled if need be.
func contentOf(ctx context.Context, msg io.Reader, limit int64) (goniec.Content, func() error, error) {
	if c, ok := goniec.AsContent(msg); ok {
		if limit >= 0 && c.Size() > limit {
			return nil, nil, goniec.ErrTooLarge
		}
		return c, func() error { return nil }, nil
	}
	c, err := goniec.Spool(ctx, msg, limit)
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

// record is a message as it will lie in the file.
type record struct {
	prefix  string // the From_ line, and fields of ours
	content goniec.Content
	enc     encoder
	size    int64
	start   int64 // of the message, fields of ours included, from the record's start
}

// plan reads a message once to decide how it is written. block is put before it.
func plan(ctx context.Context, d Dialect, from FromLine, c goniec.Content, block string) (*record, error) {
	shape := shapeOf{needsRD: d == MboxO || d == MboxCL}
	if err := eachChunk(ctx, c, shape.see); err != nil {
		return nil, err
	}
	from.marks = ""
	rec := &record{content: c, enc: encoder{dialect: d, raw: shape.mixed || shape.last != '\n' && c.Size() > 0}}
	if rec.enc.raw {
		from.marks += string(markRaw)
	}
	if block != "" {
		from.marks += string(markStatus)
	}
	if shape.ambiguous {
		from.marks += string(markQuoted)
		rec.enc.dialect = MboxRD
	}
	if d.hasLength() {
		from.marks += string(markLength)
		n, err := rec.bodyLength(ctx, block)
		if err != nil {
			return nil, err
		}
		block = fmt.Sprintf("Content-Length: %d\n%s", n, block)
	}
	line := from.String() + "\n"
	rec.prefix, rec.start = line+block, int64(len(line))
	counter := &countWriter{}
	if err := rec.writeTo(ctx, counter); err != nil {
		return nil, err
	}
	rec.size = counter.n
	return rec, nil
}

// shapeOf learns what matters for the form in the file.
type shapeOf struct {
	mixed     bool // a CR without LF or an LF without CR
	last      byte
	needsRD   bool // look for lines that mboxo would not give back
	ambiguous bool
	lineMatcher
}

func (s *shapeOf) see(b []byte) error {
	if !s.mixed {
		s.mixed = s.last == '\r' && b[0] != '\n' || s.last != '\r' && b[0] == '\n' || !strict(b)
	}
	s.last = b[len(b)-1]
	if s.needsRD && !s.ambiguous {
		s.match(b)
	}
	return nil
}

// match looks for ">From " at the beginning of lines.
func (s *shapeOf) match(b []byte) {
	for len(b) > 0 {
		switch {
		case s.inLine:
			end := bytes.IndexByte(b, '\n')
			if end < 0 {
				return
			}
			b = b[end+1:]
			s.lineMatcher = lineMatcher{}
		case s.matched == 0 && b[0] == '>':
			s.marks++
			b = b[1:]
		case b[0] == fromWord[s.matched]:
			b = b[1:]
			if s.matched++; s.matched == len(fromWord) {
				s.ambiguous = s.ambiguous || s.marks == 1
				s.inLine = true
			}
		default:
			s.inLine = true
		}
	}
}

// strict reports whether each LF of b but one at its start follows a CR, and each CR but one at its end is followed by LF.
func strict(b []byte) bool {
	if b[0] == '\n' {
		b = b[1:]
	}
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			j := bytes.IndexByte(b, '\r')
			return j < 0 || j == len(b)-1
		}
		if i == 0 || bytes.IndexByte(b[:i], '\r') != i-1 {
			return false
		}
		b = b[i+1:]
	}
}

const copyChunk = 64 << 10

// eachChunk calls do with the content, piece by piece.
func eachChunk(ctx context.Context, c goniec.Content, do func([]byte) error) error {
	buf := make([]byte, min(copyChunk, max(c.Size(), 1)))
	for at := int64(0); at < c.Size(); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := c.ReadAt(buf[:min(int64(len(buf)), c.Size()-at)], at)
		if n > 0 {
			if err := do(buf[:n]); err != nil {
				return err
			}
		} else if err == nil || err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if at += int64(n); err != nil && (err != io.EOF || at < c.Size()) {
			return err
		}
	}
	return nil
}

// writeTo writes the record with the empty line at its end.
func (rec *record) writeTo(ctx context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, rec.prefix); err != nil {
		return err
	}
	if err := rec.body(ctx, w); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// body writes the message alone.
func (rec *record) body(ctx context.Context, w io.Writer) error {
	enc := rec.enc
	var out []byte
	err := eachChunk(ctx, rec.content, func(b []byte) error {
		out = enc.append(out[:0], b)
		return writeAll(w, out)
	})
	if err != nil {
		return err
	}
	return writeAll(w, enc.finish(out[:0]))
}

func writeAll(w io.Writer, b []byte) error {
	n, err := w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// bodyLength counts what will follow the first empty line in the file.
func (rec *record) bodyLength(ctx context.Context, block string) (int64, error) {
	b := &bodyCounter{}
	if _, err := io.WriteString(b, "\n"+block); err != nil {
		return 0, err
	}
	err := rec.body(ctx, b)
	return b.n, err
}

// countWriter counts.
type countWriter struct{ n int64 }

func (c *countWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// bodyCounter counts what follows the first empty line.
type bodyCounter struct {
	n    int64
	tail [3]byte // the last octets of the header
	body bool
}

func (c *bodyCounter) Write(p []byte) (int, error) {
	for i, b := range p {
		if c.body {
			c.n += int64(len(p) - i)
			break
		}
		c.tail = [3]byte{c.tail[1], c.tail[2], b}
		t := string(c.tail[:])
		c.body = strings.HasSuffix(t, "\n\n") || t == "\n\r\n"
	}
	return len(p), nil
}
