package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// The test binary is the program when this variable is set.
const asProgram = "GONIEC_TEST_SENDQUEUE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sink counts letters by subject.
type sink struct {
	mu   sync.Mutex
	got  map[string]int
	gate chan struct{} // a letter waits for a token
}

func (s *sink) Deliver(ctx context.Context, _ *goniec.Envelope, msg io.Reader) error {
	text, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	select {
	case <-s.gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got[string(regexp.MustCompile(`letter-\d+`).Find(text))]++
	return nil
}

// Killed while it sends, and started again, it sends every letter, none twice: the kill comes while no letter is on its way.
func TestKilledAndStartedAgain(t *testing.T) {
	s := &sink{got: map[string]int{}, gate: make(chan struct{}, 100)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &smtp.Server{Handler: smtp.DeliverTo(s, "demo.test")}
	defer srv.Close()
	dir := filepath.Join(t.TempDir(), "spool")
	start := func() *exec.Cmd {
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(self, "-server", l.Addr().String(), "-queue", dir, "-count", "10")
		cmd.Env = append(os.Environ(), asProgram+"=1")
		require.NoError(t, cmd.Start())
		return cmd
	}
	cmd := start()
	require.Eventually(t, func() bool { _, err := os.Stat(dir); return err == nil }, time.Minute, time.Millisecond)
	time.Sleep(30 * time.Millisecond)
	require.NoError(t, cmd.Process.Kill()) // no letter has been sent yet: the server has not even greeted
	_ = cmd.Wait()
	go srv.Serve(l)
	for range 10 {
		s.gate <- struct{}{}
	}
	for range 2 { // the second run finds everything sent
		done := make(chan error, 1)
		again := start()
		go func() { done <- again.Wait() }()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			_ = again.Process.Kill()
			t.Fatal("not done")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	want := map[string]int{}
	for i := range 10 {
		want[fmt.Sprintf("letter-%d", i)] = 1
	}
	require.Equal(t, want, s.got)
}

// A letter that is refused ends the wait, and is told; so is an argument that can not be used.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &smtp.Server{Handler: smtp.DeliverTo(&sink{}, "other.test")} // not the recipient's domain
	go srv.Serve(l)
	defer srv.Close()
	server, to := l.Addr().String(), "alice@demo.test"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = run(ctx, filepath.Join(t.TempDir(), "spool"), server, to, 3, io.Discard)
	require.ErrorContains(t, err, "3 letters were refused for good")
	require.ErrorContains(t, run(ctx, t.TempDir(), server, "alice", 1, io.Discard), "-to: ")
	require.ErrorContains(t, run(ctx, t.TempDir(), "a:b:c", to, 1, io.Discard), "-server: ")
	busy := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(busy, nil, 0o600))
	require.ErrorContains(t, run(ctx, busy, server, to, 1, io.Discard), "-queue: ")
}

// Interrupted, it says what stays.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := filepath.Join(t.TempDir(), "spool")
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	require.NoError(t, err)
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil { // both letters are in the queue
			defer c.Close()
			cancel()
			<-t.Context().Done()
		}
	}()
	require.ErrorContains(t, run(ctx, dir, l.Addr().String(), "alice@demo.test", 2, io.Discard), "stopped: 2 letters stay in "+dir)
}
