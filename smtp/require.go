package smtp

import (
	"context"
	"net/netip"

	"github.com/goniec-mail/goniec"
)

// RequireAuth takes mail from authenticated clients only, as a submission server does (RFC 6409 §4.3): 530 5.7.0.
func RequireAuth() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return requireAuth{Wrapped{s}, c} })
}

type requireAuth struct {
	Wrapped
	c *Conn
}

func (s requireAuth) Mail(ctx context.Context, env *goniec.Envelope) error {
	if _, ok := s.c.Identity(); !ok {
		return goniec.NewStatus(530, goniec.EnhancedCode{5, 7, 0}, "authentication required")
	}
	return s.Session.Mail(ctx, env)
}

// RequireTLS takes mail over TLS only: 530 5.7.0 (RFC 3207 §4). A server for everybody's mail must not use it (the same
// section): mail from hosts without TLS would be lost.
func RequireTLS() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return requireTLS{Wrapped{s}, c} })
}

type requireTLS struct {
	Wrapped
	c *Conn
}

func (s requireTLS) Mail(ctx context.Context, env *goniec.Envelope) error {
	if s.c.TLS() == nil {
		return goniec.NewStatus(530, goniec.EnhancedCode{5, 7, 0}, "must issue a STARTTLS command first")
	}
	return s.Session.Mail(ctx, env)
}

// FromNetworks matches clients by address. Without arguments it matches loopback addresses.
func FromNetworks(networks ...netip.Prefix) func(*Conn) bool {
	return func(c *Conn) bool {
		ip := c.Remote().Addr()
		if len(networks) == 0 {
			return ip.IsLoopback()
		}
		return containsAddr(networks, ip)
	}
}

// Unless puts m around the Handler for all clients but those that match when they connect: trusted networks, as in
//
//	smtp.Unless(smtp.FromNetworks(office), greylist.Middleware())
func Unless(match func(*Conn) bool, m Middleware) Middleware {
	return func(next Handler) Handler {
		guarded := m(next)
		return HandlerFunc(func(ctx context.Context, c *Conn) (Session, error) {
			if match(c) {
				return next.NewSession(ctx, c)
			}
			return guarded.NewSession(ctx, c)
		})
	}
}
