package passwdfile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// Five million users: loaded in 5 s or less, at most 120 octets a user beyond the file itself, look-ups
// within 1 µs. Processor time is what counts, as the machine may be busy with other things; since those
// take the caches away as well, a look-up may take 2 µs here.
func TestFiveMillion(t *testing.T) {
	n := 50_000
	if peertest.LongForm() {
		n = 5_000_000
	}
	path := big(t, n)
	info, err := os.Stat(path)
	require.NoError(t, err)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	f := &File{Path: path, Interval: -1}
	start, cpu := time.Now(), processorTime(t)
	require.NoError(t, f.Load())
	load, wall := processorTime(t)-cpu, time.Since(start)
	beyond := float64(heap()-before-uint64(info.Size())) / float64(n)
	require.Equal(t, n, f.Len())

	const lookups = 200_000
	names := make([]string, lookups)
	for i := range names {
		names[i] = fmt.Sprintf("user%07d@example.org", rand.IntN(n))
	}
	cpu = processorTime(t)
	for _, name := range names {
		if _, ok, err := f.Lookup(name); !ok || err != nil {
			t.Fatalf("%s: %v %v", name, ok, err)
		}
	}
	each := (processorTime(t) - cpu) / lookups
	t.Logf("%d users, %d MiB: loaded in %v of processor time (%v by the clock), %.1f octets a user beyond the file, %v a look-up", n, info.Size()>>20, load, wall, beyond, each)
	require.Less(t, beyond, 120.0)
	if peertest.LongForm() {
		require.Less(t, load, 5*time.Second)
		require.Less(t, each, 2*time.Microsecond)
	}
}
