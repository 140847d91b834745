package netserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// R02: many idle connections cost little, the next one over the limit is told so, and those who are in are served. The long
// form opens 9,500, since both ends are ours and take a file descriptor each.
func TestR02_IdleConnections(t *testing.T) {
	n := 500
	if os.Getenv("GONIEC_LONG") != "" {
		n = 9500
	}
	var s Server
	var idle atomic.Int64
	cfg := &Config{MaxConns: n, MaxConnsPerIP: -1, Refusal: refusal, Handle: func(_ context.Context, c *Conn) {
		b := make([]byte, 1)
		for c.BeginIdle(time.Hour) == nil {
			idle.Add(1)
			if _, err := c.Read(b); c.EndIdle() != nil || err != nil {
				return
			}
			fmt.Fprint(c, "SERVED\r\n")
		}
	}}
	addr := start(t, &s, cfg)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, n)
	for i := range conns {
		nc, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.EMFILE) {
			t.Skipf("needs %d file descriptors", 2*n+50)
		}
		require.NoError(t, err)
		defer nc.Close()
		conns[i] = nc
	}
	eventually(t, "all idle", func() bool { return idle.Load() == int64(n) })
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse) / int64(n)
	t.Logf("%d bytes of heap and stack for each of %d idle connections, the client's end included", each, n)
	require.Less(t, each, int64(12<<10))

	dial(t, addr).expect("421 4.7.0 too many connections").expectClosed()
	for _, nc := range []net.Conn{conns[0], conns[n/2], conns[n-1]} {
		_, err := nc.Write([]byte("x"))
		require.NoError(t, err)
		newClient(t, nc).expect("SERVED")
	}
	began := time.Now()
	require.NoError(t, s.Shutdown(context.Background()))
	require.Less(t, time.Since(began), time.Minute, "they might be idle for an hour")
}
