package smtp

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/internal/netserver"
)

// source is where a message comes from: dots (DATA) or chunks (BDAT). Its errors are those of package crlf, of the connection,
// or a Status.
type source interface {
	io.Reader
	io.WriterTo
	// begin asks the client for the message.
	begin() error
	// unasked reports whether octets come without that.
	unasked() bool
	// drain reads what is left of it, so that the session is in step. taken says that the Session took it unread.
	drain(taken bool) error
	// fault returns what was wrong with the text that was read or drained.
	fault() error
	// last reports whether the reply is that of the whole message, not of a chunk in its midst.
	last() bool
	// size returns the octets read and drained so far.
	size() int64
}

// body is the msg of Session.Data: our Received field, then what the client sends.
type body struct {
	c      *conn
	src    source
	trace  []byte // our Received field
	field  []byte // what is left of it
	header headerWatch
	begun  bool // the client was asked
	ended  bool // to its end
	err    error
	out    watchedWriter // of a WriteTo; here so that it is not allocated

	dots   dotSource
	chunks chunkSource
}

// start makes b the message of the open transaction.
func (b *body) start(c *conn, src source) {
	b.c, b.src, b.begun, b.ended, b.err = c, src, false, false, nil
	b.trace = c.appendReceived(b.trace[:0])
	b.field = b.trace
	b.header = headerWatch{max: c.set.MaxReceived}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if err := b.ready(); err != nil {
		return 0, err
	}
	if len(b.field) > 0 {
		n := copy(p, b.field)
		b.field = b.field[n:]
		return n, nil
	}
	n, err := b.src.Read(p)
	if werr := b.header.watch(p[:n]); werr != nil {
		return 0, b.fail(werr)
	}
	return n, b.fail(err)
}

// WriteTo implements io.WriterTo: io.Copy then moves the message without a buffer of its own.
func (b *body) WriteTo(w io.Writer) (written int64, err error) {
	if err := b.ready(); err != nil {
		if err == io.EOF {
			err = nil
		}
		return 0, err
	}
	n, err := w.Write(b.field)
	b.field = b.field[n:]
	if err != nil {
		return int64(n), err
	}
	b.out = watchedWriter{b, w, nil}
	written, err = b.src.WriteTo(&b.out)
	written += int64(n)
	failed := b.out.err
	b.out = watchedWriter{}
	switch {
	case failed != nil: // w's own: the message is as it was
		return written, failed
	case err == nil:
		b.fail(io.EOF)
		return written, nil
	}
	return written, b.fail(err)
}

// ready asks for the message once.
func (b *body) ready() error {
	if b.err != nil || b.begun {
		return b.err
	}
	b.begun = true
	b.c.beginStage(b.c.set.DataTimeout)
	return b.fail(b.src.begin())
}

// fail remembers the end of the message or why it can not be read further. The Handler gets the reply that the client will get.
func (b *body) fail(err error) error {
	if err == nil || b.err != nil {
		return b.err
	}
	if err == io.EOF {
		b.ended = true
		b.err = io.EOF
		// From now on the client waits for us.
		b.c.beginStage(b.c.set.FinishTime)
		return b.err
	}
	b.err = bodyStatus(err)
	return b.err
}

// close brings the session in step again after Data returned, accepted says how: it returns what the client has to hear instead of
// the Session's verdict, nil if that stands.
func (b *body) close(accepted bool) error {
	if !b.begun && !accepted && !b.src.unasked() {
		return nil // the command itself is refused
	}
	if err := b.ready(); err != nil && !b.inStep(err) {
		return err
	}
	if !b.ended {
		if err := b.src.drain(accepted); err != nil {
			if errors.Is(err, crlf.ErrDrainLimit) && goniec.Permanent(b.err) {
				b.c.closing = true // with the reply that keeps the client from trying again
				return b.err
			}
			return bodyStatus(err)
		}
	}
	if b.err != nil && b.err != io.EOF {
		return b.err
	}
	if err := b.src.fault(); err != nil {
		return bodyStatus(err)
	}
	return nil
}

// inStep reports whether the message can be drained after err.
func (b *body) inStep(err error) bool {
	if err == io.EOF {
		return true
	}
	s := goniec.StatusOf(err)
	return s.Code != 421 && s.Code != 451 && !lost(err)
}

// watchedWriter looks at header fields on their way to w.
type watchedWriter struct {
	b   *body
	w   io.Writer
	err error // of w
}

func (x *watchedWriter) Write(p []byte) (int, error) {
	if err := x.b.header.watch(p); err != nil {
		return 0, err
	}
	n, err := x.w.Write(p)
	x.err = err
	return n, err
}

// bodyStatus is the reply for an error of a message's text or of the connection it comes from.
func bodyStatus(err error) error {
	s := goniec.Status{Code: 550, Enhanced: goniec.EnhancedCode{5, 6, 0}, Err: err}
	var known *goniec.Status
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, crlf.ErrBareLF):
		s.Text = "message holds a line feed without carriage return"
	case errors.Is(err, crlf.ErrBareCR):
		s.Text = "message holds a carriage return without line feed"
	case errors.Is(err, crlf.ErrLineTooLong):
		s.Text = "message holds a line that is too long"
	case errors.Is(err, crlf.ErrTooLarge):
		s.Code, s.Enhanced, s.Text = 552, goniec.EnhancedCode{5, 3, 4}, "message is larger than the limit"
	case errors.Is(err, crlf.ErrDrainLimit):
		s.Code, s.Enhanced, s.Text = 421, goniec.EnhancedCode{4, 7, 0}, "message does not end"
	case errors.Is(err, netserver.ErrTooSlow):
		s.Code, s.Enhanced, s.Text = 421, goniec.EnhancedCode{4, 4, 2}, "message comes too slowly"
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.Code, s.Enhanced, s.Text = 421, goniec.EnhancedCode{4, 4, 2}, "timeout within the message"
	case errors.Is(err, errChunksEnded):
		s.Code, s.Enhanced, s.Text = 451, goniec.EnhancedCode{4, 0, 0}, err.Error()
	default:
		s.Code, s.Enhanced, s.Text = 421, goniec.EnhancedCode{4, 4, 2}, "connection broken within the message"
	}
	return &s
}

// dotSource is a message sent by DATA.
type dotSource struct {
	c   *conn
	dot crlf.DotReader
}

func (d *dotSource) begin() error {
	c := d.c
	c.say("354 end with <CRLF>.<CRLF>\r\n")
	if err := c.w.Flush(); err != nil {
		return err
	}
	c.startDataStage(c.set.DataTimeout)
	d.dot.Reset(&c.r, c.textOptions())
	return nil
}

func (d *dotSource) Read(p []byte) (int, error)               { return d.dot.Read(p) }
func (d *dotSource) WriteTo(w io.Writer) (n int64, err error) { return d.dot.WriteTo(w) }
func (d *dotSource) drain(bool) error                         { return d.dot.Drain(d.c.drainLimit()) }
func (d *dotSource) size() int64                              { return d.dot.Stats().Octets }

func (d *dotSource) unasked() bool { return false }
func (d *dotSource) last() bool    { return true }

func (d *dotSource) fault() error {
	if err := d.dot.Err(); err != nil {
		return err
	}
	return nil
}

// textOptions are the rules for the text of a message.
func (c *conn) textOptions() crlf.TextOptions {
	bare := crlf.Reject
	if c.set.BareNewlines == NormaliseBare {
		bare = crlf.Normalise
	}
	return crlf.TextOptions{Bare: bare, MaxLine: max(c.set.MaxTextLine, 0), MaxBytes: max(c.set.MaxMessageBytes, 0)}
}

// startDataStage begins the client's time for a message or a part of one.
func (c *conn) startDataStage(total time.Duration) {
	c.nc.StartStage(netserver.Pace{Total: total, MinRate: c.set.MinDataRate})
}

// drainLimit is how much of a message that nobody wants is read on, in search of its end.
func (c *conn) drainLimit() int64 {
	return max(crlf.DefaultDrain, c.set.MaxMessageBytes)
}
