package smtp_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/proxy"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/scram"
	"github.com/goniec-mail/goniec/smtp"
)

// The limits of each phase are those of RFC 5321 §4.5.3.2, in virtual time; a server that says something a moment before is in time.
func TestClientTimeouts(t *testing.T) {
	script := []string{"220 x", "250 x", "250 ok", "250 ok", "354 go", "250 ok"}
	for i, tc := range []struct {
		stage smtp.Stage
		limit time.Duration
	}{
		{smtp.StageBanner, 5 * time.Minute},
		{smtp.StageEHLO, 5 * time.Minute},
		{smtp.StageMail, 5 * time.Minute},
		{smtp.StageRcpt, 5 * time.Minute},
		{smtp.StageData, 2 * time.Minute},
		{smtp.StageText, 10 * time.Minute},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s late=%v", tc.stage, late), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pause := tc.limit - time.Millisecond
					if late {
						pause = tc.limit + time.Millisecond
					}
					err := slowSession(t, script, i, pause)
					if !late {
						require.NoError(t, err)
						return
					}
					var e *smtp.StageError
					require.ErrorAs(t, err, &e)
					require.Equal(t, tc.stage, e.Stage)
					require.Equal(t, tc.stage == smtp.StageText, e.Sent)
					require.True(t, goniec.Temporary(err))
				})
			})
		}
	}
}

// slowSession sends a message to a server that pauses before its reply number slow.
func slowSession(t *testing.T, script []string, slow int, pause time.Duration) error {
	ours, theirs := net.Pipe()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ours.Close()
	wg.Go(func() {
		defer theirs.Close()
		r := bufio.NewReader(theirs)
		for i, line := range script {
			if i == slow {
				time.Sleep(pause)
			}
			if _, err := io.WriteString(theirs, line+"\r\n"); err != nil {
				return
			}
			for said := ""; said == "" || i == 4 && said != ".\r\n"; {
				var err error
				if said, err = r.ReadString('\n'); err != nil {
					return
				}
			}
		}
	})
	c, err := new(smtp.Dialer).NewClient(t.Context(), ours, goniec.RouteHost{Name: "mx.example.org", TLS: goniec.TLSNone})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(hello))
	return err
}

// A server that does not read is given up after the time for a block (RFC 5321 §4.5.3.2.5).
func TestClientBlockTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go io.WriteString(theirs, "220 x\r\n")
		start := time.Now()
		_, err := new(smtp.Dialer).NewClient(t.Context(), ours, goniec.RouteHost{TLS: goniec.TLSNone})
		require.ErrorContains(t, err, "timeout")
		require.Equal(t, 3*time.Minute, time.Since(start))
	})
}

// Sessions are resumed, and a resumed one is verified like any other (T09).
func TestTLSSessionCache(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
	trust := &smtp.Dialer{TLSConfig: trusting()}
	host.TLS = goniec.TLSVerified
	resumed := false
	for range 3 {
		c, err := trust.DialHost(t.Context(), host)
		require.NoError(t, err)
		_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(hello)) // the ticket comes with the replies
		require.NoError(t, err)
		resumed = c.TLS().DidResume
		require.NoError(t, c.Quit(t.Context()))
	}
	require.True(t, resumed)

	naive := &smtp.Dialer{}
	for _, level := range []goniec.TLSLevel{goniec.TLSOpportunistic, goniec.TLSOpportunistic, goniec.TLSVerified} {
		host.TLS = level
		c, err := naive.DialHost(t.Context(), host)
		if level == goniec.TLSVerified {
			require.ErrorContains(t, err, "certificate is not valid for mx.example.org")
			continue
		}
		require.NoError(t, err)
		_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(hello))
		require.NoError(t, err)
		require.NoError(t, c.Quit(t.Context()))
	}
}

// T09: a certificate may be for one of several names; InsecureSkipVerify of the base configuration changes nothing.
func TestTLSNames(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
	host.TLS = goniec.TLSVerified
	for name, tc := range map[string]struct {
		host, want string
		names      []string
		cfg        *tls.Config
	}{
		"own name":       {host: "mx.example.org"},
		"upper case":     {host: "MX.Example.ORG."},
		"one of several": {host: "other.example.org", names: []string{"nope.example.org", "mx.example.org"}},
		"other name":     {host: "other.example.org", want: "not valid for other.example.org"},
		"names replace":  {host: "mx.example.org", names: []string{"other.example.org"}, want: "not valid for other.example.org"},
		"IDN":            {host: "mx.exämple.org", want: "not valid for mx.xn--exmple-cua.org"},
		"no name":        {host: "", want: "not valid for 127.0.0.1"},
		"skip verify":    {host: "mx.example.org", cfg: &tls.Config{InsecureSkipVerify: true}, want: "certificate is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			h := host
			h.Name, h.TLSNames = tc.host, tc.names
			d := &smtp.Dialer{TLSConfig: trusting()}
			if tc.cfg != nil {
				d.TLSConfig = tc.cfg
			}
			c, err := d.DialHost(t.Context(), h)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.NoError(t, c.Quit(t.Context()))
		})
	}
}

// RouteHost.ServerName is asked for (SNI) in place of Name, and changes nothing about what is verified.
func TestTLSServerName(t *testing.T) {
	asked := make(chan string, 1)
	_, host := listen(t, &recorder{}, func(s *smtp.Server) {
		s.TLSConfig = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			asked <- h.ServerName
			return &tls.Config{Certificates: []tls.Certificate{testCert()}}, nil
		}}
	})
	host.Name, host.TLS = "mx.example.org", goniec.TLSVerified
	for given, want := range map[string]string{"": "mx.example.org", "Real.Example.net.": "real.example.net", "bücher.example": "xn--bcher-kva.example"} {
		host.ServerName = given
		c, err := (&smtp.Dialer{TLSConfig: trusting()}).DialHost(t.Context(), host)
		require.NoError(t, err, given)
		require.NoError(t, c.Close())
		require.Equal(t, want, <-asked)
	}
	host.Name = "other.example.org"
	_, err := (&smtp.Dialer{TLSConfig: trusting()}).DialHost(t.Context(), host)
	require.ErrorContains(t, err, "not valid for other.example.org")
}

// Client certificates, implicit TLS.
func TestClientCertificate(t *testing.T) {
	rec := &recorder{}
	srv := &smtp.Server{Handler: smtp.DeliverTo(rec), Hostname: "mx.example.org", TLSConfig: serverTLS()}
	srv.TLSConfig.ClientAuth = tls.RequireAnyClientCert
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l) }()
	<-srv.Ready()
	defer func() { _ = srv.Close(); <-done }()
	host := hostAt(l.Addr(), goniec.TLSVerified)
	d := &smtp.Dialer{TLSConfig: trusting(), ImplicitTLS: true}
	p := &smtp.Pool{Dialer: d}
	_, err = p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
	require.Error(t, err, "the server wants a certificate")
	require.NoError(t, p.Close())
	d = &smtp.Dialer{TLSConfig: trusting(), ImplicitTLS: true}
	d.TLSConfig.Certificates = []tls.Certificate{testCert()}
	p = &smtp.Pool{Dialer: d}
	_, err = p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Len(t, rec.got(), 1)
}

// IPv6 alone is enough, by address and by literal.
func TestIPv6Only(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	rec := &recorder{}
	srv := &smtp.Server{Handler: smtp.DeliverTo(rec), Hostname: "mx.example.org"}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	<-srv.Ready()
	defer func() { _ = srv.Close(); <-done }()
	literal, err := smtp.ParseHost(l.Addr().String(), 25)
	require.NoError(t, err)
	literal.TLS = goniec.TLSNone
	for _, host := range []goniec.RouteHost{hostAt(l.Addr(), goniec.TLSNone), literal} {
		c, err := new(smtp.Dialer).DialHost(t.Context(), host)
		require.NoError(t, err)
		_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(hello))
		require.NoError(t, err)
		require.NoError(t, c.Quit(t.Context()))
	}
	require.Len(t, rec.got(), 2)
}

func TestUnixSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	rec := &recorder{}
	srv := &smtp.Server{Handler: smtp.DeliverTo(rec), Hostname: "mx.example.org"}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	<-srv.Ready()
	defer func() { _ = srv.Close(); <-done }()
	c, err := smtp.Dial(t.Context(), "unix:"+l.Addr().String())
	require.NoError(t, err)
	_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(hello))
	require.NoError(t, err)
	require.NoError(t, c.Noop(t.Context()))
	require.NoError(t, c.Quit(t.Context()))
	require.ErrorIs(t, c.Noop(t.Context()), smtp.ErrClosed)
	_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(hello))
	require.ErrorIs(t, err, smtp.ErrClosed)
}

// SOCKS5 by golang.org/x/net/proxy.
func TestSOCKS5(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { socks(c) })
		}
	})
	defer wg.Wait()
	defer l.Close()
	socks, err := proxy.SOCKS5("tcp", l.Addr().String(), nil, proxy.Direct)
	require.NoError(t, err)
	d := &smtp.Dialer{Net: socks.(proxy.ContextDialer)}
	c, err := d.DialHost(t.Context(), host)
	require.NoError(t, err)
	_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(hello))
	require.NoError(t, err)
	require.NoError(t, c.Quit(t.Context()))
	require.Len(t, rec.got(), 1)
}

// socks serves one SOCKS5 connection (RFC 1928): no login, CONNECT to an IPv4 address.
func socks(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 10)
	if _, err := io.ReadFull(c, buf[:3]); err != nil {
		return
	}
	_, _ = c.Write([]byte{5, 0})
	if _, err := io.ReadFull(c, buf); err != nil {
		return
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte(buf[4:8])), binary.BigEndian.Uint16(buf[8:]))
	out, err := net.Dial("tcp", addr.String())
	if err != nil {
		return
	}
	defer out.Close()
	_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	go func() {
		_, _ = io.Copy(out, c)
		_ = out.Close()
	}()
	_, _ = io.Copy(c, out)
}

// A server that refuses a message while it is being sent has its say, and the outcome is certain.
func TestRefusedMidway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		r := bufio.NewReader(c)
		for _, line := range []string{"220 x", "250 x", "250 ok", "250 ok", "354 go"} {
			_, _ = io.WriteString(c, line+"\r\n")
			_, _ = r.ReadString('\n')
		}
		_, _ = io.WriteString(c, "552 5.3.4 that is enough\r\n")
		_ = c.(*net.TCPConn).CloseWrite()
		time.Sleep(50 * time.Millisecond)
	}()
	c, err := new(smtp.Dialer).DialHost(t.Context(), hostAt(l.Addr(), goniec.TLSNone))
	require.NoError(t, err)
	_, err = c.Send(t.Context(), envelope("bob@example.org"), strings.NewReader(strings.Repeat("some line of text\r\n", 1<<19)))
	require.ErrorContains(t, err, "said 552 5.3.4 that is enough at the message")
	require.True(t, goniec.Permanent(err))
	require.NoError(t, c.Close())
	<-done
}

// MAILMAX of RFC 9422 ends a pool's connection in time.
func TestPoolMailMax(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.MaxTransactions = 4 })
	count := &counting{}
	p := &smtp.Pool{Dialer: &smtp.Dialer{Net: count}}
	for range 12 {
		_, err := p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	require.EqualValues(t, 3, count.total.Load())
}

// The strongest mechanism that both have is taken (SCRAM), and there is no second try with a weaker one.
func TestAuthStrongest(t *testing.T) {
	offers := make(chan string, 10)
	l, said := serveHostile(t, func(h *hostile) {
		offers <- h.offering("250-mx\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256\r\n")
		h.say("535 5.7.8 no\r\n")
		h.rest()
	})
	d := &smtp.Dialer{AllowInsecureAuth: true, Auth: append(auth.PasswordClients("alice", auth.NewSecret("wonder")), scram.Clients("alice", auth.NewSecret("wonder"))...)}
	_, err := d.DialHost(t.Context(), hostAt(l.Addr(), goniec.TLSNone))
	require.ErrorContains(t, err, "SCRAM-SHA-256 failed: 535")
	require.True(t, goniec.Temporary(err))
	require.True(t, strings.HasPrefix(<-offers, "AUTH SCRAM-SHA-256 "))
	plain, _ := said()
	require.NotContains(t, plain, "PLAIN")
	require.NotContains(t, plain, "LOGIN")
}

// A server that says yes before it has proven itself is not believed.
func TestAuthEarlySuccess(t *testing.T) {
	for _, mechs := range [][]auth.ClientMechanism{scram.Clients("alice", auth.NewSecret("wonder")), {auth.LoginClient{User: "alice", Password: auth.NewSecret("wonder")}}} {
		l, said := serveHostile(t, func(h *hostile) {
			h.offering("250-mx\r\n250 AUTH LOGIN SCRAM-SHA-256\r\n")
			h.say("235 ok\r\n")
			h.rest()
		})
		d := &smtp.Dialer{AllowInsecureAuth: true, Auth: mechs}
		_, err := d.DialHost(t.Context(), hostAt(l.Addr(), goniec.TLSNone))
		require.Error(t, err)
		require.True(t, goniec.Temporary(err))
		said()
	}
}

// The hook for conversion: errors and results that do not fit are permanent, temporary trouble is not.
func TestConvertErrors(t *testing.T) {
	tap := &wireTap{}
	host := tap.serve(t)
	eightBit := "Subject: x\r\n\r\ngrüß\r\n"
	for name, tc := range map[string]struct {
		out  goniec.Content
		err  error
		want string
	}{
		"fails":        {err: errors.New("no MIME structure"), want: "5.6.3"},
		"still 8 bits": {out: strings.NewReader(eightBit), want: "5.6.3"},
		"binary":       {out: strings.NewReader("a\nb"), want: "5.6.3"},
		"works":        {out: closing{strings.NewReader("Subject: x\r\n\r\nok\r\n"), &sync.Once{}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &smtp.Pool{Dialer: &smtp.Dialer{Convert: func(context.Context, goniec.Content, goniec.BodyType) (goniec.Content, error) {
				return tc.out, tc.err
			}}}
			defer p.Close()
			_, err := p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(eightBit))
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				require.True(t, goniec.Permanent(err))
				return
			}
			require.NoError(t, err)
		})
	}
}

// closing is a Content that wants to be closed, once.
type closing struct {
	*strings.Reader
	once *sync.Once
}

func (c closing) Close() error {
	closed := false
	c.once.Do(func() { closed = true })
	if !closed {
		panic("closed twice")
	}
	return nil
}
