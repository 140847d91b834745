package smtp_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/smtp"
)

// pipeListener gives out net.Pipe connections, for tests in virtual time.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

// inVirtualTime runs test with a server over pipes.
func inVirtualTime(t *testing.T, srv *smtp.Server, test func(t *testing.T, l *pipeListener)) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		srv.Hostname = "mx.example.org"
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		<-srv.Ready()
		test(t, l)
		_ = srv.Close()
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
	})
}

// trickle sends the text an octet at a time and returns how long the connection lived.
func trickle(c *client, text string, gap time.Duration) time.Duration {
	begin := time.Now()
	ended := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, c.r); close(ended) }()
	for i := 0; ; i++ {
		select {
		case <-ended:
			return time.Since(begin)
		case <-time.After(gap):
		}
		_, _ = c.Write([]byte{text[i%len(text)]})
	}
}

// R01: an octet every 59 s in a command or a message: the connection ends within five minutes.
func TestR01_Slowloris(t *testing.T) {
	for _, where := range []string{"command", "DATA", "BDAT"} {
		t.Run(where, func(t *testing.T) {
			inVirtualTime(t, &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org")}, func(t *testing.T, l *pipeListener) {
				c := newClient(t, l.dial())
				c.reply()
				for _, line := range []string{"HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>"} {
					c.send(line)
				}
				switch where {
				case "DATA":
					c.send("DATA")
				case "BDAT":
					_, _ = io.WriteString(c, "BDAT 1000000\r\n")
				}
				lived := trickle(c, "aaaaaaaaaa", 59*time.Second)
				require.LessOrEqual(t, lived, 5*time.Minute+time.Second)
			})
		})
	}
}

// R01: a client at the minimum rate is served, however long it takes.
func TestR01_MinimumRateIsEnough(t *testing.T) {
	inVirtualTime(t, &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org")}, func(t *testing.T, l *pipeListener) {
		c := newClient(t, l.dial())
		c.reply()
		for _, line := range []string{"HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA"} {
			c.send(line)
		}
		for range 1000 { // 510 octets a second for a quarter of an hour
			_, err := io.WriteString(c, strings.Repeat("x", 508)+"\r\n")
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.Equal(t, []int{250}, c.send("."))
		_ = c.Close()
	})
}

// A Handler that takes too long loses its context, and the client its connection.
func TestStageTimeout(t *testing.T) {
	slow := goniec.DelivererFunc(func(ctx context.Context, _ *goniec.Envelope, _ io.Reader) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	inVirtualTime(t, &smtp.Server{Handler: smtp.DeliverTo(slow, "example.org")}, func(t *testing.T, l *pipeListener) {
		c := newClient(t, l.dial())
		c.reply()
		for _, line := range []string{"HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>"} {
			c.send(line)
		}
		begin := time.Now()
		require.Equal(t, []int{421}, c.send("DATA"))
		require.Equal(t, 4*time.Minute, time.Since(begin))
		require.Zero(t, c.reply())
	})
}

// R02: idle connections are cheap, one more than the limit gets a line, and those that are there are served.
func TestR02_IdleConnections(t *testing.T) {
	n := 500
	if peertest.LongForm() {
		n = 9_000 // both ends are here, and 20,000 descriptors are what many systems allow
	}
	srv, _ := newServer(t, func(s *smtp.Server) { s.MaxConns, s.MaxConnsPerIP, s.CommandTimeout = n+n/3, -1, time.Hour })
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	buf := make([]byte, 512)
	conns := make([]net.Conn, 0, n)
	before := inUse()
	for range n {
		c, err := net.Dial("tcp", srv.ListenAddr().String())
		require.NoError(t, err)
		conns = append(conns, c)
		for _, say := range []string{"", "EHLO x\r\n"} {
			_, err = io.WriteString(c, say)
			require.NoError(t, err)
			_, err = c.Read(buf)
			require.NoError(t, err)
		}
	}
	each := (inUse() - before) / int64(n)
	t.Logf("%d octets of heap and stack for each of %d connections, the client's end included", each, n)
	if !raceDetector {
		require.Less(t, each, int64(12<<10))
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// R04: Shutdown lets transfers in progress finish, and tells idle clients.
func TestR04_Shutdown(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.MaxConnsPerIP = -1 })
	const n = 100
	busy := make([]*client, n)
	for i := range busy {
		busy[i] = connect(t, srv)
		busy[i].send("HELO x")
		busy[i].begin()
	}
	idle := connect(t, srv)
	idle.send("HELO x")
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(context.Background()) }()
	require.Equal(t, 421, idle.reply())
	require.Zero(t, idle.reply())
	_ = idle.Close()
	for _, c := range busy {
		require.Equal(t, []int{250}, c.send("text\r\n."))
		require.Equal(t, 421, c.reply())
		_ = c.Close()
	}
	require.NoError(t, <-done)
	require.Len(t, rec.got(), n)
}

// R04: a Shutdown whose time is over cuts the rest; what was not acknowledged is known not to be.
func TestR04_ShutdownDeadline(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("HELO x")
	c.begin()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, srv.Shutdown(ctx), context.DeadlineExceeded)
	require.NotEqual(t, 250, c.reply())
	require.Empty(t, rec.got())
}
