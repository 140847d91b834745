package crlf

import (
	"bytes"
	"io"
)

// DefaultMaxSkip is how much of one too long line a Reader skips, in octets, before it gives up.
const DefaultMaxSkip = 1 << 20

// keptPrefix is how much of a too long line is handed back: enough for a log line and for IMAP's tag.
const keptPrefix = 128

// maxEmptyReads is how often a source may return nothing and no error before that is an error.
const maxEmptyReads = 100

// Reader reads lines, counted octets and dot-stuffed messages from one stream. Get it going with NewReader or Reset.
//
// An error of the source (a deadline, say) loses nothing: what was received stays buffered and the next call goes on from there.
// A Reader must not be copied and is not safe for concurrent use.
type Reader struct {
	// MaxSkip limits how many octets of one too long line are skipped in search of its end before ReadLine fails with
	// ErrSkipLimit. Zero means DefaultMaxSkip; negative means no limit.
	MaxSkip int64

	src      io.Reader
	buf      []byte  // small or big.b
	pos, end int     // unread octets are buf[pos:end]
	big      *buffer // nil while the small buffer is in use
	err      error   // came together with octets; reported when those are used up
	skipping bool    // inside a too long line; buf[:pos] is its prefix
	skipped  int64
	small    [smallBuffer]byte
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader {
	r := new(Reader)
	r.Reset(src)
	return r
}

// Reset drops all buffered octets and state and makes r read from src. MaxSkip is kept.
//
// Before a stream goes over to TLS, Buffered must be checked: octets that were sent in plaintext behind STARTTLS are an attack.
func (r *Reader) Reset(src io.Reader) {
	r.Release()
	r.src, r.err, r.skipping, r.skipped = src, nil, false, 0
}

// Release gives a borrowed buffer back and drops what is buffered. Call it when the connection ends; slices returned by ReadLine or
// Peek are no longer valid.
func (r *Reader) Release() {
	giveBuffer(r.big)
	r.big, r.buf, r.pos, r.end = nil, r.small[:], 0, 0
}

// Buffered returns the number of octets received and not yet read: more than zero after a command means pipelining.
func (r *Reader) Buffered() int { return r.end - r.pos }

// Peek returns the octets received and not yet read, without reading any. They are valid until the next call.
func (r *Reader) Peek() []byte { return r.buf[r.pos:r.end] }

// Wait blocks until at least one octet is buffered. A server waits with its idle timeout, then reads the line with the command's.
// io.EOF means that the peer closed the connection.
func (r *Reader) Wait() error {
	if r.Buffered() > 0 {
		return nil
	}
	return r.refill()
}

// ReadLine returns the next line without its CRLF, valid until the next call. Only CRLF ends a line. max is the longest line
// accepted, in octets without the CRLF.
//
// A line that holds a bare LF, a bare CR or a NUL comes together with ErrBareLF, ErrBareCR or ErrNUL. Of a line longer than max
// the first octets (128 at most) come together with ErrLineTooLong. In both cases the line has been consumed, so that it is answered with
// one error and never taken for two commands. After ErrSkipLimit the connection has to be closed.
//
// io.EOF means that the stream ended between two lines, io.ErrUnexpectedEOF that it ended within one. Other errors come
// from the source and leave the line to be read by the next call.
func (r *Reader) ReadLine(max int) ([]byte, error) {
	if r.skipping {
		return r.skipLine()
	}
	for scanned := 0; ; {
		have := r.buf[r.pos:r.end]
		if n := lineEnd(have, scanned); n >= 0 {
			r.pos += n + 2
			return checkLine(have[:n], max)
		}
		if len(have)-1 > max { // one more than max may be the CR
			r.startSkip()
			return r.skipLine()
		}
		scanned = len(have)
		if err := r.moreLine(); err != nil {
			return nil, midway(err, scanned)
		}
	}
}

// lineEnd returns the index of the first CRLF whose LF is not before from, or -1.
func lineEnd(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		if from += i; from > 0 && b[from-1] == '\r' {
			return from - 1
		}
		from++
	}
}

// checkLine says what is wrong with a whole line.
func checkLine(line []byte, max int) ([]byte, error) {
	switch {
	case len(line) > max:
		return line[:min(len(line), keptPrefix)], ErrLineTooLong
	case bytes.IndexByte(line, '\n') >= 0:
		return line, ErrBareLF
	case bytes.IndexByte(line, '\r') >= 0:
		return line, ErrBareCR
	case bytes.IndexByte(line, 0) >= 0:
		return line, ErrNUL
	}
	return line, nil
}

// midway turns the end of the stream into an unexpected one when octets of an unfinished unit were received.
func midway(err error, received int) error {
	if err == io.EOF && received > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// startSkip is called when the buffer holds the beginning of a too long line and not its end. It keeps the prefix and the last octet,
// which may be the CR of the CRLF.
func (r *Reader) startSkip() {
	kept := min(keptPrefix, r.Buffered()-1)
	r.skipped = int64(r.Buffered())
	last := r.buf[r.end-1]
	copy(r.buf, r.buf[r.pos:r.pos+kept])
	r.buf[kept] = last
	r.pos, r.end = kept, kept+1
	r.skipping = true
}

// skipLine reads on to the CRLF of a too long line in constant memory.
func (r *Reader) skipLine() ([]byte, error) {
	for {
		have := r.buf[r.pos:r.end]
		if n := lineEnd(have, 0); n >= 0 {
			prefix := r.buf[:r.pos]
			r.pos += n + 2
			r.skipping = false
			return prefix, ErrLineTooLong
		}
		if limit := orDefault(r.MaxSkip, DefaultMaxSkip); limit >= 0 && r.skipped > limit {
			return nil, ErrSkipLimit
		}
		have[0] = have[len(have)-1]
		r.end = r.pos + 1
		err := r.more()
		if err != nil {
			return nil, midway(err, 1)
		}
		r.skipped += int64(r.end - r.pos - 1)
	}
}

// orDefault applies the rule of all limits: zero means the default, negative none.
func orDefault(limit, def int64) int64 {
	if limit == 0 {
		return def
	}
	return limit
}

// Read reads raw octets. Large reads bypass the buffer.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.Buffered() == 0 {
		if len(p) >= smallBuffer && r.err == nil {
			r.shrink()
			n, err := r.src.Read(p)
			if n > 0 {
				r.err, err = err, nil
			}
			return n, err
		}
		if err := r.refill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.Peek())
	r.pos += n
	return n, nil
}

// Discard reads n octets and forgets them. It returns how many there were; io.ErrUnexpectedEOF when the stream ended before.
func (r *Reader) Discard(n int64) (int64, error) {
	for left := n; ; {
		step := min(left, int64(r.Buffered()))
		r.pos += int(step)
		if left -= step; left == 0 {
			return n, nil
		}
		if err := r.moreBulk(); err != nil {
			return n - left, midway(err, 1)
		}
	}
}

// refill reads into the empty buffer, which shrinks to the small one before it waits.
func (r *Reader) refill() error {
	r.shrink()
	return r.more()
}

// shrink gives a borrowed buffer back once it is empty.
func (r *Reader) shrink() {
	if r.Buffered() == 0 && !r.skipping {
		giveBuffer(r.big)
		r.big, r.buf, r.pos, r.end = nil, r.small[:], 0, 0
	}
}

// moreLine reads more of a line.
func (r *Reader) moreLine() error {
	r.shrink()
	if r.end == len(r.buf) {
		r.compact()
	}
	if r.end == len(r.buf) {
		r.grow(2 * len(r.buf))
	}
	return r.more()
}

// moreBulk reads more message data. The large buffer is taken when a read has filled the small one: a peer that sends little at a
// time does not get it.
func (r *Reader) moreBulk() error {
	full := r.end == len(r.buf)
	r.compact()
	if full && len(r.buf) < bulkBuffer {
		r.grow(bulkBuffer)
	}
	return r.more()
}

// compact moves the unread octets to the front.
func (r *Reader) compact() {
	if r.pos > 0 {
		r.end = copy(r.buf, r.buf[r.pos:r.end])
		r.pos = 0
	}
}

// grow takes a buffer of size octets or more.
func (r *Reader) grow(size int) {
	next := takeBuffer(size)
	n := copy(next.b, r.buf[r.pos:r.end])
	giveBuffer(r.big)
	r.big, r.buf, r.pos, r.end = next, next.b, 0, n
}

// more reads once behind the buffered octets, where there is room. At least one octet has come when it returns nil.
func (r *Reader) more() error {
	if err := r.err; err != nil {
		r.err = nil
		return err
	}
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n > 0 {
			r.err = err
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}
