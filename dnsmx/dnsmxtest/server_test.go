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

func Example() {
	var t *testing.T // of the test function
	start := func() *dnsmxtest.Server { return dnsmxtest.NewServer(t, "example.org. IN MX 10 mx.example.org.") }
	_ = start
	// Output:
}
