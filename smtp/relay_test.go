package smtp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/smtp"
)

const hello = "Subject: x\r\n\r\nhello\r\n"

// listen starts a server on loopback with our Handler and returns its host.
func listen(t testing.TB, rec *recorder, change func(*smtp.Server)) (*smtp.Server, goniec.RouteHost) {
	t.Helper()
	srv := &smtp.Server{Handler: smtp.DeliverTo(rec)}
	if change != nil {
		change(srv)
	}
	start(t, srv)
	return srv, hostAt(srv.ListenAddr(), goniec.TLSNone)
}

// nowhere is a host that nobody listens on.
func nowhere(t testing.TB) goniec.RouteHost {
	h, err := smtp.ParseHost(peertest.FreeAddr(t), 0)
	require.NoError(t, err)
	h.Name, h.TLS = "nowhere.example.org", goniec.TLSNone
	return h
}

// saying is a host whose server says the given lines, one after each of the client's.
func saying(t testing.TB, lines ...string) goniec.RouteHost {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 4096)
			for _, line := range lines {
				_, _ = io.WriteString(c, line+"\r\n")
				if _, err := c.Read(buf); err != nil {
					break
				}
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	h := hostAt(l.Addr(), goniec.TLSNone)
	h.Name = "saying.example.org"
	return h
}

func relayTo(t testing.TB, hosts ...goniec.RouteHost) *smtp.Relay {
	r := &smtp.Relay{Router: smtp.Smarthost(hosts...), Pool: &smtp.Pool{Dialer: &smtp.Dialer{Hostname: "client.example", TLSConfig: trusting()}}}
	t.Cleanup(func() { _ = r.Pool.Close() })
	return r
}

func envelope(to string) *goniec.Envelope {
	return &goniec.Envelope{ID: goniec.NewID(), From: goniec.MustAddress("alice@example.com"), To: rcpts(to)}
}

// The next host is tried where the one before had nothing to say about the mail.
func TestRelayNextHost(t *testing.T) {
	noUTF8 := []string{"220 x", "250-x\r\n250 8BITMIME"}
	for name, tc := range map[string]struct {
		first func(t *testing.T) goniec.RouteHost
		env   func(*goniec.Envelope)
		next  bool
	}{
		"connection refused": {first: func(t *testing.T) goniec.RouteHost { return nowhere(t) }, next: true},
		"greeting 4xx":       {first: func(t *testing.T) goniec.RouteHost { return saying(t, "421 busy") }, next: true},
		"greeting 5xx":       {first: func(t *testing.T) goniec.RouteHost { return saying(t, "554 no") }, next: true},
		"no greeting":        {first: func(t *testing.T) goniec.RouteHost { return saying(t) }, next: true},
		"EHLO refused":       {first: func(t *testing.T) goniec.RouteHost { return saying(t, "220 x", "550 no", "550 no") }, next: true},
		"broken at MAIL":     {first: func(t *testing.T) goniec.RouteHost { return saying(t, "220 x", "250 x") }, next: true},
		"421 at MAIL":        {first: func(t *testing.T) goniec.RouteHost { return saying(t, "220 x", "250 x", "421 bye") }, next: true},
		"garbage at MAIL":    {first: func(t *testing.T) goniec.RouteHost { return saying(t, "220 x", "250 x", "garbage") }, next: true},
		"no SMTPUTF8": {
			first: func(t *testing.T) goniec.RouteHost { return saying(t, noUTF8...) }, next: true,
			env: func(e *goniec.Envelope) { e.From = goniec.MustAddress("josé@example.com") },
		},
		"450 at MAIL": {first: func(t *testing.T) goniec.RouteHost { return saying(t, "220 x", "250 x", "450 later", "x") }},
		"550 at MAIL": {first: func(t *testing.T) goniec.RouteHost { return saying(t, "220 x", "250 x", "550 no", "x") }},
		"550 at RCPT": {first: func(t *testing.T) goniec.RouteHost { return saying(t, "220 x", "250 x", "250 x", "550 no", "x") }},
		"ambiguous": {first: func(t *testing.T) goniec.RouteHost {
			return saying(t, "220 x", "250 x", "250 x", "250 x", "354 go")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{}
			_, second := listen(t, rec, nil)
			env := envelope("bob@example.org")
			if tc.env != nil {
				tc.env(env)
			}
			err := relayTo(t, tc.first(t), second).Deliver(t.Context(), env, strings.NewReader(hello))
			if tc.next {
				require.NoError(t, err)
				require.Len(t, rec.got(), 1)
				return
			}
			require.Error(t, err)
			require.Empty(t, rec.got())
		})
	}
}

// Outcomes come back in the order of the envelope, whatever way each recipient went.
func TestRelayOutcomes(t *testing.T) {
	recs := map[string]*recorder{}
	hosts := map[string]goniec.RouteHost{}
	for _, name := range []string{"one.example", "two.example"} {
		recs[name] = &recorder{}
		_, hosts[name] = listen(t, recs[name], func(s *smtp.Server) {
			s.Handler = smtp.DeliverTo(goniec.DelivererFunc(recs[name].Deliver), "one.example", "two.example", "also-one.example")
		})
	}
	hosts["also-one.example"] = hosts["one.example"]
	router := smtp.RouterFunc(func(_ context.Context, domain string) (goniec.Route, error) {
		switch domain {
		case "panic.example":
			panic("injected")
		case "null.example":
			return goniec.Route{}, goniec.NewStatus(556, goniec.EnhancedCode{5, 1, 10}, "domain takes no mail")
		case "empty.example":
			return goniec.Route{Domain: domain}, nil
		}
		return goniec.Route{Domain: domain, Hosts: []goniec.RouteHost{hosts[domain]}}, nil
	})
	r := &smtp.Relay{Router: router}
	defer r.Close()
	env := envelope("a@one.example b@two.example c@null.example d@One.Example e@panic.example f@empty.example g@also-one.example")
	err := r.Deliver(t.Context(), env, io.MultiReader(strings.NewReader(hello)))
	out := goniec.Outcomes(err, 7)
	for _, i := range []int{0, 1, 3, 6} {
		require.NoError(t, out[i], i)
	}
	require.True(t, goniec.Permanent(out[2]))
	require.True(t, goniec.Temporary(out[4]))
	require.True(t, goniec.Temporary(out[5]))
	require.Len(t, recs["one.example"].got(), 1, "domains with the same hosts share a transaction")
	require.Len(t, recs["one.example"].got()[0].env.To, 3)
	require.Len(t, recs["two.example"].got(), 1)
}

// RFC 5321 §4.5.3.1.10: a server that takes only some recipients at a time gets the others in the next transaction.
func TestRelayManyRecipients(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.MaxRecipients = 10 })
	var to []string
	for i := range 35 {
		to = append(to, fmt.Sprintf("u%d@example.org", i))
	}
	require.NoError(t, relayTo(t, host).Deliver(t.Context(), envelope(strings.Join(to, " ")), strings.NewReader(hello)))
	n := 0
	for _, m := range rec.got() {
		n += len(m.env.To)
	}
	require.Equal(t, 35, n)
	require.Len(t, rec.got(), 4)
}

// A temporary failure at one host counts more than that the next does not offer an extension.
func TestRelayWeighs(t *testing.T) {
	env := envelope("bob@example.org")
	env.From = goniec.MustAddress("josé@example.com")
	err := relayTo(t, nowhere(t), saying(t, "220 x", "250 x")).Deliver(t.Context(), env, strings.NewReader(hello))
	require.True(t, goniec.Temporary(err), err)
	err = relayTo(t, saying(t, "220 x", "250 x")).Deliver(t.Context(), env, strings.NewReader(hello))
	require.True(t, goniec.Permanent(err), err)
	require.Equal(t, goniec.EnhancedCode{5, 6, 7}, goniec.StatusOf(err).Enhanced)
}

// A smarthost takes us by AUTH over verified TLS, or by a client certificate.
func TestRelaySmarthostAuth(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.TLSConfig, s.Auth = serverTLS(), users })
	r := relayTo(t, host)
	r.Pool.Dialer.Auth = auth.PasswordClients("alice", auth.NewSecret("wonder"))
	to := "bob@elsewhere.example"
	err := r.Deliver(t.Context(), envelope(to), strings.NewReader(hello))
	require.ErrorContains(t, err, "does not offer AUTH, perhaps because the connection is not encrypted")

	host.TLS = goniec.TLSOpportunistic // with credentials as good as verified
	r.Router = smtp.Smarthost(host)
	require.NoError(t, r.Deliver(t.Context(), envelope(to), strings.NewReader(hello)))
	require.Equal(t, "alice@example.org", rec.got()[0].env.Origin.User)

	r.Pool.Dialer = &smtp.Dialer{Auth: r.Pool.Dialer.Auth} // does not know the certificate
	host.Name = "mx.example.net"
	r.Router = smtp.Smarthost(host)
	err = r.Deliver(t.Context(), envelope(to), strings.NewReader(hello))
	require.ErrorContains(t, err, "not valid for mx.example.net")
	require.True(t, goniec.Temporary(err))
}

// Addresses of one host are tried in order, and again when a session fails (RFC 5321 §5.1).
func TestDialAddresses(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	good := host.Addrs[0]
	// Loopback addresses that nobody listens on refuse at once.
	host.Addrs = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::1"), good}
	c, err := new(smtp.Dialer).DialHost(t.Context(), host)
	require.NoError(t, err)
	require.NoError(t, c.Quit(t.Context()))

	host.Addrs = host.Addrs[:2]
	_, err = new(smtp.Dialer).DialHost(t.Context(), host)
	var e *smtp.StageError
	require.ErrorAs(t, err, &e)
	require.Equal(t, smtp.StageConnect, e.Stage)
}

// dialerFunc is any dialer, as one of SOCKS5.
type dialerFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func (f dialerFunc) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}

// A slow address does not hold up the next one (RFC 8305), and nothing is left of it.
func TestDialSlowAddress(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	var ended atomic.Int32
	d := &smtp.Dialer{Net: dialerFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "192.0.2.1:") {
			<-ctx.Done()
			ended.Add(1)
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	})}
	host.Addrs = append([]netip.Addr{netip.MustParseAddr("192.0.2.1")}, host.Addrs...)
	start := time.Now()
	c, err := d.DialHost(t.Context(), host)
	require.NoError(t, err)
	require.Less(t, time.Since(start), time.Minute)
	require.EqualValues(t, 1, ended.Load())
	require.NoError(t, c.Quit(t.Context()))
}

// Ending the context closes the socket, whatever the client waits for.
func TestClientContext(t *testing.T) {
	for name, lines := range map[string][]string{
		"greeting": {},
		"EHLO":     {"220 x"},
		"MAIL":     {"220 x", "250 x"},
		"DATA":     {"220 x", "250 x", "250 x", "250 x"},
		"end":      {"220 x", "250 x", "250 x", "250 x", "354 go"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			cause := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := make(chan error, 1)
			go func() {
				c, err := new(smtp.Dialer).DialHost(ctx, hostAt(l.Addr(), goniec.TLSNone))
				if err == nil {
					_, err = c.Send(ctx, envelope("bob@example.org"), strings.NewReader(hello))
				}
				done <- err
			}()
			c, err := l.Accept()
			require.NoError(t, err)
			defer c.Close()
			buf := make([]byte, 4096)
			for _, line := range lines {
				_, err := io.WriteString(c, line+"\r\n")
				require.NoError(t, err)
				_, err = c.Read(buf)
				require.NoError(t, err)
			}
			time.Sleep(20 * time.Millisecond)
			cancel(cause)
			err = <-done
			require.ErrorIs(t, err, cause)
			var e *smtp.StageError
			require.ErrorAs(t, err, &e)
			require.Equal(t, name == "end", e.Sent)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			_, err = io.Copy(io.Discard, c)
			require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the socket is still open: %v", err)
		})
	}
}

// REQUIRETLS (RFC 8689): the level is raised to verified, a host without the extension is passed by, and the next one is told.
func TestRelayRequireTLS(t *testing.T) {
	rec := &recorder{}
	_, without := listen(t, &recorder{}, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
	_, with := listen(t, rec, func(s *smtp.Server) {
		s.TLSConfig = serverTLS()
		s.Handler = smtp.DeliverTo(promising{rec, []string{"REQUIRETLS"}})
	})
	without.TLS, with.TLS = goniec.TLSOpportunistic, goniec.TLSRequired
	var hosts []string
	r := relayTo(t, without, with)
	r.Observe = func(_ context.Context, env *goniec.Envelope, res *smtp.Result, err error) {
		hosts = append(hosts, fmt.Sprintf("%s %d %v %v", res.Addr, len(env.To), res.TLS, err == nil))
	}
	env := envelope("bob@example.org")
	env.RequireTLS = true
	require.NoError(t, r.Deliver(t.Context(), env, strings.NewReader(hello)))
	require.True(t, rec.got()[0].env.RequireTLS)
	require.Equal(t, []string{fmt.Sprintf("127.0.0.1:%d 1 true false", without.Port), fmt.Sprintf("127.0.0.1:%d 1 true true", with.Port)}, hosts)

	r.Router = smtp.Smarthost(without)
	err := r.Deliver(t.Context(), env, strings.NewReader(hello))
	require.Equal(t, goniec.EnhancedCode{5, 7, 30}, goniec.StatusOf(err).Enhanced)
	r.Pool.Dialer.TLSConfig = nil
	r.Router = smtp.Smarthost(with)
	_ = r.Pool.Close()
	r.Pool = &smtp.Pool{}
	require.ErrorContains(t, r.Deliver(t.Context(), env, strings.NewReader(hello)), "certificate is not valid")
	require.NoError(t, r.Pool.Close())
}

// A panic in what others have written is a temporary error, and leaves no connection behind.
func TestRelayPanics(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
	host.TLS = goniec.TLSDANE
	host.Verify = func(tls.ConnectionState) error { panic("injected") }
	count := &counting{}
	r := &smtp.Relay{Router: smtp.Smarthost(host), Pool: &smtp.Pool{Dialer: &smtp.Dialer{Net: count}}}
	defer r.Pool.Close()
	err := r.Deliver(t.Context(), envelope("a@one.example b@two.example"), strings.NewReader(hello))
	require.True(t, goniec.Temporary(err))
	require.ErrorContains(t, goniec.Outcomes(err, 2)[1], "panic in a relay: injected")
	require.Zero(t, count.open.Load())
}
