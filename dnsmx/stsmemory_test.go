package dnsmx

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Policies in memory are bounded by number and by octets, also when one domain's comes again and again.
func TestSTSMemory(t *testing.T) {
	s := &STS{}
	check := func() {
		sum := 0
		for _, p := range s.known {
			sum += p.size()
		}
		require.Equal(t, sum, s.bytes)
		require.LessOrEqual(t, s.bytes, maxBytes)
		require.LessOrEqual(t, len(s.known), maxPolicies)
	}
	for i := range 1000 {
		p := &STSPolicy{Domain: fmt.Sprintf("d%d.test", i), MX: make([]string, maxPatterns)}
		for k := range p.MX {
			p.MX[k] = strings.Repeat("x", 253)
		}
		s.remember(p)
	}
	check()
	require.Greater(t, s.bytes, maxBytes*9/10)
	for i := range maxPolicies + 10 {
		s.remember(&STSPolicy{Domain: fmt.Sprintf("e%d.test", i)})
		s.remember(&STSPolicy{Domain: "same.test", MX: make([]string, i%5)})
	}
	check()
	require.Greater(t, len(s.known), maxPolicies/2)
	require.Contains(t, s.known, "same.test")
}
