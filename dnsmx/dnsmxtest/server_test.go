package dnsmxtest_test

import (
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/dnsmx/dnsmxtest"
)

func TestServer(t *testing.T) {
	s := dnsmxtest.NewServer(t, "example.org. IN MX 10 mx.example.org.")
	m := new(dns.Msg)
	m.SetQuestion("example.org.", dns.TypeMX)
	for _, network := range []string{"udp", "tcp"} {
		reply, _, err := (&dns.Client{Net: network}).Exchange(m, s.Addr)
		require.NoError(t, err)
		require.Len(t, reply.Answer, 1)
	}
	require.Equal(t, []string{"MX example.org.", "MX example.org."}, s.Questions())
}

// What Sign signs, the key of the anchor verifies, and nothing else does.
func TestSign(t *testing.T) {
	s := dnsmxtest.NewServer(t, "example.org. IN MX 10 mx.example.org.\nbad.example.org. IN TXT \"x\"\nother.org. IN TXT \"x\"")
	anchor, err := dns.NewRR(s.Sign("example.org."))
	require.NoError(t, err)
	s.Spoil("bad.example.org.")
	ask := func(name string, qtype uint16, do bool) *dns.Msg {
		m := new(dns.Msg)
		m.SetQuestion(name, qtype)
		m.SetEdns0(4096, do)
		reply, err := dns.Exchange(m, s.Addr)
		require.NoError(t, err)
		return reply
	}
	keys := ask("example.org.", dns.TypeDNSKEY, true).Answer
	key := keys[0].(*dns.DNSKEY)
	require.Equal(t, anchor.String(), key.ToDS(dns.SHA256).String())
	verify := func(list []dns.RR) error {
		sig := list[len(list)-1].(*dns.RRSIG)
		return sig.Verify(key, list[:len(list)-1])
	}
	require.NoError(t, verify(keys))
	require.NoError(t, verify(ask("example.org.", dns.TypeMX, true).Answer))
	require.Error(t, verify(ask("bad.example.org.", dns.TypeTXT, true).Answer))
	require.Len(t, ask("example.org.", dns.TypeMX, false).Answer, 1, "not asked for")
	require.Len(t, ask("other.org.", dns.TypeTXT, true).Answer, 1, "not signed")
	absent := ask("nowhere.example.org.", dns.TypeMX, true)
	require.Equal(t, dns.RcodeNameError, absent.Rcode)
	kinds := map[uint16]int{}
	for _, rr := range absent.Ns {
		kinds[rr.Header().Rrtype]++
	}
	require.Equal(t, map[uint16]int{dns.TypeSOA: 1, dns.TypeNSEC: 2, dns.TypeRRSIG: 3}, kinds)
}

func Example() {
	var t *testing.T // of the test function
	start := func() *dnsmxtest.Server { return dnsmxtest.NewServer(t, "example.org. IN MX 10 mx.example.org.") }
	_ = start
	// Output:
}
