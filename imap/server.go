package imap

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/netserver"
	"github.com/goniec-mail/goniec/mailbox"
)

// ErrServerClosed is returned by Serve and its kin after Shutdown or Close.
var ErrServerClosed = netserver.ErrServerClosed

// Server serves IMAP4rev2 and IMAP4rev1. With Store and Auth it is ready. Fields must not change while it serves. Its
// methods are safe for concurrent use.
type Server struct {
	// Addr is the address of ListenAndServe, "host:port" or "unix:/path". "" means ":143", with TLS
	// ":993". Port 0 takes a free one; ListenAddr tells which.
	Addr string
	// Store holds the mail. Required.
	Store mailbox.Store
	// Auth knows the users. Required.
	Auth auth.Authenticator
	// Mechanisms are the SASL mechanisms in the order in which they are offered. Nil means PLAIN and LOGIN.
	Mechanisms []auth.ServerMechanism
	// AllowInsecureAuth takes passwords in clear text from loopback addresses: for tests and local use.
	AllowInsecureAuth bool
	// Hostname is our name in the greeting. "" means the machine's name.
	Hostname string
	// TLSConfig turns STARTTLS on, and is needed by ServeTLS.
	TLSConfig *tls.Config

	// Login turns what a client says its name is into an account name: to add a domain, say. Nil
	// leaves names as they are. It sees the local address, so that each may have a domain.
	Login func(name string, local netip.AddrPort) string

	// Logger takes one record for each session, and what goes wrong. Nil is silent.
	Logger *slog.Logger

	// MaxConns limits connections in all. Zero means 10,000; negative means no limit.
	MaxConns int
	// MaxConnsPerIP limits connections from one IPv4 address or IPv6 /64. Zero means 100; negative means no limit.
	MaxConnsPerIP int
	// RatePerIP limits new connections a minute from one IPv4 address or IPv6 /64. Zero or negative means no limit.
	RatePerIP int
	// ExemptFrom lists networks without the two limits per address.
	ExemptFrom []netip.Prefix
	// ProxyFrom lists the networks of trusted proxies, whose connections must begin with a PROXY header.
	ProxyFrom []netip.Prefix

	// MaxErrors limits the failed logins and malformed commands in a row of one connection. Zero means 20; negative means no limit.
	MaxErrors int
	// MaxJunk limits NOOP and other commands that lead nowhere, when they come in a row and faster than one a second.
	// Zero means 100; negative means no limit.
	MaxJunk int
	// MaxMessageBytes limits the messages of APPEND; it is advertised as APPENDLIMIT. The store may have a narrower limit. Zero
	// means 50 MiB; negative means no limit.
	MaxMessageBytes int64
	// SaveLimit limits the messages of one APPEND and of one COPY; it is advertised as SAVELIMIT (RFC 9738), and should
	// not be below 1,000. Zero or negative means 1,000 for APPEND, and no limit for COPY.
	SaveLimit int
	// MaxLineBytes limits one line of a command after login: sets of many UIDs are long. Zero means 64 KiB. It always has a limit.
	MaxLineBytes int
	// MaxLiteralBytes limits the octets of all literals of one command but APPEND's messages, after login. Zero means
	// 1 MiB; negative means no limit.
	MaxLiteralBytes int64
	// IdleTimeout is how long a client may be silent, in IDLE too. Zero means 31 min: RFC 9051 §5.4 wants 30 at least; negative
	// means no limit.
	IdleTimeout time.Duration
	// LoginTimeout is how long a client may be silent before it is logged in. Zero means 1 min; negative means no limit.
	LoginTimeout time.Duration
	// CommandTimeout is how long a client may take for a command or literal once its first octet has come, in pauses and
	// below a rate of 500 octets a second. Zero means 5 min; negative means no limit.
	CommandTimeout time.Duration
	// JMAPSession is the address of the JMAP session resource (RFC 8620 §2) where the same mail is to be had, with the same users
	// and passwords: clients are told (RFC 9698). The identities there must be those of OBJECTID here. "" means that there is none.
	JMAPSession string
	// PollInterval is how often a folder is asked for changes during IDLE where its store can not tell. Zero means mailbox.DefaultPoll.
	PollInterval time.Duration
	// MaxNotify limits the mailboxes whose news a session under NOTIFY can have waiting, and those whose state it
	// remembers: beyond it the client is told NOTIFICATIONOVERFLOW. Zero means 10,000; negative means no limit.
	MaxNotify int
	// SearchTimeout is how long one SEARCH, ESEARCH, SORT or THREAD may work: beyond it the command is refused with
	// NO [LIMIT]. Waiting for the client does not count. Zero means 2 min; negative means no limit.
	SearchTimeout time.Duration
	// ProgressInterval is how often a client that waits for a long search or copy is told that it goes on (RFC
	// 9585). Zero means 10 s; negative means never.
	ProgressInterval time.Duration
	// WriteTimeout is how long a client may take to read a piece of a reply. Zero means 2 min; negative means no limit.
	WriteTimeout time.Duration
	// HandshakeTimeout limits a whole TLS handshake. Zero means 10 s; negative means no limit.
	HandshakeTimeout time.Duration

	loop netserver.Server
}

// The defaults of Server's limits.
const (
	defaultMaxErrors      = 20
	defaultMaxJunk        = 100
	defaultMaxMessage     = 50 << 20
	defaultIdleTimeout    = 31 * time.Minute
	defaultLoginTimeout   = time.Minute
	defaultCommandTimeout = 5 * time.Minute
	defaultProgress       = 10 * time.Second
	defaultMaxNotify      = 10_000
	defaultSearchTimeout  = 2 * time.Minute

	// minRate is what a client has to keep up within a command, in octets a second.
	minRate = 500
)

// ListenAndServe listens on Addr and serves until Shutdown or Close.
func (s *Server) ListenAndServe() error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	return s.loop.ListenAndServe(cmp.Or(s.Addr, ":143"), cfg)
}

// ListenAndServeTLS is ListenAndServe with TLS from the first octet (RFC 8314 §3.3).
func (s *Server) ListenAndServeTLS() error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	return s.loop.ListenAndServeTLS(cmp.Or(s.Addr, ":993"), cfg)
}

// Serve serves l until Shutdown or Close, and closes it. Several listeners may be served at once
// and share the limits.
func (s *Server) Serve(l net.Listener) error {
	cfg, err := s.config()
	if err != nil {
		_ = l.Close()
		return err
	}
	return s.loop.Serve(l, cfg)
}

// ServeTLS is Serve with TLS from the first octet.
func (s *Server) ServeTLS(l net.Listener) error {
	cfg, err := s.config()
	if err != nil {
		_ = l.Close()
		return err
	}
	return s.loop.ServeTLS(l, cfg)
}

func (s *Server) config() (*netserver.Config, error) {
	if s.Store == nil || s.Auth == nil {
		return nil, errors.New("imap: Server.Store or Server.Auth is nil")
	}
	if err := checkJMAPSession(s.JMAPSession); err != nil {
		return nil, err
	}
	set := s.settings()
	return &netserver.Config{
		Protocol:         "imap",
		Handle:           set.handle,
		Refusal:          func(error) string { return "* BYE [UNAVAILABLE] too many connections, try again later\r\n" },
		Logger:           s.Logger,
		TLSConfig:        s.TLSConfig,
		NextProtos:       []string{"imap"}, // RFC 7301's registry
		HandshakeTimeout: s.HandshakeTimeout,
		MaxConns:         s.MaxConns,
		MaxConnsPerIP:    s.MaxConnsPerIP,
		RatePerIP:        s.RatePerIP,
		Exempt:           s.ExemptFrom,
		ProxyFrom:        s.ProxyFrom,
		ReadTimeout:      set.LoginTimeout,
		WriteTimeout:     s.WriteTimeout,
	}, nil
}

// Shutdown stops accepting, tells idle clients goodbye at once, and lets commands in progress finish
// until ctx ends; then it closes what is left and returns ctx's error. Before Serve it makes Serve return ErrServerClosed.
func (s *Server) Shutdown(ctx context.Context) error { return s.loop.Shutdown(ctx) }

// Close closes listeners and connections at once.
func (s *Server) Close() error { return s.loop.Close() }

// ListenAddr returns the bound address of the listener that has served longest, nil when none does.
func (s *Server) ListenAddr() net.Addr { return s.loop.Addr() }

// Ready is closed when the first listener accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.loop.Ready() }

// Stats returns counters since the server was made.
func (s *Server) Stats() Stats {
	n := s.loop.Stats()
	return Stats{Conns: n.Conns, Accepted: n.Accepted, Refused: n.Refused, Panics: n.Panics}
}

// Stats are a Server's counters.
type Stats struct {
	Conns    int   // connections now
	Accepted int64 // connections accepted so far
	Refused  int64 // connections turned away by a limit
	Panics   int64 // panics of the store or of ours, contained
}

// settings are a Server's fields with the defaults filled in.
type settings struct {
	*Server
	name                      string
	log                       *slog.Logger
	mechs                     []auth.ServerMechanism
	table                     []command
	MaxErrors, MaxJunk        int
	MaxNotify                 int
	MaxMessageBytes           int64
	IdleTimeout, LoginTimeout time.Duration
	CommandTimeout            time.Duration
	ProgressInterval          time.Duration
	SearchTimeout             time.Duration
}

func (s *Server) settings() *settings {
	set := &settings{
		Server: s, name: s.Hostname, log: s.Logger, mechs: s.Mechanisms, table: commands(),
		MaxErrors:       orDefault(s.MaxErrors, defaultMaxErrors),
		MaxJunk:         orDefault(s.MaxJunk, defaultMaxJunk),
		MaxNotify:       orDefault(s.MaxNotify, defaultMaxNotify),
		MaxMessageBytes: orDefault(s.MaxMessageBytes, int64(defaultMaxMessage)),
		IdleTimeout:     orDefault(s.IdleTimeout, defaultIdleTimeout),
		LoginTimeout:    orDefault(s.LoginTimeout, defaultLoginTimeout),
		CommandTimeout:  orDefault(s.CommandTimeout, defaultCommandTimeout),

		ProgressInterval: orDefault(s.ProgressInterval, defaultProgress),
		SearchTimeout:    orDefault(s.SearchTimeout, defaultSearchTimeout),
	}
	if set.name == "" {
		set.name, _ = os.Hostname()
	}
	if set.log == nil {
		set.log = slog.New(slog.DiscardHandler)
	}
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
