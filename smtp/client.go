package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/crlf"
)

// Client is a session with one server, ready to send messages one after the other. Dialer makes it. It is not safe for concurrent
// use; Pool is. Every method that takes a context closes the connection when the context ends before the method does.
type Client struct {
	d       *Dialer
	dialect *Dialect
	host    goniec.RouteHost
	mechs   []auth.ClientMechanism
	limits  Timeouts

	conn net.Conn // TLS or raw
	raw  net.Conn
	addr string
	r    crlf.Reader
	w    crlf.Writer

	hello    string // our name
	greeting string // the server's first line of its EHLO reply
	offered  extension
	params   [len(extensionNames)]string
	authOld  string // mechanisms of the old form "AUTH=LOGIN"
	tls      *tls.ConnectionState
	authed   bool

	line      []byte    // the command being built; kept for the next one
	dirty     bool      // the server may be within a transaction: RSET comes first
	lastReply time.Time // when the server was last heard of
	sent      int       // messages sent
	err       error     // why the connection is of no more use
}

// Dial connects to addr as the zero Dialer does.
func Dial(ctx context.Context, addr string) (*Client, error) { return new(Dialer).Dial(ctx, addr) }

// NewClient begins a session on conn as the zero Dialer does.
func NewClient(ctx context.Context, conn net.Conn, host goniec.RouteHost) (*Client, error) {
	return new(Dialer).NewClient(ctx, conn, host)
}

// NewClient begins a session on conn, a connection to host, whose TLS level applies. conn is closed if that fails.
func (d *Dialer) NewClient(ctx context.Context, conn net.Conn, host goniec.RouteHost) (*Client, error) {
	return d.NewClientDialect(ctx, smtpDialect(), conn, host)
}

// NewClientDialect is NewClient for another dialect of the protocol.
func (d *Dialer) NewClientDialect(ctx context.Context, dialect *Dialect, conn net.Conn, host goniec.RouteHost) (*Client, error) {
	return d.newClient(ctx, dialect, conn, host, d.Auth)
}

func (d *Dialer) newClient(ctx context.Context, dialect *Dialect, conn net.Conn, host goniec.RouteHost, mechs []auth.ClientMechanism) (*Client, error) {
	d.once.Do(func() { d.sessions = tls.NewLRUClientSessionCache(0) })
	c := &Client{
		d: d, dialect: dialect, host: d.settle(dialect, host, mechs), mechs: mechs, limits: d.Timeouts.withDefaults(),
		conn: conn, raw: conn, addr: conn.RemoteAddr().String(),
	}
	c.use(conn)
	ready := false
	defer func() {
		if !ready { // by an error, or a panic in somebody's hook
			_ = c.Close()
		}
	}()
	if err := c.within(ctx, c.begin); err != nil {
		return nil, err
	}
	ready = true
	return c, nil
}

// use makes the session go on over conn.
func (c *Client) use(conn net.Conn) {
	c.conn = conn
	c.r.Reset(conn)
	c.w.Reset(blockWriter{conn, c.limits.DataBlock})
}

// blockWriter gives each write its time (RFC 5321 §4.5.3.2.5).
type blockWriter struct {
	net.Conn
	limit time.Duration
}

func (w blockWriter) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(deadline(w.limit)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// deadline is limit from now; the zero time if there is none.
func deadline(limit time.Duration) time.Time {
	if limit < 0 {
		return time.Time{}
	}
	return time.Now().Add(limit)
}

// within runs f and closes the connection when ctx ends before f does. The error is then ctx's cause.
func (c *Client) within(ctx context.Context, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if ctx.Done() == nil {
		return f(ctx)
	}
	// The socket itself: closing TLS would first try to say good-bye.
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	err := f(ctx)
	if !stop() {
		c.breakOff(context.Cause(ctx))
	}
	return err
}

// begin brings a fresh connection to where mail can be sent.
func (c *Client) begin(ctx context.Context) error {
	var err error
	if c.hello, err = c.d.hostname(c.conn.LocalAddr()); err != nil {
		return c.failed(StageEHLO, err)
	}
	if c.host.TLS != goniec.TLSNone && c.d.implicit(c.host) {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	if err := c.banner(ctx); err != nil {
		return err
	}
	if err := c.ehlo(ctx); err != nil {
		return err
	}
	if err := c.startTLS(ctx); err != nil {
		return err
	}
	return c.authenticate(ctx)
}

// banner waits for the greeting of the server.
func (c *Client) banner(ctx context.Context) error {
	s, err := c.reply(ctx, c.limits.Greeting)
	if err != nil {
		return c.failed(StageBanner, err)
	}
	if s.Code != 220 {
		return c.refused(StageBanner, s)
	}
	return nil
}

// ehlo greets the server and learns its extensions. RFC 5321 §3.2: a server that does not know EHLO is greeted by HELO.
func (c *Client) ehlo(ctx context.Context) error {
	s, err := c.command(ctx, c.limits.Command, c.dialect.Extended, c.hello)
	if err != nil {
		return c.failed(StageEHLO, err)
	}
	if s.Code >= 500 && s.Code != 521 && s.Code != 554 && c.dialect.Basic != "" {
		if s, err = c.command(ctx, c.limits.Command, c.dialect.Basic, c.hello); err != nil {
			return c.failed(StageEHLO, err)
		}
		s.Text, _, _ = strings.Cut(s.Text, "\n") // HELO has no extensions
	}
	if s.Code != 250 {
		return c.refused(StageEHLO, s)
	}
	c.learn(s.Text)
	return nil
}

// learn takes the extensions from the text of the reply to EHLO. What was known before is forgotten (RFC 3207 §4.2).
func (c *Client) learn(text string) {
	c.offered, c.params, c.authOld = 0, [len(extensionNames)]string{}, ""
	first := true
	for line := range strings.SplitSeq(text, "\n") {
		if first {
			c.greeting, first = line, false
			continue
		}
		// Servers of the time before RFC 4954 offer AUTH in this form only.
		if len(line) > 5 && strings.EqualFold(line[:5], "AUTH=") {
			c.authOld = line[5:]
			c.offered |= extAuth
			continue
		}
		ext, params := parseExtension(line)
		if ext == 0 || c.d.ignores(ext) {
			continue
		}
		c.offered |= ext
		for i := range extensionNames {
			if ext == 1<<i {
				c.params[i] = params
			}
		}
	}
}

// param returns the parameters of an extension.
func (c *Client) param(ext extension) string {
	for i := range extensionNames {
		if ext == 1<<i {
			return c.params[i]
		}
	}
	return ""
}

// Extension reports whether the server offers an extension, as "SIZE", and with which parameters.
func (c *Client) Extension(name string) (params string, ok bool) {
	ext, _ := parseExtension(name)
	return c.param(ext), ext != 0 && c.offered.has(ext)
}

// MaxMessageBytes is the largest message that the server takes, in octets (RFC 1870 §4); 0 if it did not say.
func (c *Client) MaxMessageBytes() int64 {
	n, err := strconv.ParseInt(c.param(extSize), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// limit returns a limit of RFC 9422, as "RCPTMAX"; 0 if the server did not say.
func (c *Client) limit(name string) int {
	for word := range strings.FieldsSeq(c.param(extLimits)) {
		if k, v, _ := strings.Cut(word, "="); strings.EqualFold(k, name) {
			if n, err := strconv.ParseUint(v, 10, 31); err == nil {
				return int(n)
			}
		}
	}
	return 0
}

// TLS returns the state of TLS; nil if the connection is not encrypted.
func (c *Client) TLS() *tls.ConnectionState { return c.tls }

// Host returns the host that the client is connected to, with the TLS level that applied.
func (c *Client) Host() goniec.RouteHost { return c.host }

// RemoteAddr is the address of the server.
func (c *Client) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Err says why the connection is of no more use; nil as long as it is.
func (c *Client) Err() error { return c.err }

// Noop asks whether the server is still there.
func (c *Client) Noop(ctx context.Context) error { return c.simple(ctx, "NOOP") }

// simple runs a command that is answered 250 or not at all.
func (c *Client) simple(ctx context.Context, verb string) error {
	if c.err != nil {
		return c.err
	}
	return c.within(ctx, func(ctx context.Context) error {
		s, err := c.command(ctx, c.limits.Command, verb, "")
		if err != nil {
			return c.failed(StageIdle, err)
		}
		if s.Code != 250 {
			return c.refused(StageIdle, s)
		}
		return nil
	})
}

// Quit says good-bye and closes the connection. The server's answer does not matter: all mail has been answered for.
func (c *Client) Quit(ctx context.Context) error {
	if c.err == nil {
		_ = c.within(ctx, func(ctx context.Context) error {
			_, err := c.command(ctx, c.limits.Quit, "QUIT", "")
			return err
		})
	}
	return c.Close()
}

// Close closes the connection at once. A message that is under way is thereby not sent, unless its end already was.
func (c *Client) Close() error {
	c.breakOff(ErrClosed)
	c.r.Release()
	c.w.Reset(io.Discard)
	return nil
}

// breakOff makes the connection useless.
func (c *Client) breakOff(err error) {
	if c.err == nil {
		c.err = err
	}
	_ = c.raw.Close()
}

// command sends one command, alone, and returns its reply. The argument was checked before.
func (c *Client) command(ctx context.Context, limit time.Duration, verb, arg string) (*goniec.Status, error) {
	c.line = append(c.line[:0], verb...)
	if arg != "" {
		c.line = append(append(c.line, ' '), arg...)
	}
	return c.exchange(ctx, limit, "")
}

// exchange sends c.line and returns the reply. shown is the line for the trace; "" means c.line.
func (c *Client) exchange(ctx context.Context, limit time.Duration, shown string) (*goniec.Status, error) {
	if err := c.quiet(); err != nil {
		return nil, err
	}
	if err := c.put(shown); err != nil {
		return nil, err
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	return c.reply(ctx, limit)
}

// quiet fails if the server has said something that it was not asked for, as 421 before it hangs up. What is next would
// otherwise be taken for the answer to another command.
func (c *Client) quiet() error {
	if c.r.Buffered() == 0 {
		return nil
	}
	if err := c.conn.SetReadDeadline(deadline(c.limits.Command)); err != nil {
		return err
	}
	s, err := readReply(&c.r)
	if err != nil {
		return err
	}
	c.trace(true, s.Reply())
	if s.Code == 421 {
		return s
	}
	return fmt.Errorf("%w: server said %s without being asked", errReplySyntax, clip(s.Reply(), 80))
}

// put buffers the command in c.line. It is the one place where commands are written, and the last guard: no command holds
// what could end it early (P02). shown is the line for the trace; "" means c.line.
func (c *Client) put(shown string) error {
	for _, b := range c.line {
		if b == '\r' || b == '\n' || b == 0 {
			return errors.New("smtp: command holds CR, LF or NUL")
		}
	}
	if c.d.Trace != nil {
		if shown == "" {
			shown = string(c.line)
		}
		c.trace(false, shown)
	}
	c.line = append(c.line, "\r\n"...)
	_, err := c.w.Write(c.line)
	return err
}

// reply reads one reply within limit.
func (c *Client) reply(ctx context.Context, limit time.Duration) (*goniec.Status, error) {
	if err := c.conn.SetReadDeadline(deadline(limit)); err != nil {
		return nil, err
	}
	s, err := readReply(&c.r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errServerGone
		}
		return nil, err
	}
	if c.d.Trace != nil {
		c.traceReply(s)
	}
	c.lastReply = time.Now()
	if s.Code == 421 { // RFC 5321 §3.8: the server closes the connection
		c.breakOff(s)
	}
	return s, nil
}

func (c *Client) trace(server bool, text string) {
	if c.d.Trace != nil {
		c.d.Trace(c, TraceLine{Server: server, Text: text})
	}
}

func (c *Client) traceReply(s *goniec.Status) {
	for line := range strings.SplitSeq(s.Text, "\n") {
		one := goniec.Status{Code: s.Code, Enhanced: s.Enhanced, Text: line}
		if s.Code == 334 {
			one.Text = masked
		}
		c.trace(true, one.Reply())
	}
}

// failed is the error for a session that broke off: it can not be used any more.
func (c *Client) failed(stage Stage, err error) *StageError {
	c.breakOff(err)
	return c.stageError(stage, err)
}

// refused is the error for a reply that says no.
func (c *Client) refused(stage Stage, s *goniec.Status) *StageError {
	if s.Code < 400 { // not an answer to what was asked; unknown is temporary
		return c.failed(stage, fmt.Errorf("%w: unexpected reply %s", errReplySyntax, clip(s.Reply(), 80)))
	}
	return c.stageError(stage, s)
}

// found is the error for what is our own finding, though it may be in the form of a reply.
func (c *Client) found(stage Stage, err error) *StageError {
	e := c.stageError(stage, err)
	e.own = true
	return e
}

func (c *Client) stageError(stage Stage, err error) *StageError {
	return &StageError{Stage: stage, Host: c.host.Name, Addr: c.addr, Err: err}
}
