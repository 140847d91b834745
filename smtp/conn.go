package smtp

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/netserver"
)

// Conn is what a Handler may know about a client's connection. Its methods are for the goroutine that calls the Session.
type Conn struct {
	set *settings
	nc  *netserver.Conn // nil in a trial
	log *slog.Logger

	remote, local netip.AddrPort
	rdns          string // from XCLIENT; "" = unknown
	helo          string
	extended      bool // greeted by EHLO or LHLO
	tls           *tls.ConnectionState
	identity      auth.Identity
	authenticated bool
	deadline      time.Time // of the Handler's stage
}

// Remote returns the client's address: what a trusted proxy told, else the socket's. It is invalid for unix sockets.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Local returns the address the client connected to, like Remote.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Peer returns the other end of the socket, be it a proxy or the client; nil in a trial.
func (c *Conn) Peer() net.Addr {
	if c.nc == nil {
		return nil
	}
	return c.nc.Peer()
}

// RDNS returns the client's confirmed host name where a trusted relay told it (XCLIENT), else "".
func (c *Conn) RDNS() string { return c.rdns }

// Helo returns the name the client gave in its last EHLO, HELO or LHLO, "" before.
func (c *Conn) Helo() string { return c.helo }

// TLS returns the state of the TLS connection, nil without TLS. It is not to be changed.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Identity returns who the client has proven to be by AUTH, and whether it has.
func (c *Conn) Identity() (id auth.Identity, ok bool) { return c.identity, c.authenticated }

// Deadline returns when the current stage of the Session must be done; zero without a limit.
func (c *Conn) Deadline() time.Time { return c.deadline }

// Hostname returns the server's own name.
func (c *Conn) Hostname() string { return c.set.name }

// Protocol returns the dialect's name: "smtp", "lmtp".
func (c *Conn) Protocol() string { return c.set.dialect.Name }

// Logger returns the server's logger with the connection's attributes. It is never nil.
func (c *Conn) Logger() *slog.Logger { return c.log }
