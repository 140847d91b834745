package dnsmx_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/dnsmx"
)

// issue makes a certificate; a nil parent signs itself.
func issue(t *testing.T, name string, ca bool, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, notAfter time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter, IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ca {
		tmpl.KeyUsage |= x509.KeyUsageCertSign
	}
	if parent == nil {
		parent, parentKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c, key
}

func tlsa(usage, selector, matching uint8, c *x509.Certificate) dnsmx.TLSA {
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return dnsmx.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

// signed is a zone whose answers are authentic.
func signed(records ...dnsmx.TLSA) *dnsmx.Static {
	return &dnsmx.Static{
		MX:        map[string][]dnsmx.MX{"x.test": {{Pref: 10, Host: "mx.test"}}},
		Addrs:     map[string][]netip.Addr{"mx.test": addrs("8.8.8.1")},
		TLSA:      map[string][]dnsmx.TLSA{"_25._tcp.mx.test": records},
		Authentic: true, Insecure: map[string]bool{}, Errors: map[string]error{}, CNAME: map[string]string{},
	}
}

// D03: each usage, selector and matching type, with the right and a wrong certificate.
func TestD03_Matching(t *testing.T) {
	year := time.Now().Add(365 * 24 * time.Hour)
	ca, caKey := issue(t, "ca", true, nil, nil, year)
	good, _ := issue(t, "mx.test", false, ca, caKey, year)
	wrongName, _ := issue(t, "other.test", false, ca, caKey, year)
	expired, _ := issue(t, "mx.test", false, ca, caKey, time.Now().Add(-time.Minute))
	other, otherKey := issue(t, "ca", true, nil, nil, year)
	foreign, _ := issue(t, "mx.test", false, other, otherKey, year)
	chain := func(certs ...*x509.Certificate) tls.ConnectionState {
		return tls.ConnectionState{PeerCertificates: certs}
	}

	for selector := range uint8(2) {
		for matching := range uint8(3) {
			ee, err := (&dnsmx.Router{Resolver: signed(tlsa(3, selector, matching, good)), DANE: true}).Route(t.Context(), "x.test")
			require.NoError(t, err)
			h := ee.Hosts[0]
			require.Equal(t, goniec.TLSDANE, h.TLS)
			require.NoError(t, h.Verify(chain(good)))
			require.Error(t, h.Verify(chain(foreign)))
			require.Error(t, h.Verify(chain(foreign, good)), "the leaf counts")
			require.Error(t, h.Verify(chain()))

			ta, err := (&dnsmx.Router{Resolver: signed(tlsa(2, selector, matching, ca)), DANE: true}).Route(t.Context(), "x.test")
			require.NoError(t, err)
			h = ta.Hosts[0]
			require.NoError(t, h.Verify(chain(good, ca)))
			require.Error(t, h.Verify(chain(wrongName, ca)))
			require.Error(t, h.Verify(chain(expired, ca)))
			require.Error(t, h.Verify(chain(foreign, other)))
			require.Error(t, h.Verify(chain(foreign, ca)), "the anchor is there but signed nothing")
			if selector == 0 && matching == 0 {
				require.NoError(t, h.Verify(chain(good)), "a whole anchor need not be sent")
			} else {
				require.Error(t, h.Verify(chain(good)))
			}
		}
	}
	// RFC 7672 §3.1.1: with usage 3 neither name nor date matter.
	for _, c := range []*x509.Certificate{wrongName, expired} {
		r, err := (&dnsmx.Router{Resolver: signed(tlsa(3, 1, 1, c)), DANE: true}).Route(t.Context(), "x.test")
		require.NoError(t, err)
		require.NoError(t, r.Hosts[0].Verify(chain(c)))
	}
}

// alias makes the exchanger a CNAME.
func alias(z *dnsmx.Static) {
	z.CNAME["mx.test"] = "real.test"
	z.Addrs["real.test"] = addrs("8.8.8.3")
}

// plainResolver is a Resolver without LookupCNAME.
type plainResolver struct{ dnsmx.Resolver }

// D03: a Resolver that can not be asked for a CNAME alone gives what it always gave, through a cache too.
func TestD03_NoAliasResolver(t *testing.T) {
	c, _ := issue(t, "mx.test", false, nil, nil, time.Now().Add(time.Hour))
	z := signed(tlsa(3, 1, 1, c))
	alias(z)
	z.Insecure["real.test"] = true
	for want, resolver := range map[goniec.TLSLevel][]dnsmx.Resolver{
		goniec.TLSOpportunistic: {plainResolver{z}, &dnsmx.Cache{Resolver: plainResolver{z}}},
		goniec.TLSDANE:          {z, &dnsmx.Cache{Resolver: z}},
	} {
		for _, res := range resolver {
			r, err := (&dnsmx.Router{Resolver: res, DANE: true}).Route(t.Context(), "x.test")
			require.NoError(t, err)
			require.Equal(t, want, r.Hosts[0].TLS)
			if want == goniec.TLSDANE {
				require.Equal(t, "mx.test", r.Hosts[0].ServerName)
			}
		}
	}
}

// D03: when TLSA records count, when they do not, and when the mail must wait.
func TestD03_Decision(t *testing.T) {
	c, _ := issue(t, "mx.test", false, nil, nil, time.Now().Add(time.Hour))
	good := tlsa(3, 1, 1, c)
	for name, tc := range map[string]struct {
		zone func(z *dnsmx.Static)
		want string
	}{
		"authentic":          {func(*dnsmx.Static) {}, "dane"},
		"zone not signed":    {func(z *dnsmx.Static) { z.Authentic = false }, "opportunistic"},
		"MX not signed":      {func(z *dnsmx.Static) { z.Insecure["x.test"] = true }, "opportunistic"},
		"host not signed":    {func(z *dnsmx.Static) { z.Insecure["mx.test"] = true }, "opportunistic"},
		"TLSA not signed":    {func(z *dnsmx.Static) { z.Insecure["_25._tcp.mx.test"] = true }, "opportunistic"},
		"no TLSA":            {func(z *dnsmx.Static) { z.TLSA = nil }, "opportunistic"},
		"TLSA bogus":         {func(z *dnsmx.Static) { z.Errors["_25._tcp.mx.test"] = dnsmx.ErrBogus }, "451 4.7.5"},
		"TLSA servfail":      {func(z *dnsmx.Static) { z.Errors["_25._tcp.mx.test"] = dnsmx.ErrServFail }, "451 4.7.5"},
		"TLSA times out":     {func(z *dnsmx.Static) { z.Errors["_25._tcp.mx.test"] = errors.New("timeout") }, "451 4.7.5"},
		"usage 0 and 1 only": {func(z *dnsmx.Static) { z.TLSA["_25._tcp.mx.test"] = []dnsmx.TLSA{tlsa(0, 1, 1, c), tlsa(1, 1, 1, c)} }, "required"},
		"short digest": {func(z *dnsmx.Static) {
			z.TLSA["_25._tcp.mx.test"] = []dnsmx.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: []byte{1}}}
		}, "required"},
		"usable beside unusable": {func(z *dnsmx.Static) { z.TLSA["_25._tcp.mx.test"] = []dnsmx.TLSA{tlsa(1, 1, 1, c), good} }, "dane"},
		"second host without TLSA": {func(z *dnsmx.Static) {
			z.Errors["_25._tcp.mx.test"] = dnsmx.ErrBogus
			z.MX["x.test"] = append(z.MX["x.test"], dnsmx.MX{Pref: 20, Host: "b.test"})
			z.Addrs["b.test"] = addrs("8.8.8.2")
		}, "opportunistic"},
		"alias with TLSA behind it": {func(z *dnsmx.Static) {
			z.CNAME["mx.test"] = "real.test"
			z.Addrs["real.test"] = addrs("8.8.8.3")
			z.TLSA = map[string][]dnsmx.TLSA{"_25._tcp.real.test": {good}}
		}, "dane"},
		"alias with TLSA before it": {func(z *dnsmx.Static) { z.CNAME["mx.test"] = "real.test"; z.Addrs["real.test"] = addrs("8.8.8.3") }, "dane"},
		// RFC 7672 §2.2.2: a signed alias that leads into an unsigned zone counts under its own name; one that is not signed does not.
		"signed alias of an unsigned host": {func(z *dnsmx.Static) { alias(z); z.Insecure["real.test"] = true }, "dane"},
		"signed alias, TLSA only behind it": {func(z *dnsmx.Static) {
			alias(z)
			z.Insecure["real.test"] = true
			z.TLSA = map[string][]dnsmx.TLSA{"_25._tcp.real.test": {good}}
		}, "opportunistic"},
		"signed alias, TLSA not signed": {func(z *dnsmx.Static) {
			alias(z)
			z.Insecure["real.test"], z.Insecure["_25._tcp.mx.test"] = true, true
		}, "opportunistic"},
		"signed alias, MX not signed":        {func(z *dnsmx.Static) { alias(z); z.Insecure["real.test"], z.Insecure["x.test"] = true, true }, "opportunistic"},
		"unsigned alias of an unsigned host": {func(z *dnsmx.Static) { alias(z); z.Insecure["real.test"], z.Insecure["mx.test"] = true, true }, "opportunistic"},
		"unsigned alias of a signed host":    {func(z *dnsmx.Static) { alias(z); z.Insecure["mx.test"] = true }, "opportunistic"},
		"signed alias, CNAME bogus": {func(z *dnsmx.Static) {
			alias(z)
			z.Insecure["real.test"], z.Errors["CNAME mx.test"] = true, dnsmx.ErrBogus
		}, "451 4.7.5"},
		"signed alias, CNAME times out": {func(z *dnsmx.Static) {
			alias(z)
			z.Insecure["real.test"], z.Errors["CNAME mx.test"] = true, errors.New("timeout")
		}, "451 4.7.5"},
		"implicit MX": {func(z *dnsmx.Static) {
			z.MX = nil
			z.Addrs["x.test"] = addrs("8.8.8.4")
			z.TLSA["_25._tcp.x.test"] = []dnsmx.TLSA{good}
		}, "dane"},
	} {
		z := signed(good)
		tc.zone(z)
		r, err := (&dnsmx.Router{Resolver: z, DANE: true}).Route(t.Context(), "x.test")
		got := show(r, err)
		if err == nil {
			require.Len(t, r.Hosts, 1, name)
			got = r.Hosts[0].TLS.String()
		}
		require.Equal(t, tc.want, got, name)
		r, err = (&dnsmx.Router{Resolver: z}).Route(t.Context(), "x.test")
		require.NoError(t, err)
		require.Equal(t, goniec.TLSOpportunistic, r.Hosts[0].TLS, "DANE is off by default")
	}
}

// halfDeaf is a Resolver with trouble at one family of addresses.
type halfDeaf struct {
	*dnsmx.Static
	family string
	meta   dnsmx.Meta
	err    error
}

func (r *halfDeaf) LookupAddrs(ctx context.Context, host, network string) ([]netip.Addr, dnsmx.Meta, error) {
	if network == r.family {
		return nil, r.meta, r.err
	}
	return r.Static.LookupAddrs(ctx, host, network)
}

// D03: whoever makes the question for one family fail does not turn DANE off by it. A denial that is not authentic does.
func TestD03_OneFamilyFails(t *testing.T) {
	c, _ := issue(t, "mx.test", false, nil, nil, time.Now().Add(time.Hour))
	for family, ip := range map[string]string{"ip6": "8.8.8.1", "ip4": "2600::1"} {
		for _, err := range []error{dnsmx.ErrServFail, dnsmx.ErrBogus, errors.New("timeout")} {
			z := signed(tlsa(3, 1, 1, c))
			z.Addrs["mx.test"] = addrs(ip)
			r, err := (&dnsmx.Router{Resolver: &halfDeaf{z, family, dnsmx.Meta{}, err}, DANE: true}).Route(t.Context(), "x.test")
			require.NoError(t, err)
			require.Equal(t, goniec.TLSDANE, r.Hosts[0].TLS, family)
		}
		z := signed(tlsa(3, 1, 1, c))
		z.Addrs["mx.test"] = addrs(ip)
		r, err := (&dnsmx.Router{Resolver: &halfDeaf{z, family, dnsmx.Meta{}, dnsmx.ErrNoData}, DANE: true}).Route(t.Context(), "x.test")
		require.NoError(t, err)
		require.Equal(t, goniec.TLSOpportunistic, r.Hosts[0].TLS, family)
	}
}

// D03: TLS asks for the TLSA base domain (RFC 7672 §8.1): the name that has the records, on whichever side of a CNAME.
func TestD03_ServerName(t *testing.T) {
	c, _ := issue(t, "mx.test", false, nil, nil, time.Now().Add(time.Hour))
	z := signed(tlsa(3, 1, 1, c))
	z.CNAME["mx.test"] = "real.test"
	z.Addrs["real.test"] = addrs("8.8.8.3")
	name := func() string {
		r, err := (&dnsmx.Router{Resolver: z, DANE: true}).Route(t.Context(), "x.test")
		require.NoError(t, err)
		require.Equal(t, "mx.test", r.Hosts[0].Name)
		return r.Hosts[0].ServerName
	}
	require.Equal(t, "mx.test", name(), "before the CNAME")
	z.TLSA["_25._tcp.real.test"] = z.TLSA["_25._tcp.mx.test"]
	require.Equal(t, "real.test", name(), "behind it")
	z.TLSA = nil
	require.Empty(t, name(), "no DANE: the host's own name")
}
