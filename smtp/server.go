package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/netserver"
)

// Errors of a server and its sessions.
var (
	// ErrServerClosed is returned by Serve and its kin after Shutdown or Close.
	ErrServerClosed = netserver.ErrServerClosed
	// ErrStageTimeout is the cause of a context that ended because a stage took too long.
	ErrStageTimeout = netserver.ErrStageTimeout
	// ErrReset is the cause given to Session.Reset when the client gave a transaction up: RSET, or a new EHLO.
	ErrReset = errors.New("the client gave the transaction up")
)

// Server serves SMTP. The zero value with a Handler is ready, limited and closed to relaying. Fields must not change
// while it serves. When four of five connections of MaxConns are taken, clients get 10 s for a command, one error and one idle
// command. Its methods are safe for concurrent use.
type Server struct {
	// Addr is the address of ListenAndServe, "host:port" or "unix:/path". "" means ":25", with TLS ":465". Port 0 takes a free
	// one; ListenAddr tells which.
	Addr string
	// Handler judges and takes the mail: DeliverTo makes one of a goniec.Deliverer. Required.
	Handler Handler
	// Hostname is our name in the banner, in EHLO and in Received fields. "" means the machine's name.
	Hostname string
	// TLSConfig turns STARTTLS on, and is needed by ServeTLS. With ClientAuth set in it, certificates of clients are asked
	// for and verified.
	TLSConfig *tls.Config

	// Auth turns AUTH on: who knows the users. Nil means no AUTH.
	Auth auth.Authenticator
	// Mechanisms are the SASL mechanisms in the order in which they are offered. Nil means PLAIN and LOGIN.
	Mechanisms []auth.ServerMechanism
	// AllowInsecureAuth takes passwords in clear text from loopback addresses: for tests and local relays.
	AllowInsecureAuth bool

	// Bounce takes over recipients that failed when others of the same message did not, since SMTP has one reply for
	// all: a queue that tries again or returns the mail. With it, messages for several recipients are spooled first. Nil
	// means that such a message is answered 451: it comes again, and the others get it twice.
	Bounce goniec.Deliverer

	// BareNewlines is the policy for a bare CR or LF in a message. Zero, RejectBare, refuses the message.
	BareNewlines BarePolicy
	// BannerDelay makes a client wait for the banner; one that speaks before is sent away (554). Many senders of junk do not
	// wait. Zero means none.
	BannerDelay time.Duration

	// ProxyFrom lists the networks of trusted proxies: a connection from one must begin with a PROXY protocol header (version 1 or
	// 2), whose addresses then are the client's. Anybody else's header is refused as a foreign protocol.
	ProxyFrom []netip.Prefix
	// XClientFrom lists the networks of trusted relays and filters, which may say by XCLIENT whose mail they pass on, and by
	// XFORWARD what the log and the Received field should say. Everybody else gets 550.
	XClientFrom []netip.Prefix

	// Logger takes one record for each transaction, and what goes wrong. Nil is silent.
	Logger *slog.Logger
	// Trace is called with each line of the dialogue, credentials masked and messages left out. It is called by the
	// connections' goroutines, so it must be safe for concurrent use. Nil means no trace.
	Trace func(c *Conn, line TraceLine)

	// MaxMessageBytes limits a message in octets. Zero means 50 MiB; negative means no limit.
	MaxMessageBytes int64
	// MaxRecipients limits the accepted recipients of a message. Zero means 1000; negative means no limit. RFC 5321
	// §4.5.3.1.8 wants at least 100.
	MaxRecipients int
	// MaxTextLine limits a line of a message in octets, without its CRLF. Zero means 1 MiB; negative means no limit. Lines are never
	// split, and cost no memory.
	MaxTextLine int
	// MaxReceived limits the Received fields of a message, so that mail that goes in circles ends (RFC 5321 §6.3). Zero
	// means 100; negative means no limit.
	MaxReceived int
	// MaxTransactions limits the messages of one connection. Zero means 100,000; negative means no limit.
	MaxTransactions int
	// MaxErrors limits the protocol errors and failed logins of one connection. Zero means 20; negative means no limit.
	MaxErrors int
	// MaxJunk limits the commands since the last message that lead nowhere (NOOP, RSET, VRFY, HELP). Zero means 100;
	// negative means no limit.
	MaxJunk int
	// MaxRefused limits the recipients of one connection that the Handler refused. Zero means 1000; negative means no limit.
	MaxRefused int
	// MaxDeferred limits the recipients of one connection that were refused for now (4xx): by the Handler, or for being more than
	// MaxRecipients. Zero means 10,000; negative means no limit.
	MaxDeferred int
	// MaxInFlight limits the messages that are being taken at one time on all connections; further ones get 451 4.3.2. Zero
	// means 1000; negative means no limit.
	MaxInFlight int

	// MaxConns limits connections in all. Zero means 10,000; negative means no limit.
	MaxConns int
	// MaxConnsPerIP limits connections from one IPv4 address or IPv6 /64. Zero means 100; negative means no limit.
	MaxConnsPerIP int
	// RatePerIP limits new connections a minute from one IPv4 address or IPv6 /64. Zero or negative means no limit.
	RatePerIP int
	// ExemptFrom lists networks without the two limits per address.
	ExemptFrom []netip.Prefix

	// CommandTimeout is how long a client may take for a whole command. Zero means 5 min (RFC 5321 §4.5.3.2.7); negative
	// means no limit.
	CommandTimeout time.Duration
	// DataTimeout is how long a client may take for a whole message. Zero means 1 h; negative means no limit.
	DataTimeout time.Duration
	// MinDataRate is how many octets a second a client must send while we wait for a message. It may fall behind by a minute. Zero
	// means 500; negative means no minimum.
	MinDataRate int
	// StageTimeout is how long the Handler may take for a command. Zero means 4 min, since clients wait 5; negative means no
	// limit.
	StageTimeout time.Duration
	// FinishTimeout is how long the Handler may take after the end of a message. Zero means 9 min, since clients wait 10 (RFC 5321
	// §4.5.3.2.6); negative means no limit.
	FinishTimeout time.Duration
	// WriteTimeout is how long a client may take to read a reply. Zero means 2 min; negative means no limit.
	WriteTimeout time.Duration
	// HandshakeTimeout limits a whole TLS handshake. Zero means 10 s; negative means no limit.
	HandshakeTimeout time.Duration

	loop     netserver.Server
	inFlight atomic.Int64
}

// BarePolicy says what happens to a message with a bare CR or LF, which RFC 5321 §2.3.8 forbids: what one hop takes for text
// the next may take for the end of the message.
type BarePolicy uint8

const (
	// RejectBare refuses the message with 550 5.6.0.
	RejectBare BarePolicy = iota
	// NormaliseBare makes each a CRLF. A dot behind it is text.
	NormaliseBare
)

// The defaults of Server's limits.
const (
	defaultMaxMessage      = 50 << 20
	defaultMaxRecipients   = 1000
	defaultMaxTextLine     = 1 << 20
	defaultMaxReceived     = 100
	defaultMaxTransactions = 100_000
	defaultMaxErrors       = 20
	defaultMaxJunk         = 100
	defaultMaxRefused      = 1000
	defaultMaxDeferred     = 10_000
	defaultMaxInFlight     = 1000
	defaultCommandTimeout  = 5 * time.Minute
	defaultDataTimeout     = time.Hour
	defaultMinDataRate     = 500
	defaultStageTimeout    = 4 * time.Minute
	defaultFinishTimeout   = 9 * time.Minute

	// What counts when four of five connections are taken, so that those who only hold theirs make room: Postfix's figures.
	stressTimeout = 10 * time.Second
	stressErrors  = 1
	stressJunk    = 1
)

// ListenAndServe listens on Addr and serves until Shutdown or Close.
func (s *Server) ListenAndServe() error { return s.ListenAndServeDialect(smtpDialect(), false) }

// ListenAndServeTLS is ListenAndServe with TLS from the first octet (RFC 8314 §3.3).
func (s *Server) ListenAndServeTLS() error { return s.ListenAndServeDialect(smtpDialect(), true) }

// Serve serves l until Shutdown or Close, and closes it. Several listeners may be served at once and share the limits.
func (s *Server) Serve(l net.Listener) error { return s.ServeDialect(smtpDialect(), l, false) }

// ServeTLS is Serve with TLS from the first octet.
func (s *Server) ServeTLS(l net.Listener) error { return s.ServeDialect(smtpDialect(), l, true) }

// ListenAndServeDialect is ListenAndServe for another dialect of the protocol, with TLS from the first octet if implicitTLS.
func (s *Server) ListenAndServeDialect(d *Dialect, implicitTLS bool) error {
	addr := s.Addr
	if addr == "" {
		addr = d.Addr
		if implicitTLS {
			addr = d.AddrTLS
		}
	}
	if s.loop.ShuttingDown() {
		return ErrServerClosed
	}
	l, err := netserver.Listen(addr)
	if err != nil {
		return err
	}
	return s.ServeDialect(d, l, implicitTLS)
}

// ServeDialect is Serve for another dialect of the protocol, with TLS from the first octet if implicitTLS.
func (s *Server) ServeDialect(d *Dialect, l net.Listener, implicitTLS bool) error {
	if s.Handler == nil {
		_ = l.Close()
		return errors.New("smtp: Server.Handler is nil")
	}
	set := s.settings(d)
	cfg := &netserver.Config{
		Protocol:         d.Name,
		Handle:           set.handle,
		Refusal:          refusal,
		Logger:           s.Logger,
		TLSConfig:        s.TLSConfig,
		NextProtos:       d.ALPN,
		HandshakeTimeout: s.HandshakeTimeout,
		MaxConns:         s.MaxConns,
		MaxConnsPerIP:    s.MaxConnsPerIP,
		RatePerIP:        s.RatePerIP,
		Exempt:           s.ExemptFrom,
		ProxyFrom:        s.ProxyFrom,
		ReadTimeout:      set.CommandTimeout,
		WriteTimeout:     s.WriteTimeout,
	}
	if implicitTLS {
		return s.loop.ServeTLS(l, cfg)
	}
	return s.loop.Serve(l, cfg)
}

// refusal is the line for a client that the loop turns away.
func refusal(error) string { return "421 4.7.0 too many connections, try again later\r\n" }

// Shutdown stops accepting, answers idle clients with 421 at once, and lets transactions in progress finish until ctx ends; then
// it closes what is left and returns ctx's error. Before Serve it makes Serve return ErrServerClosed.
func (s *Server) Shutdown(ctx context.Context) error { return s.loop.Shutdown(ctx) }

// Close closes listeners and connections at once. A message whose reply was not sent yet may or may not have been taken; the client
// knows that it does not know.
func (s *Server) Close() error { return s.loop.Close() }

// ListenAddr returns the bound address of the listener that has served longest, nil when none does.
func (s *Server) ListenAddr() net.Addr { return s.loop.Addr() }

// Ready is closed when the first listener accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.loop.Ready() }

// Stats returns counters since the server was made.
func (s *Server) Stats() Stats {
	n := s.loop.Stats()
	return Stats{Conns: n.Conns, Accepted: n.Accepted, Refused: n.Refused, Panics: n.Panics, InFlight: int(s.inFlight.Load())}
}

// Stats are a Server's counters.
type Stats struct {
	Conns    int   // connections now
	Accepted int64 // connections accepted so far
	Refused  int64 // connections turned away by a limit
	Panics   int64 // panics of a Handler or of ours, contained
	InFlight int   // messages being taken now
}

// settings are a Server's fields with the defaults filled in, shared by the connections of one Serve call.
type settings struct {
	*Server
	dialect *Dialect
	name    string // Hostname
	log     *slog.Logger
	mechs   []auth.ServerMechanism

	MaxMessageBytes                                       int64
	MaxRecipients, MaxTextLine, MaxReceived               int
	MaxTransactions, MaxErrors, MaxJunk, MaxRefused       int
	MaxDeferred, MaxInFlight, MinDataRate                 int
	CommandTimeout, DataTimeout, StageTimeout, FinishTime time.Duration
}

func (s *Server) settings(d *Dialect) *settings {
	set := &settings{
		Server: s, dialect: d, name: s.Hostname, log: s.Logger, mechs: s.Mechanisms,
		MaxMessageBytes: orDefault(s.MaxMessageBytes, defaultMaxMessage),
		MaxRecipients:   orDefault(s.MaxRecipients, defaultMaxRecipients),
		MaxTextLine:     orDefault(s.MaxTextLine, defaultMaxTextLine),
		MaxReceived:     orDefault(s.MaxReceived, defaultMaxReceived),
		MaxTransactions: orDefault(s.MaxTransactions, defaultMaxTransactions),
		MaxErrors:       orDefault(s.MaxErrors, defaultMaxErrors),
		MaxJunk:         orDefault(s.MaxJunk, defaultMaxJunk),
		MaxRefused:      orDefault(s.MaxRefused, defaultMaxRefused),
		MaxDeferred:     orDefault(s.MaxDeferred, defaultMaxDeferred),
		MaxInFlight:     orDefault(s.MaxInFlight, defaultMaxInFlight),
		MinDataRate:     orDefault(s.MinDataRate, defaultMinDataRate),
		CommandTimeout:  orDefault(s.CommandTimeout, defaultCommandTimeout),
		DataTimeout:     orDefault(s.DataTimeout, defaultDataTimeout),
		StageTimeout:    orDefault(s.StageTimeout, defaultStageTimeout),
		FinishTime:      orDefault(s.FinishTimeout, defaultFinishTimeout),
	}
	if set.name == "" {
		set.name = machineName()
	}
	if set.log == nil {
		set.log = slog.New(slog.DiscardHandler)
	}
	set.log = set.log.With(keyProtocol, d.Name)
	if set.mechs == nil {
		set.mechs = []auth.ServerMechanism{auth.Plain{}, auth.Login{}}
	}
	return set
}

// orDefault applies the rule of all limits: zero means the default, negative none.
func orDefault[T int | int64 | time.Duration](field, def T) T {
	if field == 0 {
		return def
	}
	return field
}

// over tells whether n is beyond limit; a negative limit is none.
func over[T int | int64](n, limit T) bool { return limit >= 0 && n > limit }

// machineName is the default of Hostname.
func machineName() string {
	name, err := os.Hostname()
	if err != nil || validHelo(name) != nil {
		return "localhost"
	}
	return name
}
