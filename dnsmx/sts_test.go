package dnsmx_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/dnsmx"
	"github.com/goniec-mail/goniec/faultfs"
)

const enforce = "version: STSv1\r\nmode: enforce\r\nmx: mx.test\r\nmx: *.pool.test\r\nmax_age: 604800\r\n"

// stsZone is a domain with a policy record.
func stsZone(id string) *dnsmx.Static {
	z := signed()
	z.Authentic = false
	z.TXT = map[string][]string{"_mta-sts.x.test": {"v=STSv1; id=" + id + ";"}}
	z.CNAME = nil
	return z
}

// host is a policy host in memory.
type host struct {
	text  string
	err   error
	asked int
}

func (h *host) fetch(_ context.Context, domain string) ([]byte, error) {
	h.asked++
	if domain != "x.test" {
		return nil, errors.New("asked for another domain")
	}
	return []byte(h.text), h.err
}

func TestD04_Modes(t *testing.T) {
	for mode, want := range map[string]goniec.TLSLevel{"enforce": goniec.TLSVerified, "testing": goniec.TLSOpportunistic, "none": goniec.TLSOpportunistic} {
		h := &host{text: strings.Replace(enforce, "enforce", mode, 1)}
		z := stsZone("1")
		r, err := (&dnsmx.Router{Resolver: z, STS: &dnsmx.STS{Resolver: z, Fetch: h.fetch}}).Route(t.Context(), "x.test")
		require.NoError(t, err)
		require.Equal(t, want, r.Hosts[0].TLS, mode)
	}
	// A host that is not listed is not used under enforce, and is under testing.
	h := &host{text: strings.Replace(enforce, "mx.test", "other.test", 1)}
	z := stsZone("1")
	_, err := (&dnsmx.Router{Resolver: z, STS: &dnsmx.STS{Resolver: z, Fetch: h.fetch}}).Route(t.Context(), "x.test")
	require.Equal(t, "451 4.7.5", show(goniec.Route{}, err))
	h = &host{text: strings.Replace(strings.Replace(enforce, "mx.test", "other.test", 1), "enforce", "testing", 1)}
	r, err := (&dnsmx.Router{Resolver: z, STS: &dnsmx.STS{Resolver: z, Fetch: h.fetch}}).Route(t.Context(), "x.test")
	require.NoError(t, err)
	require.Contains(t, r.Hosts[0].Why, "does not list it")
}

// DANE stands above MTA-STS, host by host.
func TestD04_DANEFirst(t *testing.T) {
	c, _ := issue(t, "mx.test", false, nil, nil, time.Now().Add(time.Hour))
	z := signed(tlsa(3, 1, 1, c))
	z.TXT = stsZone("1").TXT
	h := &host{text: strings.Replace(enforce, "mx.test", "other.test", 1)}
	r, err := (&dnsmx.Router{Resolver: z, DANE: true, STS: &dnsmx.STS{Resolver: z, Fetch: h.fetch}}).Route(t.Context(), "x.test")
	require.NoError(t, err)
	require.Equal(t, goniec.TLSDANE, r.Hosts[0].TLS)
}

// D04: TLSA records that can not be used do not weaken a policy (they only ask for TLS of any kind).
func TestD04_UnusableTLSA(t *testing.T) {
	c, _ := issue(t, "mx.test", false, nil, nil, time.Now().Add(time.Hour))
	z := signed(tlsa(0, 1, 1, c))
	z.TXT = stsZone("1").TXT
	for text, want := range map[string]string{
		enforce: "verified",
		strings.Replace(enforce, "enforce", "testing", 1):    "required",
		strings.Replace(enforce, "mx.test", "other.test", 1): "451 4.7.5",
	} {
		h := &host{text: text}
		r, err := (&dnsmx.Router{Resolver: z, DANE: true, STS: &dnsmx.STS{Resolver: z, Fetch: h.fetch}}).Route(t.Context(), "x.test")
		got := show(r, err)
		if err == nil {
			got = r.Hosts[0].TLS.String()
		}
		require.Equal(t, want, got, text)
	}
}

// D04: a policy that a wrong clock dated into the future is fetched again, and holds meanwhile.
func TestD04_FutureFetch(t *testing.T) {
	now := time.Now().Add(1000 * time.Hour)
	h := &host{text: enforce}
	z := stsZone("1")
	s := &dnsmx.STS{Resolver: z, Fetch: h.fetch, Now: func() time.Time { return now }}
	_, err := s.Policy(t.Context(), "x.test")
	require.NoError(t, err)
	now, h.err = time.Now(), errors.New("down")
	p, err := s.Policy(t.Context(), "x.test")
	require.NoError(t, err)
	require.NotNil(t, p)
	require.Equal(t, 2, h.asked)
}

// D04: the largest max_age that ten digits can say, and as many patterns as a policy may have.
func TestD04_PolicyBounds(t *testing.T) {
	p, err := dnsmx.ParseSTSPolicy(strings.Replace(enforce, "max_age: 604800", "max_age: 9999999999", 1))
	require.NoError(t, err)
	require.Equal(t, 31_557_600*time.Second, p.MaxAge)
	_, err = dnsmx.ParseSTSPolicy(strings.Replace(enforce, "max_age: 604800", "max_age: 10000000000", 1))
	require.ErrorIs(t, err, dnsmx.ErrSTSPolicy)
	head := "version: STSv1\nmode: enforce\nmax_age: 86400\n"
	_, err = dnsmx.ParseSTSPolicy(head + strings.Repeat("mx: a.test\n", 200))
	require.NoError(t, err)
	_, err = dnsmx.ParseSTSPolicy(head + strings.Repeat("mx: a.test\n", 201))
	require.ErrorIs(t, err, dnsmx.ErrSTSPolicy)
}

// D04: the policy domain is the recipient's, also when its MX lookup went through a CNAME.
func TestD04_PolicyDomainIsTheRecipients(t *testing.T) {
	h := &host{text: enforce}
	z := stsZone("1")
	z.CNAME = map[string]string{"x.test": "elsewhere.test"}
	z.MX["elsewhere.test"] = z.MX["x.test"]
	z.TXT["_mta-sts.elsewhere.test"] = []string{"v=STSv1; id=9;"}
	r, err := (&dnsmx.Router{Resolver: z, STS: &dnsmx.STS{Resolver: z, Fetch: h.fetch}}).Route(t.Context(), "x.test")
	require.NoError(t, err)
	require.Equal(t, goniec.TLSVerified, r.Hosts[0].TLS)
}

// D04: what holds a policy, what changes it, what ends it, in virtual time.
func TestD04_CachedPolicyHolds(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	h, z := &host{text: enforce}, stsZone("1")
	dir, err := faultfs.OS{}.OpenDir(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	newSTS := func() *dnsmx.STS {
		return &dnsmx.STS{Resolver: z, Fetch: h.fetch, Now: func() time.Time { return now }, Store: &dnsmx.PolicyDir{Dir: dir}}
	}
	sts := newSTS()
	policy := func() *dnsmx.STSPolicy {
		p, err := sts.Policy(t.Context(), "x.test")
		require.NoError(t, err)
		return p
	}
	require.Equal(t, dnsmx.STSEnforce, policy().Mode)
	policy()
	require.Equal(t, 1, h.asked, "the same id is not fetched again")

	z.TXT = nil // the record is taken away
	require.Equal(t, dnsmx.STSEnforce, policy().Mode)
	z.Errors["_mta-sts.x.test"] = dnsmx.ErrServFail
	require.Equal(t, dnsmx.STSEnforce, policy().Mode)
	sts = newSTS() // and the process restarted
	require.Equal(t, dnsmx.STSEnforce, policy().Mode)
	require.Equal(t, []string{"mx.test", "*.pool.test"}, policy().MX)

	delete(z.Errors, "_mta-sts.x.test")
	z.TXT = map[string][]string{"_mta-sts.x.test": {"v=STSv1; id=2;"}}
	h.err = errors.New("certificate is wrong")
	require.Equal(t, "1", policy().ID, "a new id whose policy can not be fetched changes nothing")
	asked := h.asked
	policy()
	require.Equal(t, asked, h.asked, "and is not tried with every message")
	now = now.Add(6 * time.Minute)
	h.err = nil
	require.Equal(t, "2", policy().ID)

	now = now.Add(25 * time.Hour) // refreshed before it expires
	asked = h.asked
	require.Equal(t, now, policy().Fetched)
	require.Equal(t, asked+1, h.asked)

	h.err = errors.New("gone")
	now = now.Add(8 * 24 * time.Hour)
	require.Nil(t, policy(), "expired, and no new one to be had")
}

func TestD04_Records(t *testing.T) {
	for text, want := range map[string]bool{
		"v=STSv1; id=20260101;": true, "v=STSv1;id=a": true, "v=STSv1 ; id=a ; x=y": true,
		"v=STSv1": false, "v=STSv1; id=": false, "v=STSv1; id=a-b;": false, "v=STSv2; id=a;": false, " v=STSv1; id=a;": false, "v=STSv1; id=" + strings.Repeat("a", 33): false, "": false,
	} {
		h, z := &host{text: enforce}, stsZone("1")
		z.TXT["_mta-sts.x.test"] = []string{"other text", text}
		p, err := (&dnsmx.STS{Resolver: z, Fetch: h.fetch}).Policy(t.Context(), "x.test")
		require.NoError(t, err)
		require.Equal(t, want, p != nil, text)
	}
	h, z := &host{text: enforce}, stsZone("1")
	z.TXT["_mta-sts.x.test"] = []string{"v=STSv1; id=1;", "v=STSv1; id=2;"}
	p, err := (&dnsmx.STS{Resolver: z, Fetch: h.fetch}).Policy(t.Context(), "x.test")
	require.NoError(t, err)
	require.Nil(t, p, "several records count as none")
}

func TestD04_PolicyText(t *testing.T) {
	p, err := dnsmx.ParseSTSPolicy(strings.ReplaceAll(enforce, "\r\n", "\n") + "max_age: 1\nmode: none\nversion: STSv2\nfuture: x\n\n")
	require.NoError(t, err)
	require.Equal(t, dnsmx.STSEnforce, p.Mode)
	require.Equal(t, 7*24*time.Hour, p.MaxAge)
	for host, want := range map[string]bool{"mx.test": true, "MX.test": true, "a.pool.test": true, "a.b.pool.test": false, "pool.test": false, "xpool.test": false, "a.mx.test": false} {
		require.Equal(t, want, p.Matches(host), host)
	}
	for _, bad := range []string{
		"", "mode: enforce\nmx: a.test\nmax_age: 1\n", "version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 1\n", "version: STSv1\nmode: maybe\nmx: a.test\nmax_age: 1\n",
		"version: STSv1\nmode: enforce\nmax_age: 1\n", "version: STSv1\nmode: enforce\nmx: a.test\n", "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1\n",
		"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 99999999999\n", "version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1\n", "version: STSv1\nmode: enforce\nmx: *.*.test\nmax_age: 1\n", "<html>\n",
	} {
		_, err := dnsmx.ParseSTSPolicy(bad)
		require.ErrorIs(t, err, dnsmx.ErrSTSPolicy, bad)
	}
	p, err = dnsmx.ParseSTSPolicy("version: STSv1\nmode: none\nmax_age: 4000000000\n")
	require.NoError(t, err)
	require.Equal(t, 31_557_600*time.Second, p.MaxAge)
}

// D04: the policy host, over real HTTPS.
func TestD04_Fetch(t *testing.T) {
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte(enforce))
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"fine": {answer, ""},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://mta-sts.x.test/elsewhere", http.StatusFound)
		}, "302"},
		"absent": {http.NotFound, "404"},
		"wrong type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte(enforce))
		}, "text/html"},
		"64 KiB": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Write(make([]byte, 64<<10))
		}, ""},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Write(make([]byte, 64<<10+1))
		}, "larger than 64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			cert, key := issue(t, "mta-sts.x.test", true, nil, nil, time.Now().Add(time.Hour))
			srv := httptest.NewUnstartedServer(tc.handler)
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.StartTLS()
			defer srv.Close()
			roots := x509.NewCertPool()
			roots.AddCert(cert)
			client := func(roots *x509.CertPool) *http.Client {
				return &http.Client{Transport: &http.Transport{
					DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
					DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
					},
				}}
			}
			text, err := (&dnsmx.PolicyFetcher{Client: client(roots)}).Fetch(t.Context(), "x.test")
			if tc.want == "" {
				require.NoError(t, err)
				require.NotEmpty(t, text)
			} else {
				require.ErrorContains(t, err, tc.want)
			}
			_, err = (&dnsmx.PolicyFetcher{Client: client(nil)}).Fetch(t.Context(), "x.test")
			require.ErrorContains(t, err, "certificate")
			_, err = (&dnsmx.PolicyFetcher{Client: client(roots)}).Fetch(t.Context(), "y.test")
			require.ErrorContains(t, err, "certificate")
		})
	}
}

// A policy host inside our network is not asked.
func TestD04_FetchRefusesPrivate(t *testing.T) {
	z := stsZone("1")
	z.Addrs["mta-sts.x.test"] = addrs("127.0.0.1", "10.0.0.1")
	_, err := (&dnsmx.PolicyFetcher{Resolver: z}).Fetch(t.Context(), "x.test")
	require.ErrorContains(t, err, "private or reserved network")
}

func TestPolicyDir(t *testing.T) {
	dir, err := faultfs.OS{}.OpenDir(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	d := &dnsmx.PolicyDir{Dir: dir}
	p, err := d.Load(t.Context(), "x.test")
	require.NoError(t, err)
	require.Nil(t, p)
	for _, bad := range []string{"../x", "a/b", "", "[127.0.0.1]"} {
		_, err := d.Load(t.Context(), bad)
		require.Error(t, err, bad)
		require.Error(t, d.Save(t.Context(), &dnsmx.STSPolicy{Domain: bad}))
	}
	require.NoError(t, faultfs.WriteFile(dir, "x.test.sts", []byte("something else"), 0o600))
	_, err = d.Load(t.Context(), "x.test")
	require.ErrorContains(t, err, "not of format")
}

// sickStore is a PolicyStore that can not be read, or not be written.
type sickStore struct {
	dnsmx.PolicyStore
	load, save error
}

func (s *sickStore) Load(ctx context.Context, domain string) (*dnsmx.STSPolicy, error) {
	if s.load != nil {
		return nil, s.load
	}
	return s.PolicyStore.Load(ctx, domain)
}

func (s *sickStore) Save(ctx context.Context, p *dnsmx.STSPolicy) error {
	if s.save != nil {
		return s.save
	}
	return s.PolicyStore.Save(ctx, p)
}

// D04: a store that can not be read is no licence to send in clear text: what memory or the policy's host know counts, and without
// either the mail waits.
func TestD04_UnreadableStore(t *testing.T) {
	dir, err := faultfs.OS{}.OpenDir(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	store := &sickStore{PolicyStore: &dnsmx.PolicyDir{Dir: dir}}
	h, z := &host{text: enforce}, stsZone("1")
	route := func(s *dnsmx.STS) string {
		r, err := (&dnsmx.Router{Resolver: z, STS: s}).Route(t.Context(), "x.test")
		if err != nil {
			return show(r, err)
		}
		return r.Hosts[0].TLS.String()
	}
	restart := func() *dnsmx.STS { return &dnsmx.STS{Resolver: z, Fetch: h.fetch, Store: store} }
	s := restart()
	require.Equal(t, "verified", route(s))

	store.load, store.save = errors.New("input/output error"), errors.New("input/output error")
	require.Equal(t, "verified", route(s), "memory knows it")
	require.Equal(t, "verified", route(restart()), "it is fetched anew")
	for name, change := range map[string]func(){
		"no record":         func() { z.TXT = nil },
		"record in trouble": func() { z.Errors["_mta-sts.x.test"] = dnsmx.ErrServFail },
		"no policy host":    func() { h.err = errors.New("connection refused") },
		"a bad policy":      func() { h.text = "junk" },
	} {
		h, z = &host{text: enforce}, stsZone("1")
		change()
		sick := restart()
		require.Equal(t, "451 4.3.0", route(sick), name)
		require.Equal(t, "451 4.3.0", route(sick), name)
	}
	h, z = &host{}, stsZone("1")
	z.TXT = nil
	store.load = nil
	require.Equal(t, "verified", route(restart()), "the store is well again")
	// A file that something else has written is such trouble too, until a policy takes its place.
	require.NoError(t, faultfs.WriteFile(dir, "x.test.sts", []byte("something else"), 0o600))
	require.Equal(t, "451 4.3.0", route(restart()))
	h, z, store.save = &host{text: enforce}, stsZone("2"), nil
	require.Equal(t, "verified", route(restart()))
	z.TXT = nil
	require.Equal(t, "verified", route(restart()))
}

// D04: Refresh keeps policies alive that no mail asks for; one whose record is gone is left to expire.
func TestD04_Refresh(t *testing.T) {
	for _, stored := range []bool{true, false} {
		now := time.Unix(1_700_000_000, 0)
		h, z := &host{text: enforce}, stsZone("1")
		s := &dnsmx.STS{Resolver: z, Fetch: h.fetch, Now: func() time.Time { return now }}
		if stored {
			dir, err := faultfs.OS{}.OpenDir(t.TempDir())
			require.NoError(t, err)
			defer dir.Close()
			require.NoError(t, faultfs.WriteFile(dir, "unrelated", nil, 0o600))
			s.Store = &dnsmx.PolicyDir{Dir: dir}
		}
		_, err := s.Policy(t.Context(), "x.test")
		require.NoError(t, err)
		for range 30 { // a week's policy, a month without mail
			now = now.Add(25 * time.Hour)
			require.NoError(t, s.Refresh(t.Context()))
		}
		require.Equal(t, 31, h.asked)
		h.err = errors.New("somebody is in the way")
		now = now.Add(6 * 24 * time.Hour)
		require.NoError(t, s.Refresh(t.Context()))
		p, err := s.Policy(t.Context(), "x.test")
		require.NoError(t, err)
		require.NotNil(t, p, "for the rest of its life")
		now = now.Add(2 * 24 * time.Hour)
		require.NoError(t, s.Refresh(t.Context()))
		p, err = s.Policy(t.Context(), "x.test")
		require.NoError(t, err)
		require.Nil(t, p)
		if d, ok := s.Store.(*dnsmx.PolicyDir); ok {
			for _, c := range []struct {
				days int
				kept bool
			}{{20, true}, {20, false}} {
				now = now.Add(time.Duration(c.days) * 24 * time.Hour)
				require.NoError(t, s.Refresh(t.Context()))
				p, err := d.Load(t.Context(), "x.test")
				require.NoError(t, err)
				require.Equal(t, c.kept, p != nil, "a month after it expired it goes")
			}
			_, err := d.Dir.Lstat("unrelated")
			require.NoError(t, err)
			require.NoError(t, d.Delete(t.Context(), "x.test"), "twice is harmless")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Refresh(ctx), context.Canceled)
	}
}

// A PolicyDir takes as many policies as its limit, those of an earlier process counted; known domains and freed places are taken on.
func TestPolicyDirMax(t *testing.T) {
	dir, err := faultfs.OS{}.OpenDir(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	policy := func(domain string) *dnsmx.STSPolicy {
		return &dnsmx.STSPolicy{Domain: domain, ID: "1", Mode: dnsmx.STSNone, MaxAge: time.Hour, Fetched: time.Unix(1, 0)}
	}
	for range 2 {
		d := &dnsmx.PolicyDir{Dir: dir, Max: 3}
		for _, domain := range []string{"a.test", "b.test", "c.test", "a.test"} {
			require.NoError(t, d.Save(t.Context(), policy(domain)))
		}
		require.ErrorIs(t, d.Save(t.Context(), policy("d.test")), dnsmx.ErrTooManyPolicies)
		require.NoError(t, d.Delete(t.Context(), "b.test"))
		require.NoError(t, d.Save(t.Context(), policy("d.test")))
		require.ErrorIs(t, d.Save(t.Context(), policy("b.test")), dnsmx.ErrTooManyPolicies)
		require.NoError(t, d.Delete(t.Context(), "d.test"))
	}
	require.NoError(t, (&dnsmx.PolicyDir{Dir: dir, Max: -1}).Save(t.Context(), policy("e.test")))
}

// policyHost is a real HTTPS server for mta-sts.x.test.
type policyHost struct {
	*httptest.Server
	cert    *x509.Certificate
	handler http.HandlerFunc
	asked   int
}

func newPolicyHost(t *testing.T) *policyHost {
	cert, key := issue(t, "mta-sts.x.test", true, nil, nil, time.Now().Add(time.Hour))
	h := &policyHost{cert: cert}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked++
		if r.Host != "mta-sts.x.test" || r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		h.handler(w, r)
	}))
	h.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// fetcher reaches the host; trusting says whether its certificate is known.
func (h *policyHost) fetcher(trusting bool) *dnsmx.PolicyFetcher {
	roots := x509.NewCertPool()
	if trusting {
		roots.AddCert(h.cert)
	}
	return &dnsmx.PolicyFetcher{Client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.Listener.Addr().String())
		},
	}}}
}

// D04, the whole of it with a real policy host: what is fetched counts, is kept on disk over a restart, refreshed before it expires, and
// nothing that a bad host says takes it away.
func TestD04_RealHost(t *testing.T) {
	h, z, now := newPolicyHost(t), stsZone("1"), time.Now()
	say := func(text string) {
		h.handler = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, text)
		}
	}
	dir, err := faultfs.OS{}.OpenDir(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	fetcher := h.fetcher(true)
	restart := func() *dnsmx.Router {
		return &dnsmx.Router{Resolver: z, STS: &dnsmx.STS{
			Resolver: z, Fetch: fetcher.Fetch, Store: &dnsmx.PolicyDir{Dir: dir}, Now: func() time.Time { return now },
		}}
	}
	route := func(r *dnsmx.Router) string {
		got, err := r.Route(t.Context(), "x.test")
		if err != nil {
			return show(got, err)
		}
		require.Len(t, got.Hosts, 1)
		return got.Hosts[0].TLS.String()
	}
	say(strings.Replace(enforce, "enforce", "testing", 1))
	r := restart()
	require.Equal(t, "opportunistic", route(r))
	say(enforce)
	z.TXT["_mta-sts.x.test"] = []string{"v=STSv1; id=2;"}
	require.Equal(t, "verified", route(r), "a new id")
	require.Equal(t, 2, h.asked)
	require.Equal(t, "verified", route(restart()), "from the disk")
	require.Equal(t, 2, h.asked)

	z.TXT["_mta-sts.x.test"] = []string{"v=STSv1; id=3;"}
	for name, bad := range map[string]func(){
		"redirect": func() {
			h.handler = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/.well-known/mta-sts.txt?again", http.StatusMovedPermanently)
			}
		},
		"too large": func() { say(enforce + strings.Repeat("x: y\n", 20_000)) },
		"not text": func() {
			h.handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
		},
		"junk":        func() { say("mode: none") },
		"certificate": func() { say(strings.Replace(enforce, "enforce", "none", 1)); fetcher = h.fetcher(false) },
	} {
		bad()
		before := h.asked
		require.Equal(t, "verified", route(restart()), name)
		require.LessOrEqual(t, h.asked-before, 1, "no redirect is followed")
		fetcher = h.fetcher(true)
	}
	say(strings.Replace(enforce, "mx.test", "other.test", 1))
	require.Equal(t, "451 4.7.5", route(restart()), "our exchanger is no longer among them")

	say(enforce)
	now = now.Add(6 * 24 * time.Hour) // of seven
	before := h.asked
	require.Equal(t, "verified", route(restart()))
	require.Equal(t, before+1, h.asked, "refreshed before it expires")
	h.Close()
	now = now.Add(6 * 24 * time.Hour)
	require.Equal(t, "verified", route(restart()), "and so it holds another six days")
	now = now.Add(2 * 24 * time.Hour)
	require.Equal(t, "opportunistic", route(restart()), "expired, with nobody to ask")
}

func FuzzParseSTSPolicy(f *testing.F) {
	f.Add(enforce)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := dnsmx.ParseSTSPolicy(text)
		if err != nil {
			return
		}
		require.LessOrEqual(t, p.MaxAge, 31_557_600*time.Second)
		require.True(t, p.Mode == dnsmx.STSNone || len(p.MX) > 0)
		for _, mx := range p.MX {
			require.True(t, p.Matches(strings.Replace(mx, "*", "one", 1)))
		}
	})
}
