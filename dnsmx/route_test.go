package dnsmx_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/dnsmx"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// zone is a small internet.
func zone() *dnsmx.Static {
	z := &dnsmx.Static{
		MX: map[string][]dnsmx.MX{
			"ok.test":      {{20, "b.mx.test."}, {10, "A.mx.test"}},
			"null.test":    {{0, "."}},
			"nullmix.test": {{0, "."}, {5, "a.mx.test"}},
			"us.test":      {{10, "a.mx.test"}, {20, "we.test"}, {20, "b.mx.test"}, {30, "c.mx.test"}},
			"only-us.test": {{10, "we.test"}, {20, "a.mx.test"}},
			"our-ip.test":  {{10, "a.mx.test"}, {20, "ours.mx.test"}, {30, "b.mx.test"}},
			"ip-mx.test":   {{10, "192.0.2.1"}},
			"gone-mx.test": {{10, "gone.mx.test"}, {20, "a.mx.test"}},
			"dead-mx.test": {{10, "gone.mx.test"}},
			"sick-us.test": {{10, "sick.mx.test"}, {20, "ours.mx.test"}},
			"us-sick.test": {{10, "ours.mx.test"}, {20, "sick.mx.test"}},
			"by-us.test":   {{10, "ours.mx.test"}, {10, "sick.mx.test"}},
			"mapped.test":  {{10, "mapped.mx.test"}, {20, "a.mx.test"}},
			"sick-mx.test": {{10, "sick.mx.test"}},
			"half.test":    {{10, "sick.mx.test"}, {20, "a.mx.test"}},
			"cname-mx.test": {
				{10, "alias.mx.test"},
			},
			"żółw-a.test": nil,
		},
		Addrs: map[string][]netip.Addr{
			"a.mx.test": addrs("8.8.8.1", "8.8.8.2", "2600::1"), "b.mx.test": addrs("8.8.4.1"), "c.mx.test": addrs("8.8.4.2"),
			"implicit.test": addrs("8.8.1.1"), "we.test": addrs("8.8.9.9"), "ours.mx.test": addrs("8.8.9.10"), "mapped.mx.test": addrs("::ffff:8.8.9.10"), "v6.test": addrs("2600::6"),
			"notmail.test": nil,
		},
		TXT:    map[string][]string{"notmail.test": {"hello"}},
		CNAME:  map[string]string{"www.test": "ok.test", "alias.mx.test": "a.mx.test", "loop.test": "loop.test"},
		Errors: map[string]error{"sick.test": dnsmx.ErrServFail, "sick.mx.test": dnsmx.ErrServFail, "bogus.test": dnsmx.ErrBogus},
	}
	for i := range 20 {
		z.CNAME[fmt.Sprintf("c%d.test", i)] = fmt.Sprintf("c%d.test", i+1)
	}
	z.MX["c20.test"] = z.MX["ok.test"]
	return z
}

func newRouter(z *dnsmx.Static) *dnsmx.Router {
	return &dnsmx.Router{Resolver: z, Hostname: "We.test", OwnAddrs: addrs("8.8.9.10")}
}

// show is a route in short: hosts with addresses, or the reply.
func show(r goniec.Route, err error) string {
	if err != nil {
		var s *goniec.Status
		if !errors.As(err, &s) {
			return err.Error()
		}
		return fmt.Sprintf("%d %s", s.Code, s.Enhanced)
	}
	var out []string
	for _, h := range r.Hosts {
		var a []string
		for _, ip := range h.Addrs {
			a = append(a, ip.String())
		}
		out = append(out, h.Name+"="+strings.Join(a, ","))
	}
	return strings.Join(out, " ")
}

// D01, D02: the rules, one row each.
func TestD02_Routes(t *testing.T) {
	r := newRouter(zone())
	const a = "a.mx.test=2600::1,8.8.8.1,8.8.8.2"
	for domain, want := range map[string]string{
		"ok.test":                a + " b.mx.test=8.8.4.1",
		"OK.Test.":               a + " b.mx.test=8.8.4.1",
		"www.test":               a + " b.mx.test=8.8.4.1",
		"implicit.test":          "implicit.test=8.8.1.1",
		"v6.test":                "v6.test=2600::6",
		"null.test":              "556 5.1.10",
		"nullmix.test":           a,
		"nx.test":                "550 5.1.2",
		"notmail.test":           "550 5.4.4",
		"sick.test":              "451 4.4.3",
		"bogus.test":             "451 4.4.3",
		"us.test":                a,
		"only-us.test":           "554 5.4.6",
		"our-ip.test":            a,
		"we.test":                "554 5.4.6", // no MX, so the host itself
		"sick-us.test":           "451 4.4.3", // the one before us may be well again
		"us-sick.test":           "554 5.4.6",
		"by-us.test":             "554 5.4.6",
		"mapped.test":            "554 5.4.6",
		"ip-mx.test":             "550 5.4.4",
		"gone-mx.test":           a,
		"dead-mx.test":           "550 5.4.4",
		"sick-mx.test":           "451 4.4.3",
		"half.test":              a,
		"cname-mx.test":          "alias.mx.test=2600::1,8.8.8.1,8.8.8.2",
		"loop.test":              "451 4.4.3",
		"c12.test":               a + " b.mx.test=8.8.4.1",
		"c11.test":               "451 4.4.3",
		"[8.8.8.8]":              "[8.8.8.8]=8.8.8.8",
		"[IPv6:2600::9]":         "[ipv6:2600::9]=2600::9",
		"[127.0.0.1]":            "550 5.4.4",
		"[8.8.9.10]":             "554 5.4.6",
		"[IPv6:::ffff:8.8.9.10]": "554 5.4.6",
		"not a domain":           "550 5.1.2",
		"":                       "550 5.1.2",
		"a\r\nb":                 "550 5.1.2",
	} {
		require.Equal(t, want, show(r.Route(t.Context(), domain)), domain)
	}
}

// D01: exchangers in networks that are not public.
func TestD01_PrivateExchangers(t *testing.T) {
	for _, ip := range []string{
		"127.0.0.1", "0.0.0.0", "10.1.2.3", "169.254.169.254", "172.16.0.1", "192.168.1.1", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1",
		"::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001::1",
		"64:ff9b:1::7f00:1", "::7f00:1", "::ffff:0:7f00:1", "fec0::1", "3fff::1", "5f00::1", "2001:2::1", "192.88.99.1", "100::1",
	} {
		z := &dnsmx.Static{MX: map[string][]dnsmx.MX{"x.test": {{0, "mx.test"}}}, Addrs: map[string][]netip.Addr{"mx.test": addrs(ip)}}
		require.Equal(t, "550 5.4.4", show((&dnsmx.Router{Resolver: z}).Route(t.Context(), "x.test")), ip)
		require.Equal(t, "mx.test="+ip, show((&dnsmx.Router{Resolver: z, AllowPrivate: true}).Route(t.Context(), "x.test")))
	}
	require.False(t, dnsmx.Public(netip.MustParseAddr("::ffff:127.0.0.1")))
	require.False(t, dnsmx.Public(netip.Addr{}))
	for _, ip := range []string{"8.8.8.8", "2600::1", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"} {
		require.True(t, dnsmx.Public(netip.MustParseAddr(ip)), ip)
	}
}

// D02: limits on hosts and addresses.
func TestD02_Limits(t *testing.T) {
	z := &dnsmx.Static{MX: map[string][]dnsmx.MX{}, Addrs: map[string][]netip.Addr{}}
	for i := range 1000 {
		host := fmt.Sprintf("m%d.test", i)
		z.MX["big.test"] = append(z.MX["big.test"], dnsmx.MX{Pref: uint16(i), Host: host})
		for j := range 100 {
			z.Addrs[host] = append(z.Addrs[host], netip.AddrFrom4([4]byte{8, byte(i), byte(j), 1}))
		}
		z.MX["wide.test"] = append(z.MX["wide.test"], dnsmx.MX{Pref: uint16(i), Host: fmt.Sprintf("w%d.test", i)})
		z.Addrs[fmt.Sprintf("w%d.test", i)] = addrs("8.8.8.8")
	}
	count := func(r goniec.Route, err error) (hosts, ips int) {
		require.NoError(t, err)
		for _, h := range r.Hosts {
			ips += len(h.Addrs)
		}
		return len(r.Hosts), ips
	}
	hosts, ips := count((&dnsmx.Router{Resolver: z}).Route(t.Context(), "big.test"))
	require.Equal(t, [2]int{1, 20}, [2]int{hosts, ips})
	hosts, ips = count((&dnsmx.Router{Resolver: z}).Route(t.Context(), "wide.test"))
	require.Equal(t, [2]int{10, 10}, [2]int{hosts, ips})
	hosts, _ = count((&dnsmx.Router{Resolver: z, MaxHosts: 11}).Route(t.Context(), "wide.test"))
	require.Equal(t, 11, hosts)
	hosts, ips = count((&dnsmx.Router{Resolver: z, MaxHosts: -1, MaxAddrs: -1}).Route(t.Context(), "wide.test"))
	require.Equal(t, [2]int{1000, 1000}, [2]int{hosts, ips})
}

// Hosts of one preference are tried in changing order, so that load spreads.
func TestShuffle(t *testing.T) {
	z := &dnsmx.Static{MX: map[string][]dnsmx.MX{"x.test": {{10, "a.test"}, {10, "b.test"}, {5, "first.test"}}}, Addrs: map[string][]netip.Addr{"a.test": addrs("8.8.8.1"), "b.test": addrs("8.8.8.2"), "first.test": addrs("8.8.8.3")}}
	seen := map[string]int{}
	for range 200 {
		r, err := (&dnsmx.Router{Resolver: z}).Route(t.Context(), "x.test")
		require.NoError(t, err)
		require.Equal(t, "first.test", r.Hosts[0].Name)
		seen[r.Hosts[1].Name]++
	}
	require.Greater(t, seen["a.test"], 50)
	require.Greater(t, seen["b.test"], 50)
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newRouter(zone()).Route(ctx, "ok.test")
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, goniec.Temporary(err))
}

// counting counts questions.
type counting struct {
	dnsmx.Resolver
	n int
}

func (c *counting) LookupMX(ctx context.Context, domain string) ([]dnsmx.MX, dnsmx.Meta, error) {
	c.n++
	return c.Resolver.LookupMX(ctx, domain)
}

func TestCache(t *testing.T) {
	z := zone()
	z.TTL = time.Hour
	in := &counting{Resolver: z}
	c := &dnsmx.Cache{Resolver: in}
	for range 3 {
		list, meta, err := c.LookupMX(t.Context(), "ok.test")
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Greater(t, meta.TTL, 59*time.Minute)
		list[0].Host = "changed by the caller"
		_, _, err = c.LookupMX(t.Context(), "nx.test")
		require.ErrorIs(t, err, dnsmx.ErrNXDomain)
	}
	require.Equal(t, 2, in.n, "answers and denials are kept")
	for range 3 {
		_, _, err := c.LookupMX(t.Context(), "sick.test")
		require.ErrorIs(t, err, dnsmx.ErrServFail)
	}
	require.Equal(t, 5, in.n, "trouble is not")
	require.Equal(t, show(newRouter(z).Route(t.Context(), "ok.test")), show((&dnsmx.Router{Resolver: c, Hostname: "we.test"}).Route(t.Context(), "ok.test")))
	_, _, err := c.LookupPTR(t.Context(), netip.MustParseAddr("8.8.8.8"))
	require.ErrorIs(t, err, dnsmx.ErrNXDomain)
	_, _, err = c.LookupTXT(t.Context(), "notmail.test")
	require.NoError(t, err)
	_, _, err = c.LookupTLSA(t.Context(), "notmail.test")
	require.ErrorIs(t, err, dnsmx.ErrNoData)
}

func ExampleRouter() {
	dns := &dnsmx.Static{
		MX:    map[string][]dnsmx.MX{"example.org": {{Pref: 10, Host: "mx1.example.org"}, {Pref: 20, Host: "mx2.example.org"}}},
		Addrs: map[string][]netip.Addr{"mx1.example.org": {netip.MustParseAddr("8.8.8.1"), netip.MustParseAddr("2600::1")}, "mx2.example.org": {netip.MustParseAddr("8.8.8.2")}},
	}
	route, err := (&dnsmx.Router{Resolver: dns}).Route(context.Background(), "example.org")
	fmt.Print(route)
	fmt.Println(err)
	// Output:
	// example.org: MX of example.org
	//   1 mx1.example.org [2600::1] [8.8.8.1] tls=opportunistic (MX 10)
	//   2 mx2.example.org [8.8.8.2] tls=opportunistic (MX 20)
	// <nil>
}
