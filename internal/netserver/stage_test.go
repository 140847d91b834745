package netserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// paced is a server that reads everything under p; its results say why it ended and after how long.
type paced struct {
	got  chan error
	took chan time.Duration
}

func servePaced(serve serveFunc, p Pace) (*paced, net.Conn) {
	r := &paced{make(chan error, 1), make(chan time.Duration, 1)}
	_, l := serve(&Config{Handle: func(_ context.Context, c *Conn) {
		start := time.Now()
		c.StartStage(p)
		_, err := io.Copy(io.Discard, c)
		r.took <- time.Since(start)
		r.got <- err
	}})
	return r, l.dial("192.0.2.1:1")
}

// R01: one octet every 59 s.
func TestR01_Slowloris(t *testing.T) {
	for _, tc := range []struct {
		name string
		pace Pace
		want error
		at   time.Duration
	}{
		{"command", Pace{Total: 5 * time.Minute}, ErrStageTimeout, 5 * time.Minute},
		{"message, by rate", Pace{MinRate: 500}, ErrTooSlow, time.Minute},
		{"message, rate and total", Pace{Total: 30 * time.Second, MinRate: 500}, ErrStageTimeout, 30 * time.Second},
		{"message, total equals grace", Pace{Total: time.Minute, MinRate: 500}, ErrStageTimeout, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, serve serveFunc) {
				r, nc := servePaced(serve, tc.pace)
				go trickle(nc, 59*time.Second)
				err := <-r.got
				require.ErrorIs(t, err, tc.want)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.True(t, isTimeout(err))
				require.InDelta(t, tc.at.Seconds(), (<-r.took).Seconds(), 0.1)
			})
		})
	}
}

func TestMinRateAtLimit(t *testing.T) {
	for _, tc := range []struct {
		octets int // a second
		ok     bool
	}{{100, true}, {99, false}} {
		bubble(t, func(t *testing.T, serve serveFunc) {
			r, nc := servePaced(serve, Pace{MinRate: 100, Grace: 10 * time.Second})
			go func() {
				defer nc.Close()
				for range 3600 { // an hour
					if _, err := nc.Write(make([]byte, tc.octets)); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			err := <-r.got
			if tc.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrTooSlow)
			require.InDelta(t, 1000, (<-r.took).Seconds(), 120, "10 s of grace go at 1 % a second")
		})
	}
}

func TestSpeedEarnsNoMoreThanGrace(t *testing.T) {
	bubble(t, func(t *testing.T, serve serveFunc) {
		r, nc := servePaced(serve, Pace{MinRate: 100, Grace: 10 * time.Second})
		_, err := nc.Write(make([]byte, 10<<20))
		require.NoError(t, err)
		require.ErrorIs(t, <-r.got, ErrTooSlow)
		require.Equal(t, 10*time.Second, <-r.took)
	})
}

func TestOwnSlownessIsNotThePeers(t *testing.T) {
	bubble(t, func(t *testing.T, serve serveFunc) {
		got := make(chan error, 1)
		_, l := serve(&Config{Handle: func(_ context.Context, c *Conn) {
			c.StartStage(Pace{MinRate: 100, Grace: 10 * time.Second})
			var err error
			for i := 0; i < 20 && err == nil; i++ {
				_, err = c.Read(make([]byte, 1))
				time.Sleep(time.Minute) // our disk
			}
			got <- err
		}})
		nc := l.dial("192.0.2.1:1")
		go func() { _, _ = nc.Write(make([]byte, 20)) }()
		require.NoError(t, <-got)
	})
}

func TestConnectionBeginsWithAStage(t *testing.T) {
	for _, tc := range []struct{ set, want time.Duration }{{0, 5 * time.Minute}, {time.Second, time.Second}} {
		bubble(t, func(t *testing.T, serve serveFunc) {
			got := make(chan error, 1)
			_, l := serve(&Config{ReadTimeout: tc.set, Handle: func(_ context.Context, c *Conn) {
				_, err := c.Read(make([]byte, 1))
				got <- err
			}})
			l.dial("192.0.2.1:1")
			start := time.Now()
			require.ErrorIs(t, <-got, ErrStageTimeout)
			require.Equal(t, tc.want, time.Since(start))
		})
	}
}

func TestIdleWithoutLimitHasTheDefault(t *testing.T) {
	bubble(t, func(t *testing.T, serve serveFunc) {
		got := make(chan error, 1)
		_, l := serve(&Config{Handle: func(_ context.Context, c *Conn) {
			_ = c.BeginIdle(0)
			_, err := c.Read(make([]byte, 1))
			got <- err
		}})
		l.dial("192.0.2.1:1")
		start := time.Now()
		require.ErrorIs(t, <-got, ErrStageTimeout)
		require.Equal(t, DefaultReadTimeout, time.Since(start))
	})
}

func TestWriteTimeout(t *testing.T) {
	for _, tc := range []struct{ set, want time.Duration }{{0, 2 * time.Minute}, {7 * time.Second, 7 * time.Second}} {
		bubble(t, func(t *testing.T, serve serveFunc) {
			got := make(chan error, 1)
			_, l := serve(&Config{WriteTimeout: tc.set, Handle: func(_ context.Context, c *Conn) {
				_, err := c.Write(make([]byte, 100))
				got <- err
			}})
			nc := l.dial("192.0.2.1:1")
			start := time.Now()
			_, _ = nc.Read(make([]byte, 10)) // then no more: partial progress extends nothing
			require.True(t, isTimeout(<-got))
			require.Equal(t, tc.want, time.Since(start))
		})
	}
}

func TestDeadlineIsTheStages(t *testing.T) {
	c := &Conn{sock: new(deadlines)}
	c.StartStage(Pace{Total: time.Hour})
	require.InDelta(t, time.Hour.Seconds(), time.Until(c.Deadline()).Seconds(), 300)
	c.StartStage(Pace{MinRate: 1})
	require.Zero(t, c.Deadline(), "a stage without total has no deadline")
}

// deadlines records what the socket was told.
type deadlines struct {
	net.Conn
	last   time.Time
	closed bool
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.last = t; return nil }
func (d *deadlines) Close() error                      { d.closed = true; return nil }

// All orders in which a handler and Shutdown may meet; each step is atomic under the connection's lock, so these are all
// there are.
func TestIdleAgainstDrain(t *testing.T) {
	past := func(d *deadlines) bool { return !d.last.IsZero() && d.last.Before(time.Now().Add(-time.Hour)) }
	newConn := func() (*Conn, *deadlines) {
		d := new(deadlines)
		return &Conn{sock: d, rw: d}, d
	}
	t.Run("drain while active", func(t *testing.T) {
		c, d := newConn()
		require.NoError(t, c.BeginIdle(time.Minute))
		require.NoError(t, c.EndIdle())
		c.drain()
		require.False(t, past(d), "a begun command keeps its time")
		c.StartStage(Pace{Total: time.Minute}) // DATA of a transaction in progress
		require.True(t, d.last.After(time.Now()))
		require.ErrorIs(t, c.BeginIdle(time.Minute), ErrServerClosed)
	})
	t.Run("drain while idle", func(t *testing.T) {
		c, d := newConn()
		require.NoError(t, c.BeginIdle(time.Minute))
		c.drain()
		require.True(t, past(d))
		require.ErrorIs(t, c.EndIdle(), ErrServerClosed)
		require.ErrorIs(t, c.EndIdle(), ErrServerClosed)
		require.ErrorIs(t, c.BeginIdle(time.Minute), ErrServerClosed)
	})
	t.Run("drain between the mark and its deadline", func(t *testing.T) {
		c, d := newConn()
		c.idle = true // the first half of BeginIdle
		c.drain()
		c.StartStage(Pace{Total: time.Minute}) // the second
		require.True(t, past(d), "the wake is not overwritten")
	})
	t.Run("drain during set-up", func(t *testing.T) {
		c, d := newConn()
		c.setup = true
		c.drain()
		require.True(t, d.closed)
	})
}

// Every client either gets the answer to a whole transaction of three commands, or SHUT in place of its first.
func TestShutdownNeverCutsATransaction(t *testing.T) {
	const clients = 50
	for round := range 20 {
		var s Server
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l, &Config{Handle: transactions}) }()
		var wg sync.WaitGroup
		var mu sync.Mutex
		full := 0
		for range clients {
			c := dial(t, l.Addr().String())
			wg.Go(func() {
				n, err := runTransactions(c)
				mu.Lock()
				defer mu.Unlock()
				full += n
				if err != nil {
					t.Error(err)
				}
			})
		}
		eventually(t, "all are accepted", func() bool { return s.Stats().Accepted == clients })
		time.Sleep(time.Duration(round) * 500 * time.Microsecond)
		require.NoError(t, s.Shutdown(context.Background()))
		wg.Wait()
		require.ErrorIs(t, <-served, ErrServerClosed)
		t.Logf("round %d: %d whole transactions", round, full)
	}
}

// transactions serves: A, B, C, then "DONE". Only A is waited for idly.
func transactions(_ context.Context, c *Conn) {
	br := bufio.NewReader(c)
	for {
		if c.BeginIdle(time.Minute) != nil {
			fmt.Fprint(c, "SHUT\n")
			c.Linger(time.Second)
			return
		}
		_, err := br.ReadString('\n')
		if c.EndIdle() != nil {
			fmt.Fprint(c, "SHUT\n")
			c.Linger(time.Second)
			return
		}
		for range 2 {
			if err == nil {
				c.StartStage(Pace{Total: time.Minute})
				_, err = br.ReadString('\n')
			}
		}
		if err != nil {
			return
		}
		fmt.Fprint(c, "DONE\n")
	}
}

func runTransactions(c *client) (whole int, err error) {
	defer c.Close()
	for {
		for _, command := range []string{"A\n", "B\n", "C\n"} {
			if _, err := io.WriteString(c, command); err != nil {
				break // the answer says why
			}
		}
		reply, err := c.br.ReadString('\n')
		switch {
		case reply == "SHUT\n":
			return whole, nil
		case reply != "DONE\n":
			return whole, fmt.Errorf("transaction cut: %q, %v", reply, err)
		}
		whole++
	}
}

func TestShutdownWakesWaitersOnChannels(t *testing.T) {
	var s Server
	addr := start(t, &s, &Config{Handle: func(ctx context.Context, c *Conn) { // as IMAP's IDLE
		fmt.Fprint(c, "WAITING\r\n")
		select {
		case <-c.ShutdownStarted():
			fmt.Fprint(c, "SHUT\r\n")
		case <-ctx.Done():
		}
	}})
	c := dial(t, addr).expect("WAITING")
	require.NoError(t, s.Shutdown(context.Background()))
	c.expect("SHUT").expectClosed()
}

func TestReadSaysServerClosedWhenWoken(t *testing.T) {
	bubble(t, func(t *testing.T, serve serveFunc) {
		got := make(chan error, 1)
		s, l := serve(&Config{Handle: func(_ context.Context, c *Conn) {
			_ = c.BeginIdle(time.Hour)
			_, err := c.Read(make([]byte, 1))
			got <- err
		}})
		l.dial("192.0.2.1:1")
		synctest.Wait()
		require.NoError(t, s.Shutdown(context.Background()))
		require.ErrorIs(t, <-got, ErrServerClosed)
	})
}

// Without lingering the unread input makes the system send a reset, which a client sees at the latest when it reads on.
func TestLingerDeliversTheLastReply(t *testing.T) {
	for _, implicitTLS := range []bool{false, true} {
		var s Server
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		serve := s.Serve
		if implicitTLS {
			serve = s.ServeTLS
		}
		startOn(t, &s, l, &Config{TLSConfig: serverTLS(t), Handle: func(_ context.Context, c *Conn) {
			_, _ = c.Read(make([]byte, 1))
			time.Sleep(20 * time.Millisecond) // let the rest of the junk arrive unread
			fmt.Fprint(c, "421 enough\r\n")
			c.Linger(5 * time.Second)
		}}, serve)
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		if implicitTLS {
			nc = tlsClient(nc)
		}
		c := newClient(t, nc)
		_, err = c.Write(make([]byte, lingerMax/2))
		require.NoError(t, err)
		c.expect("421 enough")
		_, err = c.br.ReadByte()
		require.Equal(t, io.EOF, err)
		require.NoError(t, c.Close())
	}
}

func TestLingerEnds(t *testing.T) {
	var s Server
	took := make(chan time.Duration, 1)
	addr := start(t, &s, &Config{Handle: func(_ context.Context, c *Conn) {
		start := time.Now()
		c.Linger(30 * time.Millisecond)
		took <- time.Since(start)
	}})
	c := dial(t, addr)
	go trickle(c, time.Millisecond)
	require.Less(t, <-took, time.Minute, "the client never ends")
}
