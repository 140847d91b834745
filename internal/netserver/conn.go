package netserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// Conn is one connection. One goroutine may read (Read, StartStage, Deadline, BeginIdle, EndIdle) and another may write; Close
// and the methods that only ask are safe from anywhere. While StartTLS or Linger runs nobody else may use it.
//
// It is no net.Conn on purpose: deadlines belong to stages and to Shutdown, not to whoever holds the socket.
type Conn struct {
	l       *listener
	ctx     context.Context // for serve; handlers get it as an argument
	cancel  context.CancelCauseFunc
	sock    net.Conn    // as accepted: what Shutdown wakes and closes
	rw      net.Conn    // what the protocol reads and writes: sock, or TLS over it
	client  *proxyAddrs // from a PROXY header, else nil
	key     netip.Addr  // counted in perIP
	proxied bool        // must begin with a PROXY header
	stage   stage       // of the reading goroutine
	mu      sync.Mutex  // guards the following and orders read deadlines with drain
	setup   bool        // before Handle: nothing is lost by closing
	idle    bool        // between BeginIdle and EndIdle
	drained bool        // Shutdown came
}

func newConn(l *listener, nc net.Conn, key netip.Addr, proxied bool) *Conn {
	c := &Conn{l: l, sock: nc, rw: nc, key: key, proxied: proxied}
	c.setup = proxied || l.wrap || isTLS(nc)
	c.ctx, c.cancel = context.WithCancelCause(l.base)
	return c
}

// serve is the connection's goroutine.
func (c *Conn) serve() {
	defer c.finish()
	defer c.contain()
	if err := c.begin(); err != nil {
		c.logNotBegun(err)
		return
	}
	c.StartStage(Pace{})
	c.l.cfg.Handle(c.ctx, c)
}

// contain is deferred: a panic ends its connection only.
func (c *Conn) contain() {
	if v := recover(); v != nil {
		c.Recovered(v)
	}
}

func (c *Conn) logNotBegun(err error) {
	c.l.cfg.Logger.Info("connection not begun", "err", err, "remote", addrString(c.RemoteAddr()))
}

// begin is what happens before the protocol: PROXY header, then TLS.
func (c *Conn) begin() error {
	if !c.setup { // constant until here
		return nil
	}
	if c.proxied {
		if err := c.readProxyHeader(); err != nil {
			return err
		}
	}
	if c.l.wrap || isTLS(c.sock) {
		if err := c.handshake(c.ctx); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setup = false
	if c.drained {
		return ErrServerClosed
	}
	return nil
}

func (c *Conn) finish() {
	_ = c.Close()
	c.cancel(nil)
	c.l.srv.remove(c)
}

// Recovered counts and logs a panic with its stack. For protocols that recover nearer to the unit of work, to answer it with
// a temporary error: call it in the deferred function that recovered v.
func (c *Conn) Recovered(v any) {
	c.l.srv.panics.Add(1)
	c.l.cfg.Logger.Error("panic contained", "panic", v, "remote", addrString(c.RemoteAddr()), "stack", string(debug.Stack()))
}

// Read reads under the current stage. A timeout comes as ErrStageTimeout or ErrTooSlow, or as ErrServerClosed when
// Shutdown woke an idle connection.
func (c *Conn) Read(p []byte) (int, error) {
	if c.stage.MinRate <= 0 {
		n, err := c.rw.Read(p)
		return n, c.readError(err, ErrStageTimeout)
	}
	start := time.Now()
	deadline, why := c.stage.next(start)
	c.setReadDeadline(deadline)
	n, err := c.rw.Read(p)
	c.stage.progress(n, time.Since(start))
	return n, c.readError(err, why)
}

func (c *Conn) readError(err, why error) error {
	if err == nil || !isTimeout(err) {
		return err
	}
	if c.Draining() && c.isIdle() {
		why = ErrServerClosed
	}
	return &timeoutError{why, err}
}

// Write writes all of p within Config.WriteTimeout.
func (c *Conn) Write(p []byte) (int, error) {
	if d := c.l.cfg.WriteTimeout; d > 0 {
		_ = c.sock.SetWriteDeadline(time.Now().Add(d))
	}
	return c.rw.Write(p)
}

// Close closes the connection, with TLS's closing alert where there is TLS. The handler's return does it too.
func (c *Conn) Close() error { return c.rw.Close() }

// Linger closes the connection so that the last reply arrives: it ends our side, then reads and drops what the client still
// sends, for at most d and lingerMax octets. A close with unread input makes the system send a reset, which may overtake
// the reply. For refusals; after QUIT the client closes by itself.
func (c *Conn) Linger(d time.Duration) {
	if c.closeWrite() {
		_ = c.sock.SetReadDeadline(time.Now().Add(d))
		_, _ = io.CopyN(io.Discard, c.sock, lingerMax)
	}
	_ = c.Close()
}

// closeWrite sends TLS's closing alert, if there is TLS, and the socket's FIN.
func (c *Conn) closeWrite() bool {
	if t, ok := c.rw.(*tls.Conn); ok && t.CloseWrite() != nil {
		return false
	}
	w, ok := c.sock.(interface{ CloseWrite() error })
	return ok && w.CloseWrite() == nil
}

// lingerMax is how much input Linger drops before it gives up on politeness.
const lingerMax = 64 << 10

// RemoteAddr is the client's address: the one a trusted proxy told, else the peer's.
func (c *Conn) RemoteAddr() net.Addr {
	if c.client != nil {
		return c.client.remote
	}
	return c.sock.RemoteAddr()
}

// LocalAddr is the address the client connected to: the one a trusted proxy told, else the socket's.
func (c *Conn) LocalAddr() net.Addr {
	if c.client != nil {
		return c.client.local
	}
	return c.sock.LocalAddr()
}

// Remote is RemoteAddr as a value; invalid for what is no IP address. IPv4 is never in its IPv6 form.
func (c *Conn) Remote() netip.AddrPort { return addrPort(c.RemoteAddr()) }

// Local is LocalAddr as a value, like Remote.
func (c *Conn) Local() netip.AddrPort { return addrPort(c.LocalAddr()) }

// Peer is the other end of the socket: the proxy where there is one.
func (c *Conn) Peer() net.Addr { return c.sock.RemoteAddr() }

// TLS is the state of the TLS connection, or nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	t, ok := c.rw.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// Load tells how full the server is: connections by MaxConns, 0 without a limit. Protocols shorten their deadlines when
// it nears 1.
func (c *Conn) Load() float64 {
	if c.l.cfg.MaxConns <= 0 {
		return 0
	}
	return float64(c.l.srv.active.Load()) / float64(c.l.cfg.MaxConns)
}

// Stressed reports whether four of five connections that the server may have are taken.
func (c *Conn) Stressed() bool { return c.Load() >= 0.8 }

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
