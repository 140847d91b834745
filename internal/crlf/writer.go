package crlf

import "io"

// Writer gathers what goes to the peer, so that it leaves in few writes. It takes its buffer when the first octet is written, a larger
// one when that is full, and gives it back at Flush: an idle connection holds none. Errors of the destination are sticky.
// A Writer is not safe for concurrent use.
type Writer struct {
	dst io.Writer
	buf *buffer
	n   int
	err error
}

// writeBuffer is the size of a Writer's first buffer. The one that follows has bulkBuffer.
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
		if w.n == 0 && len(p) >= max(writeBuffer, w.size()) {
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

// ReadFrom implements io.ReaderFrom: octets go into the buffer at once, without another in between.
func (w *Writer) ReadFrom(r io.Reader) (read int64, err error) {
	for empty := 0; w.err == nil; {
		if len(w.room()) == 0 {
			w.empty()
			continue
		}
		n, err := r.Read(w.room())
		w.n += n
		read += int64(n)
		if empty++; n > 0 {
			empty = 0
		}
		if empty == maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
		if err == io.EOF {
			return read, nil
		}
		if err != nil {
			return read, err
		}
	}
	return read, w.err
}

// Flush sends what is buffered and gives the buffer back.
func (w *Writer) Flush() error {
	w.sendAll()
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

// size is the length of the buffer, 0 without one.
func (w *Writer) size() int {
	if w.buf == nil {
		return 0
	}
	return len(w.buf.b)
}

// empty sends what fills the buffer. There is much to write: the next buffer is a larger one.
func (w *Writer) empty() {
	w.sendAll()
	if len(w.buf.b) < bulkBuffer {
		w.release()
		w.buf = takeBuffer(bulkBuffer)
	}
}

// sendAll sends what is buffered and keeps the buffer.
func (w *Writer) sendAll() {
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
