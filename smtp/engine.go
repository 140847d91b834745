package smtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/internal/netserver"
)

// maxLine is the longest command line in octets, with its CRLF. RFC 5321 §4.5.3.1.4 wants 512, to which each extension adds;
// all that are offered fit.
const maxLine = 4096

// conn is the engine of one connection: the command loop and the state it keeps. It belongs to one goroutine.
type conn struct {
	Conn
	r crlf.Reader
	w *crlf.Writer

	ctx    context.Context // the connection's; ends at an overrun
	cancel context.CancelCauseFunc
	timer  *time.Timer // cancels ctx; made by the first stage

	session Session
	state   state
	offered extension // by the last EHLO
	bounds  bounds    // of what was offered

	forward *attributes     // of XFORWARD, for the next transaction
	env     goniec.Envelope // of the transaction; used again and again
	rcpt    goniec.Recipient
	open    bool // Mail was accepted, and neither Data nor Reset ended it yet
	tried   int  // RCPT commands of the transaction
	failed  bool // the last transaction was refused: commands sent along with it may follow
	body    body // of the message
	scratch []byte

	errors, junk, refused, deferred, transactions int

	again   string // a command that ended a BDAT sequence and is to be run after it
	closing bool   // the connection ends after what is buffered is sent
	parted  bool   // the last word was said
	quit    bool   // by QUIT
	cause   error  // why it ends otherwise
}

// reply is a whole reply, with its CRLF; "" means that it was written already.
type reply = string

// handle is the life of a connection.
func (set *settings) handle(ctx context.Context, nc *netserver.Conn) {
	c := &conn{}
	c.w = crlf.NewWriter(c.traced(set, nc))
	c.Conn = Conn{set: set, nc: nc, remote: nc.Remote(), local: nc.Local(), tls: nc.TLS()}
	c.log = c.ownLog()
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.r.Reset(nc)
	c.state = fresh
	defer c.end()
	for c.welcome(); !c.closing; c.step() {
	}
}

// ownLog is the server's log with the client's address.
func (c *conn) ownLog() *slog.Logger {
	if c.remote.IsValid() {
		return c.set.log.With(keyRemote, c.remote.String())
	}
	return c.set.log
}

// welcome waits for the time of the banner.
func (c *conn) welcome() {
	if d := c.set.BannerDelay; d > 0 && c.talksEarly(d) {
		return
	}
	c.greet()
}

// talksEarly waits d, and ends the connection of a client that speaks meanwhile.
func (c *conn) talksEarly(d time.Duration) bool {
	err := c.nc.BeginIdle(d)
	if err == nil {
		err = c.r.Wait()
		if ended := c.nc.EndIdle(); ended != nil {
			err = ended
		}
	}
	switch {
	case err == nil:
		c.log.Info("client talks before the banner")
		c.say("554 5.5.0 wait for the banner\r\n")
		c.closing = true
		return true
	case errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, ErrServerClosed):
		return false
	}
	c.hangUp(err)
	return true
}

// end takes leave: what is still to be said, then what the Session has to know.
func (c *conn) end() {
	c.endStage()
	// A client that we refuse may still be sending: a plain close would throw our last reply away.
	if err := c.w.Flush(); err == nil && !c.quit && c.cause == nil {
		c.nc.Linger(time.Second)
	}
	if c.cause == nil && !c.quit {
		c.cause = errHungUp
	}
	c.abandonAndLog(c.cause)
	c.closeSession(c.cause)
	c.cancel(nil)
	c.r.Release()
}

// errHungUp is the cause of a connection that the server ended after a reply.
var errHungUp = errors.New("the server ended the connection")

// greet opens a Session and says the banner.
func (c *conn) greet() {
	if err := c.newSession(); err != nil {
		c.refuseClient(err)
		return
	}
	c.say("220 ")
	c.say(c.set.name)
	c.say(" ")
	c.say(c.set.dialect.With)
	c.say(" ready\r\n")
}

// newSession asks the Handler.
func (c *conn) newSession() error {
	return c.ask(func(ctx context.Context) (err error) {
		c.session, err = c.set.Handler.NewSession(ctx, &c.Conn)
		if err == nil && c.session == nil {
			err = errors.New("smtp: Handler returned neither Session nor error")
		}
		return err
	})
}

// refuseClient answers an error of NewSession and ends the connection. RFC 5321 §3.1: only 554 and 421 make sense here.
func (c *conn) refuseClient(err error) {
	s := c.statusOf(err)
	r := *s
	if r.Code = 421; s.Permanent() {
		r.Code = 554
	}
	c.log.LogAttrs(c.ctx, levelOf(s), "client refused", replyAttr(s))
	c.scratch = appendReply(c.scratch[:0], &r)
	_, _ = c.w.Write(c.scratch)
	c.closing = true
}

func (c *conn) closeSession(cause error) {
	if c.session == nil {
		return
	}
	s := c.session
	c.session = nil
	c.guard(func() { s.Close(cause) })
}

// step reads one command and executes it.
func (c *conn) step() {
	line, err := c.readCommand(c.maxLine())
	if err != nil {
		c.badLine(err)
	} else {
		c.execute(line)
	}
	for c.again != "" && !c.closing {
		again := c.again
		c.again = ""
		c.execute([]byte(again))
	}
	c.limitErrors()
}

// maxLine is the limit of the next line, without its CRLF. Where AUTH is possible it may carry an initial response (RFC 4954
// §4); execute then holds other commands to theirs.
func (c *conn) maxLine() int {
	if c.canAuth() {
		return maxAuthLine
	}
	return maxLine - 2
}

// readCommand reads a line, after sending what is buffered if it has to wait for it: so a pipelined group gets its replies in
// one write (RFC 2920 §3.2).
func (c *conn) readCommand(limit int) ([]byte, error) {
	if bytes.Contains(c.r.Peek(), crlfBytes) {
		return c.r.ReadLine(limit)
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	if err := c.nc.BeginIdle(c.commandTimeout()); err != nil {
		return nil, err
	}
	if c.state == fresh && c.r.Wait() == nil && c.r.Peek()[0] == tlsHandshake {
		return nil, errTLSHello
	}
	line, err := c.r.ReadLine(limit)
	if ended := c.nc.EndIdle(); ended != nil {
		return nil, ended
	}
	return line, err
}

var crlfBytes = []byte("\r\n")

// tlsHandshake is the first octet of a TLS connection (RFC 8446 §5.1); no line comes with it, so that it would only time out.
const tlsHandshake = 0x16

var errTLSHello = errors.New("TLS handshake on a port without implicit TLS")

// commandTimeout is how long the client may take for the next command.
func (c *conn) commandTimeout() time.Duration {
	d := c.set.CommandTimeout
	if c.nc.Stressed() && (d < 0 || d > stressTimeout) {
		d = stressTimeout
	}
	if c.state == inChunks {
		if left := c.body.chunks.left(); left > 0 && (d < 0 || d > left) {
			d = left
		}
	}
	return d
}

// relaxed returns limit, or what counts instead while the server is nearly full.
func (c *conn) relaxed(limit, stressed int) int {
	if c.nc.Stressed() && (limit < 0 || limit > stressed) {
		return stressed
	}
	return limit
}

// badLine answers what is no line, or ends the connection.
func (c *conn) badLine(err error) {
	var f crlf.Error
	switch {
	case errors.As(err, &f) && f == crlf.ErrLineTooLong:
		c.refuse(c.fault(500, goniec.EnhancedCode{5, 5, 2}, "command line is too long"))
	case errors.As(err, &f) && f.InStep():
		c.refuse(c.fault(500, goniec.EnhancedCode{5, 5, 2}, f.Error()))
	case err == errTLSHello:
		c.refuse(goniec.NewStatus(421, goniec.EnhancedCode{4, 7, 0}, "use STARTTLS, or the port for implicit TLS"))
	default:
		c.hangUp(err)
	}
}

// hangUp ends the connection because of err, with a last word where there may be somebody to hear it.
func (c *conn) hangUp(err error) {
	c.closing, c.cause, c.parted = true, err, true
	switch {
	case errors.Is(err, ErrServerClosed):
		c.say("421 4.3.2 server is shutting down\r\n")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.say("421 4.4.2 timeout\r\n")
	case errors.Is(err, crlf.ErrSkipLimit), errors.Is(err, crlf.ErrDrainLimit):
		c.say("421 4.7.0 too much input\r\n")
		c.cause = nil // so that end lingers
	}
}

// say buffers text for the client; errors show at the next flush.
func (c *conn) say(s reply) { _, _ = c.w.WriteString(s) }

// refuse answers err.
func (c *conn) refuse(err error) {
	s := c.statusOf(err)
	c.scratch = appendReply(c.scratch[:0], s)
	_, _ = c.w.Write(c.scratch)
	if s.Code == 421 { // RFC 5321 §3.8: the reply that announces the end
		c.closing, c.parted = true, true
	}
}

// limitErrors ends the connection of a client that makes one error after the other.
func (c *conn) limitErrors() {
	if over(c.errors, c.relaxed(c.set.MaxErrors, stressErrors)) && !c.closing {
		c.say("421 4.7.0 too many errors\r\n")
		c.closing, c.parted = true, true
	}
}

// fault is an error of protocol, which counts against the client.
func (c *conn) fault(code int, enhanced goniec.EnhancedCode, text string) error {
	c.errors++
	return goniec.NewStatus(code, enhanced, text)
}

// statusOf is the reply for err. An error that is no Status stays in the log, under an id that the client gets too.
func (c *conn) statusOf(err error) *goniec.Status {
	switch {
	case c.ctx.Err() != nil && errors.Is(context.Cause(c.ctx), ErrStageTimeout):
		c.log.Error("stage took too long", keyErr, err)
		return goniec.NewStatus(421, goniec.EnhancedCode{4, 4, 2}, "processing took too long, try again later")
	case c.ctx.Err() != nil:
		return goniec.NewStatus(421, goniec.EnhancedCode{4, 3, 2}, "server is shutting down")
	}
	s := goniec.StatusOf(err)
	if !unclassified(s, err) {
		return s
	}
	id := c.env.ID
	if !c.open || id == "" {
		id = goniec.NewID()
	}
	c.log.Error("unclassified error", keyID, id, keyErr, err)
	t := *s
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		t.Code, t.Enhanced = 452, goniec.EnhancedCode{4, 3, 1} // RFC 3463 §3.4: mail system full
	}
	t.Text = "temporary failure, try again later (id " + id + ")"
	return &t
}

// unclassified reports whether s was made up for err by StatusOf.
func unclassified(s *goniec.Status, err error) bool { return s.Err == err && s.Code == 451 }

// ask runs a stage of the Session within its time. A panic becomes an unknown, hence temporary, error.
func (c *conn) ask(stage func(ctx context.Context) error) (err error) {
	c.beginStage(c.set.StageTimeout)
	defer c.endStage()
	defer c.contain(&err)
	return stage(c.ctx)
}

// guard runs a stage that has no result.
func (c *conn) guard(stage func()) {
	var err error
	defer c.contain(&err)
	stage()
}

// errPanic stands for a panic in the error that it becomes. The value and the stack are in the log.
var errPanic = errors.New("panic in the handler")

func (c *conn) contain(err *error) {
	if v := recover(); v != nil {
		c.nc.Recovered(v)
		*err = errPanic
	}
}

// beginStage sets the time that the Handler has from now on.
func (c *conn) beginStage(d time.Duration) {
	if d <= 0 {
		c.endStage()
		return
	}
	c.deadline = time.Now().Add(d)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, func() { c.cancel(ErrStageTimeout) })
		return
	}
	c.timer.Reset(d)
}

func (c *conn) endStage() {
	c.deadline = time.Time{}
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.ctx.Err() != nil { // whatever the stage's result, it was the last
		c.closing = true
	}
}

// abandon ends an open transaction that did not end well. The Session hears of it exactly once.
func (c *conn) abandon(cause error) {
	c.state &^= inMail | inRcpt | inChunks
	if c.state == 0 {
		c.state = greeted
	}
	if c.open {
		c.open = false
		c.guard(func() { c.session.Reset(&c.env, cause) })
	}
	c.forget()
}

// keptRcpts is how many recipients' room an idle connection keeps for the next transaction.
const keptRcpts = 8

// forget lets go of what a large transaction has left.
func (c *conn) forget() {
	if cap(c.env.To) > keptRcpts {
		c.env.To = nil
	}
}

// lost reports whether err says that the client is gone or out of step, so that no reply can reach it.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
}
