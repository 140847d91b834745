package queue_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

// road is a queue that relays everything to one host, with a ledger of its events. Bounces stay with it.
type road struct {
	*queue.Queue
	relay *smtp.Relay

	mu      sync.Mutex
	sent    int                     // recipients
	events  map[queue.EventKind]int // for recipients away from home
	reasons map[string]bool
	bounces []string
}

// newRoad starts a queue whose mail goes to addr.
func newRoad(t *testing.T, addr string, change func(*queue.Queue)) *road {
	t.Helper()
	ap := netip.MustParseAddrPort(addr)
	host := goniec.RouteHost{Name: "mx.example.org", Addrs: []netip.Addr{ap.Addr()}, Port: ap.Port(), TLS: goniec.TLSOpportunistic}
	r := &road{events: map[queue.EventKind]int{}, reasons: map[string]bool{}}
	r.relay = &smtp.Relay{
		Router: smtp.Smarthost(host), Pool: &smtp.Pool{Dialer: &smtp.Dialer{Hostname: "client.example"}},
		Observe: func(ctx context.Context, env *goniec.Envelope, res *smtp.Result, _ error) {
			for i, err := range res.Rcpts {
				if err == nil {
					queue.ReportSuccess(ctx, env.To[i].Address, queue.Success{Relayed: true, DSN: res.DSN, RemoteMTA: res.Host})
				}
			}
		},
	}
	store, err := queue.OpenFiles(t.TempDir(), queue.FileOptions{})
	require.NoError(t, err)
	r.Queue = &queue.Queue{
		Store: store, Deliverer: goniec.DelivererFunc(r.deliver), Hostname: "client.example", Event: r.event,
		MinBackoff: 100 * time.Millisecond, MaxBackoff: 400 * time.Millisecond,
	}
	if change != nil {
		change(r.Queue)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(context.Background()) }()
	t.Cleanup(func() {
		require.NoError(t, r.Shutdown(context.Background()))
		require.ErrorIs(t, <-done, queue.ErrQueueClosed)
		require.NoError(t, r.relay.Pool.Close())
		require.NoError(t, store.Close())
	})
	return r
}

// deliver relays, but keeps what goes back to the sender.
func (r *road) deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	if !env.From.IsZero() {
		return r.relay.Deliver(ctx, env, msg)
	}
	text, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bounces = append(r.bounces, string(text))
	return nil
}

func (r *road) event(e queue.Event) {
	if e.Rcpt.IsZero() || e.From.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[e.Kind]++
	if e.Reason != "" {
		r.reasons[e.Reason] = true
	}
}

func (r *road) count(k queue.EventKind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[k]
}

func (r *road) returned() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.bounces...)
}

// send queues a message whose number the receiver can tell.
func (r *road) send(t *testing.T, number int, to ...string) {
	t.Helper()
	env := &goniec.Envelope{From: goniec.MustAddress("alice@example.com")}
	for _, a := range to {
		env.To = append(env.To, goniec.Recipient{Address: goniec.MustAddress(a)})
	}
	r.mu.Lock()
	r.sent += len(to)
	r.mu.Unlock()
	text := fmt.Sprintf("From: <alice@example.com>\r\nDate: Sun, 22 Nov 2026 02:31:46 +0000\r\nMessage-ID: <%d@example.com>\r\nSubject: x\r\nNumber: %d\r\n\r\n.dot\r\n", number, number)
	require.NoError(t, r.Deliver(t.Context(), env, strings.NewReader(text)))
}

func (r *road) empty(t *testing.T) bool {
	for _, err := range r.List(t.Context(), queue.Filter{Brief: true}) {
		require.NoError(t, err)
		return false
	}
	return true
}

// dead tells whether the one destination was found dead.
func (r *road) dead() bool {
	d := r.Dests()
	return len(d) == 1 && d[0].Dead
}

// finished waits until the queue is empty and has told the outcome for each recipient, which it does a moment after it recorded it.
func (r *road) finished(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		told := r.count(queue.Delivered) + r.count(queue.Failed) + r.count(queue.Expired)
		r.mu.Lock()
		defer r.mu.Unlock()
		return told >= r.sent && r.empty(t)
	}, time.Minute, 5*time.Millisecond, "mail stays in the queue, or an outcome is not told")
}

// sinkDir is a folder into which smtp-sink, as whatever user, may write.
func sinkDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "sink")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

// startSink starts Postfix's test server, which keeps each message that it took in a file of dir.
func startSink(t *testing.T, addr, dir string, options ...string) *peertest.Process {
	t.Helper()
	args := append(options, "-d", filepath.Join(dir, "mail."))
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	p := peertest.Start(t, "", nil, "smtp-sink", append(args, addr, "64")...)
	if _, err := os.Stat(socketTable); err != nil {
		time.Sleep(time.Second)
		return p
	}
	require.Eventually(t, func() bool { return listens(addr) }, time.Minute, time.Millisecond, "smtp-sink does not listen")
	return p
}

// socketTable is Linux's list of the sockets of IPv4.
const socketTable = "/proc/net/tcp"

// listens tells whether somebody listens at an IPv4 address. Unlike a connection to it that is no session, to which smtp-sink would
// answer in its mood.
func listens(addr string) bool {
	ap := netip.MustParseAddrPort(addr)
	ip := ap.Addr().As4()
	table, err := os.ReadFile(socketTable)
	return err == nil && strings.Contains(string(table), fmt.Sprintf(": %08X:%04X 00000000:0000 0A ", binary.NativeEndian.Uint32(ip[:]), ap.Port())) // 0A is LISTEN
}

var numbered = regexp.MustCompile(`(?m)^Number: (\d+)\r?$`)

// sunk counts by number the messages that sinks took to their end.
func sunk(t *testing.T, dir string) map[string]int {
	files, err := filepath.Glob(filepath.Join(dir, "mail.*"))
	require.NoError(t, err)
	got := map[string]int{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		if m := numbered.FindSubmatch(text); m != nil && strings.Contains(string(text), ".dot") {
			got[string(m[1])]++
		}
	}
	return got
}

// Postfix's test server in all its bad moods, at every command: what is refused for good bounces with one report, everything else is
// deferred, and delivered once as soon as a server in a good mood stands in its place. Q03, Q08.
func TestPeerSinkMoods(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "smtp-sink")
	const messages = 12
	type mood struct {
		option, commands string
		outcome          queue.EventKind
		dead             bool // the destination is found dead
	}
	moods := []mood{
		{"-f", "MAIL", queue.Failed, false},
		{"-f", "RCPT", queue.Failed, false},
		{"-f", "DATA", queue.Failed, false},
		{"-f", ".", queue.Failed, false},
		{"-f", "EHLO HELO", queue.Failed, false},
		{"-f", "CONNECT", queue.Failed, false},
		{"-f", "RSET QUIT NOOP", queue.Delivered, false},
		{"-A", "0", queue.Failed, false},
	}
	for _, command := range []string{"CONNECT", "EHLO HELO", "MAIL", "RCPT", "DATA", "."} {
		for _, option := range []string{"-r", "-q", "-Q"} { // the reply to -r is 450 4.3.0: the whole system is not well
			moods = append(moods, mood{option, command, queue.Deferred, true})
		}
	}
	for _, command := range []string{"MAIL", "RCPT", "DATA", "."} {
		moods = append(moods, mood{"-b 451 4.7.1 greylisted -r", command, queue.Deferred, false})
	}
	for _, m := range moods {
		t.Run(m.option+" "+m.commands, func(t *testing.T) {
			t.Parallel()
			dir, addr := sinkDir(t), peertest.FreeAddr(t)
			options := []string{m.option, m.commands}
			if reply, ok := strings.CutPrefix(m.option, "-b "); ok {
				options = []string{"-b", strings.TrimSuffix(reply, " -r"), "-r", m.commands}
			}
			p := startSink(t, addr, dir, options...)
			r := newRoad(t, addr, nil)
			for i := range messages {
				r.send(t, i, fmt.Sprintf("bob%d@example.org", i))
			}
			if m.outcome != queue.Deferred {
				r.finished(t)
				require.Equal(t, messages, r.count(m.outcome))
				if m.outcome == queue.Failed {
					require.Len(t, r.returned(), messages)
					require.Empty(t, sunkWhole(t, dir, m.commands))
				}
				require.Zero(t, r.count(queue.Deferred), "%v", r.reasons)
				return
			}
			require.Eventually(t, func() bool { return r.count(queue.Deferred) >= 3 }, time.Minute, 10*time.Millisecond)
			if m.dead {
				require.Eventually(t, r.dead, time.Minute, time.Millisecond, "%v", r.reasons)
			} else {
				require.Eventually(t, func() bool { return r.count(queue.Deferred) >= messages }, time.Minute, 10*time.Millisecond)
				for _, d := range r.Dests() {
					require.False(t, d.Dead, "%v", r.reasons)
				}
			}
			require.Zero(t, r.count(queue.Delivered)+r.count(queue.Failed), "%v", r.reasons)
			p.Stop()

			good := sinkDir(t)
			startSink(t, addr, good)
			require.NoError(t, r.FlushDest(t.Context(), ""))
			r.finished(t)
			require.Equal(t, messages, r.count(queue.Delivered))
			require.Empty(t, r.returned())
			got := sunk(t, good)
			require.Len(t, got, messages, "lost")
			for n, times := range got {
				require.Equal(t, 1, times, "message %s came twice", n)
			}
		})
	}
}

// sunkWhole is sunk, but at the final dot smtp-sink has written its file before it refuses.
func sunkWhole(t *testing.T, dir, commands string) map[string]int {
	if commands == "." {
		return nil
	}
	return sunk(t, dir)
}

// A server that dies in the middle of a mailing, and comes back. What was in flight may come twice, nothing else, and nothing is lost.
func TestPeerSinkDies(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "smtp-sink")
	const messages = 40
	dir, addr := sinkDir(t), peertest.FreeAddr(t)
	p := startSink(t, addr, dir, "-M", "15")
	r := newRoad(t, addr, nil)
	for i := range messages {
		r.send(t, i, fmt.Sprintf("bob%d@example.org", i))
	}
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it did not die")
	}
	require.Eventually(t, func() bool { return r.count(queue.Deferred) > 0 }, time.Minute, 10*time.Millisecond)
	startSink(t, addr, dir)
	r.finished(t)
	require.Equal(t, messages, r.count(queue.Delivered))
	got, twice := sunk(t, dir), 0
	require.Len(t, got, messages, "lost")
	for _, n := range got {
		twice += n - 1
	}
	require.LessOrEqual(t, twice, 20, "no more than the window")
	t.Logf("%d in flight came twice", twice)
}
