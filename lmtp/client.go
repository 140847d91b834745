package lmtp

import (
	"context"
	"net"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// Client is a session with an LMTP server. It is smtp.Client: Send gives each recipient the server's reply for him, and those whose
// reply did not come before a connection broke off have StageError.Sent, so that only they are sent to again.
type Client = smtp.Client

// Dialer makes Clients. Its fields are those of smtp.Dialer.
type Dialer smtp.Dialer

func (d *Dialer) engine() *smtp.Dialer { return (*smtp.Dialer)(d) }

// Dial connects to addr as the zero Dialer does.
func Dial(ctx context.Context, addr string) (*Client, error) { return new(Dialer).Dial(ctx, addr) }

// Dial connects to addr, "host:port" or "unix:/path"; without port to 24. Unix sockets and loopback addresses need no TLS; others
// need a certificate that is valid for the host. Use DialHost for other levels of TLS.
func (d *Dialer) Dial(ctx context.Context, addr string) (*Client, error) {
	host, err := ParseHost(addr)
	if err != nil {
		return nil, err
	}
	return d.DialHost(ctx, host)
}

// ParseHost makes a RouteHost of what Dial takes.
func ParseHost(addr string) (goniec.RouteHost, error) {
	host, err := smtp.ParseHost(addr, 24)
	if strings.EqualFold(host.Name, "localhost") || len(host.Addrs) == 1 && host.Addrs[0].Unmap().IsLoopback() {
		host.TLS = goniec.TLSNone
	}
	return host, err
}

// DialHost is as for smtp.Dialer.
func (d *Dialer) DialHost(ctx context.Context, host goniec.RouteHost) (*Client, error) {
	return d.engine().DialDialect(ctx, dialect(), host)
}

// NewClient begins a session on conn, a connection to host. conn is closed if that fails.
func (d *Dialer) NewClient(ctx context.Context, conn net.Conn, host goniec.RouteHost) (*Client, error) {
	return d.engine().NewClientDialect(ctx, dialect(), conn, host)
}

// Dialect is what makes an smtp.Pool, and with it an smtp.Relay, speak LMTP.
func Dialect() *smtp.Dialect { return dialect() }
