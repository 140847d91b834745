package netserver

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkIdleConnection reports the heap and stack of one idle connection, and of the same socket pair with nothing but a
// goroutine in Read, so that the difference is this package's.
func BenchmarkIdleConnection(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		defer l.Close()
		var n atomic.Int64
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					n.Add(1)
					_, _ = c.Read(make([]byte, 1))
				}()
			}
		}()
		for b.Loop() {
			measureIdle(b, l.Addr().String(), &n)
		}
	})
	b.Run("netserver", func(b *testing.B) {
		var s Server
		var n atomic.Int64
		addr := start(b, &s, &Config{MaxConns: -1, MaxConnsPerIP: -1, Handle: func(_ context.Context, c *Conn) {
			_ = c.BeginIdle(time.Hour)
			n.Add(1)
			_, _ = c.Read(make([]byte, 1))
		}})
		for b.Loop() {
			measureIdle(b, addr, &n)
		}
	})
}

const idleConns = 1000

func measureIdle(b *testing.B, addr string, idle *atomic.Int64) {
	var before, after runtime.MemStats
	idle.Store(0)
	clients := make([]net.Conn, 0, idleConns)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range idleConns {
		c, err := net.Dial("tcp", addr)
		require.NoError(b, err)
		clients = append(clients, c)
	}
	for idle.Load() < int64(idleConns) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapInuse)-float64(before.HeapInuse))/idleConns, "heapB/conn")
	b.ReportMetric((float64(after.StackInuse)-float64(before.StackInuse))/idleConns, "stackB/conn")
	for _, c := range clients {
		_ = c.Close()
	}
}

// BenchmarkConnect is a connection from dial to close, served and refused; R02's storm from one address is the latter.
func BenchmarkConnect(b *testing.B) {
	for _, name := range []string{"served", "refused"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var s Server
			cfg := &Config{MaxConnsPerIP: -1, Refusal: func(error) string { return "421 4.7.0 busy\r\n" }, Handle: func(_ context.Context, c *Conn) {
				if name == "refused" {
					_, _ = c.Read(make([]byte, 1))
				}
			}}
			if name == "refused" {
				cfg.MaxConnsPerIP = 1
			}
			addr := start(b, &s, cfg)
			if name == "refused" {
				hold, err := net.Dial("tcp", addr)
				require.NoError(b, err)
				defer hold.Close()
			}
			buf := make([]byte, 64)
			for b.Loop() {
				c, err := net.Dial("tcp", addr)
				require.NoError(b, err)
				_, _ = c.Read(buf)
				_ = c.Close()
			}
		})
	}
}

// BenchmarkRead compares reads of 4 KiB under a plain stage with those under a minimum rate.
func BenchmarkRead(b *testing.B) {
	for name, pace := range map[string]Pace{"total": {Total: time.Hour}, "minrate": {Total: time.Hour, MinRate: 500}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(4096)
			done := make(chan error, 1)
			var s Server
			addr := start(b, &s, &Config{Handle: func(_ context.Context, c *Conn) {
				c.StartStage(pace)
				buf := make([]byte, 4096)
				var err error
				for b.Loop() && err == nil {
					_, err = io.ReadFull(c, buf)
				}
				done <- err
			}})
			c, err := net.Dial("tcp", addr)
			require.NoError(b, err)
			defer c.Close()
			go func() {
				for buf := make([]byte, 64<<10); err == nil; {
					_, err = c.Write(buf)
				}
			}()
			require.NoError(b, <-done)
		})
	}
}
