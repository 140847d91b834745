package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
)

// childWindow is how many deliveries a child has under way at most.
const childWindow = 8

// child is a process that is killed. It notes in the file "acked" what was accepted, and in "sunk" what
// was delivered: both with plain writes, which survive a kill.
func child(mode, dir string) int {
	store, err := OpenFiles(filepath.Join(dir, "queue"), FileOptions{SegmentSize: 128 << 10, InlineBody: 8 << 10})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	sunk := ledger(dir, "sunk")
	q := &Queue{
		Store: store, MaxActive: childWindow, MaxWindow: childWindow,
		Route: func(to *goniec.Recipient) string { return to.Address.Domain() },
		Deliverer: goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
			n, err := io.Copy(io.Discard, msg)
			if err != nil {
				return err
			}
			switch {
			case env.From.Local() == "poison":
				kill(os.Getpid())
				select {}
			case n != env.Size:
				return goniec.NewStatus(554, goniec.EnhancedCode{5, 6, 0}, "message is not whole")
			case rand.IntN(8) == 0:
				return goniec.NewStatus(450, goniec.EnhancedCode{4, 2, 0}, "later")
			}
			sunk(env.ID)
			return nil
		}),
		MinBackoff: time.Second, MaxBackoff: time.Second,
	}
	go func() { _ = q.Run(context.Background()) }()
	if mode == "load" {
		load(q, ledger(dir, "acked"))
	}
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		open := 0
		for e := range store.Entries(context.Background(), Filter{Brief: true}) {
			if e.State() == StateCorrupt && mode == "drain" {
				fmt.Println("set aside:", e.ID)
				_ = q.Release(context.Background(), e.ID)
			}
			if e.State() != StateCorrupt {
				open++
			}
		}
		if open == 0 {
			err := errors.Join(q.Shutdown(context.Background()), store.Close())
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "queue does not become empty")
	return 1
}

// load accepts messages until the process is killed.
func load(q *Queue, acked func(string)) {
	for w := range 8 {
		go func() {
			from, _ := goniec.ParseAddress("sender@example.org")
			to, _ := goniec.ParseAddress(fmt.Sprintf("a@d%d.example", w%3))
			for {
				body := strings.Repeat("x", rand.IntN(12<<10)+10)
				env := &goniec.Envelope{ID: goniec.NewID(), From: from, To: []goniec.Recipient{{Address: to}}, Size: int64(len(body))}
				if err := q.Deliver(context.Background(), env, strings.NewReader(body)); err == nil {
					acked(env.ID)
				}
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			}
		}()
	}
	select {}
}

// ledger returns a function that appends a line to a file.
func ledger(dir, name string) func(string) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	return func(line string) {
		if _, err := f.WriteString(line + "\n"); err != nil {
			panic(err)
		}
	}
}

func kill(pid int) {
	p, err := os.FindProcess(pid)
	if err == nil {
		_ = p.Kill()
	}
}

// startChild runs this test binary as a child.
func startChild(t *testing.T, mode, dir string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GONIEC_QUEUE_CHILD="+mode, "GONIEC_QUEUE_DIR="+dir)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	return cmd, &out
}

// count reads a ledger.
func count(t *testing.T, dir, name string) map[string]int {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	defer f.Close()
	lines := map[string]int{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		lines[sc.Text()]++
	}
	return lines
}

// ledgerSize is how much a ledger holds.
func ledgerSize(dir, name string) int64 {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	return info.Size()
}

// Q02, F01: killed again and again under load. Nothing that was acknowledged is lost; what comes twice was in
// flight at a kill.
func TestQ02_KillCycles(t *testing.T) {
	t.Parallel()
	cycles := 12
	if peertest.LongForm() {
		cycles = 1000
	}
	dir := t.TempDir()
	for range cycles {
		before := ledgerSize(dir, "acked")
		cmd, out := startChild(t, "load", dir)
		require.Eventually(t, func() bool { return ledgerSize(dir, "acked") > before }, time.Minute, time.Millisecond, "nothing is accepted")
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		require.Empty(t, out.String())
	}
	cmd, out := startChild(t, "drain", dir)
	require.NoError(t, cmd.Wait(), out)
	acked, sunk := count(t, dir, "acked"), count(t, dir, "sunk")
	lost, twice := 0, 0
	for id := range acked {
		if sunk[id] == 0 {
			lost++
		}
	}
	for _, n := range sunk {
		twice += n - 1
	}
	t.Logf("%d cycles: %d acknowledged, %d delivered, %d twice, %d not acknowledged and delivered; %s", cycles, len(acked), len(sunk), twice,
		len(sunk)-len(acked), strings.ReplaceAll(out.String(), "\n", " "))
	require.Greater(t, len(acked), cycles)
	require.Zero(t, lost)
	require.LessOrEqual(t, twice, cycles*childWindow)
	quarantined, _ := os.ReadDir(filepath.Join(dir, "queue", quarantineDir))
	t.Logf("%d torn tails", len(quarantined))
}

// Q05: a message that kills the process each time is set aside after three times; the rest flows.
func TestQ05_Poison(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := OpenFiles(filepath.Join(dir, "queue"), FileOptions{})
	require.NoError(t, err)
	const good = 40
	ids := map[ID]bool{}
	for i := range good + 1 {
		m := testMessage(t, "x", fmt.Sprintf("a@d%d.example", i%4))
		m.Envelope.Size = 1
		if i == good/2 {
			m.Envelope.From, _ = goniec.ParseAddress("poison@example.org")
		}
		id, err := s.Put(t.Context(), m)
		require.NoError(t, err)
		ids[id] = i != good/2
	}
	require.NoError(t, s.Close())
	deaths := 0
	for {
		cmd, out := startChild(t, "poison", dir)
		err := cmd.Wait()
		if err == nil {
			break
		}
		require.Empty(t, out.String())
		deaths++
		require.LessOrEqual(t, deaths, 3)
	}
	require.Equal(t, 3, deaths)
	sunk := count(t, dir, "sunk")
	require.Len(t, sunk, good)
	s, err = OpenFiles(filepath.Join(dir, "queue"), FileOptions{})
	require.NoError(t, err)
	defer s.Close()
	n := 0
	for e := range s.Entries(t.Context(), Filter{}) {
		require.Equal(t, StateCorrupt, e.State())
		require.Equal(t, "poison", e.Envelope.From.Local())
		n++
	}
	require.Equal(t, 1, n)
}
