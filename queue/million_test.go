package queue

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// resident is the memory of this process in octets, as the kernel counts it.
func resident(t testing.TB) int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc")
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}

// A million queued messages (20,000 in the short form): memory, restart, first line of the listing.
func TestMillion(t *testing.T) {
	n := 20_000
	if peertest.LongForm() {
		n = 1_000_000
	}
	dir := t.TempDir()
	s, err := OpenFiles(dir, FileOptions{})
	require.NoError(t, err)
	body := strings.Repeat("0123456789abcdef0123456789abcde\r\n", 10)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range 64 {
		wg.Go(func() {
			for i := range n / 64 {
				m := testMessage(t, body, fmt.Sprintf("a@d%d.example", (w*i)%1000))
				if _, err := s.Put(context.Background(), m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	filled := time.Since(start)
	require.NoError(t, s.Close())
	s = nil
	debug.FreeOSMemory()
	before := resident(t)
	start = time.Now()
	s, err = OpenFiles(dir, FileOptions{})
	require.NoError(t, err)
	restart := time.Since(start)
	grown := resident(t) - before
	start = time.Now()
	for range s.Entries(context.Background(), Filter{}) {
		break
	}
	first := time.Since(start)
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	messages := s.x.messages
	t.Logf("%d messages in %v; restart %v, resident +%d KB (before %d KB), heap %d KB = %d octets each; first entry after %v", messages,
		filled.Round(time.Millisecond), restart.Round(time.Millisecond), grown>>10, before>>10, ms.HeapAlloc>>10, int(ms.HeapAlloc)/messages, first)
	require.Less(t, restart, max(5*time.Second, filled))
	if peertest.LongForm() {
		require.Less(t, resident(t), 100<<20)
		require.Less(t, first, 10*time.Millisecond)
	}
	require.NoError(t, s.Close())
}
