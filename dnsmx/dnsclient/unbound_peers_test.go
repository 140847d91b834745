package dnsclient_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/dnsmx"
	"github.com/goniec-mail/goniec/dnsmx/dnsclient"
	"github.com/goniec-mail/goniec/dnsmx/dnsmxtest"
	"github.com/goniec-mail/goniec/internal/peertest"
)

// signedZone is signed, plain is not. Addresses have to look public.
const validatedZones = `
signed.test.          300 IN MX 10 mx.signed.test.
mx.signed.test.       300 IN A 8.8.8.1
_25._tcp.mx.signed.test. 300 IN TLSA 3 1 1 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
txt.signed.test.      300 IN TXT "v=STSv1; id=1;"
alias.signed.test.    300 IN CNAME signed.test.
away.signed.test.     300 IN CNAME plain.test.
hosted.signed.test.   300 IN MX 10 mxalias.signed.test.
mxalias.signed.test.  300 IN CNAME mx.plain.test.
_25._tcp.mxalias.signed.test. 300 IN TLSA 3 1 1 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
elsewhere.signed.test. 300 IN MX 10 mx.plain.test.
none.signed.test.     300 IN MX 10 bare.signed.test.
bare.signed.test.     300 IN A 8.8.8.2
forged.signed.test.   300 IN MX 10 mx.signed.test.
hidden.signed.test.   300 IN MX 10 tlsa.signed.test.
tlsa.signed.test.     300 IN A 8.8.8.3
_25._tcp.tlsa.signed.test. 300 IN TLSA 3 1 1 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
plain.test.           300 IN MX 10 mx.plain.test.
mx.plain.test.        300 IN A 8.8.8.4
_25._tcp.mx.plain.test. 300 IN TLSA 3 1 1 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
`

const unboundConf = `server:
	directory: "%[1]s"
	chroot: ""
	username: ""
	pidfile: "%[1]s/pid"
	use-syslog: no
	do-daemonize: no
	verbosity: 1
	val-log-level: 2
	interface: 127.0.0.1
	port: %[2]s
	do-ip6: no
	do-not-query-localhost: no
	module-config: "validator iterator"
	local-zone: "test." nodefault
	trust-anchor: "%[4]s"
	ede: yes
stub-zone:
	name: "signed.test"
	stub-addr: 127.0.0.1@%[3]s
stub-zone:
	name: "plain.test"
	stub-addr: 127.0.0.1@%[3]s
remote-control:
	control-enable: no
`

// startUnbound starts a validating resolver in front of a server with a signed zone, and returns a client of it.
func startUnbound(t *testing.T) *dnsclient.Client {
	t.Helper()
	peertest.Need(t, "unbound")
	zones := dnsmxtest.NewServer(t, validatedZones)
	anchor := zones.Sign("signed.test.")
	zones.Spoil("forged.signed.test.")
	zones.Spoil("_25._tcp.tlsa.signed.test.")
	dir, addr := t.TempDir(), peertest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	_, stub, err := net.SplitHostPort(zones.Addr)
	require.NoError(t, err)
	conf := filepath.Join(dir, "unbound.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, unboundConf, dir, port, stub, strings.ReplaceAll(anchor, "\t", " ")), 0o644))
	peertest.Start(t, dir, nil, "unbound", "-d", "-p", "-c", conf).WaitPort(addr)
	return &dnsclient.Client{Servers: []string{addr}, Timeout: 5 * time.Second}
}

// D03: the AD bit of a real validating resolver, over everything that mail asks, for answers and for denials.
func TestPeerUnboundAuthentic(t *testing.T) {
	c := startUnbound(t)
	type question func(name string) (dnsmx.Meta, error)
	mx := func(name string) (dnsmx.Meta, error) { _, m, err := c.LookupMX(t.Context(), name); return m, err }
	ip4 := func(name string) (dnsmx.Meta, error) {
		_, m, err := c.LookupAddrs(t.Context(), name, "ip4")
		return m, err
	}
	ip6 := func(name string) (dnsmx.Meta, error) {
		_, m, err := c.LookupAddrs(t.Context(), name, "ip6")
		return m, err
	}
	txt := func(name string) (dnsmx.Meta, error) { _, m, err := c.LookupTXT(t.Context(), name); return m, err }
	cname := func(name string) (dnsmx.Meta, error) { _, m, err := c.LookupCNAME(t.Context(), name); return m, err }
	tlsa := func(name string) (dnsmx.Meta, error) { _, m, err := c.LookupTLSA(t.Context(), name); return m, err }
	for _, tc := range []struct {
		what      string
		ask       question
		name      string
		authentic bool
		err       error
	}{
		{"MX", mx, "signed.test", true, nil},
		{"MX behind a CNAME", mx, "alias.signed.test", true, nil},
		{"A", ip4, "mx.signed.test", true, nil},
		{"TXT", txt, "txt.signed.test", true, nil},
		{"TLSA", tlsa, "_25._tcp.mx.signed.test", true, nil},
		{"no AAAA", ip6, "mx.signed.test", true, dnsmx.ErrNoData},
		{"no MX", mx, "mx.signed.test", true, dnsmx.ErrNoData},
		{"empty non-terminal", txt, "_tcp.mx.signed.test", true, dnsmx.ErrNoData},
		{"no such name", mx, "nowhere.signed.test", true, dnsmx.ErrNXDomain},
		{"no such name below", tlsa, "_25._tcp.bare.signed.test", true, dnsmx.ErrNXDomain},
		{"out of the signed zone", mx, "away.signed.test", false, nil},
		{"address behind a signed CNAME", ip4, "mxalias.signed.test", false, nil},
		{"signed CNAME out of the zone", cname, "mxalias.signed.test", true, nil},
		{"no CNAME", cname, "mx.signed.test", true, dnsmx.ErrNoData},
		{"unsigned", mx, "plain.test", false, nil},
		{"unsigned TLSA", tlsa, "_25._tcp.mx.plain.test", false, nil},
		{"unsigned denial", ip6, "mx.plain.test", false, dnsmx.ErrNoData},
		{"unsigned, no such name", mx, "nowhere.plain.test", false, dnsmx.ErrNXDomain},
		{"bogus", mx, "forged.signed.test", false, dnsmx.ErrBogus},
		{"bogus TLSA", tlsa, "_25._tcp.tlsa.signed.test", false, dnsmx.ErrBogus},
	} {
		meta, err := tc.ask(tc.name)
		if tc.err == nil {
			require.NoError(t, err, tc.what)
		}
		require.ErrorIs(t, err, tc.err, tc.what)
		require.Equal(t, tc.authentic, meta.Authentic, tc.what)
	}
	// A second time, from the resolver's cache.
	meta, err := mx("signed.test")
	require.NoError(t, err)
	require.True(t, meta.Authentic)
}

// D03: the decision of the whole road with a real validating resolver: DANE where everything is signed, nothing where the chain ends, and
// mail that waits where somebody forges.
func TestPeerUnboundDANE(t *testing.T) {
	router := &dnsmx.Router{Resolver: &dnsmx.Cache{Resolver: startUnbound(t)}, DANE: true}
	for domain, want := range map[string]string{
		"signed.test":           "dane",
		"alias.signed.test":     "dane",
		"elsewhere.signed.test": "opportunistic",
		"none.signed.test":      "opportunistic",
		"away.signed.test":      "opportunistic",
		"hosted.signed.test":    "dane", // RFC 7672 §2.2.2: a signed alias of an unsigned host
		"plain.test":            "opportunistic",
		"forged.signed.test":    "451 4.4.3",
		"hidden.signed.test":    "451 4.7.5",
		"nowhere.signed.test":   "550 5.1.2",
	} {
		r, err := router.Route(t.Context(), domain)
		if err != nil {
			s := goniec.StatusOf(err)
			require.Equal(t, want, fmt.Sprintf("%d %s", s.Code, s.Enhanced), domain)
			continue
		}
		require.Len(t, r.Hosts, 1, domain)
		require.Equal(t, want, r.Hosts[0].TLS.String(), "%s: %s", domain, r)
	}
}
