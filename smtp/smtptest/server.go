package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

// Hostname is the server's name, for which its certificate is valid.
const Hostname = "mail.example.org"

// Config says what kind of server is wanted. The zero value has neither TLS nor AUTH.
type Config struct {
	TLS         bool              // offer STARTTLS
	ImplicitTLS bool              // TLS from the first octet
	Users       map[string]string // names and passwords; offers AUTH, without TLS too
	Dialect     *smtp.Dialect     // nil means SMTP; lmtp.Dialect() for LMTP

	// Change may set anything else before the server starts: Handler, limits, mechanisms. Nil changes nothing.
	Change func(*smtp.Server)
}

// Message is a message that the server took.
type Message struct {
	Envelope *goniec.Envelope
	Data     []byte // as it was sent, without the Received field that the server would add
}

// Server is a running server. Its methods are safe for concurrent use.
type Server struct {
	t    testing.TB // nil outside of tests
	srv  *smtp.Server
	addr netip.AddrPort
	cert certificate
	done chan error // gets Serve's result

	closing sync.Once
	ended   error

	mu     sync.Mutex
	msgs   []Message
	more   chan struct{} // closed with the next message
	faults map[smtp.Stage][]fault
	lines  []string
	conns  map[string]net.Conn
	names  map[string]int // numbers of connections in the transcript
}

// NewServer starts a server without TLS and AUTH, which ends with the test.
func NewServer(t testing.TB) *Server { return Start(t, Config{}) }

// Start starts a server, which ends with the test.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.t = t
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("smtptest: %v", err)
		}
		if t.Failed() {
			t.Logf("smtptest: the dialogue with %s:\n%s", s.Addr(), s.Transcript())
		}
	})
	return s
}

// Open starts a server for a program that is no test, a demo or a benchmark. The caller closes it.
func Open(cfg Config) (_ *Server, err error) {
	s := &Server{more: make(chan struct{}), faults: map[smtp.Stage][]fault{}, conns: map[string]net.Conn{}, names: map[string]int{}, done: make(chan error, 1)}
	s.srv = &smtp.Server{Hostname: Hostname, Handler: smtp.HandlerFunc(s.newSession), Trace: s.trace, MaxConnsPerIP: -1}
	if cfg.TLS || cfg.ImplicitTLS {
		if s.cert, err = newCertificate(); err != nil {
			return nil, fmt.Errorf("smtptest: %w", err)
		}
		s.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{s.cert.pair}, GetConfigForClient: s.handshake}
	}
	if cfg.Users != nil {
		s.srv.Auth, s.srv.AllowInsecureAuth = s.authenticator(cfg.Users), true
	}
	if cfg.Change != nil {
		cfg.Change(s.srv)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("smtptest: %w", err)
	}
	s.addr = l.Addr().(*net.TCPAddr).AddrPort()
	go s.serve(&listener{l, s}, cfg)
	<-s.srv.Ready()
	return s, nil
}

// serve runs the server until Close.
func (s *Server) serve(l net.Listener, cfg Config) {
	switch {
	case cfg.Dialect != nil:
		s.done <- s.srv.ServeDialect(cfg.Dialect, l, cfg.ImplicitTLS)
	case cfg.ImplicitTLS:
		s.done <- s.srv.ServeTLS(l)
	default:
		s.done <- s.srv.Serve(l)
	}
}

// Close ends the server, once; of those that end with a test nobody needs to call it. The error tells why it ended before.
func (s *Server) Close() error {
	s.closing.Do(func() {
		_ = s.srv.Close()
		if err := <-s.done; !errors.Is(err, smtp.ErrServerClosed) {
			s.ended = err
		}
	})
	return s.ended
}

// Addr returns the server's address, "127.0.0.1:port".
func (s *Server) Addr() string { return s.addr.String() }

// Host returns the server as a host of a Route: at the level verified if it has TLS, else none.
func (s *Server) Host() goniec.RouteHost {
	h := goniec.RouteHost{Name: Hostname, Addrs: []netip.Addr{s.addr.Addr()}, Port: s.addr.Port(), TLS: goniec.TLSNone}
	if s.cert.roots != nil {
		h.TLS = goniec.TLSVerified
	}
	return h
}

// Dialer returns a new smtp.Dialer that trusts the server's certificate.
func (s *Server) Dialer() *smtp.Dialer {
	return &smtp.Dialer{Hostname: "client.example.org", TLSConfig: s.ClientTLS()}
}

// ClientTLS returns a new configuration that trusts the server's certificate; nil if it has none.
func (s *Server) ClientTLS() *tls.Config {
	if s.cert.roots == nil {
		return nil
	}
	return &tls.Config{RootCAs: s.cert.roots, ServerName: Hostname}
}

// Messages returns the messages taken so far, in the order in which they were acknowledged.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.msgs...)
}

// waitTime is how long Wait waits.
const waitTime = 30 * time.Second

// Wait returns the messages as soon as there are n or more, and ends the test if that takes longer than 30 s. It is for the
// goroutine of the test. Outside of tests, see Open, it returns what there is after that time; WaitContext tells.
func (s *Server) Wait(n int) []Message {
	if s.t != nil {
		s.t.Helper()
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	msgs, err := s.WaitContext(ctx, n)
	if err != nil && s.t != nil {
		s.t.Fatalf("smtptest: waited %v for %d messages and got %d", waitTime, n, len(msgs))
	}
	return msgs
}

// WaitContext is Wait until ctx ends; the error is then ctx's.
func (s *Server) WaitContext(ctx context.Context, n int) ([]Message, error) {
	for {
		s.mu.Lock()
		more := s.more
		s.mu.Unlock()
		if msgs := s.Messages(); len(msgs) >= n {
			return msgs, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return s.Messages(), ctx.Err()
		}
	}
}

// Reset forgets messages, faults and the transcript.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.msgs, s.lines = nil, nil
	clear(s.faults)
}

// maxLines limits the transcript.
const maxLines = 10_000

// Transcript returns the dialogue of all connections so far, without messages and credentials: "1 C: EHLO client.example.org".
func (s *Server) Transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// trace is the server's Trace.
func (s *Server) trace(c *smtp.Conn, line smtp.TraceLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(peerName(c), line.String())
}

func (s *Server) note(peer, text string) {
	if len(s.lines) == maxLines {
		s.lines = append(s.lines, "(and so on)")
	}
	if len(s.lines) < maxLines {
		s.lines = append(s.lines, fmt.Sprintf("%d %s", s.names[peer], text))
	}
}

func peerName(c *smtp.Conn) string {
	if p := c.Peer(); p != nil {
		return p.String()
	}
	return ""
}

// keep adds a message.
func (s *Server) keep(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.msgs = append(s.msgs, m)
	close(s.more)
	s.more = make(chan struct{})
}

// authenticator knows the users, and the faults of StageAuth.
func (s *Server) authenticator(users map[string]string) auth.Authenticator {
	return auth.AuthenticatorFunc(func(ctx context.Context, a *auth.Attempt) (auth.Identity, error) {
		if err := s.fault(ctx, smtp.StageAuth, a.Remote.String()); err != nil {
			return auth.Identity{}, err
		}
		if password, ok := users[a.User]; ok && a.Secret.Equal(auth.NewSecret(password)) {
			return auth.Identity{User: a.User}, nil
		}
		return auth.Identity{}, auth.ErrCredentials
	})
}

// handshake fails by request.
func (s *Server) handshake(h *tls.ClientHelloInfo) (*tls.Config, error) {
	return nil, s.fault(h.Context(), smtp.StageTLS, h.Conn.RemoteAddr().String())
}

// newSession is the Handler.
func (s *Server) newSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	peer := peerName(c)
	if err := s.fault(ctx, smtp.StageBanner, peer); err != nil {
		return nil, err
	}
	return &session{s, peer}, nil
}

// session takes everything, unless a fault was asked for.
type session struct {
	s    *Server
	peer string
}

func (x *session) Helo(ctx context.Context, _ string) error {
	return x.s.fault(ctx, smtp.StageEHLO, x.peer)
}

func (x *session) Mail(ctx context.Context, _ *goniec.Envelope) error {
	return x.s.fault(ctx, smtp.StageMail, x.peer)
}

func (x *session) Rcpt(ctx context.Context, _ *goniec.Envelope, _ *goniec.Recipient) error {
	return x.s.fault(ctx, smtp.StageRcpt, x.peer)
}

func (x *session) Data(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	if err := x.s.fault(ctx, smtp.StageData, x.peer); err != nil {
		return err
	}
	data, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	if err := x.s.fault(ctx, smtp.StageText, x.peer); err != nil {
		return err
	}
	x.s.keep(Message{env.Clone(), withoutReceived(data)})
	return nil
}

func (x *session) Reset(*goniec.Envelope, error) {}
func (x *session) Close(error)                   {}

// Extensions offers all that Go code may want to send.
func (x *session) Extensions(offered []string) []string {
	return append(offered, "BINARYMIME", "DSN", "REQUIRETLS", "DELIVERBY", "MT-PRIORITY", "RRVS")
}

// withoutReceived cuts the field that the server has put in front.
func withoutReceived(data []byte) []byte {
	for i := range data {
		if data[i] == '\n' && (i+1 == len(data) || data[i+1] != '\t') {
			return data[i+1:]
		}
	}
	return data
}
