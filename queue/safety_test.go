package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mime"
)

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) of(kind EventKind) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Event
	for _, e := range r.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func left(t testing.TB, s Store) int {
	t.Helper()
	n := 0
	for _, err := range s.Entries(context.Background(), Filter{Brief: true}) {
		require.NoError(t, err)
		n++
	}
	return n
}

// Q04: a panic of the Deliverer or of a callback is a temporary error of that one job.
func TestQ04_Panic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		s := &sink{whole: func(*goniec.Envelope) error {
			if calls.Add(1) == 1 {
				panic("bug")
			}
			return nil
		}}
		rec := &recorder{}
		q := &Queue{Store: memStore(t), Deliverer: s, Event: func(e Event) {
			rec.add(e)
			panic("another bug")
		}}
		runQueue(t, q)
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody)))
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@y.example"), strings.NewReader(testBody)))
		time.Sleep(time.Hour)
		require.Len(t, rec.of(Delivered), 2)
		require.Len(t, rec.of(Deferred), 1)
		require.Equal(t, int64(1+5), q.Panics())
		require.Zero(t, left(t, q.Store))
	})
}

// S09: a body that breaks off is not queued; the error comes back as it is.
func TestS09_BrokenBody(t *testing.T) {
	q := &Queue{Store: memStore(t), Deliverer: goniec.Discard()}
	for cut := range len(testBody) {
		err := q.Deliver(t.Context(), testEnvelope(t, "a@x.example"),
			io.MultiReader(strings.NewReader(testBody[:cut]), errReader{io.ErrUnexpectedEOF}))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	require.Zero(t, left(t, q.Store))
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// S18: no report ever goes to <>. A bounce that bounces goes to the postmaster once, or to the log.
func TestS18_DoubleBounce(t *testing.T) {
	for _, postmaster := range []string{"", "postmaster@example.net"} {
		synctest.Test(t, func(t *testing.T) {
			var log safeBuffer
			s := &sink{whole: func(*goniec.Envelope) error {
				return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
			}}
			q := &Queue{Store: memStore(t), Deliverer: s, Hostname: "mx.example.net", Logger: slog.New(slog.NewTextHandler(&log, nil))}
			if postmaster != "" {
				q.Postmaster, _ = goniec.ParseAddress(postmaster)
			}
			runQueue(t, q)
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody)))
			time.Sleep(10 * 24 * time.Hour)
			var to []string
			for _, c := range s.calls() {
				for _, r := range c.env.To {
					require.False(t, r.Address.IsZero())
					to = append(to, r.Address.String())
				}
				if c.env.From.IsZero() {
					require.Contains(t, c.msg, "Auto-Submitted: auto-replied\r\n")
				}
			}
			want := []string{"a@x.example", "sender@example.org"}
			if postmaster != "" {
				want = append(want, postmaster) // and its failure is the end
			}
			require.Equal(t, want, to)
			require.Contains(t, log.String(), "double bounce")
			require.Zero(t, left(t, q.Store))
		})
	}
}

// S20, the queue's side: of three recipients with one reply each only the one without an outcome is tried
// again, also when the process ends between the replies and their record.
func TestS20_OutcomesPerRecipient(t *testing.T) {
	store := memStore(t)
	id, err := store.Put(t.Context(), testMessage(t, testBody, "a@x.example", "b@x.example", "c@x.example"))
	require.NoError(t, err)
	s := &sink{answer: func(_ *goniec.Envelope, to goniec.Recipient) error {
		switch to.Address.Local() {
		case "b":
			return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no")
		case "c":
			return errors.New("connection lost after the first replies")
		}
		return nil
	}}
	q := &Queue{Store: store, Deliverer: s, MinBackoff: time.Hour}
	q.init()
	ls, err := store.Claim(t.Context(), ClaimRequest{ID: id, Max: 1})
	require.NoError(t, err)
	v, _ := q.attempt(t.Context(), &ls[0], "")
	require.True(t, v.judged)
	require.False(t, v.failed, "it replied")
	e, err := q.Show(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []int{2}, e.Jobs[0].Rcpts)
	require.Equal(t, 1, e.Jobs[0].Attempts)
	require.Equal(t, []string{"connection lost after the first replies"}, e.Jobs[0].Reasons)
}

// L02: what a remote server said is cut and made harmless before it stands in a report, in the log or in
// the listing; a private error text is no part of a report.
func TestL02_HostileReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		evil := strings.Repeat("line\n\r\nTo: evil@example.org\r\n\r\n\x1b[2J\u202e\x00<script>", 2000)
		s := &sink{whole: func(env *goniec.Envelope) error {
			if env.From.IsZero() {
				return nil
			}
			return &remoteError{goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, evil).WithCause(errors.New("/secret/path"))}
		}}
		var log safeBuffer
		q := &Queue{Store: memStore(t), Deliverer: s, Hostname: "mx.example.net", Logger: slog.New(slog.NewTextHandler(&log, nil))}
		runQueue(t, q)
		env := testEnvelope(t, "a@x.example")
		env.EnvID = "id\r\nX-Evil: yes"
		env.Origin.Helo = "helo\r\n\x1b[2J"
		env.To[0].ORcpt = goniec.ORcpt{Type: "rfc822", Address: "x\r\nY: z"}
		require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader(testBody)))
		time.Sleep(time.Minute)
		calls := s.calls()
		require.Len(t, calls, 2)
		msg := calls[1].msg
		require.Less(t, len(msg), 8<<10)
		for _, bad := range []string{"\x1b", "\x00", "\u202e", "/secret", "\r\nTo: evil", "\r\nX-Evil", "\r\nY: z"} {
			require.NotContains(t, msg, bad)
		}
		st, err := mime.Parse(strings.NewReader(msg), mime.Options{Strict: true})
		require.NoError(t, err)
		dsn, err := st.ReadDSN(strings.NewReader(msg))
		require.NoError(t, err)
		require.Equal(t, "mx2.x.example", dsn.Recipients[0].RemoteMTA.Value)
		require.Equal(t, "5.7.1", dsn.Recipients[0].Status)
		for line := range strings.Lines(log.String()) {
			require.Less(t, len(line), 3<<10)
		}
		require.NotContains(t, log.String(), "\x1b")
	})
}

type remoteError struct{ err error }

func (e *remoteError) Error() string     { return "mx2.x.example:25 said " + e.err.Error() }
func (e *remoteError) Unwrap() error     { return e.err }
func (e *remoteError) RemoteMTA() string { return "mx2.x.example" }

// safeBuffer is a buffer for logs.
type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Q06: 100,000 messages for a dead destination do not hold up those for a living one, and cost one probe for
// each back-off.
func TestQ06_DeadDestination(t *testing.T) {
	n := 5_000
	if peertest.LongForm() {
		n = 100_000
	}
	synctest.Test(t, func(t *testing.T) {
		var probes []time.Time
		var mu sync.Mutex
		var worst time.Duration
		s := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, _ io.Reader) error {
			mu.Lock()
			defer mu.Unlock()
			if env.To[0].Address.Domain() == "dead.example" {
				probes = append(probes, time.Now())
				return errors.New("connection timed out")
			}
			worst = max(worst, time.Since(env.Received))
			return nil
		})
		q := &Queue{Store: memStore(t), Deliverer: s, Jitter: -1, DelayAfter: -1}
		for range n {
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@dead.example"), strings.NewReader("x")))
		}
		runQueue(t, q)
		start := time.Now()
		live := 0
		for time.Since(start) < 2*time.Hour {
			env := testEnvelope(t, "a@live.example")
			env.Received = time.Now()
			require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader("x")))
			live++
			time.Sleep(10 * time.Second)
		}
		mu.Lock()
		defer mu.Unlock()
		require.LessOrEqual(t, worst, 2*time.Second)
		// Two at the start fill the window; then pauses of 300, 600, 1200, 2400 and 4000 s.
		t.Logf("%d probes in 2 h beside %d messages, worst delay %v", len(probes), live, worst)
		require.LessOrEqual(t, len(probes), 2+5)
		require.GreaterOrEqual(t, len(probes), 2+4)
		require.Equal(t, n, left(t, q.Store))
		require.LessOrEqual(t, len(q.sched.dests), 2, "memory goes with destinations, not messages")
	})
}

// Q07: the wall clock jumps by days in both directions while the queue works: attempts, delay and expiry
// come when they would have come.
func TestQ07_ClockJumps(t *testing.T) {
	type trace struct {
		kind EventKind
		at   time.Duration
	}
	run := func(t *testing.T, refusal error, jumps []time.Duration) (out []trace) {
		synctest.Test(t, func(t *testing.T) {
			var offset atomic.Int64
			start := time.Now()
			rec := &recorder{}
			var mu sync.Mutex
			s := &sink{whole: func(env *goniec.Envelope) error {
				if env.From.IsZero() {
					return nil
				}
				return refusal
			}}
			q := &Queue{
				Store: memStore(t), Deliverer: s, Hostname: "mx.example.net", Jitter: -1,
				Now: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) },
				Event: func(e Event) {
					mu.Lock()
					defer mu.Unlock()
					rec.add(e)
					out = append(out, trace{e.Kind, time.Since(start).Round(time.Minute)})
				},
			}
			runQueue(t, q)
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody)))
			for i := range 140 {
				time.Sleep(time.Hour)
				if len(jumps) > 0 {
					offset.Store(int64(jumps[i%len(jumps)]))
				}
			}
			require.Zero(t, left(t, q.Store))
		})
		return out
	}
	for name, refusal := range map[string]error{
		"dead destination": errors.New("connection refused"), "greylisted": goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "wait"),
	} {
		calm := run(t, refusal, nil)
		require.Greater(t, len(calm), 100, name)
		at := map[EventKind]time.Duration{}
		for _, e := range calm {
			at[e.kind] = e.at
		}
		// RFC 5321 §4.5.4.1 wants four or five days; whoever waits learns of it after four hours. The sweep comes once a minute, the next
		// attempt at most 4000 s later.
		require.Equal(t, 5*24*time.Hour, at[Expired], name)
		require.InDelta(t, float64(4*time.Hour), float64(at[Delayed]), float64(2*time.Minute), name)
		at1970 := -time.Since(time.Unix(0, 0)) / 2
		for i, jumps := range [][]time.Duration{{24 * time.Hour}, {-24 * time.Hour}, {at1970}, {24 * time.Hour, -24 * time.Hour, 0, 9 * 24 * time.Hour}} {
			require.ElementsMatch(t, calm, run(t, refusal, jumps), "%s, jumps %d", name, i)
		}
	}
}

// Q07: after a restart with a clock that went back, mail is as old as it was; and a clock that went ahead
// expires nothing without another attempt.
func TestQ07_RestartWithJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		fsys := faultfs.NewCrash(1)
		var s *sink
		rec := &recorder{}
		session := func(whole func(*goniec.Envelope) error, f func(q *Queue)) {
			store, err := OpenFiles("/queue", FileOptions{FS: fsys, SegmentSize: 64 << 10, Now: now})
			require.NoError(t, err)
			s = &sink{whole: whole}
			q := &Queue{Store: store, Deliverer: s, Now: now, Jitter: -1, Event: rec.add}
			done := make(chan struct{})
			go func() {
				_ = q.Run(context.Background())
				close(done)
			}()
			f(q)
			require.NoError(t, q.Shutdown(context.Background()))
			<-done
			require.NoError(t, store.Close())
		}
		down := func(*goniec.Envelope) error { return errors.New("refused") }
		session(down, func(q *Queue) {
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody)))
			time.Sleep(24 * time.Hour)
		})
		offset.Store(int64(-10 * 24 * time.Hour))
		session(down, func(*Queue) { time.Sleep(3 * 24 * time.Hour) })
		require.Empty(t, rec.of(Expired))
		require.Len(t, rec.of(Delayed), 1)
		require.Greater(t, len(rec.of(Deferred)), 70, "attempts went on")
		offset.Store(int64(30 * 24 * time.Hour))
		session(func(*goniec.Envelope) error { return nil }, func(*Queue) { time.Sleep(time.Hour) })
		require.Empty(t, rec.of(Expired))
		require.Len(t, rec.of(Delivered), 2, "the message and the delay report")
	})
}

// Q07: all destinations come back at once: no more deliveries at a time than the limit.
func TestQ07_AllBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var active, most, done atomic.Int32
		var up atomic.Bool
		s := goniec.DelivererFunc(func(context.Context, *goniec.Envelope, io.Reader) error {
			if !up.Load() {
				return errors.New("network is unreachable")
			}
			most.Store(max(most.Load(), active.Add(1)))
			time.Sleep(time.Second)
			active.Add(-1)
			done.Add(1)
			return nil
		})
		q := &Queue{Store: memStore(t), Deliverer: s, MaxActive: 50, DelayAfter: -1}
		n := 500
		if peertest.LongForm() {
			n = 2000
		}
		for i := range n {
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, fmt.Sprintf("a@d%d.example", i%(n/4))), strings.NewReader("x")))
		}
		runQueue(t, q)
		time.Sleep(12 * time.Hour)
		up.Store(true)
		require.NoError(t, q.FlushDest(t.Context(), ""))
		time.Sleep(2 * time.Hour)
		require.EqualValues(t, n, done.Load())
		require.LessOrEqual(t, most.Load(), int32(50))
		require.GreaterOrEqual(t, most.Load(), int32(20))
	})
}
