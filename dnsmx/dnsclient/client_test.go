package dnsclient_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/dnsmx"
	"github.com/goniec-mail/goniec/dnsmx/dnsclient"
	"github.com/goniec-mail/goniec/dnsmx/dnsmxtest"
)

const zone = `
example.org.        300 IN MX 20 b.mx.example.org.
example.org.        200 IN MX 10 a.mx.example.org.
example.org.        300 IN TXT "v=spf1 " "-all"
a.mx.example.org.   300 IN A 192.0.2.1
a.mx.example.org.   300 IN AAAA 2001:db8::1
www.example.org.    30  IN CNAME Alias.example.org.
alias.example.org.  300 IN CNAME example.org.
loop.example.org.   300 IN CNAME loop2.example.org.
loop2.example.org.  300 IN CNAME loop.example.org.
dangling.example.org. 300 IN CNAME nowhere.example.
_25._tcp.a.mx.example.org. 300 IN TLSA 3 1 1 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
1.2.0.192.in-addr.arpa. 300 IN PTR a.mx.example.org.
`

func newClient(t *testing.T, zone string) (*dnsclient.Client, *dnsmxtest.Server) {
	s := dnsmxtest.NewServer(t, zone)
	return &dnsclient.Client{Servers: []string{s.Addr}, Timeout: 20 * time.Second}, s
}

func TestQuestions(t *testing.T) {
	c, _ := newClient(t, zone)
	ctx := t.Context()
	mx, meta, err := c.LookupMX(ctx, "example.org")
	require.NoError(t, err)
	require.ElementsMatch(t, []dnsmx.MX{{Pref: 10, Host: "a.mx.example.org."}, {Pref: 20, Host: "b.mx.example.org."}}, mx)
	require.Equal(t, dnsmx.Meta{Name: "example.org", TTL: 200 * time.Second}, meta)
	_, meta, err = c.LookupMX(ctx, "www.example.org")
	require.NoError(t, err)
	require.Equal(t, dnsmx.Meta{Name: "example.org", Aliases: 2, TTL: 30 * time.Second}, meta)
	a, _, err := c.LookupAddrs(ctx, "A.mx.example.org", "ip4")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, a)
	a, _, err = c.LookupAddrs(ctx, "a.mx.example.org", "ip6")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("2001:db8::1")}, a)
	txt, _, err := c.LookupTXT(ctx, "example.org")
	require.NoError(t, err)
	require.Equal(t, []string{"v=spf1 -all"}, txt)
	tlsa, _, err := c.LookupTLSA(ctx, "_25._tcp.a.mx.example.org")
	require.NoError(t, err)
	require.Len(t, tlsa[0].Data, 32)
	ptr, _, err := c.LookupPTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	require.NoError(t, err)
	require.Equal(t, []string{"a.mx.example.org"}, ptr)
}

// D02: what is an answer, and what is trouble.
func TestD02_Denials(t *testing.T) {
	c, s := newClient(t, zone)
	ctx := t.Context()
	_, meta, err := c.LookupMX(ctx, "nowhere.example")
	require.ErrorIs(t, err, dnsmx.ErrNXDomain)
	require.Equal(t, time.Minute, meta.TTL)
	_, _, err = c.LookupMX(ctx, "mx.example.org")
	require.ErrorIs(t, err, dnsmx.ErrNoData, "a name with names below it exists")
	_, _, err = c.LookupMX(ctx, "dangling.example.org")
	require.ErrorIs(t, err, dnsmx.ErrNXDomain)
	_, _, err = c.LookupMX(ctx, "loop.example.org")
	require.ErrorIs(t, err, dnsmx.ErrServFail)
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError} {
		s.Fail("example.org", rcode)
		_, _, err = c.LookupMX(ctx, "example.org")
		require.ErrorIs(t, err, dnsmx.ErrServFail)
	}
	_, _, err = c.LookupMX(ctx, strings.Repeat("a", 64)+".org")
	require.ErrorIs(t, err, dnsmx.ErrNXDomain)
}

// D02: answers for another name or type, and answers to another question.
func TestD02_ForeignAnswers(t *testing.T) {
	c, s := newClient(t, zone)
	evil, err := dns.NewRR("evil.example. 300 IN MX 1 evil.example.")
	require.NoError(t, err)
	s.Override(func(_ dns.Question, m *dns.Msg, _ string) bool { m.Answer = []dns.RR{evil}; return true })
	_, _, err = c.LookupMX(t.Context(), "example.org")
	require.ErrorIs(t, err, dnsmx.ErrServFail, "nobody said that there is no such record")
	s.Override(func(_ dns.Question, m *dns.Msg, _ string) bool {
		m.Question[0].Name = "evil.example."
		m.Answer = []dns.RR{evil}
		return true
	})
	_, _, err = c.LookupMX(t.Context(), "example.org")
	require.ErrorIs(t, err, dnsmx.ErrServFail)
}

// D03: the AD bit counts only from where it can be trusted.
func TestD03_AuthenticData(t *testing.T) {
	c, s := newClient(t, zone)
	_, meta, err := c.LookupMX(t.Context(), "example.org")
	require.NoError(t, err)
	require.False(t, meta.Authentic)
	s.SetAuthentic(true)
	_, meta, err = c.LookupMX(t.Context(), "example.org")
	require.NoError(t, err)
	require.True(t, meta.Authentic)
	_, meta, err = c.LookupMX(t.Context(), "nowhere.example")
	require.ErrorIs(t, err, dnsmx.ErrNXDomain)
	require.True(t, meta.Authentic, "denials too")
	s.Override(func(_ dns.Question, m *dns.Msg, _ string) bool {
		m.Rcode, m.Answer = dns.RcodeServerFailure, nil
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus}}
		return true
	})
	_, _, err = c.LookupMX(t.Context(), "example.org")
	require.ErrorIs(t, err, dnsmx.ErrBogus)
}

// D02: a long answer comes over TCP; one that is cut there too, or a server that is silent, is trouble.
func TestD02_TruncatedAndSilent(t *testing.T) {
	var big strings.Builder
	for i := range 200 {
		fmt.Fprintf(&big, "big.example. 300 IN MX %d host-%d.big.example.\n", i, i)
	}
	c, s := newClient(t, big.String())
	mx, _, err := c.LookupMX(t.Context(), "big.example")
	require.NoError(t, err)
	require.Len(t, mx, 200)
	s.Override(func(_ dns.Question, m *dns.Msg, network string) bool { m.Truncated = true; return true })
	_, _, err = c.LookupMX(t.Context(), "big.example")
	require.ErrorContains(t, err, "cut over TCP")
	s.Override(func(dns.Question, *dns.Msg, string) bool { return false })
	c.Timeout, c.Rounds = 50*time.Millisecond, 1
	_, _, err = c.LookupMX(t.Context(), "big.example")
	require.Error(t, err)
	require.NotErrorIs(t, err, dnsmx.ErrNXDomain)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = c.LookupMX(ctx, "big.example")
	require.ErrorIs(t, err, context.Canceled)
}

// D02: an empty answer of a server that does not ask others says nothing about the name.
func TestD02_LameServer(t *testing.T) {
	c, s := newClient(t, zone)
	s.Override(func(_ dns.Question, m *dns.Msg, _ string) bool {
		m.Answer, m.RecursionAvailable, m.Authoritative = nil, false, false
		return true
	})
	_, meta, err := c.LookupMX(t.Context(), "example.org")
	require.ErrorIs(t, err, dnsmx.ErrServFail)
	require.NotErrorIs(t, err, dnsmx.ErrNoData)
	require.False(t, meta.Authentic, "trouble is never authentic")
}

// Cancelling ends a question at once, whatever the time-outs are.
func TestCancelWhileAsking(t *testing.T) {
	c, s := newClient(t, zone)
	asked := make(chan struct{}, 9)
	s.Override(func(dns.Question, *dns.Msg, string) bool { asked <- struct{}{}; return false })
	c.Timeout = -1
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	begin := time.Now()
	_, _, err := c.LookupMX(ctx, "example.org")
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(begin), time.Minute)
}

// The second server answers when the first is dead.
func TestSecondServer(t *testing.T) {
	c, s := newClient(t, zone)
	c.Servers = []string{"127.0.0.1:1", s.Addr}
	_, _, err := c.LookupMX(t.Context(), "example.org")
	require.NoError(t, err)
}

// The whole road: a route from a real server's answers.
func ExampleClient() {
	client := &dnsclient.Client{Servers: []string{"127.0.0.1:53"}}
	router := &dnsmx.Router{Resolver: &dnsmx.Cache{Resolver: client}, DANE: true}
	_ = router // router.Route(ctx, "example.org")
	// Output:
}

func TestRouteOverDNS(t *testing.T) {
	c, s := newClient(t, strings.ReplaceAll(strings.ReplaceAll(zone, "192.0.2.1", "8.8.8.1"), "2001:db8::1", "2600::1"))
	s.SetAuthentic(true)
	r, err := (&dnsmx.Router{Resolver: &dnsmx.Cache{Resolver: c}, DANE: true}).Route(t.Context(), "www.example.org")
	require.NoError(t, err)
	require.Equal(t, "www.example.org: MX of www.example.org (alias of example.org)\n  1 a.mx.example.org [2600::1] [8.8.8.1] tls=dane (MX 10, DANE with 1 TLSA records)\n", r.String())
}

// FuzzAnswer: whatever a server sends, the client ends with an answer or an error.
func FuzzAnswer(f *testing.F) {
	m := new(dns.Msg)
	m.SetQuestion("example.org.", dns.TypeMX)
	packed, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Fuzz(func(t *testing.T, data []byte) {
		conn, err := netListen()
		if err != nil {
			t.Skip(err)
		}
		defer conn.Close()
		go func() {
			buf := make([]byte, 1500)
			n, from, err := conn.ReadFrom(buf)
			if err != nil || n < 2 {
				return
			}
			reply := append([]byte{buf[0], buf[1]}, data...)
			_, _ = conn.WriteTo(reply, from)
		}()
		c := &dnsclient.Client{Servers: []string{conn.LocalAddr().String()}, Timeout: 20 * time.Millisecond, Rounds: 1}
		list, _, err := c.LookupMX(context.Background(), "example.org")
		if err == nil && len(list) == 0 {
			t.Fatal("an empty answer is no error")
		}
	})
}
