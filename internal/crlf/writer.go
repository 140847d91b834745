package crlf

import "io"

// Writer gathers what goes to the peer, so that it leaves in few writes. It takes its buffer when the first octet is written and gives
// it back at Flush: an idle connection holds none. Errors of the destination are sticky.
// A Writer is not safe for concurrent use.
type Writer struct {
	dst io.Writer
	buf *buffer
	n   int
	err error
}

// writeBuffer is the size of a Writer's buffer.
const writeBuffer = 8 << 10

// NewWriter returns a Writer to dst.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Reset drops what is buffered and any error, and makes w write to dst.
func (w *Writer) Reset(dst io.Writer) {
	w.release()
	w.dst, w.err = dst, nil
}

// Buffered returns how many octets wait for Flush.
func (w *Writer) Buffered() int { return w.n }

// Write buffers p, or hands a large p through.
func (w *Writer) Write(p []byte) (int, error) {
	if w.buf != nil && len(p) <= len(w.buf.b)-w.n && w.err == nil { // most often
		w.n += copy(w.buf.b[w.n:], p)
		return len(p), nil
	}
	written := 0
	for w.err == nil && len(p) > 0 {
		if w.n == 0 && len(p) >= writeBuffer {
			n := w.send(p)
			return written + n, w.err
		}
		n := copy(w.room(), p)
		w.n += n
		written += n
		if p = p[n:]; len(p) > 0 {
			w.empty()
		}
	}
	return written, w.err
}

// WriteString is Write for a string.
func (w *Writer) WriteString(s string) (int, error) {
	written := 0
	for w.err == nil && len(s) > 0 {
		n := copy(w.room(), s)
		w.n += n
		written += n
		if s = s[n:]; len(s) > 0 {
			w.empty()
		}
	}
	return written, w.err
}

// WriteByte writes one octet.
func (w *Writer) WriteByte(c byte) error {
	if w.err == nil && len(w.room()) == 0 {
		w.empty()
	}
	if w.err == nil {
		w.room()[0] = c
		w.n++
	}
	return w.err
}

// Flush sends what is buffered and gives the buffer back.
func (w *Writer) Flush() error {
	w.empty()
	w.release()
	return w.err
}

// room returns the free part of the buffer.
func (w *Writer) room() []byte {
	if w.buf == nil {
		w.buf = takeBuffer(writeBuffer)
	}
	return w.buf.b[w.n:]
}

// empty sends what is buffered and keeps the buffer.
func (w *Writer) empty() {
	if w.n > 0 {
		w.send(w.buf.b[:w.n])
		w.n = 0
	}
}

func (w *Writer) send(p []byte) int {
	if w.err != nil {
		return 0
	}
	n, err := w.dst.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	w.err = err
	return n
}

func (w *Writer) release() {
	giveBuffer(w.buf)
	w.buf, w.n = nil, 0
}
