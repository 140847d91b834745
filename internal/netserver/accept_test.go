package netserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// R03: the waits double from 5 ms to 1 s, so a minute of errors costs 67 attempts, and a success resets them.
func TestR03_AcceptBacksOff(t *testing.T) {
	var log lockedBuffer
	emfile := &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	inBubble(t, &Config{Handle: echo, Logger: log.logger()}, func(t *testing.T, _ *Server, l *pipeListener) {
		fail := func() (gap time.Duration) {
			start := time.Now()
			l.errs <- emfile // taken when Accept is called again
			return time.Since(start)
		}
		fail()
		for _, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
			require.Equal(t, want*time.Millisecond, fail())
		}
		start, attempts := time.Now(), 0
		for time.Since(start) < time.Minute {
			fail()
			attempts++
		}
		require.LessOrEqual(t, attempts, 61)
		c := newClient(t, l.dial("192.0.2.1:1"))
		c.expect("HELLO")
		fail()
		require.Equal(t, 5*time.Millisecond, fail(), "reset by success")
	})
	require.Contains(t, log.String(), "accept failed")
}

func TestShutdownDuringBackOff(t *testing.T) {
	inBubble(t, &Config{Handle: echo}, func(t *testing.T, s *Server, l *pipeListener) {
		for range 10 {
			l.errs <- syscall.EMFILE
		}
		synctest.Wait()
		start := time.Now()
		require.NoError(t, s.Close())
		require.Zero(t, time.Since(start))
	})
}

func TestPermanentAcceptErrorEndsServe(t *testing.T) {
	for _, err := range []error{syscall.EBADF, syscall.EINVAL, io.EOF, net.ErrClosed, errors.New("listener says no")} {
		var s Server
		l := newPipeListener()
		served := make(chan error, 1)
		go func() { served <- s.Serve(l, &Config{Handle: echo}) }()
		l.errs <- fmt.Errorf("accept: %w", err)
		require.ErrorIs(t, <-served, err)
		require.Nil(t, s.Addr(), "no longer listening")
		require.NoError(t, s.Close())
	}
}

func TestMayPass(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPERM, os.ErrDeadlineExceeded} {
		require.True(t, mayPass(&net.OpError{Op: "accept", Err: err}), err)
	}
}

func TestIPKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":             "192.0.2.1",
		"::ffff:192.0.2.1":      "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::",
		"2001:db8:1:2:ffff::":   "2001:db8:1:2::",
		"2001:db8:1:3::":        "2001:db8:1:3::",
		"fe80::1%eth0":          "fe80::",
		"2001:db8:1:2::%weird0": "2001:db8:1:2::",
	} {
		require.Equal(t, want, ipKey(netip.MustParseAddr(in)).String(), in)
	}
}

func TestContainsIgnoresZones(t *testing.T) {
	linkLocal := []netip.Prefix{netip.MustParsePrefix("fe80::/10")}
	require.True(t, contains(linkLocal, netip.MustParseAddr("fe80::1%eth0")))
	require.False(t, contains(linkLocal, netip.MustParseAddr("2001:db8::1")))
	require.False(t, contains(linkLocal, netip.Addr{}))
}

func TestMaxConnsPerIPCountsIPv6Networks(t *testing.T) {
	inBubble(t, &Config{Handle: echo, MaxConnsPerIP: 2, Refusal: refusal}, func(t *testing.T, s *Server, l *pipeListener) {
		newClient(t, l.dial("[2001:db8::1]:1")).expect("HELLO")
		newClient(t, l.dial("[2001:db8::2]:1")).expect("HELLO")
		newClient(t, l.dial("[2001:db8::3]:1")).expect("421 4.7.0 too many connections from this address")
		newClient(t, l.dial("[2001:db8:0:1::3]:1")).expect("HELLO")
		newClient(t, l.dial("192.0.2.1:1")).expect("HELLO")
		newClient(t, l.dial("[::ffff:192.0.2.1]:1")).expect("HELLO")
		newClient(t, l.dial("192.0.2.1:2")).expect("421 4.7.0 too many connections from this address")
		require.EqualValues(t, 2, s.Stats().Refused)
	})
}

func TestNoLimits(t *testing.T) {
	inBubble(t, &Config{Handle: echo, MaxConns: -1, MaxConnsPerIP: -1}, func(t *testing.T, s *Server, l *pipeListener) {
		for range DefaultMaxConnsPerIP + 1 {
			newClient(t, l.dial("192.0.2.1:1")).expect("HELLO")
		}
	})
}

func TestDefaultPerIPLimit(t *testing.T) {
	inBubble(t, &Config{Handle: echo, Refusal: refusal}, func(t *testing.T, s *Server, l *pipeListener) {
		for range DefaultMaxConnsPerIP {
			newClient(t, l.dial("192.0.2.1:1")).expect("HELLO")
		}
		newClient(t, l.dial("192.0.2.1:1")).expect("421 4.7.0 too many connections from this address")
	})
}

func TestRatePerIP(t *testing.T) {
	cfg := &Config{Handle: echo, RatePerIP: 5, Refusal: refusal}
	inBubble(t, cfg, func(t *testing.T, s *Server, l *pipeListener) {
		try := func() bool {
			c := newClient(t, l.dial("192.0.2.1:1"))
			line, err := c.br.ReadString('\n')
			require.NoError(t, err)
			c.Close()
			return line == "HELLO\r\n"
		}
		for range 5 {
			require.True(t, try())
		}
		require.False(t, try(), "limit + 1")
		newClient(t, l.dial("192.0.2.2:1")).expect("HELLO")
		time.Sleep(rateWindow)
		require.False(t, try(), "a window's edge does not give twice the rate")
		time.Sleep(rateWindow / 5)
		require.True(t, try(), "one of five is forgotten")
		require.False(t, try())
		time.Sleep(2 * rateWindow)
		for range 5 {
			require.True(t, try())
		}
		require.False(t, try())
	})
}

func TestRateTableIsBounded(t *testing.T) {
	var table rateTable
	now := time.Unix(1_800_000_000, 0)
	a := netip.MustParseAddr("10.0.0.0")
	for range maxTracked + 100 {
		require.True(t, table.allow(a, 1, now))
		a = a.Next()
	}
	require.Len(t, table.cur, maxTracked)
	require.False(t, table.allow(netip.MustParseAddr("10.0.0.0"), 1, now), "known ones stay limited")
	table.allow(a, 1, now.Add(2*rateWindow))
	require.Len(t, table.cur, 1)
	require.Empty(t, table.last)
}

func TestRefusalDoesNotWaitForTheClient(t *testing.T) {
	cfg := &Config{Handle: echo, MaxConns: 1, Refusal: refusal}
	inBubble(t, cfg, func(t *testing.T, s *Server, l *pipeListener) {
		newClient(t, l.dial("192.0.2.1:1")).expect("HELLO")
		l.dial("192.0.2.2:1") // never reads
		start := time.Now()
		l.dial("192.0.2.3:1") // accepted when the loop is free again
		require.LessOrEqual(t, time.Since(start), refuseTimeout)
		synctest.Wait()
	})
}

func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	var log lockedBuffer
	cfg := &Config{Handle: echo, MaxConns: 1, Logger: log.logger()}
	inBubble(t, cfg, func(t *testing.T, s *Server, l *pipeListener) {
		newClient(t, l.dial("192.0.2.1:1")).expect("HELLO")
		storm := func() {
			for range 1000 {
				newClient(t, l.dial("192.0.2.2:1")).expectClosed()
			}
		}
		storm()
		time.Sleep(refusalLogGap)
		storm()
		require.EqualValues(t, 2000, s.Stats().Refused)
	})
	require.Equal(t, 2, countLines(log.String()), log.String())
}
