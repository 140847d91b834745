package queue

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mime"
)

// delivery is one call of a fake Deliverer.
type delivery struct {
	env *goniec.Envelope
	msg string
	at  time.Time
}

// sink is a Deliverer that answers by a function and remembers.
type sink struct {
	mu     sync.Mutex
	got    []delivery
	answer func(env *goniec.Envelope, to goniec.Recipient) error
	whole  func(env *goniec.Envelope) error
}

func (s *sink) Deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	b, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.got = append(s.got, delivery{env.Clone(), string(b), time.Now()})
	s.mu.Unlock()
	if s.whole != nil {
		if err := s.whole(env); err != nil {
			return err
		}
	}
	if s.answer == nil {
		return nil
	}
	errs := make(goniec.RcptErrors, len(env.To))
	for i, to := range env.To {
		errs[i] = s.answer(env, to)
	}
	return errs.Err()
}

func (s *sink) calls() []delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]delivery(nil), s.got...)
}

// memStore is a file store on a disk in memory: for tests in a bubble.
func memStore(t testing.TB) *FileStore {
	t.Helper()
	s, err := OpenFiles("/queue", FileOptions{FS: faultfs.NewCrash(1), SegmentSize: 64 << 10})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// runQueue runs a queue until the test ends.
func runQueue(t testing.TB, q *Queue) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- q.Run(context.Background()) }()
	t.Cleanup(func() {
		require.NoError(t, q.Shutdown(context.Background()))
		require.ErrorIs(t, <-done, ErrQueueClosed)
	})
}

const testBody = "From: sender@example.org\r\nSubject: test\r\nMessage-ID: <1@example.org>\r\n\r\nHello.\r\n"

// Q08: of three recipients one is taken, one deferred, one refused: only the second is tried again, and
// one report speaks of the third.
func TestQ08_PartialSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		s := &sink{answer: func(env *goniec.Envelope, to goniec.Recipient) error {
			switch to.Address.Local() {
			case "later":
				if down.Load() {
					return goniec.NewStatus(450, goniec.EnhancedCode{4, 2, 2}, "mailbox full")
				}
			case "gone":
				return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
			}
			return nil
		}}
		q := &Queue{Store: memStore(t), Deliverer: s, Hostname: "mx.example.net", Jitter: -1}
		runQueue(t, q)
		env := testEnvelope(t, "ok@x.example", "later@x.example", "gone@x.example")
		require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader(testBody)))
		time.Sleep(10 * time.Second)
		calls := s.calls()
		require.Len(t, calls, 2)
		require.Len(t, calls[0].env.To, 3)
		require.Equal(t, testBody, calls[0].msg)
		report := calls[1]
		require.True(t, report.env.From.IsZero())
		require.Equal(t, "sender@example.org", report.env.To[0].Address.String())
		st, err := mime.Parse(strings.NewReader(report.msg), mime.Options{Strict: true})
		require.NoError(t, err)
		dsn, err := st.ReadDSN(strings.NewReader(report.msg))
		require.NoError(t, err)
		require.Len(t, dsn.Recipients, 1)
		require.Equal(t, "gone@x.example", dsn.Recipients[0].FinalRecipient.Value)
		require.Equal(t, "5.1.1", dsn.Recipients[0].Status)
		down.Store(false)
		time.Sleep(301 * time.Second)
		calls = s.calls()
		require.Len(t, calls, 3)
		require.Len(t, calls[2].env.To, 1)
		require.Equal(t, "later", calls[2].env.To[0].Address.Local())
		for range q.Store.Entries(t.Context(), Filter{}) {
			t.Fatal("queue is not empty")
		}
	})
}

// What nobody could deliver is refused, by every store, and not accepted and lost sight of.
func TestEnqueueRefuses(t *testing.T) {
	for _, store := range []Store{memStore(t), &Memory{}} {
		q := &Queue{Store: store, Deliverer: goniec.Discard()}
		for want, to := range map[int][]goniec.Recipient{554: nil, 553: {{Address: goniec.MustAddress("a@x.example")}, {}}} {
			err := q.Deliver(t.Context(), &goniec.Envelope{To: to}, strings.NewReader(testBody))
			require.Equal(t, want, goniec.StatusOf(err).Code)
			require.True(t, goniec.Permanent(err))
		}
		require.Zero(t, left(t, store))
	}
}

// The Deliverer gets the ID of the listing: an Envelope's own may be taken, or be a path for a Deliverer that makes file names of it.
func TestDeliveredID(t *testing.T) {
	for _, makeStore := range []func(t *testing.T) Store{func(t *testing.T) Store { return memStore(t) }, func(*testing.T) Store { return &Memory{} }} {
		synctest.Test(t, func(t *testing.T) {
			s := &sink{}
			q := &Queue{Store: makeStore(t), Deliverer: s}
			good := goniec.NewID()
			var want, got []string
			for _, given := range []string{"", good, good, "../../etc/x", "a\r\nb", "x\x00", strings.Repeat("x", 1000)} {
				env := testEnvelope(t, "a@x.example")
				env.ID = given
				id, err := q.Enqueue(t.Context(), env, strings.NewReader(testBody), Options{})
				require.NoError(t, err)
				require.Regexp(t, "^[0-9A-Z]{12}$", string(id))
				want = append(want, string(id))
			}
			require.Equal(t, good, want[1])
			require.NotEqual(t, good, want[2])
			done := make(chan error, 1)
			go func() { done <- q.Run(context.Background()) }()
			time.Sleep(time.Minute)
			require.NoError(t, q.Shutdown(context.Background()))
			<-done
			for _, c := range s.calls() {
				got = append(got, c.env.ID)
			}
			require.ElementsMatch(t, want, got)
		})
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{whole: func(env *goniec.Envelope) error {
			if env.From.IsZero() {
				return nil
			}
			return errors.New("connection refused")
		}}
		var mu sync.Mutex
		var events []Event
		q := &Queue{Store: memStore(t), Deliverer: s, Hostname: "mx.example.net", Event: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}}
		runQueue(t, q)
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody)))
		time.Sleep(6 * 24 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		count := map[EventKind]int{}
		for _, e := range events {
			count[e.Kind]++
		}
		require.Equal(t, 1, count[Expired])
		require.Equal(t, 1, count[Delayed])
		require.Equal(t, 2, count[Reported])
		require.Greater(t, count[Deferred], 100)
		calls := s.calls()
		require.Len(t, calls, count[Deferred]+1+2)
	})
}
