package crlf

import "io"

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
	*d = DotReader{r: r}
	d.text.reset(o)
	d.bol = true
}

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

// Drain consumes the message to its true end, about limit octets more at most: it stops at the first read beyond, of 64 KiB
// at most (zero means DefaultDrain, negative means no limit). It returns nil
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
		d.octets(d.pend)
		d.octets(d.extra)
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
		d.octets(d.pend)
		if d.tooLarge() {
			d.pend, d.err = nil, ErrTooLarge
			return d.err
		}
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
		out := squeeze{b: d.r.Peek()}
		used := d.scan(&out)
		d.pend = out.content()
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

// scan gathers the content in out, and in extra what follows it, and returns how much of out.b it has used. It
// stops early at the end of the message, before octets that it cannot judge yet (a CR, or a dot that may be the final one), and
// behind a bare CR or LF that is to be replaced.
func (d *DotReader) scan(out *squeeze) int {
	b := out.b
	i := 0 // next octet to be looked at
	for {
		if i < len(b) && b[i] != '.' {
			i += d.pass(b[i:])
		}
		if d.bol {
			switch judgeDot(b[i:]) {
			case undecided:
				out.keep(i)
				return i
			case finalDot:
				out.keep(i)
				d.ended = true
				return i + 3
			case stuffedDot:
				out.keep(i)
				i++
				out.from = i
			}
			d.bol = false
		}
		k := indexEOL(b[i:])
		if k < 0 {
			d.grow(len(b) - i)
			out.keep(len(b))
			return len(b)
		}
		d.grow(k)
		i += k
		switch judgeEOL(b[i:]) {
		case wholeEOL:
			i += 2
			d.line, d.bol = 0, true
		case bareEOL:
			if d.bare(b[i]) {
				out.keep(i)
				d.line, d.extra = 0, newline
				return i + 1
			}
			i++
		case cutEOL:
			out.keep(i)
			return i
		}
	}
}

// squeeze gathers content at the beginning of b, closing the gaps that dots leave.
type squeeze struct {
	b    []byte
	n    int // b[:n] is gathered
	from int // b[from:] is still to be gathered, as far as it is content
}

// keep gathers b[from:to].
func (s *squeeze) keep(to int) {
	if s.n != s.from {
		copy(s.b[s.n:], s.b[s.from:to])
	}
	s.n += to - s.from
	s.from = to
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
