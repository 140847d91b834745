package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

// brokenStore fails where told.
type brokenStore struct {
	Store
	settle, open, put, claim atomic.Pointer[error]
	settles                  atomic.Int64
}

func (s *brokenStore) Settle(ctx context.Context, l Lease, st Settlement) error {
	s.settles.Add(1)
	if err := s.settle.Load(); err != nil {
		return *err
	}
	return s.Store.Settle(ctx, l, st)
}

func (s *brokenStore) Open(ctx context.Context, id ID) (Body, error) {
	if err := s.open.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Open(ctx, id)
}

func (s *brokenStore) Put(ctx context.Context, m Message) (ID, error) {
	if err := s.put.Load(); err != nil {
		return "", *err
	}
	return s.Store.Put(ctx, m)
}

func (s *brokenStore) Claim(ctx context.Context, r ClaimRequest) ([]Lease, error) {
	if err := s.claim.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Claim(ctx, r)
}

// F01: while outcomes can not be recorded, and messages not be claimed or opened, nothing is lost and nothing sent twice; when
// the store works again, mail flows again.
func TestStoreTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &brokenStore{Store: memStore(t)}
		d := &sink{}
		q := &Queue{Store: s, Deliverer: d}
		runQueue(t, q)
		trouble := error(syscall.EIO)
		put := func() {
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody)))
		}
		s.settle.Store(&trouble)
		put()
		time.Sleep(time.Minute)
		require.Len(t, d.calls(), 1)
		require.Greater(t, s.settles.Load(), int64(3), "told again until it listens")
		s.settle.Store(nil)
		time.Sleep(time.Minute)
		require.Len(t, d.calls(), 1)
		require.Zero(t, left(t, s))

		s.open.Store(&trouble)
		put()
		time.Sleep(time.Minute)
		require.Len(t, d.calls(), 1)
		s.open.Store(nil)
		time.Sleep(10 * time.Minute)
		require.Len(t, d.calls(), 2)

		s.claim.Store(&trouble)
		put()
		time.Sleep(time.Minute)
		require.Len(t, d.calls(), 2)
		s.claim.Store(nil)
		time.Sleep(time.Minute)
		require.Len(t, d.calls(), 3)
		require.Zero(t, left(t, s))

		lost := ErrLeaseLost
		s.settle.Store(&lost)
		n := s.settles.Load()
		put()
		time.Sleep(time.Minute)
		require.Equal(t, n+1, s.settles.Load(), "there is no use in telling again")
		s.settle.Store(nil)
	})
}

// What Enqueue answers when the store can not take a message.
func TestEnqueueErrors(t *testing.T) {
	s := &brokenStore{Store: &Memory{}}
	q := &Queue{Store: s, Deliverer: goniec.Discard()}
	deliver := func() *goniec.Status {
		return goniec.StatusOf(q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader("x")))
	}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{fmt.Errorf("%w: %w", ErrFull, syscall.ENOSPC), 452, "4.3.1"},
		{ErrClosed, 451, "4.3.2"},
		{syscall.EIO, 451, "4.3.0"},
		{goniec.NewStatus(552, goniec.EnhancedCode{5, 3, 4}, "too large"), 552, "5.3.4"},
	} {
		s.put.Store(&c.err)
		got := deliver()
		require.Equal(t, c.code, got.Code)
		require.Equal(t, c.text, got.Enhanced.String())
	}
	s.put.Store(nil)
	require.NoError(t, q.Close())
	require.Equal(t, 451, deliver().Code)
	require.ErrorIs(t, q.Run(t.Context()), ErrQueueClosed)
}

// Attempts under way may finish in time; those that do not are cut, and count as not made.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := goniec.DelivererFunc(func(ctx context.Context, env *goniec.Envelope, _ io.Reader) error {
			wait := time.Second
			if env.To[0].Address.Local() == "slow" {
				wait = time.Hour
			}
			select {
			case <-time.After(wait):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		s := memStore(t)
		q := &Queue{Store: s, Deliverer: d}
		done := make(chan error)
		go func() { done <- q.Run(t.Context()) }()
		for _, to := range []string{"slow@x.example", "quick@x.example"} {
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, to), strings.NewReader("x")))
		}
		synctest.Wait()
		stats, err := q.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, stats.Active)
		require.Equal(t, 2, stats.Jobs[StateActive])
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.ErrorIs(t, q.Shutdown(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, <-done, ErrQueueClosed)
		require.NoError(t, q.Shutdown(t.Context()), "twice is harmless")
		require.NoError(t, q.Close())
		for e, err := range s.Entries(t.Context(), Filter{}) {
			require.NoError(t, err)
			require.Equal(t, "slow", e.Envelope.To[0].Address.Local())
			require.Zero(t, e.Jobs[0].Attempts)
			require.Equal(t, StateIncoming, e.State())
		}
		require.Equal(t, 1, left(t, s))
	})
}

// The end of Run's context cuts attempts too.
func TestRunContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q := &Queue{Store: memStore(t), Deliverer: goniec.DelivererFunc(func(ctx context.Context, _ *goniec.Envelope, _ io.Reader) error {
			<-ctx.Done()
			return ctx.Err()
		})}
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader("x")))
		done := make(chan error)
		go func() { done <- q.Run(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Equal(t, 1, left(t, q.Store))
	})
}

// People look after the queue: everything that can be done to a message.
func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		up := map[string]bool{}
		d := &sink{whole: func(env *goniec.Envelope) error {
			mu.Lock()
			defer mu.Unlock()
			if env.From.IsZero() || up[env.To[0].Address.Domain()] {
				return nil
			}
			return errors.New("connection refused")
		}}
		route := "x.example"
		q := &Queue{
			Store: memStore(t), Deliverer: d, Jitter: -1, MinBackoff: time.Hour,
			Route: func(to *goniec.Recipient) string {
				if to.Address.Domain() == "moving.example" {
					return route
				}
				return to.Address.Domain()
			},
		}
		runQueue(t, q)
		ctx := t.Context()
		put := func(to string) ID {
			id, err := q.Enqueue(ctx, testEnvelope(t, to), strings.NewReader(testBody), Options{})
			require.NoError(t, err)
			time.Sleep(time.Second)
			return id
		}
		one, two := put("a@one.example"), put("b@two.example")
		put("c@moving.example")
		stats, err := q.Stats(ctx)
		require.NoError(t, err)
		require.Equal(t, 3, stats.Messages)
		require.Equal(t, 3, stats.Jobs[StateDeferred])
		require.False(t, stats.Oldest.IsZero())
		require.Zero(t, stats.Active)

		var text bytes.Buffer
		require.NoError(t, q.Cat(ctx, one, &text))
		require.Equal(t, testBody, text.String())
		e, err := q.Show(ctx, one)
		require.NoError(t, err)
		require.Contains(t, e.Jobs[0].Reasons[0], "connection refused")
		mu.Lock()
		up["one.example"], up["two.example"], up["moving.example"] = true, true, true
		mu.Unlock()

		require.NoError(t, q.Hold(ctx, two))
		require.NoError(t, q.FlushDest(ctx, ""))
		time.Sleep(time.Second)
		_, err = q.Show(ctx, one)
		require.ErrorIs(t, err, ErrNotFound, "delivered")
		e, err = q.Show(ctx, two)
		require.NoError(t, err)
		require.Equal(t, StateHold, e.State(), "held stays held")
		require.NoError(t, q.Release(ctx, two))
		if err := q.Flush(ctx, two); err != nil {
			require.ErrorIs(t, err, ErrNotFound, "it has gone by itself: FlushDest made it due")
		}
		time.Sleep(time.Second)
		require.Zero(t, left(t, q.Store))

		mu.Lock()
		clear(up)
		mu.Unlock()
		moving := put("c@moving.example")
		route = "smarthost"
		require.NoError(t, q.Requeue(ctx, moving))
		e, err = q.Show(ctx, moving)
		require.NoError(t, err)
		require.Equal(t, "smarthost", e.Jobs[0].Dest)
		reports := len(d.calls())
		require.NoError(t, q.Hold(ctx, moving))
		time.Sleep(2 * time.Second)
		require.NoError(t, q.Expire(ctx, moving))
		time.Sleep(time.Second)
		_, err = q.Show(ctx, moving)
		require.ErrorIs(t, err, ErrNotFound)
		require.Greater(t, len(d.calls()), reports, "its sender was told")

		for _, err := range []error{
			q.Flush(ctx, "X"), q.Expire(ctx, "X"), q.Requeue(ctx, "X"), q.Delete(ctx, "X"), q.Hold(ctx, "X"), q.Release(ctx, "X"), q.Cat(ctx, "X", io.Discard),
		} {
			require.ErrorIs(t, err, ErrNotFound)
		}
	})
}

// verifying is a Deliverer with the optional methods.
type verifying struct{ goniec.Deliverer }

func (verifying) VerifyRcpt(_ context.Context, _ *goniec.Envelope, to *goniec.Recipient) error {
	if to.Address.Local() != "ann" {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
	}
	return nil
}

func (verifying) Extensions() []string { return []string{"DSN", "REQUIRETLS"} }

// The Deliverer behind the queue is asked what it knows.
func TestPassesOn(t *testing.T) {
	ann, bob := &goniec.Recipient{Address: goniec.MustAddress("ann@x.example")}, &goniec.Recipient{Address: goniec.MustAddress("bob@x.example")}
	q := &Queue{Store: &Memory{}, Deliverer: verifying{goniec.Discard()}}
	require.NoError(t, q.VerifyRcpt(t.Context(), testEnvelope(t), ann))
	require.Equal(t, 550, goniec.StatusOf(q.VerifyRcpt(t.Context(), testEnvelope(t), bob)).Code)
	require.Equal(t, []string{"DSN", "REQUIRETLS"}, q.Extensions())
	q = &Queue{Store: &Memory{}, Deliverer: goniec.Discard()}
	require.Equal(t, goniec.EnhancedCode{5, 7, 1}, goniec.StatusOf(q.VerifyRcpt(t.Context(), testEnvelope(t), ann)).Enhanced, "secure is the zero value")
	require.Equal(t, []string{"DSN"}, q.Extensions())
	q.Verifier = verifying{}
	require.NoError(t, q.VerifyRcpt(t.Context(), testEnvelope(t), ann))
}

// A body at the limit stays in the log, one octet more gets a file of its own, which goes with the message.
func TestInlineLimit(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenFiles(dir, FileOptions{})
	require.NoError(t, err)
	files := func() int {
		list, err := os.ReadDir(filepath.Join(dir, bodyDir))
		require.NoError(t, err)
		return len(list)
	}
	const limit = 128 << 10
	for i, c := range []struct{ size, files int }{{limit - 1, 0}, {limit, 0}, {limit + 1, 1}, {3 * limit, 2}} {
		body := strings.Repeat(string(rune('a'+i)), c.size)
		_, err := s.Put(t.Context(), testMessage(t, body, "a@x.example"))
		require.NoError(t, err)
		require.Equal(t, c.files, files(), c.size)
	}
	for range 4 {
		ls, err := s.Claim(t.Context(), ClaimRequest{Dest: "x.example", Now: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		require.Len(t, ls, 1)
		b, err := s.Open(t.Context(), ls[0].ID)
		require.NoError(t, err)
		text, err := io.ReadAll(goniec.NewReader(b))
		require.NoError(t, errors.Join(err, b.Close()))
		require.Equal(t, int(ls[0].Size), len(text))
		require.Equal(t, strings.Repeat(string(text[0]), len(text)), string(text))
		require.NoError(t, s.Settle(t.Context(), ls[0], Settlement{}))
	}
	require.Zero(t, files())
	require.NoError(t, s.Close())
}

// What was just stored is handed on from memory, within bounds; whatever happens in between, the right message comes.
func TestRecent(t *testing.T) {
	s := memStore(t)
	ids := map[ID]string{}
	for i := range recentPuts + 100 {
		body := fmt.Sprintf("Subject: %d\r\n\r\n", i)
		id, err := s.Put(t.Context(), testMessage(t, body, "a@x.example"))
		require.NoError(t, err)
		ids[id] = body
	}
	require.Len(t, s.recent.byID, recentPuts)
	n := 0
	for id := range ids {
		switch n++; n % 3 {
		case 0:
			require.NoError(t, s.Update(t.Context(), id, Change{Op: Remove}))
			delete(ids, id)
		case 1:
			require.NoError(t, s.Update(t.Context(), id, Change{Op: Hold}))
			require.NoError(t, s.Update(t.Context(), id, Change{Op: Release}))
		}
	}
	for len(ids) > 0 {
		ls, err := s.Claim(t.Context(), ClaimRequest{Dest: "x.example", Now: time.Now().Add(time.Hour), Max: 10})
		require.NoError(t, err)
		require.NotEmpty(t, ls)
		for _, l := range ls {
			b, err := s.Open(t.Context(), l.ID)
			require.NoError(t, err)
			text, err := io.ReadAll(goniec.NewReader(b))
			require.NoError(t, errors.Join(err, b.Close()))
			require.Equal(t, ids[l.ID], string(text))
			require.Equal(t, "a", l.Envelope.To[0].Address.Local())
			require.NoError(t, s.Settle(t.Context(), l, Settlement{}))
			delete(ids, l.ID)
		}
	}
	require.LessOrEqual(t, len(s.recent.byID), recentPuts)
}

// A key is remembered for its time beyond its message, through the cleaning of segments and a restart, and then forgotten.
func TestKeyMemory(t *testing.T) {
	dir := t.TempDir()
	var clock atomic.Pointer[time.Time] // the store looks at it beside us
	set := func(t time.Time) { clock.Store(&t) }
	set(time.Now())
	open := func() *FileStore {
		s, err := OpenFiles(dir, FileOptions{SegmentSize: 4 << 10, KeyMemory: time.Hour, Now: func() time.Time { return *clock.Load() }})
		require.NoError(t, err)
		return s
	}
	s := open()
	put := func(key string) ID {
		m := testMessage(t, strings.Repeat("x", 500), "a@x.example")
		m.Key, m.Since = key, *clock.Load()
		id, err := s.Put(t.Context(), m)
		if !errors.Is(err, ErrKnown) {
			require.NoError(t, err)
		}
		return id
	}
	id := put("k")
	require.Equal(t, id, put("k"))
	require.NoError(t, s.Update(t.Context(), id, Change{Op: Remove}))
	for range 100 { // many segments come and go
		require.NoError(t, s.Update(t.Context(), put(""), Change{Op: Remove}))
	}
	require.NoError(t, s.Close())
	s = open()
	require.Equal(t, id, put("k"), "remembered")
	require.Zero(t, left(t, s))
	set(clock.Load().Add(time.Hour + time.Second))
	require.NotEqual(t, id, put("k"), "forgotten")
	require.NoError(t, s.Close())
}

// The error for a second process says who has the queue and how to talk to it.
func TestOwned(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenFiles(dir, FileOptions{Control: "/run/q.sock"})
	require.NoError(t, err)
	defer s.Close()
	_, err = OpenFiles(dir, FileOptions{})
	var owned *OwnedError
	require.ErrorAs(t, err, &owned)
	require.Equal(t, os.Getpid(), owned.PID)
	require.ErrorContains(t, err, fmt.Sprintf("process %d; talk to it through its control socket /run/q.sock", os.Getpid()))
	require.ErrorContains(t, &OwnedError{Path: "x"}, "only one process")
}

// A lease that ran out is free for others, and the first worker's outcome comes too late; a lease can be extended.
func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memStore(t)
		_, err := s.Put(t.Context(), testMessage(t, "x", "a@x.example"))
		require.NoError(t, err)
		claim := func() []Lease {
			ls, err := s.Claim(t.Context(), ClaimRequest{Dest: "x.example", Now: time.Now().Add(time.Hour), TTL: time.Minute})
			require.NoError(t, err)
			return ls
		}
		first := claim()[0]
		time.Sleep(50 * time.Second)
		require.NoError(t, s.Extend(t.Context(), first, time.Minute))
		time.Sleep(50 * time.Second)
		require.Empty(t, claim())
		time.Sleep(11 * time.Second)
		second := claim()
		require.Len(t, second, 1)
		require.ErrorIs(t, s.Extend(t.Context(), first, time.Minute), ErrLeaseLost)
		require.ErrorIs(t, s.Settle(t.Context(), first, Settlement{}), ErrLeaseLost)
		require.NoError(t, s.Settle(t.Context(), second[0], Settlement{}))
		require.Zero(t, left(t, s))
	})
}

// A repeated Enqueue tells no event, and says what it was.
func TestRepeatedKey(t *testing.T) {
	for _, store := range []Store{memStore(t), &Memory{}} {
		log := &eventLog{}
		q := &Queue{Store: store, Event: log.add}
		put := func(key string) (ID, bool) {
			repeated := true
			id, err := q.Enqueue(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody), Options{Key: key, Repeated: &repeated})
			require.NoError(t, err)
			return id, repeated
		}
		id, repeated := put("k")
		require.False(t, repeated)
		again, repeated := put("k")
		require.True(t, repeated)
		require.Equal(t, id, again)
		require.Len(t, log.of(id, Queued), 1)
		other, repeated := put("")
		require.False(t, repeated)
		require.NotEqual(t, id, other)
		require.Equal(t, 2, left(t, store))
	}
}

// brokenSettle is a Store that records no outcome.
type brokenSettle struct{ Store }

func (brokenSettle) Settle(context.Context, Lease, Settlement) error { return io.ErrShortWrite }

// brokenOpen is a Store whose bodies can not be read.
type brokenOpen struct{ Store }

func (brokenOpen) Open(context.Context, ID) (Body, error) { return nil, ErrCorrupt }

// What people do to a queue either happens, or they hear why not.
func TestOperatorErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &Memory{}
		q := &Queue{Store: brokenSettle{store}}
		id, err := q.Enqueue(t.Context(), testEnvelope(t, "a@x.example", "b@y.example"), strings.NewReader(testBody), Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = q.Expire(ctx, id)
		require.ErrorIs(t, err, io.ErrShortWrite)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		e, err := q.Show(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, StateIncoming, e.State(), "given back")

		q = &Queue{Store: brokenOpen{store}}
		require.ErrorIs(t, q.Expire(t.Context(), id), ErrCorrupt)
		q = &Queue{Store: store}
		require.NoError(t, q.Flush(t.Context(), id))
		require.NoError(t, q.Expire(t.Context(), id))
		require.Len(t, store.msgs, 2, "the reports")
	})
	s := memStore(t)
	q := &Queue{Store: s}
	id, err := q.Enqueue(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader(testBody), Options{})
	require.NoError(t, err)
	for name, do := range map[string]func(context.Context, ID) error{
		"hold": q.Hold, "release": q.Release, "flush": q.Flush, "delete": q.Delete, "expire": q.Expire, "requeue": q.Requeue,
	} {
		require.ErrorIs(t, do(t.Context(), "0123456789AB"), ErrNotFound, name)
	}
	require.NoError(t, s.Close())
	for name, do := range map[string]func(context.Context, ID) error{
		"hold": q.Hold, "release": q.Release, "flush": q.Flush, "delete": q.Delete, "expire": q.Expire, "requeue": q.Requeue,
	} {
		require.ErrorIs(t, do(t.Context(), id), ErrClosed, name)
	}
	require.ErrorIs(t, q.FlushDest(t.Context(), ""), ErrClosed)
	_, err = q.Stats(t.Context())
	require.ErrorIs(t, err, ErrClosed)
}
