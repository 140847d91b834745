package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
)

// The defaults of a Pool's limits.
const (
	defaultPoolConns    = 10
	defaultPoolMessages = 100
	defaultPoolIdle     = 15 * time.Second
)

// Pool keeps connections and sends messages over them: connections to one destination are used again, and a new one is made when
// all are busy. The zero value is ready for use. Fields must not change while it is in use; its methods are safe for concurrent use.
// A destination is a host with its addresses, its level of TLS and the identity that is used there.
type Pool struct {
	// Dialer makes the connections. Nil means the zero Dialer.
	Dialer *Dialer

	// Dialect is the protocol that is spoken. Nil means SMTP.
	Dialect *Dialect

	// MaxConns limits the connections to one destination; further messages wait. Zero means 10; negative means no limit.
	MaxConns int
	// MaxMessages limits the messages over one connection. Zero means 100; negative means no limit.
	MaxMessages int
	// IdleTimeout is how long a connection waits for the next message. Zero means 15 s; negative means that connections are not kept.
	IdleTimeout time.Duration

	// Auth chooses credentials for a message and a host, as those of the sender. identity tells them apart: connections with
	// different ones are not mixed up. Nil means Dialer.Auth for all.
	Auth func(ctx context.Context, env *goniec.Envelope, host goniec.RouteHost) (identity string, mechs []auth.ClientMechanism, err error)

	mu     sync.Mutex
	dests  map[string]*destination
	closed bool
	work   sync.WaitGroup // goroutines of idle connections
	zero   Dialer
}

// destination is what a Pool has for one destination. It exists as long as somebody uses it.
type destination struct {
	key   string
	slots chan struct{} // one for each connection in use; nil: no limit
	users int           // who use it or wait for a slot
	idle  []*idleConn   // the last one was used last
}

// idleConn is a connection that waits.
type idleConn struct {
	c    *Client
	err  error         // what ended the wait
	done chan struct{} // the wait is over
}

// Send sends one message to a host, as Client.Send does. A connection that breaks before anything was accepted over it, having been
// idle, is replaced once.
func (p *Pool) Send(ctx context.Context, host goniec.RouteHost, env *goniec.Envelope, msg io.Reader) (*Result, error) {
	pl, err := load(msg)
	if err != nil {
		return noResult(env, host, &StageError{Stage: StageText, Host: host.Name, Err: err})
	}
	defer pl.close()
	return p.send(ctx, host, env, pl)
}

// noResult is the result when there was no connection.
func noResult(env *goniec.Envelope, host goniec.RouteHost, err error) (*Result, error) {
	res := &Result{Host: host.Name, Rcpts: make(goniec.RcptErrors, len(env.To)), Replies: make([]*goniec.Status, len(env.To))}
	for i := range res.Rcpts {
		res.Rcpts[i] = err
	}
	return res, err
}

// job is what a connection is wanted for.
type job struct {
	dest  *destination
	host  goniec.RouteHost
	mechs []auth.ClientMechanism
}

func (p *Pool) send(ctx context.Context, host goniec.RouteHost, env *goniec.Envelope, pl *payload) (*Result, error) {
	j := job{host: host, mechs: p.dialer().Auth}
	identity := ""
	var err error
	if p.Auth != nil {
		if identity, j.mechs, err = p.Auth(ctx, env, host); err != nil {
			return noResult(env, host, &StageError{Stage: StageAuth, Host: host.Name, Err: err})
		}
	}
	if j.dest, err = p.enter(ctx, destinationKey(host, identity)); err != nil {
		return noResult(env, host, &StageError{Stage: StageConnect, Host: host.Name, Err: err})
	}
	defer p.leave(j.dest)
	c := p.take(j)
	reused := c != nil
	if !reused {
		if c, err = p.dial(ctx, j); err != nil {
			return noResult(env, host, err)
		}
	}
	ended := false
	defer func() {
		if !ended { // a hook panicked
			_ = c.Close()
		}
	}()
	res, err := c.send(ctx, env, pl)
	if reused && stale(c, err) && pl.again() && ctx.Err() == nil {
		_ = c.Close()
		var fresh *Client
		if fresh, err = p.dial(ctx, j); err != nil {
			return noResult(env, host, err)
		}
		c = fresh
		res, err = c.send(ctx, env, pl)
	}
	ended = true
	p.put(j.dest, c)
	return res, err
}

// stale reports whether a connection turned out to be dead before the server took anything.
func stale(c *Client, err error) bool {
	var mixed goniec.RcptErrors
	return err != nil && c.err != nil && !errors.As(err, &mixed) && !settled(err)
}

// destinationKey tells destinations apart.
func destinationKey(host goniec.RouteHost, identity string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %d %d %q %q %q", host.Name, host.Port, host.TLS, host.ServerName, host.TLSNames, identity)
	for _, a := range host.Addrs {
		fmt.Fprintf(&b, " %s", a)
	}
	return b.String()
}

func (p *Pool) dialer() *Dialer {
	if p.Dialer != nil {
		return p.Dialer
	}
	return &p.zero
}

func (p *Pool) dial(ctx context.Context, j job) (*Client, error) {
	dialect := p.Dialect
	if dialect == nil {
		dialect = smtpDialect()
	}
	return p.dialer().dialAs(ctx, dialect, j.host, j.mechs)
}

// enter waits for the right to use one connection to a destination.
func (p *Pool) enter(ctx context.Context, key string) (*destination, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	dest := p.dests[key]
	if dest == nil {
		dest = &destination{key: key}
		if n := orDefault(p.MaxConns, defaultPoolConns); n > 0 {
			dest.slots = make(chan struct{}, n)
		}
		if p.dests == nil {
			p.dests = map[string]*destination{}
		}
		p.dests[key] = dest
	}
	dest.users++
	p.mu.Unlock()
	if dest.slots == nil {
		return dest, nil
	}
	select {
	case dest.slots <- struct{}{}:
		return dest, nil
	case <-ctx.Done():
		p.forget(dest)
		return nil, context.Cause(ctx)
	}
}

// leave gives the right back.
func (p *Pool) leave(dest *destination) {
	if dest.slots != nil {
		<-dest.slots
	}
	p.forget(dest)
}

// forget drops a destination that nobody uses.
func (p *Pool) forget(dest *destination) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dest.users--
	p.sweep(dest)
}

func (p *Pool) sweep(dest *destination) {
	if dest.users == 0 && len(dest.idle) == 0 && p.dests[dest.key] == dest {
		delete(p.dests, dest.key)
	}
}

// take returns an idle connection that is alive; nil if there is none.
func (p *Pool) take(j job) *Client {
	for {
		p.mu.Lock()
		n := len(j.dest.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		ic := j.dest.idle[n-1]
		j.dest.idle = j.dest.idle[:n-1]
		p.mu.Unlock()
		if ic.wake() && stillTrusted(ic.c, j.host) {
			return ic.c
		}
		_ = ic.c.Close()
	}
}

// stillTrusted asks DANE's verifier again: its records may have changed since the connection was made.
func stillTrusted(c *Client, host goniec.RouteHost) bool {
	if host.TLS != goniec.TLSDANE {
		return true
	}
	return c.tls != nil && host.Verify != nil && host.Verify(*c.tls) == nil
}

// wake ends the wait of an idle connection and reports whether the server is still there: it has neither hung up nor said
// anything.
func (ic *idleConn) wake() bool {
	_ = ic.c.conn.SetReadDeadline(time.Unix(1, 0))
	<-ic.done
	return errors.Is(ic.err, os.ErrDeadlineExceeded)
}

// put keeps a connection for the next message, or ends it.
func (p *Pool) put(dest *destination, c *Client) {
	idle := p.IdleTimeout
	if idle == 0 {
		idle = defaultPoolIdle
	}
	limit := orDefault(p.MaxMessages, defaultPoolMessages)
	worn := limit > 0 && c.sent >= limit
	if n := c.limit("MAILMAX"); n > 0 && c.sent >= n { // RFC 9422 §5.1
		worn = true
	}
	if c.err != nil || worn || idle < 0 || !p.park(dest, c, idle) {
		_ = c.Quit(context.Background()) // limited by Timeouts.Quit
	}
}

// park makes a connection wait; false if the Pool is closed.
func (p *Pool) park(dest *destination, c *Client, idle time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	ic := &idleConn{c: c, done: make(chan struct{})}
	_ = c.conn.SetReadDeadline(time.Now().Add(idle)) // before anybody can wake it
	dest.idle = append(dest.idle, ic)
	p.work.Go(func() { p.wait(dest, ic) })
	return true
}

// wait watches an idle connection: it ends when its time is over, when the server hangs up or speaks, or when it is taken.
func (p *Pool) wait(dest *destination, ic *idleConn) {
	ic.err = ic.c.r.Wait()
	close(ic.done)
	p.mu.Lock()
	n := len(dest.idle)
	dest.idle = slices.DeleteFunc(dest.idle, func(other *idleConn) bool { return other == ic })
	ours := len(dest.idle) < n
	p.sweep(dest)
	p.mu.Unlock()
	if !ours {
		return
	}
	if errors.Is(ic.err, os.ErrDeadlineExceeded) {
		_ = ic.c.Quit(context.Background())
	}
	_ = ic.c.Close()
}

// Close ends the idle connections, and those in use after their message. It waits for the former. Further messages fail
// with ErrClosed.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, dest := range p.dests {
		for _, ic := range dest.idle {
			_ = ic.c.conn.SetReadDeadline(time.Unix(1, 0)) // its goroutine takes it from the list and says good-bye
		}
	}
	p.mu.Unlock()
	p.work.Wait()
	return nil
}
