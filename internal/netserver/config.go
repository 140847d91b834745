package netserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// The defaults of Config's fields.
const (
	DefaultMaxConns         = 10_000
	DefaultMaxConnsPerIP    = 100
	DefaultReadTimeout      = 5 * time.Minute // RFC 5321 §4.5.3.2.7
	DefaultWriteTimeout     = 2 * time.Minute
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultProxyTimeout     = 5 * time.Second
)

const (
	refuseTimeout = time.Second     // for the one line that a refused client gets
	closeGrace    = 5 * time.Second // for handlers to leave once their sockets are closed
)

// Config is what a protocol asks of the loop. It is copied by each Serve call; its slices and TLSConfig must not change
// while a server runs.
type Config struct {
	// Protocol names the protocol in log records: "smtp".
	Protocol string

	// Handle serves one connection in a goroutine of its own; the connection is closed when it returns. Required.
	// ctx ends when Handle returns, and, with cause ErrServerClosed, on Close and when Shutdown's patience ends.
	Handle func(ctx context.Context, c *Conn)

	// Refusal gives the line, CRLF included, for a client that is turned away because of why: ErrTooManyConns,
	// ErrTooManyPerIP or ErrTooFast. Nil or "" closes without a word.
	Refusal func(why error) string

	// BaseContext gives the context from which those of l's connections derive. Nil means context.Background. When it
	// ends, the server closes as by Close.
	BaseContext func(l net.Listener) context.Context

	// Logger takes accept errors, refusals (at most one record a second) and panics. Nil is silent.
	Logger *slog.Logger

	// TLSConfig is for ServeTLS and Conn.StartTLS. Nil means neither is possible.
	TLSConfig *tls.Config
	// NextProtos replaces TLSConfig's list of ALPN names. A client that offers ALPN without any of them is refused in the
	// handshake, so that no other protocol's session can be turned onto this server (ALPACA; RFC 7301 §3.2).
	NextProtos []string
	// HandshakeTimeout limits a whole TLS handshake. Zero means 10 s; negative means no limit.
	HandshakeTimeout time.Duration

	// MaxConns limits connections of all listeners together. Zero means 10,000; negative means no limit.
	MaxConns int
	// MaxConnsPerIP limits connections from one IPv4 address or IPv6 /64. Zero means 100; negative means no limit.
	MaxConnsPerIP int
	// RatePerIP limits new connections a minute from one IPv4 address or IPv6 /64. Zero or negative means no limit.
	RatePerIP int
	// Exempt lists networks without the two limits per address, such as loopback or an own web mail host.
	Exempt []netip.Prefix

	// ReadTimeout limits a stage that names no other limit, such as the one a connection begins with (see Conn.StartStage).
	// Zero means 5 min; negative means no limit.
	ReadTimeout time.Duration
	// WriteTimeout limits each Write call. Zero means 2 min; negative means no limit.
	WriteTimeout time.Duration

	// ProxyFrom lists the networks of trusted proxies. A connection from one of them must begin with a PROXY protocol
	// header (version 1 or 2), whose addresses then count as the client's. From anywhere else a header is just input.
	ProxyFrom []netip.Prefix
	// ProxyTimeout limits the wait for that header. Zero means 5 s; negative means no limit.
	ProxyTimeout time.Duration
}

// withDefaults is a copy whose zeros are replaced.
func (c *Config) withDefaults() Config {
	d := *c
	setDefault(&d.MaxConns, DefaultMaxConns)
	setDefault(&d.MaxConnsPerIP, DefaultMaxConnsPerIP)
	setDefault(&d.ReadTimeout, DefaultReadTimeout)
	setDefault(&d.WriteTimeout, DefaultWriteTimeout)
	setDefault(&d.HandshakeTimeout, DefaultHandshakeTimeout)
	setDefault(&d.ProxyTimeout, DefaultProxyTimeout)
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Protocol != "" {
		d.Logger = d.Logger.With("protocol", d.Protocol)
	}
	if d.BaseContext == nil {
		d.BaseContext = func(net.Listener) context.Context { return context.Background() }
	}
	return d
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Errors of the loop. All are safe to compare with errors.Is.
var (
	// ErrServerClosed is returned by Serve after Shutdown or Close, by BeginIdle, EndIdle and Read on a connection that
	// should leave, and is the cause of a connection context that the server ended.
	ErrServerClosed = errors.New("server closed")

	// ErrTooManyConns says that MaxConns connections are open.
	ErrTooManyConns = errors.New("too many connections")
	// ErrTooManyPerIP says that MaxConnsPerIP connections from this address are open.
	ErrTooManyPerIP = errors.New("too many connections from this address")
	// ErrTooFast says that this address made more than RatePerIP connections within a minute.
	ErrTooFast = errors.New("connections from this address come too fast")

	// ErrStageTimeout is returned by Read when the stage's time is over. It comes with an error that wraps
	// os.ErrDeadlineExceeded.
	ErrStageTimeout = errors.New("the peer took too long")
	// ErrTooSlow is returned by Read when the peer fell behind the stage's minimum rate; like ErrStageTimeout.
	ErrTooSlow = errors.New("the peer sends too slowly")

	// ErrPlaintextBuffered refuses StartTLS: the client sent more before the handshake, which could be a command put in
	// by somebody in between (CVE-2011-0411). The connection should be closed.
	ErrPlaintextBuffered = errors.New("plain text before the TLS handshake")
	// ErrNoTLS says that there is no TLSConfig with a certificate.
	ErrNoTLS = errors.New("TLS is not configured: set TLSConfig with a certificate")
	// ErrAlreadyTLS refuses a second StartTLS.
	ErrAlreadyTLS = errors.New("TLS is already active")
)
