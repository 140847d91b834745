package goniec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// Content is a message in network form (CRLF line ends) that can be read any number of times, also
// by several goroutines at once. Size is its length in octets, the RFC822.SIZE of IMAP.
type Content interface {
	io.ReaderAt
	Size() int64
}

// AsContent returns msg as a Content when it is one: then it stands for the whole message, whatever
// was read of it before. *bytes.Reader, *strings.Reader, *io.SectionReader, and what NewReader
// and Prepend return, are.
func AsContent(msg io.Reader) (Content, bool) {
	c, ok := msg.(Content)
	return c, ok
}

// NewReader returns a reader over c from its start. The reader is a Content again.
func NewReader(c Content) *io.SectionReader { return io.NewSectionReader(c, 0, c.Size()) }

// Spooled is a Content that Spool has made. Close frees it; its methods fail afterwards.
type Spooled struct {
	mem    []byte
	file   *os.File
	size   int64
	closed atomic.Bool
}

// DefaultSpoolMemory is how many octets of a message Spool keeps in memory before it goes on in a
// temporary file: most messages are smaller.
const DefaultSpoolMemory = 64 << 10

// ErrTooLarge is in the chain of Spool's error for a message above its limit.
var ErrTooLarge = errors.New("message is larger than the limit")

// Spooler makes Contents of readers. The zero value is ready for use; it is safe for concurrent use.
type Spooler struct {
	// Memory is how many octets stay in memory. Zero means DefaultSpoolMemory; negative means none.
	Memory int
	// Dir is the folder of temporary files. "" means the system's, os.TempDir.
	Dir string
}

// Spool reads msg to its end and returns it as a Content: in memory when small, else in a temporary
// file of the system's folder that has no name any more where the system allows that. limit is
// the largest size in octets; negative means no limit; 0 means 50 MiB. Above it the error wraps
// ErrTooLarge. A spooled message is not durable. The caller closes it. When msg is a Content
// already, it is copied all the same: use AsContent first where that is not wanted.
func Spool(ctx context.Context, msg io.Reader, limit int64) (*Spooled, error) {
	return (&Spooler{}).Spool(ctx, msg, limit)
}

// defaultSpoolLimit is the size limit of a message for those who set none, the same as smtp's.
const defaultSpoolLimit = 50 << 20

// Spool is the function Spool with the settings of s.
func (s *Spooler) Spool(ctx context.Context, msg io.Reader, limit int64) (_ *Spooled, err error) {
	if limit == 0 {
		limit = defaultSpoolLimit
	}
	memory := s.Memory
	if memory == 0 {
		memory = DefaultSpoolMemory
	}
	in := &spoolReader{ctx: ctx, r: msg, limit: limit}
	var head bytes.Buffer
	if _, err = io.CopyN(&head, in, int64(max(memory, 0))); err == io.EOF {
		return &Spooled{mem: head.Bytes(), size: int64(head.Len())}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &Spooled{}
	if out.file, err = createTemp(s.Dir); err != nil {
		return nil, fmt.Errorf("spool message: %w", err)
	}
	defer func() {
		if err != nil {
			out.Close()
		}
	}()
	if _, err = out.file.Write(head.Bytes()); err != nil {
		return nil, fmt.Errorf("spool message: %w", err)
	}
	// Only the file: the buffer of io.Copy must not be skipped by ReadFrom's own endless loop.
	if _, err = io.Copy(struct{ io.Writer }{out.file}, in); err != nil {
		return nil, err
	}
	out.size = in.n
	return out, nil
}

// spoolReader counts, and ends with ctx or beyond the limit.
type spoolReader struct {
	ctx      context.Context
	r        io.Reader
	n, limit int64
}

func (r *spoolReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.r.Read(p)
	r.n += int64(n)
	if r.limit >= 0 && r.n > r.limit {
		return n, fmt.Errorf("%w of %d octets", ErrTooLarge, r.limit)
	}
	return n, err
}

// ReadAt implements io.ReaderAt. After Close the error is os.ErrClosed: io.EOF would make an empty message of it.
func (s *Spooled) ReadAt(p []byte, off int64) (int, error) {
	if s.closed.Load() {
		return 0, os.ErrClosed
	}
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	return bytes.NewReader(s.mem).ReadAt(p, off)
}

// Size returns the message's length in octets.
func (s *Spooled) Size() int64 { return s.size }

// Close frees the memory or the temporary file. It may be called more than once.
func (s *Spooled) Close() error {
	if s.closed.Swap(true) || s.file == nil {
		return nil
	}
	return closeTemp(s.file)
}

// Prepend returns a reader of fields followed by msg: header fields in network form, each ended by
// CRLF, put in front without copying the message. When msg is a Content, the result is one.
func Prepend(fields string, msg io.Reader) io.Reader {
	if c, ok := AsContent(msg); ok {
		return NewReader(&prepended{fields, c})
	}
	return io.MultiReader(bytes.NewReader([]byte(fields)), msg)
}

type prepended struct {
	fields string
	rest   Content
}

func (p *prepended) Size() int64 { return int64(len(p.fields)) + p.rest.Size() }

func (p *prepended) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("goniec: negative offset")
	}
	if off < int64(len(p.fields)) {
		n = copy(b, p.fields[off:])
		if n == len(b) {
			return n, nil
		}
		off += int64(n)
	}
	m, err := p.rest.ReadAt(b[n:], off-int64(len(p.fields)))
	return n + m, err
}
