package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

// Q06: a dead destination costs one probe for each back-off, whatever rates and windows are set, and also while other mail
// for it comes in all the time.
func TestQ06_OneProbeEachBackoff(t *testing.T) {
	for _, c := range []struct {
		name           string
		destRate, rate float64
		window, active int
	}{
		{"plain", 0, 0, 0, 0},
		{"rate of the destination", 1, 0, 0, 0},
		{"slow rate of the destination", 0.01, 0, 0, 0},
		{"rate of all", 0, 2, 0, 0},
		{"wide window", 0, 0, 20, 0},
		{"few places", 0, 0, 8, 2},
	} {
		for _, slow := range []time.Duration{0, 3 * time.Second, 30 * time.Second} {
			t.Run(fmt.Sprintf("%s/%v", c.name, slow), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var tries atomic.Int32
					q := &Queue{DestRate: c.destRate, Rate: c.rate, Window: c.window, MaxActive: c.active, Jitter: -1, DelayAfter: -1, Store: memStore(t)}
					q.Deliverer = goniec.DelivererFunc(func(context.Context, *goniec.Envelope, io.Reader) error {
						tries.Add(1)
						time.Sleep(slow)
						return errors.New("connection refused")
					})
					for range 100 {
						require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@dead.example"), strings.NewReader("x")))
					}
					runQueue(t, q)
					begin := time.Now()
					for time.Since(begin) < 3*time.Hour {
						require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@dead.example"), strings.NewReader("x")))
						time.Sleep(time.Minute)
					}
					// As many as the window is wide, those that were on their way, and then after 300, 600, 1200, 2400, 4000 s.
					wide := max(q.Window, 2)
					require.LessOrEqual(t, int(tries.Load()), 2*wide+7)
					require.GreaterOrEqual(t, int(tries.Load()), 5)
				})
			})
		}
	}
}

// Destinations that never answer do not stay in memory when their mail is given up, however many they are.
func TestDeadAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &Queue{Store: &Memory{}, DelayAfter: -1, Jitter: -1, ExpireAfter: 6 * time.Hour, Deliverer: goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, _ io.Reader) error {
			if env.From.IsZero() {
				return nil
			}
			return errors.New("connection refused")
		})}
		runQueue(t, q)
		const n = 40
		for i := range n {
			for range 2 {
				require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, fmt.Sprintf("a@d%d.example", i)), strings.NewReader("x")))
			}
		}
		time.Sleep(time.Hour)
		dead := 0
		for _, d := range q.Dests() {
			if d.Dead {
				dead++
			}
		}
		require.Equal(t, n, dead, "while there is mail, they are known")
		time.Sleep(5*time.Hour + 3*4000*time.Second)
		require.Zero(t, left(t, q.Store))
		require.Empty(t, q.Dests())
	})
}

// An attempt that takes longer than a lease lasts, while the queue is shut down with patience: its outcome counts, and nobody gets the
// mail twice.
func TestShutdownIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memStore(t)
		var done atomic.Int32
		d := goniec.DelivererFunc(func(ctx context.Context, _ *goniec.Envelope, _ io.Reader) error {
			select {
			case <-time.After(50 * time.Minute):
				done.Add(1)
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		q := &Queue{Store: store, Deliverer: d}
		ended := make(chan error, 1)
		go func() { ended <- q.Run(t.Context()) }()
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader("x")))
		time.Sleep(time.Minute)
		require.NoError(t, q.Shutdown(context.Background()))
		require.ErrorIs(t, <-ended, ErrQueueClosed)
		require.Equal(t, int32(1), done.Load())
		require.Zero(t, left(t, store), "delivered, and on record as such")
	})
}

// A single mail for a destination that waits in the line of mailings does not wait for their places.
func TestSingleLeavesTheLineOfMailings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var took []time.Duration
		d := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, _ io.Reader) error {
			if env.To[0].Address.Local() == "single" {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(env.Received))
				return nil
			}
			time.Sleep(10 * time.Minute)
			return nil
		})
		q := &Queue{Store: memStore(t), Deliverer: d, MaxActive: 10, Window: 1, MaxWindow: 1, DelayAfter: -1}
		runQueue(t, q)
		for range 2 { // the second brings each domain a job beyond those under way
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, crowdOf(60)...), strings.NewReader("x")))
		}
		time.Sleep(time.Second)
		free := 0
		for i := range 60 { // most of these domains wait in the line of mailings
			busy := false
			for _, s := range q.Dests() {
				busy = busy || s.Active > 0 && s.Name == fmt.Sprintf("d%d.example", i)
			}
			if busy {
				continue
			}
			free++
			env := testEnvelope(t, fmt.Sprintf("single@d%d.example", i))
			env.Received = time.Now()
			require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader("x")))
			time.Sleep(time.Second)
		}
		require.Greater(t, free, 40)
		time.Sleep(5 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		quick := 0
		for _, x := range took {
			if x < 5*time.Second {
				quick++
			}
		}
		t.Logf("%d single mails, %d within 5 s", free, quick)
		require.Equal(t, free, quick)
	})
}

// FUTURERELEASE and DELIVERBY together: what the sender wants back before it may go is returned then, and never sent too early; nor
// by a flush of everything.
func TestHeldBeyondDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &sink{}
		log := &eventLog{}
		q := &Queue{Store: memStore(t), Deliverer: d, Event: log.add, Hostname: "mx.example.net"}
		runQueue(t, q)
		put := func(by *goniec.DeliverBy) ID {
			env := testEnvelope(t, "a@x.example")
			env.HoldUntil, env.DeliverBy = time.Now().Add(3*time.Hour), by
			id, err := q.Enqueue(t.Context(), env, strings.NewReader(testBody), Options{})
			require.NoError(t, err)
			return id
		}
		back := put(&goniec.DeliverBy{Deadline: time.Now().Add(time.Hour), Return: true})
		on := put(&goniec.DeliverBy{Deadline: time.Now().Add(time.Hour)})
		plain := put(nil)
		for range 5 {
			time.Sleep(30 * time.Minute)
			require.NoError(t, q.FlushDest(t.Context(), ""))
			require.NoError(t, q.FlushDest(t.Context(), "x.example"))
		}
		require.Len(t, log.of(back, Expired), 1)
		for _, c := range d.calls() {
			require.True(t, c.env.From.IsZero(), "reports only")
		}
		time.Sleep(31 * time.Minute)
		require.Empty(t, log.of(back, Delivered))
		require.Len(t, log.of(on, Delivered), 1)
		require.Len(t, log.of(plain, Delivered), 1)
		require.Zero(t, left(t, q.Store))
	})
}

// S18: a second message with the ID of one that is gone, as the same job handed on twice makes, or two jobs of one message: each
// bounce is reported.
func TestReportOfSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &sink{whole: func(env *goniec.Envelope) error {
			if env.From.IsZero() {
				return nil
			}
			return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
		}}
		q := &Queue{Store: memStore(t), Deliverer: d, Hostname: "mx.example.net"}
		runQueue(t, q)
		for _, to := range []string{"a@x.example", "b@x.example", "a@x.example"} {
			env := testEnvelope(t, to)
			env.ID = "0123456789AB"
			id, err := q.Enqueue(t.Context(), env, strings.NewReader(testBody), Options{})
			require.NoError(t, err)
			require.Equal(t, ID(env.ID), id)
			time.Sleep(time.Minute)
		}
		reports := 0
		for _, c := range d.calls() {
			if c.env.From.IsZero() {
				reports++
			}
		}
		require.Equal(t, 3, reports)
	})
}

// A mailing does not wait for all of the single mail to other domains: the two kinds take turns.
func TestMailingHasItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var singles, mailings atomic.Int64
		d := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, _ io.Reader) error {
			time.Sleep(time.Second)
			if strings.HasPrefix(env.To[0].Address.Domain(), "m") {
				mailings.Add(1)
			} else {
				singles.Add(1)
			}
			return nil
		})
		q := &Queue{Store: &Memory{}, Deliverer: d, MaxActive: 5, DelayAfter: -1}
		const single, mailing = 1000, 40
		for i := range single {
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, fmt.Sprintf("u@s%d.example", i%20)), strings.NewReader("x")))
		}
		var to []string
		for i := range mailing {
			to = append(to, fmt.Sprintf("u@m%d.example", i))
		}
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, to...), strings.NewReader("x")))
		runQueue(t, q)
		time.Sleep(time.Minute)
		require.EqualValues(t, mailing, mailings.Load())
		require.Less(t, singles.Load(), int64(single))
		require.Greater(t, singles.Load(), int64(mailing))
		time.Sleep(time.Hour)
		require.EqualValues(t, single, singles.Load())
	})
}
