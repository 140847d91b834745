package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/smtp"
)

// recording is a session of an outside client.
func recording(change ...func(*smtp.Recording)) smtp.Recording {
	rec := smtp.Recording{
		Remote: netip.MustParseAddrPort("203.0.113.7:1234"), Hostname: "mx.example.org", Helo: "client.example.com",
		From: goniec.MustAddress("a@example.com"), To: []goniec.Address{goniec.MustAddress("b@example.org")}, Message: "Subject: x\r\n\r\n",
	}
	for _, f := range change {
		f(&rec)
	}
	return rec
}

func from(s string) func(*smtp.Recording) {
	return func(r *smtp.Recording) {
		r.From = goniec.Address{}
		if s != "" {
			r.From = goniec.MustAddress(s)
		}
	}
}

func to(list ...string) func(*smtp.Recording) {
	return func(r *smtp.Recording) {
		r.To = nil
		for _, s := range list {
			r.To = append(r.To, goniec.MustAddress(s))
		}
	}
}
func user(s string) func(*smtp.Recording) { return func(r *smtp.Recording) { r.User = s } }
func helo(s string) func(*smtp.Recording) { return func(r *smtp.Recording) { r.Helo = s } }
func clientAt(s string) func(*smtp.Recording) {
	return func(r *smtp.Recording) { r.Remote = netip.AddrPortFrom(netip.MustParseAddr(s), 1234) }
}

// try plays a session through middleware to a receiver for example.org and returns the refusals, "" when there were none.
func try(t *testing.T, rec smtp.Recording, m ...smtp.Middleware) string {
	t.Helper()
	h := smtp.Chain(smtp.DeliverTo(goniec.Discard(), "example.org"), m...)
	var out []string
	for _, step := range smtp.Try(t.Context(), h, rec) {
		if step.Reply != nil {
			out = append(out, step.Stage+" "+step.Reply.Reply())
		}
	}
	return strings.Join(out, "; ")
}

func TestTry(t *testing.T) {
	require.Empty(t, try(t, recording()))
	require.Equal(t, "rcpt 550 5.7.1 relaying denied", try(t, recording(to("b@example.org", "c@elsewhere.example"))))
	require.Empty(t, try(t, recording(to("c@elsewhere.example"), user("alice"))))
	steps := smtp.Try(t.Context(), smtp.DeliverTo(goniec.Discard(), "example.org"), recording())
	var stages []string
	for _, s := range steps {
		stages = append(stages, s.Stage)
	}
	require.Equal(t, []string{"connect", "helo", "mail", "rcpt", "data"}, stages)
}

func TestRequire(t *testing.T) {
	require.Equal(t, "mail 530 5.7.0 authentication required", try(t, recording(), smtp.RequireAuth()))
	require.Empty(t, try(t, recording(user("alice")), smtp.RequireAuth()))
	require.Equal(t, "mail 530 5.7.0 must issue a STARTTLS command first", try(t, recording(user("alice")), smtp.RequireTLS()))
	// They compose, and the first judges first.
	require.Equal(t, "mail 530 5.7.0 must issue a STARTTLS command first", try(t, recording(), smtp.RequireTLS(), smtp.RequireAuth()))
}

func TestUnless(t *testing.T) {
	office := smtp.FromNetworks(netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"))
	m := smtp.Unless(office, smtp.RequireAuth())
	require.Empty(t, try(t, recording(), m))
	require.Empty(t, try(t, recording(clientAt("::ffff:203.0.113.9")), m))
	require.Empty(t, try(t, recording(clientAt("2001:db8::1")), m))
	require.NotEmpty(t, try(t, recording(clientAt("192.0.2.1")), m))
	loop := smtp.Unless(smtp.FromNetworks(), smtp.RequireAuth())
	require.Empty(t, try(t, recording(clientAt("127.0.0.1")), loop))
	require.Empty(t, try(t, recording(clientAt("::1")), loop))
	require.NotEmpty(t, try(t, recording(), loop))
}

func TestReceiverTrusted(t *testing.T) {
	r := smtp.DeliverTo(goniec.Discard(), "example.org")
	r.Trusted = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	relayed := func(rec smtp.Recording) bool {
		steps := smtp.Try(t.Context(), r, rec)
		return steps[len(steps)-1].Reply == nil
	}
	require.True(t, relayed(recording(to("x@elsewhere.example"))))
	require.False(t, relayed(recording(to("x@elsewhere.example"), clientAt("203.0.112.255"))))
	require.False(t, relayed(recording(to("x@elsewhere.example"), clientAt("2001:db8::1"))))
	r.MayRelay = func(c *smtp.Conn) bool { return c.Helo() == "friend.example.com" }
	require.True(t, relayed(recording(to("x@elsewhere.example"), clientAt("192.0.2.1"), helo("friend.example.com"))))
	require.False(t, relayed(recording(to("x@elsewhere.example"), clientAt("192.0.2.1"))))
}

// A RcptVerifier decides what is ours; the right to relay goes around "not ours" only.
func TestReceiverVerifier(t *testing.T) {
	rec := &recorder{}
	r := smtp.DeliverTo(rec)
	r.Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	last := func(change ...func(*smtp.Recording)) string {
		steps := smtp.Try(t.Context(), r, recording(change...))
		if s := steps[len(steps)-1]; s.Reply != nil {
			return s.Reply.Enhanced.String()
		}
		return ""
	}
	require.Equal(t, "", last())
	require.Equal(t, "5.1.1", last(to("nobody@example.org")))
	require.Equal(t, "5.7.1", last(to("x@elsewhere.example")))
	require.Equal(t, "", last(to("x@elsewhere.example"), clientAt("192.0.2.1")))
	require.Equal(t, "5.1.1", last(to("nobody@example.org"), clientAt("192.0.2.1")))
	// With Domains, others are not even asked about.
	r.Domains = []string{"other.example"}
	require.Equal(t, "5.7.1", last())
	require.Equal(t, "", last(to("postmaster")))
}

func TestAccessList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(`# comment
allow 203.0.113.0/28        # first match wins
deny  203.0.113.0/24        no mail from there
deny  2001:db8::/32
deny  .dialup.example
deny  bad.example
allow boss@spam.example
deny  @Spam.example         spammers
`)
	l, err := smtp.OpenAccessList(path)
	require.NoError(t, err)
	m := l.Middleware()
	require.Empty(t, try(t, recording(), m))
	require.Equal(t, "mail 554 5.7.1 no mail from there", try(t, recording(clientAt("203.0.113.16")), m))
	require.Equal(t, "mail 554 5.7.1 access denied", try(t, recording(clientAt("2001:db8:1::1")), m))
	other := clientAt("192.0.2.1")
	for name, ok := range map[string]bool{"a.dialup.example": false, "DIALUP.example": false, "xdialup.example": true, "bad.example.": false, "x.bad.example": true} {
		require.Equal(t, ok, try(t, recording(other, helo(name)), m) == "", name)
	}
	for sender, ok := range map[string]bool{"x@spam.example": false, "boss@SPAM.example": true, "Boss@spam.example": false, "x@sub.spam.example": true, "": true} {
		require.Equal(t, ok, try(t, recording(other, from(sender)), m) == "", sender)
	}

	for text, want := range map[string]string{
		"allow\n":                     ":1: allow what?",
		"\n\nblock 1.2.3.4\n":         `:3: "block" is neither allow nor deny`,
		"deny 1.2.3.0/33\n":           `:1: "1.2.3.0/33" is no network`,
		"deny a@b@\n":                 ":1: invalid mail address",
		"deny exa<mple\n":             ":1: ",
		"# x\ndeny 203.0.113.1\nno\n": ":3: ",
	} {
		write(text)
		_, err := smtp.OpenAccessList(path)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
	}
}

// A changed file counts; a broken one leaves the rules as they were.
func TestAccessListReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "access")
		step := 0
		write := func(text string) {
			step++
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			at := time.Unix(int64(1_000_000_000+step), 0)
			require.NoError(t, os.Chtimes(path, at, at))
		}
		write("deny @spam.example\n")
		var log lines
		l := &smtp.AccessList{Path: path, Logger: log.logger()}
		m := l.Middleware()
		spam := recording(from("x@spam.example"))
		require.NotEmpty(t, try(t, spam, m))
		write("deny @other.example\n")
		require.NotEmpty(t, try(t, spam, m), "not looked at again yet")
		time.Sleep(5 * time.Second)
		require.Empty(t, try(t, spam, m))
		write("deny @spam.example\nnonsense\n")
		time.Sleep(5 * time.Second)
		require.Empty(t, try(t, spam, m))
		require.Contains(t, log.String(), ":2: ")
		require.NoError(t, os.Remove(path))
		time.Sleep(5 * time.Second)
		require.Empty(t, try(t, spam, m))
		write("deny @spam.example\n")
		time.Sleep(5 * time.Second)
		require.NotEmpty(t, try(t, spam, m))
	})
	// A list that was never there defers everything.
	require.Equal(t, "mail 451 4.3.0 temporary failure, try again later", try(t, recording(), (&smtp.AccessList{Path: "/nonexistent"}).Middleware()))
}

func TestRateLimit(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	r := &smtp.RateLimit{PerClient: 3, PerSender: 2, Per: time.Hour, Now: func() time.Time { return now }}
	m := r.Middleware()
	require.Empty(t, try(t, recording(), m))
	require.Empty(t, try(t, recording(), m))
	require.Equal(t, "mail 450 4.7.1 too much mail from this sender, try again later", try(t, recording(), m))
	require.Equal(t, "mail 450 4.7.1 too much mail from this client, try again later", try(t, recording(from("")), m))
	require.Empty(t, try(t, recording(from(""), clientAt("2001:db8::1")), m))
	require.Empty(t, try(t, recording(from(""), clientAt("2001:db8::2")), m))
	require.Empty(t, try(t, recording(from(""), clientAt("2001:db8::3")), m))
	require.NotEmpty(t, try(t, recording(from(""), clientAt("2001:db8::4")), m), "one /64 is one client")
	require.Empty(t, try(t, recording(from(""), clientAt("2001:db8:0:1::4")), m))
	now = now.Add(30 * time.Minute) // half of a sender's two
	require.Empty(t, try(t, recording(clientAt("192.0.2.1")), m))
	require.NotEmpty(t, try(t, recording(clientAt("192.0.2.1")), m))
	// Users are counted by name, whatever they send from.
	require.Empty(t, try(t, recording(user("alice"), from("x@example.com"), clientAt("192.0.2.2")), m))
	require.Empty(t, try(t, recording(user("alice"), from("y@example.com"), clientAt("192.0.2.3")), m))
	require.NotEmpty(t, try(t, recording(user("alice"), from("z@example.com"), clientAt("192.0.2.4")), m))
}

// The table is bounded.
func TestRateLimitMaxTracked(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	r := &smtp.RateLimit{PerClient: 1, MaxTracked: 2, Now: func() time.Time { return now }}
	m := r.Middleware()
	for i := range 10 {
		require.Empty(t, try(t, recording(clientAt(fmt.Sprintf("192.0.2.%d", i))), m))
	}
	require.NotEmpty(t, try(t, recording(clientAt("192.0.2.0")), m))
	require.Empty(t, try(t, recording(clientAt("192.0.2.9")), m), "not tracked")
	now = now.Add(2 * time.Hour)
	require.Empty(t, try(t, recording(clientAt("192.0.2.9")), m))
	require.NotEmpty(t, try(t, recording(clientAt("192.0.2.9")), m), "tracked now")
}

// fakeDNS is a Resolver of two tables. What is in neither does not exist; "!" stands for no answer.
type fakeDNS struct {
	hosts map[string]string
	ptrs  map[string]string
	asked []string
}

func (f *fakeDNS) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	f.asked = append(f.asked, host)
	var out []netip.Addr
	s, err := lookup(f.hosts, host)
	for word := range strings.FieldsSeq(s) {
		out = append(out, netip.MustParseAddr(word))
	}
	return out, err
}

func (f *fakeDNS) LookupAddr(_ context.Context, addr string) ([]string, error) {
	s, err := lookup(f.ptrs, addr)
	return strings.Fields(s), err
}

func lookup(table map[string]string, key string) (string, error) {
	switch s, ok := table[key]; {
	case !ok:
		return "", &net.DNSError{Err: "no such host", Name: key, IsNotFound: true}
	case s == "!":
		return "", &net.DNSError{Err: "server failure", Name: key, IsTemporary: true}
	default:
		return s, nil
	}
}

func TestDNSBL(t *testing.T) {
	dns := &fakeDNS{hosts: map[string]string{
		"7.113.0.203.bl.example": "127.0.0.2", "8.113.0.203.bl.example": "127.255.255.254", "9.113.0.203.bl.example": "198.51.100.1", "10.113.0.203.bl.example": "!",
		"10.113.0.203.second.example": "127.0.0.4",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example": "127.0.0.2",
	}}
	m := (&smtp.DNSBL{Resolver: dns, Zones: []string{"bl.example", "second.example"}}).Middleware()
	require.Equal(t, "mail 554 5.7.1 client [203.0.113.7] is listed by bl.example", try(t, recording(), m))
	require.Empty(t, try(t, recording(user("alice")), m))
	require.Empty(t, try(t, recording(clientAt("203.0.113.8")), m), "an error code of the list's is no listing")
	require.Empty(t, try(t, recording(clientAt("203.0.113.9")), m), "nor is a parked domain")
	require.Contains(t, try(t, recording(clientAt("203.0.113.10")), m), "second.example")
	require.Empty(t, try(t, recording(clientAt("203.0.113.11")), m))
	require.Contains(t, try(t, recording(clientAt("2001:db8::1")), m), "[2001:db8::1] is listed")
	require.Contains(t, try(t, recording(clientAt("::ffff:203.0.113.7")), m), "is listed")
}

func TestReverseDNS(t *testing.T) {
	dns := &fakeDNS{
		hosts: map[string]string{"good.example": "192.0.2.9 203.0.113.7", "liar.example": "192.0.2.1", "six.example": "2001:db8::1", "fails.example": "!"},
		ptrs: map[string]string{
			"203.0.113.7": "liar.example. good.example.", "203.0.113.8": "liar.example.", "203.0.113.9": "!", "203.0.113.10": "bad\x1bname. <x>.",
			"203.0.113.11": "fails.example.", "2001:db8::1": "six.example.",
		},
	}
	m := (&smtp.ReverseDNS{Resolver: dns, Require: true}).Middleware()
	require.Empty(t, try(t, recording(), m))
	require.Empty(t, try(t, recording(clientAt("2001:db8::1")), m))
	for ip, want := range map[string]string{"203.0.113.8": "550 5.7.25", "203.0.113.9": "451 4.7.25", "203.0.113.10": "550 5.7.25", "203.0.113.11": "451 4.7.25", "203.0.113.12": "550 5.7.25"} {
		require.Contains(t, try(t, recording(clientAt(ip)), m), "mail "+want, ip)
	}
	require.Empty(t, try(t, recording(clientAt("203.0.113.8"), user("alice")), m))

	// The name is in the envelope, and only a confirmed one.
	for ip, want := range map[string]string{"203.0.113.7": "good.example", "203.0.113.8": ""} {
		rec := &recorder{}
		h := smtp.Chain(smtp.DeliverTo(rec), (&smtp.ReverseDNS{Resolver: dns}).Middleware())
		smtp.Try(t.Context(), h, recording(clientAt(ip)))
		require.Equal(t, want, rec.got()[0].env.Origin.RDNS)
	}
}

func TestHeloRules(t *testing.T) {
	m := (&smtp.HeloRules{Own: []string{"[192.0.2.1]"}, RequireFQDN: true, CheckLiteral: true}).Middleware()
	for name, ok := range map[string]bool{
		"client.example.com": true, "localhost": false, "mx.example.org": false, "MX.Example.ORG": false, "[192.0.2.1]": false,
		"[203.0.113.7]": true, "[203.0.113.8]": false, "203.0.113.7": false, "[IPv6:2001:db8::1]": false,
	} {
		require.Equal(t, ok, try(t, recording(helo(name)), m) == "", name)
		require.Empty(t, try(t, recording(helo(name), user("alice")), m))
	}
	require.Empty(t, try(t, recording(helo("[ipv6:2001:db8::1]"), clientAt("2001:db8::1")), m))
	require.Empty(t, try(t, recording(helo("localhost")), (&smtp.HeloRules{}).Middleware()))
	require.Empty(t, try(t, recording(helo("mx.example.org"), clientAt("127.0.0.1")), m), "a program on our own machine")
}

// The first try is deferred, one after the delay is accepted, and then all are (virtual clock).
func TestGreylist(t *testing.T) {
	dir := t.TempDir()
	file, err := smtp.OpenGreyFile(faultfs.OS{}, dir, "grey")
	require.NoError(t, err)
	for name, store := range map[string]smtp.GreyStore{"memory": nil, "file": file} {
		t.Run(name, func(t *testing.T) {
			now := time.Now().Truncate(time.Second)
			g := &smtp.Greylist{Store: store, Now: func() time.Time { return now }}
			m := g.Middleware()
			const grey = "rcpt 451 4.7.1 greylisted, try again in a few minutes"
			require.Equal(t, grey, try(t, recording(), m))
			now = now.Add(5*time.Minute - time.Second)
			require.Equal(t, grey, try(t, recording(), m))
			now = now.Add(time.Second)
			require.Empty(t, try(t, recording(clientAt("203.0.113.200")), m), "a neighbour of the first client")
			require.Empty(t, try(t, recording(), m))
			require.Equal(t, grey, try(t, recording(clientAt("203.0.114.7")), m))
			require.Equal(t, grey, try(t, recording(from("")), m))
			require.Equal(t, grey, try(t, recording(to("c@example.org")), m))
			require.Empty(t, try(t, recording(user("alice"), to("d@example.org")), m))
			require.Contains(t, try(t, recording(to("x@elsewhere.example")), m), "relaying denied")
			now = now.Add(36 * 24 * time.Hour)
			require.Equal(t, grey, try(t, recording(), m), "forgotten")
			now = now.Add(49 * time.Hour)
			require.Equal(t, grey, try(t, recording(), m), "the second try came too late")
		})
	}
	require.NoError(t, file.Close())
	require.NoError(t, file.Close())
	require.Error(t, file.Save(t.Context(), "x", smtp.GreyEntry{}))
}

// A greylist file is read back, whatever happened to its end.
func TestGreyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "grey")
	open := func() *smtp.FileGreyStore {
		s, err := smtp.OpenGreyFile(faultfs.OS{}, dir, "grey")
		require.NoError(t, err)
		return s
	}
	e := smtp.GreyEntry{First: time.Unix(1, 0), Passed: true, Expires: time.Now().Add(time.Hour).Truncate(time.Second)}
	s := open()
	require.NoError(t, s.Save(t.Context(), "key \"1\"\n", e))
	require.NoError(t, s.Save(t.Context(), "old", smtp.GreyEntry{First: time.Unix(1, 0), Expires: time.Unix(2, 0)}))
	require.NoError(t, s.Save(t.Context(), "key 2", e))
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		s := open()
		for key, end := range map[string]int{"key \"1\"\n": strings.Index(string(whole), "old"), "key 2": len(whole) - 1} {
			got, err := s.Load(t.Context(), key)
			require.NoError(t, err)
			if cut > end {
				require.Equal(t, e, got)
			}
		}
		require.NoError(t, s.Save(t.Context(), "new", e))
		require.NoError(t, s.Close())
		s = open()
		got, _ := s.Load(t.Context(), "new")
		require.Equal(t, e, got, "cut at %d", cut)
		require.NoError(t, s.Close())
	}
	require.NoError(t, os.WriteFile(path, []byte("something else\n"), 0o600))
	_, err = smtp.OpenGreyFile(faultfs.OS{}, dir, "grey")
	require.ErrorContains(t, err, "no greylist file")
	_, err = smtp.OpenGreyFile(faultfs.OS{}, filepath.Join(dir, "nowhere"), "grey")
	require.Error(t, err)
}

// failingGrey is a store in trouble: mail goes through.
type failingGrey struct{}

func (failingGrey) Load(context.Context, string) (smtp.GreyEntry, error) {
	return smtp.GreyEntry{}, errors.New("disk on fire")
}
func (failingGrey) Save(context.Context, string, smtp.GreyEntry) error { return nil }

func TestGreylistStoreFails(t *testing.T) {
	require.Empty(t, try(t, recording(), (&smtp.Greylist{Store: failingGrey{}}).Middleware()))
}

func TestMemoryGreyStoreIsBounded(t *testing.T) {
	s := &smtp.MemoryGreyStore{Max: 10}
	for i := range 100 {
		require.NoError(t, s.Save(t.Context(), fmt.Sprint(i), smtp.GreyEntry{First: time.Unix(1, 0), Expires: time.Now().Add(time.Hour)}))
	}
	n := 0
	for i := range 100 {
		if e, _ := s.Load(t.Context(), fmt.Sprint(i)); !e.First.IsZero() {
			n++
		}
	}
	require.Equal(t, 10, n)
}

// Refusals beyond the free ones take longer and longer, up to a limit (virtual time).
func TestTarpit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &smtp.Tarpit{After: 2, MaxDelay: 3 * time.Second, MaxHeld: 1}
		rec := recording(to("a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example", "f@x.example", "g@x.example"))
		begin := time.Now()
		require.Contains(t, try(t, rec, p.Middleware()), "relaying denied")
		require.Equal(t, (1+2+3+3+3)*time.Second, time.Since(begin))
		// Accepted mail is not delayed, nor are deferred recipients.
		begin = time.Now()
		require.Empty(t, try(t, recording(), p.Middleware()))
		require.Zero(t, time.Since(begin))
		// Only so many are held: one of these two is not.
		begin = time.Now()
		done := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				try(t, recording(to("a@x.example", "b@x.example", "c@x.example")), p.Middleware())
				done <- time.Since(begin)
			}()
		}
		require.Equal(t, time.Duration(0), <-done)
		require.Equal(t, time.Second, <-done)
		// The context ends it.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		smtp.Try(ctx, smtp.Chain(smtp.DeliverTo(goniec.Discard(), "example.org"), (&smtp.Tarpit{After: -1, Delay: time.Hour, MaxDelay: time.Hour}).Middleware()), rec)
		require.Equal(t, time.Second, time.Since(begin))
	})
}

func TestNullSender(t *testing.T) {
	m := smtp.NullSender(true)
	require.Empty(t, try(t, recording(from("")), m))
	require.Equal(t, "data 550 5.5.3 mail from <> has one recipient", try(t, recording(from(""), to("b@example.org", "c@example.org")), m))
	require.Empty(t, try(t, recording(to("b@example.org", "c@example.org")), m))
	require.Equal(t, "mail 550 5.7.1 give your address as the sender", try(t, recording(from(""), user("alice")), m))
	require.Empty(t, try(t, recording(from(""), user("alice")), smtp.NullSender(false)))
}

func TestSenderLogin(t *testing.T) {
	m := smtp.SenderLogin(func(_ context.Context, from goniec.Address) ([]string, error) {
		switch from.Local() {
		case "fail":
			return nil, errors.New("the table is gone")
		case "alice", "sales":
			return []string{"alice", "bob"}, nil
		}
		return nil, nil
	})
	require.Empty(t, try(t, recording(), m))
	require.Equal(t, "mail 553 5.7.1 authenticate to use this sender address", try(t, recording(from("alice@example.org")), m))
	require.Empty(t, try(t, recording(from("sales@example.org"), user("bob")), m))
	require.Equal(t, "mail 553 5.7.1 this sender address is not yours", try(t, recording(from("sales@example.org"), user("carol")), m))
	require.Equal(t, "mail 553 5.7.1 this sender address is not yours", try(t, recording(user("carol")), m), "nobody's address")
	require.Empty(t, try(t, recording(from(""), user("carol")), m))
	require.Contains(t, try(t, recording(from("fail@example.org")), m), "mail 451")
}

func TestOneDomain(t *testing.T) {
	h := smtp.DeliverTo(goniec.Discard(), "example.org", "example.net")
	steps := smtp.Try(t.Context(), smtp.Chain(h, smtp.OneDomain()), recording(to("a@example.org", "b@EXAMPLE.org", "c@example.net")))
	require.Nil(t, steps[4].Reply)
	require.Equal(t, "452 4.5.3 one domain at a time, send this one separately", steps[5].Reply.Reply())
}

// S21: the name that was found for a proxy's address is not that of the client it names, nor the other way round.
func TestReverseDNSBehindProxy(t *testing.T) {
	dns := &fakeDNS{hosts: map[string]string{"proxy.example": "127.0.0.1"}, ptrs: map[string]string{"127.0.0.1": "proxy.example."}}
	rec := &recorder{}
	srv := start(t, &smtp.Server{
		XClientFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Handler:     smtp.Chain(smtp.DeliverTo(rec), (&smtp.ReverseDNS{Resolver: dns, Require: true}).Middleware()),
	})
	c := greeted(t, srv)
	const mail = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 0 LAST\r\n"
	tell(t, c, mail+"XFORWARD ADDR=192.0.2.7\r\n"+mail+"XFORWARD NAME=c.example ADDR=192.0.2.7\r\n"+mail+"XCLIENT ADDR=203.0.113.8\r\n")
	until(t, c, "\r\n220 ")
	tell(t, c, "HELO c\r\n")
	until(t, c, "250 ")
	tell(t, c, "MAIL FROM:<a@example.com>\r\nQUIT\r\n")
	require.Equal(t, []int{550, 221}, rest(t, c))
	var names []string
	for _, m := range rec.got() {
		names = append(names, m.env.Origin.RDNS)
	}
	require.Equal(t, []string{"proxy.example", "", "c.example"}, names)

	// A resolver that answers with what was not asked for.
	list := &fakeDNS{hosts: map[string]string{"7.113.0.203.bl.example": "2001:db8::1"}}
	require.Empty(t, try(t, recording(), (&smtp.DNSBL{Resolver: list, Zones: []string{"bl.example"}}).Middleware()))
}
