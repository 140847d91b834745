package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"
)

// pieceSize is how much is encoded at a time: a multiple of 3, for base64.
const pieceSize = 6 << 10

// errClosed is what a body says that is read after its message was given up: net/http may do so for
// a moment after the request has failed.
var errClosed = errors.New("webhook: message is closed")

// segment opens the next piece of a document for one of its readers. A document is a list of them, opened one
// after the other.
type segment func(r *documentReader) io.Reader

// document is a JSON document that can be read any number of times.
type document struct {
	mu       sync.Mutex // no reader touches the message once close has returned
	closed   bool
	handed   int64 // the most octets that one reader for the wire was given
	segments []segment
}

// given returns how much of the document was read at most.
func (d *document) given() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.handed
}

// open returns a reader from the start.
func (d *document) open() io.ReadCloser { return &documentReader{doc: d, rest: d.segments} }

// body returns a reader for the wire: what it gives counts as given.
func (d *document) body() io.ReadCloser {
	return &documentReader{doc: d, rest: d.segments, wire: true}
}

func (d *document) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

type documentReader struct {
	doc   *document
	rest  []segment
	now   io.Reader
	count int64 // octets of the attachment that was read last
	n     int64 // octets read
	wire  bool
}

// Read implements io.Reader.
func (r *documentReader) Read(p []byte) (int, error) {
	r.doc.mu.Lock()
	defer r.doc.mu.Unlock()
	for {
		switch {
		case r.doc.closed:
			return 0, errClosed
		case r.now == nil && len(r.rest) == 0:
			return 0, io.EOF
		case r.now == nil:
			r.now, r.rest = r.rest[0](r), r.rest[1:]
		}
		n, err := r.now.Read(p)
		if err == io.EOF {
			r.release()
			err = nil
		}
		r.n += int64(n)
		if r.wire {
			r.doc.handed = max(r.doc.handed, r.n)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close implements io.Closer.
func (r *documentReader) Close() error {
	r.doc.mu.Lock()
	defer r.doc.mu.Unlock()
	r.release()
	r.rest = nil
	return nil
}

func (r *documentReader) release() {
	if c, ok := r.now.(io.Closer); ok {
		_ = c.Close()
	}
	r.now = nil
}

// encoder is a reader of src in another form, made piece by piece.
type encoder struct {
	src    io.Reader
	append func(dst, src []byte, end bool) (out []byte, used int)
	in     []byte // what was read and not yet encoded
	buf    []byte // behind out
	out    []byte // what was encoded and not yet read
	err    error
}

// Read implements io.Reader.
func (e *encoder) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		e.fill()
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

func (e *encoder) fill() {
	if e.in == nil {
		e.in = make([]byte, 0, pieceSize)
	}
	n, err := e.src.Read(e.in[len(e.in):cap(e.in)])
	e.in, e.err = e.in[:len(e.in)+n], err
	used := 0
	e.buf, used = e.append(e.buf[:0], e.in, err == io.EOF)
	e.out = e.buf
	e.in = e.in[:copy(e.in, e.in[used:])]
}

// Close implements io.Closer.
func (e *encoder) Close() error {
	if c, ok := e.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// base64Reader encodes r as the inside of a JSON string.
func base64Reader(r io.Reader) io.Reader {
	return &encoder{src: r, append: func(dst, src []byte, end bool) ([]byte, int) {
		if !end {
			src = src[:len(src)/3*3]
		}
		return base64.StdEncoding.AppendEncode(dst, src), len(src)
	}}
}

// textReader encodes UTF-8 text as the inside of a JSON string (RFC 8259 §7).
func textReader(r io.Reader) io.Reader { return &encoder{src: r, append: appendText} }

func appendText(dst, src []byte, end bool) ([]byte, int) {
	for at := 0; at < len(src); {
		c := src[at]
		if c >= utf8.RuneSelf {
			if !end && !utf8.FullRune(src[at:]) {
				return dst, at
			}
			r, n := utf8.DecodeRune(src[at:]) // what is not UTF-8 becomes U+FFFD
			dst, at = utf8.AppendRune(dst, r), at+n
			continue
		}
		at++
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c < ' ' || c == 0x7f:
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return dst, len(src)
}

// counter counts what is read through it.
type counter struct {
	io.ReadCloser
	n *int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	*c.n += int64(n)
	return n, err
}
