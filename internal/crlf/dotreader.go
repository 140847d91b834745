package crlf

import (
	"bytes"
	"io"
)

// DefaultDrain is how many octets Drain consumes, when not told otherwise, in search of the end of a message.
const DefaultDrain = 64 << 20

// DotReader reads one dot-stuffed message (RFC 5321 §4.5.2, RFC 1939 §3) and takes the stuffed dots out. The message ends at
// CRLF.CRLF, the start counting as after a CRLF, and at nothing else; what follows stays in the Reader.
//
// A fault of the text (ErrBareLF, ErrBareCR, ErrLineTooLong) is reported by Read after the true end was consumed, and the content after the
// fault is withheld. ErrTooLarge is reported at once; Drain then finds the end. A stream that ends too early gives io.ErrUnexpectedEOF.
//
// A DotReader is made to live inside a connection and be Reset for each message. It is not safe for concurrent use.
type DotReader struct {
	r     *Reader
	pend  []byte // content ready for delivery; lies in r's buffer
	extra []byte // follows pend: the newline that replaces a bare CR or LF
	bol   bool   // at the beginning of a line, by the strict rule
	ended bool   // the end was consumed
	err   error  // what Read returns from now on
	used  int64  // raw octets consumed
	text
}

// NewDotReader returns a DotReader of the message that r is at.
func NewDotReader(r *Reader, o TextOptions) *DotReader {
	d := new(DotReader)
	d.Reset(r, o)
	return d
}

// Reset starts the next message.
func (d *DotReader) Reset(r *Reader, o TextOptions) {
	*d = DotReader{r: r, bol: true}
	d.text.reset(o)
}

// Stats tells what was seen so far; after io.EOF it covers the message.
func (d *DotReader) Stats() Stats { return d.stats }

// Ended reports whether the end of the message was consumed, so that the Reader is at what follows.
func (d *DotReader) Ended() bool { return d.ended }

// Err returns the fault seen so far in the text, an Error, or nil. It is final once Ended.
func (d *DotReader) Err() error {
	switch {
	case d.fault != 0:
		return d.fault
	case d.err != nil && d.err != io.EOF:
		return d.err
	}
	return nil
}

// Read reads content. io.EOF follows a whole message without fault.
func (d *DotReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(d.pend) == 0 {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.pend)
	d.pend = d.pend[n:]
	return n, nil
}

// WriteTo writes the content to w without copying it in between.
func (d *DotReader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(d.pend) == 0 {
			if err := d.next(); err == io.EOF {
				return written, nil
			} else if err != nil {
				return written, err
			}
		}
		n, err := w.Write(d.pend)
		written += int64(n)
		d.pend = d.pend[n:]
		if err != nil {
			return written, err
		}
		if len(d.pend) > 0 {
			return written, io.ErrShortWrite
		}
	}
}

// Drain consumes the message to its true end, limit octets more at most (zero means DefaultDrain, negative means no limit). It returns nil
// when the session is in step again, whatever the text was like (see Err); ErrDrainLimit, io.ErrUnexpectedEOF or an error of the
// source when the connection has to be closed. What has been drained is not to be read any more.
func (d *DotReader) Drain(limit int64) error {
	d.pend, d.extra = nil, nil
	if limit = orDefault(limit, DefaultDrain); limit >= 0 {
		limit += d.used
	}
	for !d.ended {
		if limit >= 0 && d.used > limit {
			return ErrDrainLimit
		}
		if err := d.scanMore(); err != nil {
			return err
		}
		d.stats.Octets += int64(len(d.pend))
		d.pend, d.extra = nil, nil
	}
	if d.err == nil {
		d.err = d.finalError()
	}
	return nil
}

// next leaves content in pend, or returns why there is none.
func (d *DotReader) next() error {
	if d.err != nil {
		return d.err
	}
	for {
		d.pend, d.extra = d.extra, nil
		if len(d.pend) == 0 {
			if d.ended {
				d.err = d.finalError()
				return d.err
			}
			if err := d.scanMore(); err != nil {
				d.err = err
				return err
			}
		}
		if d.tooLarge(len(d.pend)) {
			d.pend, d.err = nil, ErrTooLarge
			return d.err
		}
		d.octets(d.pend)
		if d.fault != 0 {
			d.pend, d.extra = nil, nil // withheld, but it counts against MaxBytes
		}
		if len(d.pend) > 0 {
			return nil
		}
	}
}

// finalError is what Read returns at the true end.
func (d *DotReader) finalError() error {
	if d.fault != 0 {
		return d.fault
	}
	return io.EOF
}

// scanMore scans what is buffered, after reading more if that is too little to decide anything.
func (d *DotReader) scanMore() error {
	for {
		used := d.scan(d.r.Peek())
		d.r.pos += used
		d.used += int64(used)
		if used > 0 {
			return nil
		}
		if err := d.r.moreBulk(); err != nil {
			return midway(err, 1)
		}
	}
}

// scan takes the dots out of b in place, leaves the content in pend and extra and returns how much of b it has used. It
// stops early at the end of the message, before octets that it cannot judge yet (a CR, or a dot that may be the final one), and
// behind a bare CR or LF that is to be replaced.
func (d *DotReader) scan(b []byte) int {
	var (
		i    int             // next octet to be looked at
		from int             // b[from:i] is content that has not been moved yet
		out  = squeeze{b: b} // content so far
		crs  int             // CRs that belong to a CRLF
	)
scan:
	for {
		if d.bol {
			switch judgeDot(b[i:]) {
			case undecided:
				break scan
			case finalDot:
				out.add(from, i)
				d.finish(out.content(), crs)
				d.ended = true
				return i + 3
			case stuffedDot:
				out.add(from, i)
				i++
				from = i
			}
			d.bol = false
		}
		n := bytes.IndexByte(b[i:], '\n')
		if d.opts.Bare == Normalise {
			if k := d.bareIn(b[i:], n); k >= 0 {
				out.add(from, i+k)
				d.grow(k)
				d.line = 0
				d.finish(out.content(), crs)
				d.extra = newline
				return i + k + 1
			}
		}
		if n < 0 {
			rest := len(b) - i
			if rest > 0 && b[len(b)-1] == '\r' {
				rest--
			}
			d.grow(rest)
			i += rest
			break
		}
		if n > 0 && b[i+n-1] == '\r' {
			d.grow(n - 1)
			d.line = 0
			d.bol = true
			crs++
		} else {
			d.bareLF()
		}
		i += n + 1
	}
	out.add(from, i)
	d.finish(out.content(), crs)
	return i
}

// finish makes b, in which crs CRs are followed by an LF, the content to be delivered.
func (d *DotReader) finish(b []byte, crs int) {
	if d.opts.Bare == Reject && bytes.Count(b, newline[:1]) != crs {
		d.bareCR()
	}
	d.pend = b
}

// bareIn returns the index of the first bare CR or LF in b, whose first LF is at n (or -1), and -1 when there is none. A CR
// at the end of b is left for later.
func (d *DotReader) bareIn(b []byte, n int) int {
	line := b
	if n >= 0 {
		line = b[:n]
	}
	switch k := bytes.IndexByte(line, '\r'); {
	case k >= 0 && k < len(line)-1:
		d.bareCR()
		return k
	case k < 0 && n >= 0:
		d.bareLF()
		return n
	}
	return -1
}

// squeeze closes gaps in b: content behind a gap moves forward.
type squeeze struct {
	b []byte
	n int
}

// add appends b[from:to] to the content.
func (s *squeeze) add(from, to int) {
	if s.n != from {
		copy(s.b[s.n:], s.b[from:to])
	}
	s.n += to - from
}

func (s *squeeze) content() []byte { return s.b[:s.n] }

type dotVerdict uint8

const (
	noDot dotVerdict = iota
	stuffedDot
	finalDot
	undecided
)

// judgeDot says what the beginning of a line is. RFC 5321 §4.5.2: a dot alone is the end, a dot before anything else was
// stuffed.
func judgeDot(b []byte) dotVerdict {
	switch {
	case len(b) == 0:
		return undecided
	case b[0] != '.':
		return noDot
	case len(b) == 1:
		return undecided
	case b[1] != '\r':
		return stuffedDot
	case len(b) == 2:
		return undecided
	case b[2] != '\n':
		return stuffedDot
	}
	return finalDot
}
