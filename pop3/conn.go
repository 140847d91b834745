package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/internal/netserver"
	"github.com/goniec-mail/goniec/mailbox"
)

// maxLine is the longest command line without its CRLF: RFC 2449 §4 allows 255 octets with it, but
// names and passwords of other systems do not fit.
const maxLine = 512

// conn is one session. Its goroutine owns it.
type conn struct {
	*settings
	net   *netserver.Conn
	in    crlf.Reader
	out   crlf.Writer
	table []command
	state state

	userName string // of USER, for PASS
	errors   int
	junk     int

	box box // in the transaction state

	began   time.Time
	account string
	retrs   int
	octets  int64
}

// errQuit ends a session after its reply was written.
var errQuit = errors.New("quit")

// reply is an error that is answered with -ERR; the session goes on.
type reply struct {
	code string // response code without brackets, "" = none (RFC 2449 §8)
	text string
	err  error // for the log
}

func (r *reply) Error() string {
	if r.err != nil {
		return r.text + ": " + r.err.Error()
	}
	return r.text
}

func (r *reply) Unwrap() error { return r.err }

func refuse(format string, args ...any) error { return &reply{text: fmt.Sprintf(format, args...)} }

// handle serves one connection.
func (s *settings) handle(ctx context.Context, nc *netserver.Conn) {
	c := &conn{settings: s, net: nc, table: commands(), state: authorization, began: time.Now()}
	c.in.Reset(nc)
	c.out.Reset(nc)
	defer c.in.Release()
	defer c.leave()
	c.ok("%s POP3 ready", c.name)
	err := c.loop(ctx)
	c.leave() // before the last reply is sent: a client that comes back at once finds the lock free
	_ = c.out.Flush()
	c.log.LogAttrs(ctx, slog.LevelInfo, "session",
		slog.String("remote", nc.RemoteAddr().String()), slog.String("user", c.account), slog.Int("retr", c.retrs),
		slog.Int64("octets", c.octets), slog.Duration("took", time.Since(c.began)), slog.String("end", endReason(err)))
}

func endReason(err error) string {
	if errors.Is(err, errQuit) || errors.Is(err, io.EOF) {
		return err.Error()
	}
	return fmt.Sprint(err)
}

// loop reads commands until the session ends, and says why.
func (c *conn) loop(ctx context.Context) error {
	for {
		line, err := c.readCommand()
		if err == nil {
			err = c.run(ctx, line)
		}
		if err == nil {
			continue
		}
		var r *reply
		if !errors.As(err, &r) {
			return err
		}
		c.err(r)
		if r.err != nil {
			c.log.LogAttrs(ctx, slog.LevelWarn, "command failed", slog.String("remote", c.net.RemoteAddr().String()),
				slog.String("user", c.account), slog.String("error", r.err.Error()))
		}
		if errors.Is(err, errQuit) {
			return err
		}
		if c.errors++; c.MaxErrors >= 0 && c.errors > c.MaxErrors {
			c.err(&reply{code: "SYS/PERM", text: "too many errors, goodbye"})
			return errors.New("too many errors")
		}
	}
}

// readCommand waits for a command.
func (c *conn) readCommand() (string, error) {
	if c.state == transaction {
		return c.readLine(c.IdleTimeout, maxLine)
	}
	return c.readLine(c.LoginTimeout, maxLine)
}

// readLine waits for a line of at most limit octets. Replies of pipelined commands leave in one write. A client that takes
// too long is left without a word, as RFC 1939 §3 wants it: it would take a reply for that to its next command.
func (c *conn) readLine(timeout time.Duration, limit int) (string, error) {
	if c.in.Buffered() == 0 {
		if err := c.out.Flush(); err != nil {
			return "", err
		}
	}
	if err := c.net.BeginIdle(timeout); err != nil {
		return "", c.goodbye(err)
	}
	line, err := c.in.ReadLine(limit)
	if idleErr := c.net.EndIdle(); idleErr != nil {
		return "", c.goodbye(idleErr)
	}
	var fault crlf.Error
	if errors.As(err, &fault) && fault.InStep() {
		return "", refuse("command line refused: %s", fault)
	}
	return string(line), err
}

// goodbye tells the client that the server shuts down.
func (c *conn) goodbye(err error) error {
	c.err(&reply{code: "SYS/TEMP", text: "server is shutting down"})
	return err
}

// run looks the command up and runs it; a panic fails that command only.
func (c *conn) run(ctx context.Context, line string) (err error) {
	cmd, arg := lookup(c.table, line)
	switch {
	case cmd == nil:
		return refuse("unknown command")
	case cmd.legal&c.state == 0:
		return refuse("%s is not possible in this state", cmd.verb)
	case cmd.flags&noArgs != 0 && strings.TrimSpace(arg) != "":
		return refuse("%s takes no argument", cmd.verb)
	}
	if cmd.flags&junk == 0 {
		c.junk = 0
	} else if c.junk++; c.MaxJunk >= 0 && c.junk > c.MaxJunk {
		c.err(&reply{code: "SYS/PERM", text: "too many commands that lead nowhere, goodbye"})
		return errors.New("too many junk commands")
	}
	defer func() {
		if v := recover(); v != nil {
			c.net.Recovered(v)
			err = fmt.Errorf("panic in %s: %v", cmd.verb, v) // the reply may be half written: close
		}
	}()
	return cmd.run(c, ctx, arg)
}

func (c *conn) ok(format string, args ...any) {
	fmt.Fprintf(&c.out, "+OK "+format+"\r\n", args...)
}

func (c *conn) err(r *reply) {
	code := ""
	if r.code != "" {
		code = "[" + r.code + "] "
	}
	fmt.Fprintf(&c.out, "-ERR %s%s\r\n", code, r.text)
}

// failed makes a reply of a store's error. What is unknown is temporary.
func failed(what string, err error) error {
	r := &reply{code: "SYS/TEMP", text: what + " failed, try again later", err: fmt.Errorf("%s: %w", what, err)}
	switch {
	case errors.Is(err, mailbox.ErrInUse):
		r = &reply{code: "IN-USE", text: "another session has the mailbox"}
	case errors.Is(err, mailbox.ErrGone):
		r = &reply{text: "no such message any more"}
	}
	return r
}

// authFailed makes a reply of a failed login (RFC 3206).
func authFailed(err error) error {
	s := auth.StatusOf(err)
	code := "AUTH"
	switch {
	case s.Temporary():
		code = "SYS/TEMP"
	case s.Code == 538 || s.Code == 504 || s.Code == 501 || s.Code == 500:
		code = ""
	}
	r := &reply{code: code, text: s.Text, err: err}
	if s.Code == 421 {
		r.err = fmt.Errorf("%w: %w", errQuit, err)
	}
	return r
}
