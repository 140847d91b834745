package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/internal/netserver"
	"github.com/goniec-mail/goniec/mailbox"
)

// conn is one session. Its goroutine owns it; while that waits, the goroutines of idler do, one at a time.
type conn struct {
	*settings
	net   *netserver.Conn
	in    crlf.Reader
	out   crlf.Writer // to peer, or to deflate
	peer  output
	dec   wire.Decoder
	enc   wire.Encoder
	state state

	tag   string
	done  reply // the reply of a command that succeeds
	byUID bool  // the command has "UID" in front: all FETCH responses have UIDs (RFC 9051 §6.4.9)

	user    string
	account mailbox.Account
	offers  offers
	deflate *deflater // nil: no compression
	enabled features
	box     *selection // nil: none is selected
	idler   idler
	idling  *idling     // nil: not in IDLE
	again   *time.Timer // nil: no news were missed yet

	notifier *notifier // nil: NOTIFY was not used

	errors   int
	junk     int
	lastJunk time.Time

	began    time.Time
	commands int
}

// Limits of what a client may send before it is logged in.
const (
	loginLine     = auth.MaxLine + 256 // tag, verb and mechanism in front of an initial response
	loginLiterals = 8 << 10
	loginDiscard  = 64 << 10
	lingerTime    = 2 * time.Second
	junkInterval  = time.Second
)

// handle serves one connection.
func (s *settings) handle(ctx context.Context, nc *netserver.Conn) {
	c := newConn(s, nc)
	defer c.leave()
	c.greet()
	c.finish(ctx, c.loop(ctx))
}

func (c *conn) greet() { c.untagged("OK", c.capabilities(), c.name+" ready") }

func newConn(s *settings, nc *netserver.Conn) *conn {
	c := &conn{settings: s, net: nc, began: time.Now()}
	c.in.Reset(nc)
	c.peer.net = nc
	c.out.Reset(&c.peer)
	c.enc.Reset(&c.out)
	c.dec.Continue = c.continueLiteral
	c.dec.Reset(&c.in)
	c.enterLogin()
	return c
}

// finish takes leave of the client, after loop's error, and logs the session.
func (c *conn) finish(ctx context.Context, err error) {
	nc := c.net
	if e := c.flushAll(); e != nil {
		err = e
	}
	c.log.LogAttrs(ctx, slog.LevelInfo, "session",
		slog.String("remote", nc.RemoteAddr().String()), slog.String("user", c.user), slog.Int("commands", c.commands),
		slog.Duration("took", time.Since(c.began)), slog.String("end", fmt.Sprint(err)))
	var refusal *reply
	var fault *wire.Error
	if errors.As(err, &refusal) && !errors.Is(err, errQuit) || errors.As(err, &fault) {
		nc.Linger(lingerTime) // a client that is still sending shall see why
	}
}

// enterLogin begins the state before login, with its narrow limits.
func (c *conn) enterLogin() {
	c.state = notAuthenticated
	c.dec.Limits = wire.Limits{Line: loginLine, LiteralBytes: loginLiterals, Discard: loginDiscard}
}

// enterAuthenticated widens the limits.
func (c *conn) enterAuthenticated() {
	c.state = authenticated
	c.dec.Limits = wire.Limits{Line: max(c.MaxLineBytes, 0), LiteralBytes: c.MaxLiteralBytes}
}

// leave frees what the session holds.
func (c *conn) leave() {
	c.logOut()
	c.in.Release()
}

// logOut leaves the account.
func (c *conn) logOut() {
	c.stopIdling()
	if c.again != nil {
		c.again.Stop()
	}
	c.setNotifier(nil)
	c.deselect()
	if c.account != nil {
		_ = c.account.Close()
		c.account = nil
	}
}

// flush sends what is written.
func (c *conn) flush() error {
	err := c.out.Flush()
	if c.deflate != nil && err == nil {
		err = c.deflate.flush()
	}
	return err
}

// flushAll sends what is written, and returns when the system has it.
func (c *conn) flushAll() error {
	err := c.flush()
	if e := c.peer.wait(); e != nil {
		err = e
	}
	return err
}

// continueLiteral asks for a synchronising literal.
func (c *conn) continueLiteral() error {
	c.enc.Raw("+ OK\r\n")
	return c.flush()
}

// loop reads and runs commands until the session ends, and says why.
func (c *conn) loop(ctx context.Context) error {
	for {
		if err := c.await(); err != nil {
			return err
		}
		if err := c.command(ctx); err != nil {
			return err
		}
	}
}

// await waits for the first octet of a command. The replies of pipelined commands leave in one
// write.
func (c *conn) await() error {
	if c.in.Buffered() > 0 && !c.net.Draining() {
		c.startCommand()
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	timeout := c.LoginTimeout
	if c.state != notAuthenticated {
		timeout = c.IdleTimeout
	}
	return c.wait(timeout)
}

// wait waits for input, and says goodbye when none came.
func (c *conn) wait(timeout time.Duration) error {
	err := c.net.BeginIdle(timeout)
	if err == nil {
		c.listen()
		err = c.in.Wait()
		c.idler.stop()
		if e := c.net.EndIdle(); e != nil {
			err = e
		}
	}
	switch {
	case err == nil:
		c.startCommand()
	case errors.Is(err, netserver.ErrServerClosed):
		c.bye("UNAVAILABLE", "server is shutting down")
	case errors.Is(err, netserver.ErrStageTimeout):
		c.bye("", "silent for too long, goodbye")
	}
	return err
}

// startCommand begins the time that the client has for the rest of a command.
func (c *conn) startCommand() {
	pace := netserver.Pace{Total: -1}
	if c.CommandTimeout >= 0 {
		pace.MinRate, pace.Grace = minRate, c.CommandTimeout
	}
	c.net.StartStage(pace)
}

// command reads and runs one command, or ends IDLE. Its error ends the session.
func (c *conn) command(ctx context.Context) error {
	if c.idling != nil {
		return c.endIdle(ctx)
	}
	c.tag, c.done = "*", reply{status: statusOK}
	c.commands++
	cmd, verb, err := c.readCommand()
	if err == nil {
		err = c.run(ctx, cmd)
	}
	if end := c.conclude(ctx, cmd, verb, err); end != nil {
		return end
	}
	return c.countErrors(err)
}

// readCommand reads tag and verb.
func (c *conn) readCommand() (cmd *command, verb string, err error) {
	d := &c.dec
	_ = d.Begin() // its error is Err's
	tag := d.Tag()
	d.SP()
	verb = d.Keyword()
	if verb == "UID" {
		d.SP()
		verb += " " + d.Keyword()
	}
	if tag != "" {
		c.tag = tag
	}
	if err = d.Err(); err != nil {
		err = grammar(err)
	} else if cmd = lookup(c.table, verb); cmd == nil {
		err, verb = bad("unknown command"), ""
	} else if cmd.legal&c.state == 0 {
		return nil, verb, cmd.illegal(c.state)
	}
	if r := c.replyTo(err); cmd == nil && c.commands == 1 && r != nil && r.status == statusBAD {
		// Whatever begins with nonsense is no IMAP client, but a browser perhaps that somebody turned on us (S14).
		r.bye = true
	}
	return cmd, verb, err
}

// run runs a command; a panic fails that command only.
func (c *conn) run(ctx context.Context, cmd *command) (err error) {
	if err := c.countJunk(cmd); err != nil {
		return err
	}
	if cmd.flags&numbered != 0 && c.has(uidOnly) {
		return uidRequired()
	}
	defer func() {
		if v := recover(); v != nil {
			c.net.Recovered(v)
			err = fmt.Errorf("panic in %s: %v", cmd.verb, v) // the response may be half written: close
		}
	}()
	c.byUID = strings.HasPrefix(cmd.verb, "UID ")
	err = cmd.run(c, ctx)
	if e := c.dec.Err(); e != nil {
		return grammar(e)
	}
	return err
}

// conclude brings the stream in step again, tells what changed in the mailbox, and writes the tagged
// reply.
func (c *conn) conclude(ctx context.Context, cmd *command, verb string, err error) error {
	switch {
	case errors.Is(err, errReplied):
		return nil
	case errors.Is(err, errIdling):
		c.idling.cmd = cmd
		return c.announce(ctx, cmd) // what happened before the store began to tell
	}
	r := c.replyTo(err)
	if r == nil {
		c.endBroken(ctx, err)
		return err
	}
	skipped := c.dec.Skip()
	if skipped == nil && cmd != nil && !r.bye {
		if e := c.announce(ctx, cmd); e != nil {
			return e
		}
	}
	if r.text == "" {
		r.text = verb + " done"
	}
	c.tagged(r)
	c.logFailure(ctx, verb, r)
	switch {
	case r.bye:
		if !errors.Is(err, errQuit) {
			c.bye("", "goodbye")
		}
		return err
	case skipped != nil:
		c.endBroken(ctx, grammar(skipped))
		return skipped
	}
	return nil
}

// replyTo returns the reply that a command's error is; nil when it is none.
func (c *conn) replyTo(err error) *reply {
	if err == nil {
		return &c.done
	}
	var r *reply
	errors.As(err, &r)
	return r
}

// endBroken takes leave of a client with which no conversation is possible any more.
func (c *conn) endBroken(ctx context.Context, err error) {
	var r *reply
	switch {
	case errors.As(err, &r):
		c.bye(r.code, r.text)
	case errors.Is(err, netserver.ErrStageTimeout), errors.Is(err, netserver.ErrTooSlow):
		c.bye("", "too slow, goodbye")
	case errors.Is(err, netserver.ErrServerClosed):
		c.bye("UNAVAILABLE", "server is shutting down")
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		c.log.LogAttrs(ctx, slog.LevelWarn, "session broken", slog.String("user", c.user), slog.String("error", err.Error()))
	}
}

// countErrors ends a session that does nothing but fail (R05).
func (c *conn) countErrors(err error) error {
	if err == nil {
		c.errors = 0
		return nil
	}
	var r *reply
	if errors.As(err, &r) && (r.status == statusBAD || c.state == notAuthenticated) {
		c.errors++
	}
	if c.MaxErrors >= 0 && c.errors > c.MaxErrors {
		c.bye("", "too many errors, goodbye")
		return errors.New("too many errors")
	}
	return nil
}

// countJunk ends a session that floods us with commands that lead nowhere. A client that polls with NOOP
// is none.
func (c *conn) countJunk(cmd *command) error {
	now := time.Now()
	if cmd.flags&junk == 0 || now.Sub(c.lastJunk) >= junkInterval {
		c.junk = 0
	}
	if cmd.flags&junk == 0 {
		return nil
	}
	c.lastJunk = now
	if c.junk++; c.MaxJunk >= 0 && c.junk > c.MaxJunk {
		return &reply{status: statusBAD, text: "too many commands that lead nowhere", bye: true}
	}
	return nil
}

// end demands that the command has no more arguments.
func (c *conn) end() error {
	if err := c.dec.End(); err != nil {
		return grammar(err)
	}
	return nil
}
