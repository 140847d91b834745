package smtp_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/dialogue"
	"github.com/goniec-mail/goniec/smtp"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

// recorder is a Deliverer that keeps what it got. It verifies recipients like a small site: users of example.org whose
// name does not begin with "no", nobody else; names that begin with "tmp" fail for the moment.
type recorder struct {
	mu   sync.Mutex
	mail []received
	fail map[string]error // by local part: outcome at delivery
	err  error            // of every delivery
}

type received struct {
	env  *goniec.Envelope
	body string
}

func (r *recorder) Deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	b, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	out := make(goniec.RcptErrors, len(env.To))
	for i, to := range env.To {
		out[i] = r.fail[to.Address.Local()]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.mail = append(r.mail, received{env.Clone(), string(b)})
	return out.Err()
}

func (r *recorder) VerifyRcpt(_ context.Context, _ *goniec.Envelope, to *goniec.Recipient) error {
	a := to.Address
	switch {
	case a.Domain() == "":
		return nil
	case !goniec.SameDomain(a.Domain(), "example.org"):
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "relaying denied")
	case strings.HasPrefix(a.Local(), "no"):
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
	case strings.HasPrefix(a.Local(), "tmp"):
		return errors.New("the table at /etc/secret is locked")
	case strings.HasPrefix(a.Local(), "panic"):
		panic("injected")
	}
	return nil
}

func (r *recorder) got() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.mail...)
}

// users knows alice with the password "wonder".
var users = auth.AuthenticatorFunc(func(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
	if a.User == "alice" && a.Secret.Equal(auth.NewSecret("wonder")) {
		return auth.Identity{User: "alice@example.org"}, nil
	}
	return auth.Identity{}, auth.ErrCredentials
})

// start serves srv on loopback and stops it with the test.
func start(t testing.TB, srv *smtp.Server) *smtp.Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if srv.Hostname == "" {
		srv.Hostname = "mx.example.org"
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	<-srv.Ready()
	t.Cleanup(func() {
		_ = srv.Close()
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
		require.Zero(t, srv.Stats().InFlight)
	})
	return srv
}

// dial connects to srv.
func dial(t testing.TB, srv *smtp.Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", srv.ListenAddr().String())
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// talk sends input in one piece, ends our side, and returns all that the server says.
func talk(t testing.TB, srv *smtp.Server, input string) string {
	t.Helper()
	c := dial(t, srv)
	go func() {
		_, _ = io.WriteString(c, input)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	out, _ := io.ReadAll(c)
	return string(out)
}

// codes are the codes of the replies in what a server said, one for each reply.
func codes(said string) []int {
	var out []int
	for line := range strings.SplitSeq(said, "\r\n") {
		if len(line) >= 3 && (len(line) == 3 || line[3] == ' ') {
			n, _ := strconv.Atoi(line[:3])
			out = append(out, n)
		}
	}
	return out
}

// testCert is a certificate of our own for mx.example.org.
var testCert = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.org"}, DNSNames: []string{"mx.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{testCert()}} }

// lines gathers log records.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// TestDialogues plays testdata/*.txt against a server made by the settings of each file.
func TestDialogues(t *testing.T) {
	dialogue.Run(t, "testdata/*.txt", func(t *testing.T, settings map[string]string) dialogue.Target {
		rec := &recorder{fail: map[string]error{
			"later": goniec.NewStatus(451, goniec.EnhancedCode{4, 2, 1}, "later"),
			"never": goniec.NewStatus(550, goniec.EnhancedCode{5, 2, 1}, "never"),
		}}
		srv := &smtp.Server{Handler: smtp.DeliverTo(rec)}
		configure(t, srv, rec, settings)
		start(t, srv)
		return dialogue.Target{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", srv.ListenAddr().String())
			},
			Hooks: hooks(rec),
		}
	})
}

// configure applies a dialogue's settings.
func configure(t *testing.T, srv *smtp.Server, rec *recorder, settings map[string]string) {
	t.Helper()
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	for key, value := range settings {
		switch key {
		case "tls":
			srv.TLSConfig = serverTLS()
		case "auth":
			srv.Auth, srv.AllowInsecureAuth = users, value == "insecure"
		case "max-message":
			srv.MaxMessageBytes = int64(number(value))
		case "max-rcpt":
			srv.MaxRecipients = number(value)
		case "max-errors":
			srv.MaxErrors = number(value)
		case "max-junk":
			srv.MaxJunk = number(value)
		case "max-refused":
			srv.MaxRefused = number(value)
		case "max-transactions":
			srv.MaxTransactions = number(value)
		case "max-received":
			srv.MaxReceived = number(value)
		case "max-line":
			srv.MaxTextLine = number(value)
		case "bounce":
			srv.Bounce = &recorder{}
		case "promises":
			srv.Handler = smtp.DeliverTo(promising{rec, strings.Split(value, ",")})
		case "fail":
			rec.err = errors.New(value)
		default:
			setMore(t, srv, rec, key, value)
		}
	}
}

// promising is a Deliverer that keeps the promises of extensions.
type promising struct {
	*recorder
	exts []string
}

func (p promising) Extensions() []string { return p.exts }

// hooks let a dialogue look at what was delivered.
func hooks(rec *recorder) map[string]func(args ...string) error {
	last := func() (received, error) {
		got := rec.got()
		if len(got) == 0 {
			return received{}, errors.New("nothing was delivered")
		}
		return got[len(got)-1], nil
	}
	return map[string]func(args ...string) error{
		"delivered": func(args ...string) error { // ! delivered 2
			if n := len(rec.got()); args[0] != strconv.Itoa(n) {
				return fmt.Errorf("%d messages were delivered", n)
			}
			return nil
		},
		"env": func(args ...string) error { // ! env Body=8BITMIME
			m, err := last()
			if err != nil {
				return err
			}
			want := strings.Join(args, " ")
			if got := describe(m.env); !strings.Contains(got, want) {
				return fmt.Errorf("envelope is %s", got)
			}
			return nil
		},
		"body": func(args ...string) error { // ! body some text of the message
			m, err := last()
			if want := strings.Join(args, " "); err == nil && !strings.Contains(m.body, want) {
				err = fmt.Errorf("message is %q", m.body)
			}
			return err
		},
	}
}

// describe is an envelope as text.
func describe(e *goniec.Envelope) string {
	var to []string
	for _, r := range e.To {
		to = append(to, fmt.Sprintf("%s notify=%s orcpt=%s;%s", r.Address, r.Notify, r.ORcpt.Type, r.ORcpt.Address))
	}
	by := "none"
	if e.DeliverBy != nil {
		by = fmt.Sprintf("%v return=%v trace=%v", e.DeliverBy.Deadline.Sub(e.Received).Round(time.Second), e.DeliverBy.Return, e.DeliverBy.Trace)
	}
	hold := "none"
	if !e.HoldUntil.IsZero() {
		hold = e.HoldUntil.Sub(e.Received).Round(time.Second).String()
	}
	return fmt.Sprintf("remote=%s local=%s rdns=%s from=%s to=[%s] body=%s utf8=%v reqtls=%v size=%d ret=%s envid=%s authsender=%s hold=%s by=%s prio=%d proto=%s user=%s helo=%s",
		e.Origin.Remote, e.Origin.Local, e.Origin.RDNS, e.From.Path(), strings.Join(to, ", "), e.Body, e.UTF8, e.RequireTLS, e.Size, e.Ret, e.EnvID, e.AuthSender, hold, by, e.Priority,
		e.Origin.Protocol, e.Origin.User, e.Origin.Helo)
}

// setMore applies the settings that need more than a number.
func setMore(t *testing.T, srv *smtp.Server, _ *recorder, key, value string) {
	t.Helper()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	switch key {
	case "bare":
		srv.BareNewlines = smtp.NormaliseBare
	case "proxy":
		srv.ProxyFrom = loopback
	case "xclient":
		srv.XClientFrom = loopback
	case "banner-delay":
		d, err := time.ParseDuration(value)
		require.NoError(t, err)
		srv.BannerDelay = d
	default:
		t.Fatalf("unknown setting %q", key)
	}
}
