package smtp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

// authority signs client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "own CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key}
}

func (a *authority) client(t *testing.T, name string, until time.Time) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A verified client certificate gives the right to relay; a wrong, an expired or no certificate does not, and mail for us is taken all
// the same.
func TestClientCertificates(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-time.Hour)
	srv, _ := newServer(t, func(s *smtp.Server) {
		s.TLSConfig = serverTLS()
		s.TLSConfig.ClientAuth = tls.RequestClientCert
		r := smtp.DeliverTo(&recorder{})
		r.MayRelay = (&smtp.Certificates{Roots: roots, Names: []string{"peer.example.com"}}).MayRelay
		s.Handler = r
	})
	for name, c := range map[string]struct {
		certs []tls.Certificate
		want  int
	}{
		"good":       {[]tls.Certificate{ours.client(t, "peer.example.com", tomorrow)}, 250},
		"other name": {[]tls.Certificate{ours.client(t, "other.example.com", tomorrow)}, 550},
		"expired":    {[]tls.Certificate{ours.client(t, "peer.example.com", yesterday)}, 550},
		"other CA":   {[]tls.Certificate{theirs.client(t, "peer.example.com", tomorrow)}, 550},
		"none":       {nil, 550},
	} {
		raw := dial(t, srv)
		cl := newClient(t, raw)
		cl.reply()
		cl.send("EHLO x", "STARTTLS")
		sec := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, Certificates: c.certs}) // the server's is the test's own
		cl = newClient(t, sec)
		got := cl.send("EHLO x", "MAIL FROM:<a@example.com>", "RCPT TO:<x@elsewhere.example>", "RCPT TO:<b@example.org>")
		require.Equal(t, []int{250, 250, c.want, 250}, got, name)
		_ = sec.Close()
	}
	// Without TLS there is nothing to show.
	c := connect(t, srv)
	require.Equal(t, []int{250, 250, 550}, c.send("EHLO x", "MAIL FROM:<a@example.com>", "RCPT TO:<x@elsewhere.example>"))
}

// The trace has every line but no credential and no message.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	var out []string
	srv, _ := newServer(t, func(s *smtp.Server) {
		s.Auth, s.AllowInsecureAuth = users, true
		s.Trace = func(_ *smtp.Conn, l smtp.TraceLine) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, l.String())
		}
	})
	c := connect(t, srv)
	c.send("EHLO x", "AUTH PLAIN AGFsaWNlAHdyb25n", "AUTH LOGIN YWxpY2U=", "d3Jvbmc=", "auth plain", "AGFsaWNlAHdvbmRlcg==", "AGFsaWNlAHdvbmRlcg==",
		"MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA", "secret text\r\n.", "QUIT")
	_ = c.Close()
	_ = srv.Close()
	all := strings.Join(out, "\n")
	for _, secret := range []string{"AGFs", "YWxp", "d3Jv", "secret text"} {
		require.NotContains(t, all, secret)
	}
	for _, line := range []string{"S: 220 mx.example.org ESMTP ready", "C: EHLO x", "S: 250-PIPELINING", "C: AUTH PLAIN ***", "C: AUTH LOGIN ***", "C: auth plain", "C: ***", "C: DATA", "S: 221 2.0.0 bye"} {
		require.Contains(t, out, line)
	}
}

// When four of five places are taken, those who only hold theirs make room.
func TestStress(t *testing.T) {
	srv := &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org"), MaxConns: 5}
	inVirtualTime(t, srv, func(t *testing.T, l *pipeListener) {
		var conns []*client
		for range 4 {
			c := newClient(t, l.dial())
			c.reply()
			c.send("HELO x")
			conns = append(conns, c)
		}
		begin := time.Now()
		require.Equal(t, 421, conns[3].reply())
		require.Equal(t, 10*time.Second, time.Since(begin))
		for _, c := range conns {
			_ = c.Close()
		}
		time.Sleep(2 * time.Second)
		// With room again, there is time again.
		c := newClient(t, l.dial())
		c.reply()
		c.send("HELO x")
		begin = time.Now()
		require.Equal(t, 421, c.reply())
		require.Equal(t, 5*time.Minute, time.Since(begin))
		_ = c.Close()
	})
}

// Optional stages are found through wrappers, and the outermost is asked.
func TestOptionalStages(t *testing.T) {
	var log []string
	note := func(s string) { log = append(log, s) }
	inner := &staged{note: note, name: "inner"}
	srv := start(t, &smtp.Server{Auth: users, AllowInsecureAuth: true, Handler: smtp.Chain(
		smtp.HandlerFunc(func(context.Context, *smtp.Conn) (smtp.Session, error) { return inner, nil }),
		smtp.WrapSession(func(_ *smtp.Conn, s smtp.Session) smtp.Session { return outerHelo{smtp.Wrapped{Session: s}, note} }),
		smtp.RequireAuth(),
	)})
	c := connect(t, srv)
	require.Equal(t, []int{250, 550, 235, 550, 250}, c.send("EHLO good", "EHLO bad", "AUTH PLAIN AGFsaWNlAHdvbmRlcg==", "VRFY bob", "VRFY alice"))
	require.Equal(t, []string{"outer good", "inner good", "outer bad", "inner bad", "auth alice@example.org"}, log)
	_, ok := smtp.As[smtp.Verifier](inner)
	require.True(t, ok)
	_, ok = smtp.As[smtp.Verifier](outerHelo{smtp.Wrapped{Session: &panicking{}}, note})
	require.False(t, ok)
}

type outerHelo struct {
	smtp.Wrapped
	note func(string)
}

func (o outerHelo) Helo(ctx context.Context, name string) error {
	o.note("outer " + name)
	return smtp.CheckHelo(ctx, o.Session, name)
}

// staged has all optional stages.
type staged struct {
	panicking
	note func(string)
	name string
}

func (s *staged) Helo(_ context.Context, name string) error {
	s.note(s.name + " " + name)
	if name == "bad" {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "no")
	}
	return nil
}

func (s *staged) Auth(_ context.Context, id auth.Identity) error {
	s.note("auth " + id.User)
	return nil
}

func (s *staged) Verify(_ context.Context, address string) error {
	if address == "bob" {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
	}
	return nil
}

func (s *staged) Extensions(offered []string) []string {
	return slices.DeleteFunc(offered, func(line string) bool {
		return !strings.HasPrefix(line, "PIPELINING") && !strings.HasPrefix(line, "SIZE") && !strings.HasPrefix(line, "AUTH")
	})
}

// A session may offer less; what it does not offer is refused.
func TestExtensionsLeftOut(t *testing.T) {
	s := &staged{note: func(string) {}}
	srv := start(t, &smtp.Server{Handler: smtp.HandlerFunc(func(context.Context, *smtp.Conn) (smtp.Session, error) { return s, nil })})
	c := connect(t, srv)
	_, err := io.WriteString(c, "EHLO x\r\n")
	require.NoError(t, err)
	_, text := c.text()
	require.Equal(t, "250-mx.example.org\r\n250-PIPELINING\r\n250 SIZE 52428800\r\n", text)
	require.Equal(t, []int{555, 250}, c.send("MAIL FROM:<a@b.example> BODY=8BITMIME", "MAIL FROM:<a@b.example> SIZE=1"))
}

// A Handler that refuses a client says so before the banner, and has it closed.
func TestRefusedClient(t *testing.T) {
	for _, want := range []struct {
		err  error
		line string
	}{
		{goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "not you"), "554 5.7.1 not you\r\n"},
		{goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 2}, "later"), "421 4.3.2 later\r\n"},
	} {
		srv := start(t, &smtp.Server{Handler: smtp.HandlerFunc(func(context.Context, *smtp.Conn) (smtp.Session, error) { return nil, want.err })})
		require.Equal(t, want.line, talk(t, srv, ""))
	}
	srv := start(t, &smtp.Server{Handler: smtp.HandlerFunc(func(context.Context, *smtp.Conn) (smtp.Session, error) { return nil, nil })})
	require.Regexp(t, `^421 4\.3\.0 temporary failure`, talk(t, srv, ""))
}

// The shapes that all servers share.
func TestServerShape(t *testing.T) {
	require.ErrorContains(t, new(smtp.Server).Serve(newPipeListener()), "Handler is nil")
	srv := &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard())}
	require.NoError(t, srv.Shutdown(t.Context()))
	require.ErrorIs(t, srv.ListenAndServe(), smtp.ErrServerClosed)
	require.ErrorIs(t, srv.Serve(newPipeListener()), smtp.ErrServerClosed)
	require.Nil(t, srv.ListenAddr())

	srv = &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard()), Addr: "127.0.0.1:0"}
	require.ErrorContains(t, srv.ListenAndServeTLS(), "TLSConfig")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	srv = &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard()), Addr: l.Addr().String()}
	require.ErrorContains(t, srv.ListenAndServe(), "another server listens there")
}

// Limits on connections: one line, and no session.
func TestTooManyConnections(t *testing.T) {
	srv, _ := newServer(t, func(s *smtp.Server) { s.MaxConnsPerIP = 2 })
	a, b := connect(t, srv), connect(t, srv)
	require.Equal(t, "421 4.7.0 too many connections, try again later\r\n", talk(t, srv, ""))
	require.Equal(t, []int{250}, a.send("NOOP"))
	_ = b.Close()
	require.Eventually(t, func() bool { return srv.Stats().Conns == 1 }, time.Minute, time.Millisecond)
	connect(t, srv)
	require.EqualValues(t, 1, srv.Stats().Refused)
}

// Received is one field whatever the envelope, and names the recipient only when there is one.
func TestReceivedField(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("EHLO [127.0.0.1]", "MAIL FROM:<a@example.com>", `RCPT TO:<"b c"@example.org>`, "DATA", "Subject: x\r\n.",
		"MAIL FROM:<>", "RCPT TO:<b@example.org>", "RCPT TO:<c@example.org>", "DATA", ".")
	got := rec.got()
	require.Len(t, got, 2)
	require.Regexp(t, `^Received: from \[127\.0\.0\.1\] \(\[127\.0\.0\.1\]\)\r\n\tby mx\.example\.org with ESMTP\r\n\tid [0-9A-Z]{12} for <"b c"@example\.org>;\r\n\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\nSubject: x\r\n$`, got[0].body)
	require.NotContains(t, got[1].body, " for ")
	require.Contains(t, got[1].body, got[1].env.ID)
	require.NotEqual(t, got[0].env.ID, got[1].env.ID)
}

// F05: a full disk has a reply of its own, in whatever the Deliverer wrapped it.
func TestDiskFull(t *testing.T) {
	srv, rec := newServer(t)
	fail := func(err error) {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		rec.err = err
	}
	fail(fmt.Errorf("write /srv/mail/x: %w", syscall.ENOSPC))
	c := connect(t, srv)
	c.send("HELO x")
	c.begin()
	_, err := io.WriteString(c, ".\r\n")
	require.NoError(t, err)
	_, text := c.text()
	require.Regexp(t, `^452 4\.3\.1 temporary failure, try again later \(id [0-9A-Z]{12}\)\r\n$`, text)
	fail(nil)
	c.begin()
	require.Equal(t, []int{250}, c.send("."))
}

// The envelope is used again: nothing of one transaction is left in the next.
func TestEnvelopeIsFresh(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) {})
	c := connect(t, srv)
	c.send("EHLO x", "MAIL FROM:<a@example.com> BODY=8BITMIME SMTPUTF8 SIZE=5", "RCPT TO:<b1@example.org>", "RCPT TO:<b2@example.org>", "DATA", ".",
		"MAIL FROM:<c@example.com>", "RCPT TO:<d@example.org>", "DATA", ".")
	second := rec.got()[1].env
	require.Equal(t, goniec.Body7Bit, second.Body)
	require.False(t, second.UTF8)
	require.Zero(t, second.Size)
	require.Len(t, second.To, 1)
	require.Len(t, rec.got()[0].env.To, 2)
}

// BINARYMIME through chunks of every size arrives as it was sent.
func TestBDATChunkSizes(t *testing.T) {
	rec := &recorder{}
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(promising{rec, []string{"BINARYMIME"}})})
	c := connect(t, srv)
	c.send("EHLO x")
	msg := "Subject: x\r\n\r\n\x00\r\n.\r\nbare\nbare\r\xff" + strings.Repeat("y", 50)
	for size := 1; size <= len(msg); size += 3 {
		c.send("MAIL FROM:<a@example.com> BODY=BINARYMIME", "RCPT TO:<b@example.org>")
		n := 0
		for rest := msg; rest != ""; n++ {
			k := min(size, len(rest))
			_, err := fmt.Fprintf(c, "BDAT %d\r\n%s", k, rest[:k])
			require.NoError(t, err)
			rest = rest[k:]
		}
		for range n {
			require.Equal(t, 250, c.reply())
		}
		require.Equal(t, []int{250}, c.send("BDAT 0 LAST"))
		got := rec.got()
		require.Equal(t, msg, withoutTrace(got[len(got)-1].body))
	}
}

// A user table that takes too long does not leave the client without a reply.
func TestStageTimeoutInAuth(t *testing.T) {
	hung := auth.AuthenticatorFunc(func(ctx context.Context, _ *auth.Attempt) (auth.Identity, error) {
		<-ctx.Done()
		return auth.Identity{}, context.Cause(ctx)
	})
	srv, _ := newServer(t, func(s *smtp.Server) {
		s.Auth, s.AllowInsecureAuth, s.StageTimeout = hung, true, time.Second
	})
	c := greeted(t, srv)
	tell(t, c, "AUTH PLAIN AGFsaWNlAHdvbmRlcg==\r\n")
	require.Equal(t, []int{421}, rest(t, c))
}
