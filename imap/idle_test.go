package imap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// idleSession logs in, selects INBOX and begins IDLE, with a small buffer.
func idleSession(t testing.TB, addr, user string) net.Conn {
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	require.NoError(t, nc.SetDeadline(time.Now().Add(5*time.Minute)))
	_, err = fmt.Fprintf(nc, "a LOGIN %s secret\r\nb SELECT INBOX\r\nc IDLE\r\n", user)
	require.NoError(t, err)
	readUntil(t, nc, "+ idling\r\n")
	return nc
}

// readUntil reads until what came ends with a text.
func readUntil(t testing.TB, nc net.Conn, end string) string {
	var got []byte
	buf := make([]byte, 512)
	for !bytes.HasSuffix(got, []byte(end)) {
		n, err := nc.Read(buf)
		require.NoError(t, err, "after %q", got)
		got = append(got, buf[:n]...)
	}
	return string(got)
}

// What happened in a mailbox while it was selected, and was told otherwise, is no news to an IDLE without a mailbox.
func TestIdleWithoutMailbox(t *testing.T) {
	f := newFixture(t)
	var armed atomic.Bool
	f.Store = mailbox.InterceptStore(f.Store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if err := next(ctx); err != nil || op.Kind != mailbox.OpChanges || !armed.CompareAndSwap(true, false) {
			return err
		}
		f.deliver(t, "alice", "INBOX", plainMail)
		time.Sleep(50 * time.Millisecond) // until the store has told it
		return nil
	})
	c := login(t, f.start(t))
	until := func(end string) {
		for c.line() != end {
		}
	}
	c.ok("SELECT INBOX")
	armed.Store(true)
	_, err := io.WriteString(c, "a IDLE\r\nDONE\r\nb UNSELECT\r\n")
	require.NoError(t, err)
	until("b OK UNSELECT done\r\n")
	_, err = io.WriteString(c, "c IDLE\r\n")
	require.NoError(t, err)
	until("+ idling\r\n")
	time.Sleep(20 * time.Millisecond)
	_, err = io.WriteString(c, "DONE\r\n")
	require.NoError(t, err)
	until("c OK IDLE done\r\n")
	require.Zero(t, f.Stats().Panics)
}

// What a store could not tell for a moment is told to a session that waits, in IDLE or under NOTIFY, as soon as it can.
func TestIdleAsksAgain(t *testing.T) {
	for _, how := range []string{"INBOX", "Other"} {
		f := newFixture(t)
		f.PollInterval = 20 * time.Millisecond
		var failing atomic.Int32
		f.Store = mailbox.InterceptStore(f.Store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
			if op.Kind == mailbox.OpChanges && failing.Add(-1) >= 0 {
				return errors.New("disk on fire")
			}
			return next(ctx)
		})
		f.deliver(t, "alice", "Other", plainMail)
		c := login(t, f.start(t))
		for _, begin := range []string{"IDLE", "NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))"} {
			c.ok("SELECT INBOX")
			if begin != "IDLE" {
				c.ok(begin)
			} else if how != "INBOX" {
				continue
			} else {
				_, err := io.WriteString(c, "i IDLE\r\n")
				require.NoError(t, err)
				require.Equal(t, "+ idling\r\n", c.line())
			}
			time.Sleep(20 * time.Millisecond)
			failing.Store(2)
			f.deliver(t, "alice", how, plainMail)
			require.Regexp(t, `^\* (\d+ EXISTS|STATUS Other \(MESSAGES 2 )`, c.line(), begin)
			require.Negative(t, failing.Load())
			if begin == "IDLE" {
				_, err := io.WriteString(c, "DONE\r\n")
				require.NoError(t, err)
				require.Equal(t, "i OK IDLE done\r\n", c.line())
			}
		}
	}
}

// BenchmarkNotify measures how long after a delivery the sessions in IDLE are told: 1,000 of them on 100 Maildirs. own is a delivery
// through the server's store, from its return; foreign is a file that somebody renames into new/.
func BenchmarkNotify(b *testing.B) {
	const users, each = 100, 10
	for _, foreign := range []bool{false, true} {
		b.Run(map[bool]string{false: "own", true: "foreign"}[foreign], func(b *testing.B) {
			f, root := newMaildirFixture(b)
			f.MaxConnsPerIP = -1
			var sessions [users][each]net.Conn
			addr := f.start(b)
			for u := range sessions {
				name := fmt.Sprint("user", u)
				f.users.passwords[name] = "secret"
				require.NoError(b, f.mail.(*maildir.Store).Deliver(b.Context(), name, "", strings.NewReader(plainMail), mailbox.AppendOptions{}))
				for i := range sessions[u] {
					sessions[u][i] = idleSession(b, addr, name)
					defer sessions[u][i].Close()
				}
			}
			var took []time.Duration
			for n := 0; b.Loop(); n++ {
				u := n % users
				deliver := func() time.Time { return deliverOwn(b, f, fmt.Sprint("user", u)) }
				if foreign {
					deliver = func() time.Time { return deliverForeign(b, filepath.Join(root, fmt.Sprint("user", u)), n) }
				}
				took = append(took, notified(b, sessions[u][:], deliver)...)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

func deliverOwn(b *testing.B, f *fixture, user string) time.Time {
	require.NoError(b, f.mail.(*maildir.Store).Deliver(b.Context(), user, "", strings.NewReader(plainMail), mailbox.AppendOptions{}))
	return time.Now()
}

func deliverForeign(b *testing.B, dir string, n int) time.Time {
	name := fmt.Sprintf("%d.M%dP1.foreign", time.Now().Unix(), n)
	require.NoError(b, os.WriteFile(filepath.Join(dir, "tmp", name), []byte("Subject: x\n\ny\n"), 0o600))
	start := time.Now()
	require.NoError(b, os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name)))
	return start
}

// notified returns how long after a delivery each session was told.
func notified(b *testing.B, sessions []net.Conn, deliver func() time.Time) []time.Duration {
	told := make([]time.Time, len(sessions))
	var all sync.WaitGroup
	for i, nc := range sessions {
		all.Go(func() {
			if _, err := nc.Read(make([]byte, 512)); err != nil {
				b.Error(err)
			}
			told[i] = time.Now()
		})
	}
	start := deliver()
	all.Wait()
	took := make([]time.Duration, len(told))
	for i := range told {
		took[i] = max(told[i].Sub(start), 0)
	}
	return took
}

// idleRoot and idleAddr are the environment of TestIdleServer: the Maildirs it serves, and where.
const (
	idleRoot = "GONIEC_IMAP_IDLE_ROOT"
	idleAddr = "GONIEC_IMAP_IDLE_ADDR"
)

// TestIdleServer is the process that TestIdleMemory looks at.
func TestIdleServer(t *testing.T) {
	root := os.Getenv(idleRoot)
	if root == "" {
		t.Skip("runs as a child of TestIdleMemory")
	}
	f := newFixture(t)
	s := &imap.Server{
		Store: &maildir.Store{Root: root}, Auth: f.users, AllowInsecureAuth: true, MaxConnsPerIP: -1, Addr: os.Getenv(idleAddr),
		Logger: slog.New(slog.DiscardHandler),
	}
	t.Log(s.ListenAndServe())
}

// 5,000 sessions in IDLE, each with a folder of 10,000 messages open, take at most 100 MB in one process, 14 KB each (goal 2 of the
// long form; the clients are another process).
func TestIdleMemory(t *testing.T) {
	peertest.Long(t)
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	const n, limit, limitEach = 5000, 100e6, 14e3
	root := t.TempDir()
	fillMaildir(t, filepath.Join(root, "alice"), 10_000)
	addr := peertest.FreeAddr(t)
	server := peertest.Start(t, root, []string{idleRoot + "=" + root, idleAddr + "=" + addr}, os.Args[0], "-test.run", "^TestIdleServer$")
	server.WaitPort(addr)
	idleSession(t, addr, "alice").Close()
	before := residentOf(t, server)
	start := time.Now()
	for range n {
		defer idleSession(t, addr, "alice").Close()
	}
	took := time.Since(start)
	time.Sleep(3 * time.Second)
	after := residentOf(t, server)
	each := (after - before) / n
	t.Logf("%d sessions: %.1f MB resident, %.1f KB each, %.0f logins a second", n, after/1e6, each/1e3, n/took.Seconds())
	require.Less(t, after, limit)
	require.Less(t, each, limitEach)
}

// fillMaildir makes a Maildir of n small messages, as another program leaves it.
func fillMaildir(t *testing.T, dir string, n int) {
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "cur"), 0o700))
	for i := range n {
		name := fmt.Sprintf("%d.M%dP1.host,S=14,W=17:2,", 1_600_000_000+i, i)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cur", name), []byte("Subject: x\n\ny\n"), 0o600))
	}
}

// residentOf returns the octets of memory of a process that only it has.
func residentOf(t *testing.T, p *peertest.Process) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.Cmd.Process.Pid))
	require.NoError(t, err)
	_, pss, ok := strings.Cut(string(data), "\nPss:")
	require.True(t, ok)
	kb, err := strconv.Atoi(strings.Fields(pss)[0])
	require.NoError(t, err)
	return float64(kb) * 1024
}
