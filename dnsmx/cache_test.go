package dnsmx

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The cache is bounded by octets, whatever the answers are made of, and the estimate is not far from what the heap says.
func TestCacheOctets(t *testing.T) {
	const names, size, bound = 5000, 1000, 1 << 20
	text := func(i, n int) string { return strings.Repeat(fmt.Sprintf("%08d", i), n/8) }
	z := &Static{TTL: time.Hour, MX: map[string][]MX{}, TXT: map[string][]string{}, TLSA: map[string][]TLSA{}, Addrs: map[string][]netip.Addr{}}
	for i := range names {
		name := fmt.Sprintf("d%d.test", i)
		z.MX[name] = slices.Repeat([]MX{{Host: text(i, 200)}}, size/224)
		z.TXT[name] = []string{text(i, size)}
		z.TLSA[name] = []TLSA{{Data: []byte(text(i, size))}}
		z.Addrs[name] = slices.Repeat([]netip.Addr{netip.MustParseAddr("8.8.8.1")}, size/24)
	}
	for kind, ask := range map[string]func(c *Cache, name string) error{
		"MX":   func(c *Cache, name string) error { _, _, err := c.LookupMX(t.Context(), name); return err },
		"TXT":  func(c *Cache, name string) error { _, _, err := c.LookupTXT(t.Context(), name); return err },
		"TLSA": func(c *Cache, name string) error { _, _, err := c.LookupTLSA(t.Context(), name); return err },
		"A":    func(c *Cache, name string) error { _, _, err := c.LookupAddrs(t.Context(), name, "ip4"); return err },
	} {
		t.Run(kind, func(t *testing.T) {
			c := &Cache{Resolver: z, MaxBytes: bound}
			for i := range names {
				require.NoError(t, ask(c, fmt.Sprintf("d%d.test", i)))
			}
			c.cache.CleanUp()
			require.LessOrEqual(t, c.cache.WeightedSize(), uint64(bound))
			require.Greater(t, c.cache.WeightedSize(), uint64(bound*9/10), "it is used")
			require.InDelta(t, bound/(size+entryBytes), c.cache.EstimatedSize(), bound/size/5)
		})
	}
}

// What an answer weighs is what the heap pays for it, within half of it.
func TestCacheWeight(t *testing.T) {
	const names = 20_000
	z := &Static{TTL: time.Hour, TXT: map[string][]string{}}
	for i := range names {
		z.TXT[fmt.Sprintf("d%d.test", i)] = []string{"v=spf1 -all"}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	c := &Cache{Resolver: z, MaxBytes: -1}
	before := heap()
	for i := range names {
		_, _, err := c.LookupTXT(t.Context(), fmt.Sprintf("d%d.test", i))
		require.NoError(t, err)
	}
	c.cache.CleanUp()
	used, weight := heap()-before, c.cache.WeightedSize()
	t.Logf("%d octets of heap, %d by estimate", used/names, weight/names)
	require.InDelta(t, float64(used), float64(weight), float64(used)/2)
	runtime.KeepAlive(c)
}

// An answer that is larger than the whole cache is given, and not kept.
func TestCacheHugeAnswer(t *testing.T) {
	z := &Static{TTL: time.Hour, TXT: map[string][]string{"huge.test": {strings.Repeat("x", 10_000)}}}
	c := &Cache{Resolver: z, MaxBytes: 5000}
	list, _, err := c.LookupTXT(t.Context(), "huge.test")
	require.NoError(t, err)
	require.Len(t, list[0], 10_000)
	c.cache.CleanUp()
	require.Zero(t, c.cache.EstimatedSize())
}
