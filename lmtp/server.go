package lmtp

import (
	"context"
	"net"

	"github.com/goniec-mail/goniec/smtp"
)

// Server serves LMTP. Its fields are those of smtp.Server, except that Bounce is not used: every recipient has a reply of its own.
// Addr "" means "127.0.0.1:24"; "unix:/path" is a unix socket. Fields must not change while it serves; its methods are safe for
// concurrent use.
type Server smtp.Server

// dialect returns how LMTP differs from SMTP (RFC 2033 §4).
func dialect() *smtp.Dialect {
	return &smtp.Dialect{
		Name: "lmtp", Addr: "127.0.0.1:24", AddrTLS: "127.0.0.1:24", Extended: "LHLO",
		With: "LMTP", WithUTF8: "UTF8LMTP",
		ALPN:     []string{"lmtp"},
		EachRcpt: true,
	}
}

func (s *Server) engine() *smtp.Server { return (*smtp.Server)(s) }

// ListenAndServe listens on Addr and serves until Shutdown or Close.
func (s *Server) ListenAndServe() error {
	return s.engine().ListenAndServeDialect(dialect(), false)
}

// Serve serves l until Shutdown or Close, and closes it. Several listeners may be served at once and share the limits.
func (s *Server) Serve(l net.Listener) error { return s.engine().ServeDialect(dialect(), l, false) }

// ServeTLS is Serve with TLS from the first octet.
func (s *Server) ServeTLS(l net.Listener) error { return s.engine().ServeDialect(dialect(), l, true) }

// Shutdown is as for smtp.Server.
func (s *Server) Shutdown(ctx context.Context) error { return s.engine().Shutdown(ctx) }

// Close is as for smtp.Server.
func (s *Server) Close() error { return s.engine().Close() }

// ListenAddr returns the bound address of the listener that has served longest, nil when none does.
func (s *Server) ListenAddr() net.Addr { return s.engine().ListenAddr() }

// Ready is closed when the first listener accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.engine().Ready() }

// Stats returns counters since the server was made.
func (s *Server) Stats() smtp.Stats { return s.engine().Stats() }
