package dovecot

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/netserver"
)

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = netserver.ErrServerClosed

// Server answers authentication requests as a Dovecot auth process does, on its auth-client socket.
// Set Authenticator; the rest may stay zero.
type Server struct {
	// Authenticator is asked. Required.
	Authenticator auth.Authenticator

	// Mechanisms are offered where the Authenticator can answer for them. Nil means PLAIN and LOGIN.
	// EXTERNAL, ANONYMOUS and the -PLUS forms are never offered.
	Mechanisms []auth.ServerMechanism

	// AllowInsecureAuth takes passwords that crossed the network without TLS, from clients on loopback
	// addresses only, as the mail server in front tells us ("secured", "rip").
	AllowInsecureAuth bool

	// MaxConns limits connections. Zero means 1000; negative means no limit.
	MaxConns int

	// MaxRequests limits the exchanges on one connection at once; more fail temporarily. Zero means
	// 100; negative means no limit.
	MaxRequests int

	// RequestTimeout limits an exchange. Zero means 150 s, as in Dovecot; negative means no limit.
	RequestTimeout time.Duration

	Logger *slog.Logger // nil: silent

	loop  netserver.Server
	conns atomic.Uint32 // CUIDs given out
}

// ListenAndServe listens on "unix:PATH" or "host:port" and serves. Restrict who can open the socket
// by its directory's permissions.
func (s *Server) ListenAndServe(addr string) error { return s.loop.ListenAndServe(addr, s.config()) }

// Serve serves connections of l until Shutdown or Close, and then returns ErrServerClosed.
func (s *Server) Serve(l net.Listener) error { return s.loop.Serve(l, s.config()) }

// Shutdown stops the server: idle connections are closed, exchanges that run are cancelled.
func (s *Server) Shutdown(ctx context.Context) error { return s.loop.Shutdown(ctx) }

// Close closes all connections at once.
func (s *Server) Close() error { return s.loop.Close() }

// Addr returns the address that the server listens on, nil if it does not.
func (s *Server) Addr() net.Addr { return s.loop.Addr() }

// Ready is closed when the server accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.loop.Ready() }

func (s *Server) config() *netserver.Config {
	maxConns := s.MaxConns
	if maxConns == 0 {
		maxConns = 1000
	}
	return &netserver.Config{Protocol: "dovecot-auth", Handle: s.handle, Logger: s.Logger, MaxConns: maxConns, MaxConnsPerIP: -1}
}

// session is one connection.
type session struct {
	server *Server
	conn   *netserver.Conn
	mechs  []auth.ServerMechanism

	mu       sync.Mutex // for writing, and for requests
	requests map[string]*request
	running  sync.WaitGroup
}

// request is one exchange.
type request struct {
	cancel context.CancelFunc
	resp   chan string // responses in base64
}

func (s *Server) handle(ctx context.Context, c *netserver.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	sess := &session{server: s, conn: c, mechs: s.mechanisms(), requests: map[string]*request{}}
	defer sess.running.Wait()
	defer cancel()
	if err := sess.greet(); err != nil {
		return
	}
	if err := sess.loop(ctx); s.Logger != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrServerClosed) {
		s.Logger.Warn("dovecot-auth", "err", err)
	}
}

// mechanisms are those that the protocol can carry and the Authenticator answers for.
func (s *Server) mechanisms() []auth.ServerMechanism {
	list := s.Mechanisms
	if list == nil {
		list = []auth.ServerMechanism{auth.Plain{}, auth.Login{}}
	}
	secured := &auth.Conn{TLS: &tls.ConnectionState{HandshakeComplete: true}}
	var out []auth.ServerMechanism
	for _, m := range list {
		name := m.Name()
		if name == "EXTERNAL" || name == "ANONYMOUS" || strings.HasSuffix(name, "-PLUS") {
			continue
		}
		if m.Permit(secured, s.Authenticator) == nil {
			out = append(out, m)
		}
	}
	return out
}

// flags describe a mechanism for Postfix's smtpd_sasl_security_options.
func flags(mechanism string) []string {
	switch mechanism {
	case "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER":
		return []string{"plaintext"}
	case "CRAM-MD5":
		return []string{"dictionary", "active"}
	case "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512":
		return []string{"mutual-auth"}
	}
	return nil
}

func (s *session) greet() error {
	cookie := make([]byte, 16)
	_, _ = rand.Read(cookie)
	b := line("VERSION", "1", "2")
	for _, m := range s.mechs {
		b = append(b, line(append([]string{"MECH", m.Name()}, flags(m.Name())...)...)...)
	}
	b = append(b, line("SPID", strconv.Itoa(os.Getpid()))...)
	b = append(b, line("CUID", strconv.FormatUint(uint64(s.server.conns.Add(1)), 10))...)
	b = append(b, line("COOKIE", hex.EncodeToString(cookie))...)
	b = append(b, line("DONE")...)
	_, err := s.conn.Write(b)
	return err
}

// loop reads commands until the connection ends. Clients keep it open for days.
func (s *session) loop(ctx context.Context) error {
	r := newReader(s.conn)
	for first := true; ; first = false {
		fields, err := s.read(r)
		if err != nil {
			return err
		}
		if first && (fields[0] != "VERSION" || len(fields) < 2 || fields[1] != "1") {
			return fmt.Errorf("%w: no VERSION 1 at the start", ErrProtocol)
		}
		switch fields[0] {
		case "AUTH":
			err = s.auth(ctx, fields[1:])
		case "CONT":
			err = s.cont(fields[1:])
		case "CANCEL":
			s.cancel(fields[1:])
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) read(r *bufio.Reader) ([]string, error) {
	if err := s.conn.BeginIdle(-1); err != nil {
		return nil, err
	}
	fields, err := readLine(r)
	if e := s.conn.EndIdle(); e != nil {
		return nil, e
	}
	return fields, err
}

// auth begins an exchange: id, mechanism, parameters.
func (s *session) auth(ctx context.Context, f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("%w: AUTH without id or mechanism", ErrProtocol)
	}
	id, name, p := f[0], f[1], params(f[2:])
	if n, err := strconv.ParseUint(id, 10, 32); err != nil || n == 0 {
		return fmt.Errorf("%w: bad id", ErrProtocol)
	}
	timeout := s.server.RequestTimeout
	if timeout == 0 {
		timeout = 150 * time.Second
	}
	var cancel context.CancelFunc
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	req := &request{cancel: cancel, resp: make(chan string, 1)}
	if err := s.enter(id, req); err != nil {
		cancel()
		if errors.Is(err, auth.ErrUnavailable) {
			return s.fail(id, "", err)
		}
		return err
	}
	initial, hasInitial := p.get("resp")
	if hasInitial && initial == "" {
		initial = "="
	}
	s.running.Go(func() {
		defer cancel()
		s.exchange(ctx, id, name, initial, p, req)
	})
	return nil
}

// enter registers a request.
func (s *session) enter(id string, req *request) error {
	limit := s.server.MaxRequests
	if limit == 0 {
		limit = 100
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[id] != nil {
		return fmt.Errorf("%w: id is in use", ErrProtocol)
	}
	if limit > 0 && len(s.requests) >= limit {
		return auth.Unavailable(errors.New("too many requests at once"))
	}
	s.requests[id] = req
	return nil
}

// exchange leads one exchange to its end and replies.
func (s *session) exchange(ctx context.Context, id, name, initial string, p params, req *request) {
	user := ""
	identity, err := func() (_ auth.Identity, err error) {
		defer func() {
			if v := recover(); v != nil {
				s.conn.Recovered(v)
				err = auth.Unavailable(fmt.Errorf("panic: %v", v))
			}
		}()
		table := observed(s.server.Authenticator, &user)
		x, err := auth.Begin(name, s.mechs, s.facts(p), table)
		if err != nil {
			return auth.Identity{}, err
		}
		return auth.Run(ctx, x, initial, func(challenge string) (string, error) {
			if err := s.write("CONT", id, challenge); err != nil {
				return "", err
			}
			select {
			case resp := <-req.resp:
				return resp, nil
			case <-ctx.Done():
				return "", auth.Unavailable(ctx.Err())
			}
		})
	}()
	s.mu.Lock()
	delete(s.requests, id)
	s.mu.Unlock()
	if err != nil {
		_ = s.fail(id, user, err)
		return
	}
	_ = s.write("OK", id, "user="+identity.Account())
}

// observed tells which user an attempt was about, for FAIL's parameter.
func observed(a auth.Authenticator, user *string) auth.Authenticator {
	return auth.Intercept(a, func(ctx context.Context, _ auth.Op, at *auth.Attempt, next func(context.Context, *auth.Attempt) error) error {
		*user = at.User
		return next(ctx, at)
	})
}

// facts make a Conn of what the mail server says about its client.
func (s *session) facts(p params) *auth.Conn {
	c := &auth.Conn{AllowInsecureAuth: s.server.AllowInsecureAuth}
	c.Protocol, _ = p.get("service")
	c.Remote, c.Local = addrPort(p, "rip", "rport"), addrPort(p, "lip", "lport")
	if v, ok := p.get("secured"); ok && v != "no" {
		c.TLS = &tls.ConnectionState{HandshakeComplete: true} // it has ended before us
	}
	return c
}

func addrPort(p params, ip, port string) netip.AddrPort {
	text, _ := p.get(ip)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.AddrPort{}
	}
	text, _ = p.get(port)
	n, _ := strconv.ParseUint(text, 10, 16) // 0 if it was not told
	return netip.AddrPortFrom(addr, uint16(n))
}

// cont passes a response to its exchange.
func (s *session) cont(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("%w: CONT without id or response", ErrProtocol)
	}
	if _, err := base64.StdEncoding.DecodeString(f[1]); err != nil && f[1] != "*" {
		return fmt.Errorf("%w: response is not base64", ErrProtocol)
	}
	s.mu.Lock()
	req := s.requests[f[0]]
	s.mu.Unlock()
	if req == nil {
		return nil // it has failed meanwhile
	}
	select {
	case req.resp <- f[1]:
		return nil
	default:
		return fmt.Errorf("%w: response without a challenge", ErrProtocol)
	}
}

func (s *session) cancel(f []string) {
	if len(f) < 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if req := s.requests[f[0]]; req != nil {
		req.cancel()
	}
}

// fail replies FAIL with what the peer may know.
func (s *session) fail(id, user string, err error) error {
	status := auth.StatusOf(err)
	if s.server.Logger != nil {
		s.server.Logger.Info("authentication failed", "protocol", "dovecot-auth", "user", user, "err", err)
	}
	f := []string{"FAIL", id}
	if user != "" {
		f = append(f, "user="+user)
	}
	if goniec.Temporary(status) {
		f = append(f, "temp", "code=temp_fail")
	}
	return s.write(append(f, "reason="+status.Text)...)
}

func (s *session) write(fields ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(line(fields...))
	return err
}
