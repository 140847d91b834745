package crlf

import "io"

// writeStep is how much a DotWriter judges before it writes it.
const writeStep = 32 << 10

// What a DotWriter puts in.
var (
	dot     = []byte(".")
	theEnd  = []byte(".\r\n")
	newline = []byte("\r\n") // also in place of a bare CR or LF
)

// DotWriter writes one message in dot-stuffed form (RFC 5321 §4.5.2) and ends it at Close. What reaches the peer holds no bare CR
// and no bare LF, and a dot at the beginning of a line is doubled, whatever is written and however it is cut. With Reject a bare CR
// or LF is an error: nothing behind it is sent and Close does not send the end, so that the connection has to be closed.
//
// Small pieces are gathered and leave with the Write that they belong to; a destination that is a *Writer gathers them itself, and
// has to be flushed after Close. A DotWriter is not safe for concurrent use.
type DotWriter struct {
	out  *Writer // the destination or &own
	own  Writer
	bare Bare
	bol  bool // at the beginning of a line
	cr   bool // the last octet was a CR; it has not been passed on
	err  error
}

// NewDotWriter returns a DotWriter to w.
func NewDotWriter(w io.Writer, bare Bare) *DotWriter {
	d := new(DotWriter)
	d.Reset(w, bare)
	return d
}

// Reset starts the next message.
func (d *DotWriter) Reset(w io.Writer, bare Bare) {
	d.own.Reset(w)
	d.bare, d.bol, d.cr, d.err = bare, true, false, nil
	if out, ok := w.(*Writer); ok {
		d.out = out
	} else {
		d.out = &d.own
	}
}

// Write implements io.Writer. ErrBareCR and ErrBareLF are final, and so is an error of the destination.
func (d *DotWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) && d.err == nil {
		written += d.step(p[written:min(len(p), written+writeStep)])
	}
	d.flush()
	return written, d.err
}

// flush sends what was gathered here.
func (d *DotWriter) flush() {
	if err := d.own.Flush(); d.err == nil {
		d.err = err
	}
}

// ReadFrom implements io.ReaderFrom with a pooled buffer. It does not close d.
func (d *DotWriter) ReadFrom(src io.Reader) (int64, error) {
	buf := takeBuffer(bulkBuffer)
	defer giveBuffer(buf)
	var read int64
	for empty := 0; d.err == nil && empty < maxEmptyReads; empty++ {
		n, err := src.Read(buf.b)
		read += int64(n)
		if n > 0 {
			empty = 0
		}
		if _, werr := d.Write(buf.b[:n]); werr != nil {
			return read, werr
		}
		if err == io.EOF {
			return read, nil
		}
		if err != nil {
			return read, err
		}
	}
	if d.err == nil {
		return read, io.ErrNoProgress
	}
	return read, d.err
}

// Close ends an unfinished line, and the message. After an error it sends nothing and returns that error.
func (d *DotWriter) Close() error {
	if d.cr {
		d.replace(ErrBareCR)
	}
	if !d.bol {
		d.put(newline)
	}
	d.put(theEnd)
	d.flush()
	if d.err != nil {
		return d.err
	}
	d.err = io.ErrClosedPipe
	return nil
}

// step passes on the beginning of p, which is not empty, up to something that has to be changed, and returns how much of p that was.
func (d *DotWriter) step(p []byte) int {
	if d.cr {
		return d.afterCR(p[0])
	}
	if d.bol && p[0] == '.' {
		d.put(dot)
	}
	n := wellFormed(p)
	if n > 0 {
		d.put(p[:n])
		d.bol = p[n-1] == '\n'
	}
	if n == len(p) || p[n] == '.' {
		return n
	}
	switch {
	case p[n] == '\n':
		d.replace(ErrBareLF)
	case n+1 == len(p):
		d.cr = true
	default:
		d.replace(ErrBareCR)
	}
	return n + 1
}

// afterCR judges a CR that was kept back by the octet c behind it, and returns whether that was used up.
func (d *DotWriter) afterCR(c byte) int {
	if c != '\n' {
		d.replace(ErrBareCR)
		return 0
	}
	d.put(newline)
	d.cr, d.bol = false, true
	return 1
}

// replace writes a CRLF for a bare CR or LF, or makes it an error.
func (d *DotWriter) replace(e Error) {
	d.cr = false
	if d.bare == Reject {
		if d.err == nil {
			d.err = e
		}
		return
	}
	d.put(newline)
	d.bol = true
}

// put sends p, unless something went wrong before.
func (d *DotWriter) put(p []byte) {
	if d.err == nil {
		_, d.err = d.out.Write(p)
	}
}

// wellFormed returns the length of the beginning of p that can be sent as it is: it stops before a bare LF, a CR that is not
// followed by an LF in p, and a dot behind a CRLF. A dot at the very beginning is the caller's.
func wellFormed(p []byte) int {
	n := 0
	var c cursor
	for {
		if p[n] != '.' {
			n += c.pass(p[n:])
		}
		if c.bol && n < len(p) && p[n] == '.' {
			return n
		}
		k := indexEOL(p[n:])
		if k < 0 {
			return len(p)
		}
		if n += k; judgeEOL(p[n:]) != wholeEOL {
			return n
		}
		if n += 2; n == len(p) || p[n] == '.' {
			return n
		}
	}
}
