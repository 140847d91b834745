package dovecot

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/auth"
)

// Client asks a Dovecot's auth process. Set Addr; the rest may stay zero. Safe for concurrent use.
type Client struct {
	// Addr is the path of the auth-client socket ("/run/dovecot/auth-client"), or "host:port" of an
	// inet_listener, which must be out of the reach of others: nothing is encrypted.
	Addr string

	// UserDB is the path of the auth-userdb socket, asked after a login for what belongs into
	// Identity.Attributes (home, uid, gid, mail, quota_rule). Empty: it is not asked.
	UserDB string

	// Service is the service that Dovecot is told. Empty: Attempt.Protocol, as "imap" or "smtp".
	Service string

	// NoPenalty asks Dovecot not to hold answers back after failures: for servers with an auth.Guard.
	NoPenalty bool

	// Timeout limits a question beside its context. Zero means 30 s: Dovecot holds an answer back
	// for up to 17 s after failures. Negative means no limit.
	Timeout time.Duration

	// MaxConns limits the connections open at once. Zero means 64; negative means no limit.
	MaxConns int

	// Idle is how many connections without a question are kept. Zero means 4; negative none.
	Idle int

	// Dial, if not nil, opens connections.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	once   sync.Once
	tokens chan struct{} // nil: no limit
	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// conn is a connection after its handshake.
type conn struct {
	net.Conn
	r     *bufio.Reader
	mechs []string // what Dovecot offers
	id    uint32   // of the last request
}

// Authenticate asks Dovecot about a password, by PLAIN.
func (c *Client) Authenticate(ctx context.Context, at *auth.Attempt) (auth.Identity, error) {
	var id auth.Identity
	err := c.with(ctx, func(conn *conn) (err error) {
		msg := "\x00" + at.User + "\x00" + at.Secret.Reveal()
		if strings.Count(msg, "\x00") != 2 {
			return fmt.Errorf("%w: NUL in user name or password", auth.ErrCredentials)
		}
		if err := conn.begin("PLAIN", c.facts(at), []byte(msg)); err != nil {
			return err
		}
		reply, err := conn.reply()
		if err != nil {
			return err
		}
		id, err = verdict(reply, at)
		return err
	})
	if err != nil {
		return auth.Identity{}, err
	}
	return c.complete(ctx, id, at)
}

// Answers reports that Dovecot can be asked about passwords only; other mechanisms come with Mechanisms.
func (c *Client) Answers(mechanism string) bool { return mechanism == "PLAIN" || mechanism == "LOGIN" }

// Close closes the idle connections; running questions end as they would.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.idle {
		_ = conn.Close()
	}
	c.idle = nil
	return nil
}

// facts are the parameters of AUTH that tell about the connection.
func (c *Client) facts(at *auth.Attempt) []string {
	service := c.Service
	if service == "" {
		service = at.Protocol
	}
	if service == "" {
		service = "goniec"
	}
	out := []string{"service=" + service}
	if at.TLS != nil || at.Remote.Addr().Unmap().IsLoopback() {
		out = append(out, "secured") // whether it may be without TLS was decided before
	}
	if c.NoPenalty {
		out = append(out, "no-penalty")
	}
	if at.Local.IsValid() {
		out = append(out, "lip="+at.Local.Addr().Unmap().String(), "lport="+strconv.Itoa(int(at.Local.Port())))
	}
	if at.Remote.IsValid() {
		out = append(out, "rip="+at.Remote.Addr().Unmap().String(), "rport="+strconv.Itoa(int(at.Remote.Port())))
	}
	return out
}

// verdict turns OK or FAIL into an Identity or an error.
func verdict(reply []string, at *auth.Attempt) (auth.Identity, error) {
	p := params(reply[2:])
	if reply[0] == "OK" {
		user, _ := p.get("user")
		if user == "" {
			user = at.User
		}
		if p.has("nologin") {
			return auth.Identity{}, fmt.Errorf("%w: dovecot says nologin", auth.ErrCredentials)
		}
		return auth.Identity{User: user}, nil
	}
	if reply[0] != "FAIL" {
		return auth.Identity{}, fmt.Errorf("%w: %s in answer to a whole PLAIN message", ErrProtocol, reply[0])
	}
	reason, _ := p.get("reason")
	code, _ := p.get("code")
	if p.has("temp") || code == "temp_fail" {
		return auth.Identity{}, auth.Unavailable(fmt.Errorf("dovecot: temporary failure %q %.200q", code, reason))
	}
	return auth.Identity{}, fmt.Errorf("%w: dovecot: %q %.200q", auth.ErrCredentials, code, reason)
}

// complete adds what the userdb knows.
func (c *Client) complete(ctx context.Context, id auth.Identity, at *auth.Attempt) (auth.Identity, error) {
	if c.UserDB == "" {
		return id, nil
	}
	conn, err := c.dial(ctx, c.UserDB, line("VERSION", "1", "1"), "SPID")
	if err != nil {
		return auth.Identity{}, unavailable(ctx, err)
	}
	defer conn.Close()
	defer conn.watch(ctx, c.timeout())()
	id.Attributes, err = conn.user(id.User, c.facts(at))
	if err != nil {
		return auth.Identity{}, unavailable(ctx, err)
	}
	return id, nil
}

// user asks the userdb about a user who is authenticated: not to be there is trouble, not a verdict.
func (conn *conn) user(name string, facts []string) (map[string]string, error) {
	if _, err := conn.Write(line(append([]string{"USER", "1", name}, facts[0])...)); err != nil {
		return nil, err
	}
	for {
		reply, err := readLine(conn.r)
		if err != nil {
			return nil, err
		}
		if len(reply) < 2 || reply[1] != "1" {
			continue
		}
		if reply[0] != "USER" || len(reply) < 3 {
			return nil, fmt.Errorf("dovecot: userdb has no entry for a user who logged in: %q", reply[0])
		}
		attributes := map[string]string{}
		for _, f := range reply[3:] {
			k, v, found := strings.Cut(f, "=")
			if !found {
				v = "yes"
			}
			attributes[k] = v
		}
		return attributes, nil
	}
}

// begin sends AUTH. A nil resp is no initial response. resp must be the last parameter.
func (conn *conn) begin(mech string, facts []string, resp []byte) error {
	conn.id++
	fields := append([]string{"AUTH", strconv.FormatUint(uint64(conn.id), 10), mech}, facts...)
	if resp != nil {
		fields = append(fields, "resp="+base64.StdEncoding.EncodeToString(resp))
	}
	return conn.send(fields...)
}

func (conn *conn) send(fields ...string) error {
	b := line(fields...)
	if len(b) > maxLine {
		return fmt.Errorf("%w: too long for dovecot's protocol", auth.ErrCredentials)
	}
	_, err := conn.Write(b)
	return err
}

// reply returns the next reply to the current request.
func (conn *conn) reply() ([]string, error) {
	for {
		reply, err := readLine(conn.r)
		if err != nil {
			return nil, err
		}
		switch reply[0] {
		case "OK", "FAIL", "CONT":
		default:
			continue // unknown commands are to be ignored
		}
		if len(reply) < 2 || reply[1] != strconv.FormatUint(uint64(conn.id), 10) {
			return nil, fmt.Errorf("%w: reply to a question that was not asked", ErrProtocol)
		}
		return reply, nil
	}
}

// with calls f with a connection, an idle one if there is one. A connection that failed is closed;
// an idle one that turns out to be dead, as after a restart of Dovecot, is replaced once.
func (c *Client) with(ctx context.Context, f func(*conn) error) error {
	release, err := c.turn(ctx)
	if err != nil {
		return unavailable(ctx, err)
	}
	defer release()
	if conn := c.takeIdle(); conn != nil {
		err := c.use(ctx, conn, f)
		if err == nil || !errors.Is(err, errConn) || ctx.Err() != nil {
			return unavailable(ctx, err)
		}
	}
	conn, err := c.dialAuth(ctx)
	if err != nil {
		return unavailable(ctx, err)
	}
	return unavailable(ctx, c.use(ctx, conn, f))
}

// errConn marks errors of a connection, as opposed to verdicts.
var errConn = errors.New("connection to dovecot")

func (c *Client) use(ctx context.Context, conn *conn, f func(*conn) error) error {
	stop := conn.watch(ctx, c.timeout())
	err := f(conn)
	stop()
	if err == nil || auth.Denied(err) || errors.Is(err, auth.ErrUnavailable) {
		c.putIdle(conn)
		return err
	}
	_ = conn.Close()
	return fmt.Errorf("%w: %w", errConn, err)
}

// watch makes the connection fail when ctx ends or the time is over, until stop is called.
func (conn *conn) watch(ctx context.Context, timeout time.Duration) (stop func()) {
	_ = conn.SetDeadline(time.Time{})
	if timeout > 0 {
		_ = conn.SetDeadline(time.Now().Add(timeout))
	}
	unwatch := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() { unwatch() }
}

// unavailable makes whatever is no verdict a temporary error.
func unavailable(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, auth.ErrCredentials) || errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrMalformed) {
		return err
	}
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return auth.Unavailable(err)
}

func (c *Client) timeout() time.Duration {
	if c.Timeout == 0 {
		return 30 * time.Second
	}
	return c.Timeout
}

// turn waits until fewer than MaxConns connections are in use.
func (c *Client) turn(ctx context.Context) (release func(), err error) {
	c.once.Do(func() {
		switch {
		case c.MaxConns == 0:
			c.tokens = make(chan struct{}, 64)
		case c.MaxConns > 0:
			c.tokens = make(chan struct{}, c.MaxConns)
		}
	})
	if c.tokens == nil {
		return func() {}, ctx.Err()
	}
	select {
	case c.tokens <- struct{}{}:
		return func() { <-c.tokens }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Client) takeIdle() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return nil
	}
	last := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	return last
}

func (c *Client) putIdle(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.Idle
	if limit == 0 {
		limit = 4
	}
	if c.closed || len(c.idle) >= limit {
		_ = conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

// dialAuth opens a connection to the auth-client socket.
func (c *Client) dialAuth(ctx context.Context) (*conn, error) {
	hello := append(line("VERSION", "1", "1"), line("CPID", strconv.Itoa(os.Getpid()))...)
	return c.dial(ctx, c.Addr, hello, "DONE")
}

// dial opens a connection, says hello, and reads the server's handshake, up to the command that ends it.
func (c *Client) dial(ctx context.Context, addr string, hello []byte, last string) (*conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = dialSocket
	}
	nc, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	conn := &conn{Conn: nc, r: newReader(nc)}
	stop := conn.watch(ctx, c.timeout())
	err = conn.handshake(hello, last)
	stop()
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return conn, nil
}

// dialSocket dials "host:port", or else a socket in the file system.
func dialSocket(ctx context.Context, addr string) (net.Conn, error) {
	network := "unix"
	if !strings.Contains(addr, "/") && strings.Contains(addr, ":") {
		network = "tcp"
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// maxHandshake limits the lines of a handshake.
const maxHandshake = 200

func (conn *conn) handshake(hello []byte, last string) error {
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	for range maxHandshake {
		fields, err := readLine(conn.r)
		if err != nil {
			return err
		}
		switch fields[0] {
		case "VERSION":
			if len(fields) < 2 || fields[1] != "1" {
				return fmt.Errorf("%w: version is not 1", ErrProtocol)
			}
		case "MECH":
			if len(fields) > 1 {
				conn.mechs = append(conn.mechs, fields[1])
			}
		}
		if fields[0] == last {
			return nil
		}
	}
	return fmt.Errorf("%w: handshake has more than %d lines", ErrProtocol, maxHandshake)
}
