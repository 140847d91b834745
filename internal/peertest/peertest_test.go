package peertest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain also plays the peer: GONIEC_TEST_PEER says which.
func TestMain(m *testing.M) {
	switch os.Getenv("GONIEC_TEST_PEER") {
	case "":
		goleak.VerifyTestMain(m)
	case "listen":
		time.Sleep(50 * time.Millisecond)
		l, err := net.Listen("tcp", os.Args[1])
		fmt.Println("listening", err)
		for err == nil {
			_, err = l.Accept()
		}
	case "die":
		fmt.Println("cannot start: the reason")
		os.Exit(3)
	}
}

// fakeTB records how a test would have ended. Like the real one, Skip and Fatal do not return.
type fakeTB struct {
	testing.TB
	skipped, failed string
}

func (f *fakeTB) Helper() {}

func (f *fakeTB) Skip(args ...any) { f.Skipf("%s", fmt.Sprint(args...)) }

func (f *fakeTB) Skipf(format string, args ...any) {
	f.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// outcome runs f with a fake.
func outcome(t *testing.T, f func(t testing.TB)) (tb *fakeTB, returned bool) {
	tb = &fakeTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(tb)
		returned = true
	}()
	<-done
	return tb, returned
}

func TestNeed(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, self, Need(t, self))

	t.Setenv("GONIEC_PEERS", "")
	tb, returned := outcome(t, func(t testing.TB) { Need(t, self, "no-such-program") })
	require.Equal(t, "peer test: no-such-program is not installed", tb.skipped)
	require.False(t, returned)

	t.Setenv("GONIEC_PEERS", "required")
	tb, returned = outcome(t, func(t testing.TB) { Need(t, "no-such-program") })
	require.Contains(t, tb.failed, "peer test: no-such-program is not installed")
	require.Empty(t, tb.skipped)
	require.False(t, returned)

	tb, _ = outcome(t, func(t testing.TB) { Need(t, "/no/such/program") })
	require.NotEmpty(t, tb.failed)
}

func TestNodeModules(t *testing.T) {
	t.Setenv("GONIEC_PEERS", "")
	t.Setenv("GONIEC_NODE_MODULES", "")
	tb, returned := outcome(t, func(t testing.TB) { NodeModules(t) })
	require.Contains(t, tb.skipped, "GONIEC_NODE_MODULES")
	require.False(t, returned)
	t.Setenv("GONIEC_PEERS", "required")
	tb, _ = outcome(t, func(t testing.TB) { NodeModules(t) })
	require.Contains(t, tb.failed, "GONIEC_NODE_MODULES")
	t.Setenv("GONIEC_NODE_MODULES", "/no/such/folder")
	tb, _ = outcome(t, func(t testing.TB) { NodeModules(t) })
	require.Contains(t, tb.failed, "is not a folder")
	Need(t, "node")
	dir := t.TempDir()
	t.Setenv("GONIEC_NODE_MODULES", dir)
	node, got := NodeModules(t)
	require.Equal(t, dir, got)
	require.NotEmpty(t, node)
}

func TestCorpora(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GONIEC_CORPORA", dir)
	require.Equal(t, dir, Corpora(t))
	t.Setenv("GONIEC_CORPORA", dir+"/none")
	tb, _ := outcome(t, func(t testing.TB) { Corpora(t) })
	require.Contains(t, tb.failed, "is not a folder")
	t.Setenv("GONIEC_CORPORA", "")
	tb, _ = outcome(t, func(t testing.TB) { Corpora(t) })
	require.Contains(t, tb.skipped, "GONIEC_CORPORA is not set")
}

func TestLong(t *testing.T) {
	t.Setenv("GONIEC_LONG", "1")
	_, returned := outcome(t, Long)
	require.True(t, returned)
	t.Setenv("GONIEC_LONG", "")
	tb, returned := outcome(t, Long)
	require.False(t, returned)
	require.Contains(t, tb.skipped, "GONIEC_LONG")
}

func TestStart(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	addr := FreeAddr(t)
	var p *Process
	t.Run("running", func(t *testing.T) {
		p = Start(t, "", []string{"GONIEC_TEST_PEER=listen"}, self, addr)
		p.WaitPort(addr)
		require.Contains(t, p.Log(), "listening")
		require.DirExists(t, p.Dir)
		select {
		case <-p.Done():
			t.Fatal("it has ended")
		default:
		}
	})
	<-p.Done() // stopped at the end of the subtest
	require.Error(t, p.Err())
	_, err = net.Dial("tcp", addr)
	require.Error(t, err)
}

func TestWaitPortOfADeadPeer(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	p := Start(t, "", []string{"GONIEC_TEST_PEER=die"}, self)
	tb, returned := outcome(t, func(t testing.TB) {
		p.t = t
		p.WaitPort(FreeAddr(t))
	})
	require.False(t, returned)
	require.Contains(t, tb.failed, "cannot start: the reason")
}

// TestStopTakesChildren: a shell's children go with it, even those that do not listen to SIGTERM.
func TestStopTakesChildren(t *testing.T) {
	Need(t, "sh", "sleep")
	for name, end := range map[string]func(p *Process){"stop": (*Process).Stop, "kill": (*Process).Kill} {
		t.Run(name, func(t *testing.T) {
			p := Start(t, "", nil, "sh", "-c", `(trap "" TERM; exec sleep 600) & echo $!; wait`)
			var pid int
			require.Eventually(t, func() bool {
				line, _, whole := strings.Cut(p.Log(), "\n")
				pid, _ = strconv.Atoi(line)
				return whole
			}, time.Minute, time.Millisecond)
			end(p)
			require.Eventually(t, func() bool { return gone(pid) }, time.Minute, time.Millisecond)
		})
	}
}

// gone reports whether a process has ended; a zombie whose new parent is slow counts.
func gone(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, state, _ := strings.Cut(string(stat), ") ")
		return strings.HasPrefix(state, "Z")
	}
	p, err := os.FindProcess(pid)
	return err != nil || p.Signal(syscall.Signal(0)) != nil
}

func TestCommand(t *testing.T) {
	Need(t, "sh")
	cmd := Command(t, "sh", "-c", "pwd; cat")
	cmd.Stdin = strings.NewReader("input")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "input")
}

// Nobody listens at a free address; who is told of it may, again and again.
func TestFreeAddr(t *testing.T) {
	addr := FreeAddr(t)
	require.NotEqual(t, addr, FreeAddr(t))
	for range 2 {
		_, err := net.Dial("tcp", addr)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, errors.Join(c.Close(), l.Close()))
	}
}
