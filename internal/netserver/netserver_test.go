package netserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

// echo is a protocol of lines: each comes back, QUIT ends, SHUT is what shutdown says.
func echo(ctx context.Context, c *Conn) {
	br := bufio.NewReader(c)
	fmt.Fprint(c, "HELLO\r\n")
	for {
		if c.BeginIdle(time.Minute) != nil {
			fmt.Fprint(c, "SHUT\r\n")
			return
		}
		line, err := br.ReadString('\n')
		if c.EndIdle() != nil {
			fmt.Fprint(c, "SHUT\r\n")
			return
		}
		if err != nil || line == "QUIT\r\n" {
			return
		}
		fmt.Fprint(c, line)
	}
}

// start serves cfg on loopback and stops with the test.
func start(t testing.TB, s *Server, cfg *Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	startOn(t, s, l, cfg, s.Serve)
	return l.Addr().String()
}

func startOn(t testing.TB, s *Server, l net.Listener, cfg *Config, serve func(net.Listener, *Config) error) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- serve(l, cfg) }()
	<-s.Ready()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, ErrServerClosed)
	})
}

// client is one end of the echo protocol.
type client struct {
	t testing.TB
	net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	return newClient(t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	return &client{t, nc, bufio.NewReader(nc)}
}

func (c *client) expect(want string) *client {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	got, err := c.br.ReadString('\n')
	require.NoError(c.t, err)
	require.Equal(c.t, want+"\r\n", got)
	return c
}

func (c *client) say(line string) *client {
	c.t.Helper()
	_, err := io.WriteString(c, line+"\r\n")
	require.NoError(c.t, err)
	return c
}

func (c *client) expectClosed() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	rest, err := io.ReadAll(c.br)
	require.False(c.t, isTimeout(err), "still open")
	require.Empty(c.t, string(rest))
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, time.Millisecond, what)
}

func TestServeSeveralListeners(t *testing.T) {
	var s Server
	require.Nil(t, s.Addr())
	a, b := start(t, &s, &Config{Handle: echo}), start(t, &s, &Config{Handle: echo})
	eventually(t, "both listen", func() bool { return len(s.Addrs()) == 2 })
	require.NotEqual(t, a, b)
	for _, addr := range []string{a, b} {
		dial(t, addr).expect("HELLO").say("one").expect("one").say("QUIT").expectClosed()
	}
	require.EqualValues(t, 2, s.Stats().Accepted)
}

func TestListenAndServeReportsAddr(t *testing.T) {
	var s Server
	served := make(chan error, 1)
	go func() { served <- s.ListenAndServe("127.0.0.1:0", &Config{Handle: echo}) }()
	<-s.Ready()
	require.NotZero(t, addrPort(s.Addr()).Port())
	dial(t, s.Addr().String()).expect("HELLO")
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-served, ErrServerClosed)
	require.ErrorIs(t, s.ListenAndServe("127.0.0.1:0", &Config{Handle: echo}), ErrServerClosed)
}

func TestShutdownBeforeServe(t *testing.T) {
	var s Server
	require.NoError(t, s.Shutdown(context.Background()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, s.Serve(l, &Config{Handle: echo}), ErrServerClosed)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed, "Serve owns the listener")
}

func TestShutdownWakesIdle(t *testing.T) {
	var s Server
	addr := start(t, &s, &Config{Handle: echo})
	var clients []*client
	for range 20 {
		clients = append(clients, dial(t, addr).expect("HELLO"))
	}
	half := dial(t, addr).expect("HELLO") // half a command is no command
	_, _ = io.WriteString(half, "HAL")
	began := time.Now()
	require.NoError(t, s.Shutdown(context.Background()))
	require.Less(t, time.Since(began), 30*time.Second, "they might be idle for a minute")
	for _, c := range append(clients, half) {
		c.expect("SHUT").expectClosed()
	}
}

// R04
func TestR04_ShutdownLetsActiveFinish(t *testing.T) {
	var s Server
	var entered sync.WaitGroup
	release := make(chan struct{})
	entered.Add(100)
	addr := start(t, &s, &Config{Handle: func(ctx context.Context, c *Conn) {
		entered.Done()
		<-release
		if ctx.Err() != nil {
			return
		}
		fmt.Fprint(c, "DONE\r\n")
		if c.BeginIdle(time.Minute) != nil {
			fmt.Fprint(c, "SHUT\r\n")
		}
	}})
	var clients []*client
	for range 100 {
		clients = append(clients, dial(t, addr))
	}
	entered.Wait()
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	<-s.Done()
	select {
	case err := <-down:
		t.Fatal("Shutdown did not wait:", err)
	case <-time.After(50 * time.Millisecond):
	}
	_, err := net.DialTimeout("tcp", addr, time.Second)
	require.Error(t, err, "no new connections")
	close(release)
	require.NoError(t, <-down)
	for _, c := range clients {
		c.expect("DONE").expect("SHUT").expectClosed()
	}
	require.Zero(t, s.Stats().Conns)
}

// R04
func TestR04_ShutdownForcedAtDeadline(t *testing.T) {
	var s Server
	var entered sync.WaitGroup
	entered.Add(100)
	var cut, caused atomic.Int32
	addr := start(t, &s, &Config{Handle: func(ctx context.Context, c *Conn) {
		entered.Done()
		if _, err := io.Copy(io.Discard, c); err != nil {
			cut.Add(1)
		}
		if context.Cause(ctx) == ErrServerClosed {
			caused.Add(1)
		}
	}})
	for range 100 {
		dial(t, addr)
	}
	entered.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	require.EqualValues(t, 100, cut.Load())
	require.EqualValues(t, 100, caused.Load())
	require.Zero(t, s.Stats().Conns, "the owner waited")
}

func TestContextCauseOfNormalEnd(t *testing.T) {
	var s Server
	ctxs := make(chan context.Context, 1)
	addr := start(t, &s, &Config{Handle: func(ctx context.Context, c *Conn) { ctxs <- ctx }})
	dial(t, addr).expectClosed()
	ctx := <-ctxs
	<-ctx.Done()
	require.Equal(t, context.Canceled, context.Cause(ctx))
}

func TestBaseContextEndsServer(t *testing.T) {
	var s Server
	ctx, cancel := context.WithCancel(context.Background())
	addr := start(t, &s, &Config{Handle: echo, BaseContext: func(net.Listener) context.Context { return ctx }})
	c := dial(t, addr).expect("HELLO")
	cancel()
	c.expectClosed()
}

func TestCloseReportsStuckHandlers(t *testing.T) {
	bubble(t, func(t *testing.T, serve serveFunc) {
		release, in := make(chan struct{}), make(chan struct{})
		s, l := serve(&Config{Handle: func(context.Context, *Conn) { close(in); <-release }})
		l.dial("192.0.2.1:1")
		<-in
		start := time.Now()
		require.ErrorContains(t, s.Close(), "1 handlers still run")
		require.Equal(t, closeGrace, time.Since(start))
		close(release)
		require.NoError(t, s.Shutdown(context.Background()), "may still be waited for")
	})
}

// Q04
func TestQ04_PanicContained(t *testing.T) {
	var s Server
	var log lockedBuffer
	addr := start(t, &s, &Config{Protocol: "toy", Logger: log.logger(), Handle: func(_ context.Context, c *Conn) {
		b := make([]byte, 1)
		_, _ = c.Read(b)
		if b[0] == 'P' {
			panic("boom at the edge")
		}
		_, _ = c.Write(b)
	}})
	dial(t, addr).say("P").expectClosed()
	c := dial(t, addr)
	_, _ = io.WriteString(c, "x")
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "x", string(got), "the server lives")
	require.EqualValues(t, 1, s.Stats().Panics)
	require.Contains(t, log.String(), "boom at the edge")
	require.Contains(t, log.String(), "TestQ04_PanicContained", "the stack names the place")
	require.Contains(t, log.String(), "protocol=toy")
}

func refusal(why error) string { return "421 4.7.0 " + why.Error() + "\r\n" }

func TestMaxConnsAtLimit(t *testing.T) {
	var s Server
	addr := start(t, &s, &Config{Handle: echo, MaxConns: 3, Refusal: refusal})
	first := dial(t, addr).expect("HELLO")
	for range 2 {
		dial(t, addr).expect("HELLO")
	}
	dial(t, addr).expect("421 4.7.0 too many connections").expectClosed()
	require.EqualValues(t, 1, s.Stats().Refused)
	first.say("QUIT").expectClosed()
	eventually(t, "a place is free", func() bool { return s.Stats().Conns == 2 })
	dial(t, addr).expect("HELLO")
}

func TestMaxConnsPerIPAtLimit(t *testing.T) {
	var s Server
	addr := start(t, &s, &Config{Handle: echo, MaxConnsPerIP: 2, Refusal: refusal})
	from := func(ip string) *client {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			t.Skipf("needs the whole of 127.0.0.0/8 on loopback: %v", err)
		}
		return newClient(t, nc)
	}
	dial(t, addr).expect("HELLO")
	last := dial(t, addr).expect("HELLO")
	dial(t, addr).expect("421 4.7.0 too many connections from this address").expectClosed()
	from("127.0.0.9").expect("HELLO")
	last.say("QUIT").expectClosed()
	eventually(t, "a place is free", func() bool { return s.Stats().Conns == 2 })
	dial(t, addr).expect("HELLO")
}

func TestExemptNetworks(t *testing.T) {
	var s Server
	addr := start(t, &s, &Config{
		Handle: echo, MaxConnsPerIP: 1, RatePerIP: 1,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	for range 5 {
		dial(t, addr).expect("HELLO")
	}
}

func TestNoPerIPStateIsLeft(t *testing.T) {
	var s Server
	addr := start(t, &s, &Config{Handle: echo})
	for range 10 {
		dial(t, addr).expect("HELLO").say("QUIT").expectClosed()
	}
	eventually(t, "all gone", func() bool { return s.Stats().Conns == 0 })
	require.Empty(t, s.perIP)
	require.Empty(t, s.conns)
}

func TestLoad(t *testing.T) {
	var s Server
	conns := make(chan *Conn, 10)
	addr := start(t, &s, &Config{MaxConns: 5, Handle: func(ctx context.Context, c *Conn) {
		conns <- c
		<-ctx.Done()
	}})
	var c *Conn
	for i := range 3 {
		dial(t, addr)
		c = <-conns
		require.InDelta(t, float64(i+1)/5, c.Load(), 1e-9)
	}
	require.False(t, c.Stressed())
	dial(t, addr)
	require.True(t, (<-conns).Stressed())
}
