package faultfs_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// A caller is satisfied only by a sync that started after its call, and all who
// wait meanwhile share the next.
func TestGroupShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int64
		g := faultfs.NewGroup(func() error {
			started.Add(1)
			time.Sleep(time.Second)
			return nil
		})
		var wg sync.WaitGroup
		begin := time.Now()
		call := func(after, wantEnd time.Duration) {
			wg.Go(func() {
				time.Sleep(after)
				require.NoError(t, g.Sync())
				require.Equal(t, wantEnd, time.Since(begin))
			})
		}
		call(0, time.Second)
		for i := range 50 { // during the first: none is served by it
			call(time.Duration(1+i)*time.Millisecond, 2*time.Second)
		}
		call(1500*time.Millisecond, 3*time.Second)
		call(10*time.Second, 11*time.Second)
		wg.Wait()
		require.EqualValues(t, 4, started.Load())
	})
}

// An error reaches everyone who called before the failed sync had ended, and is
// final.
func TestGroupErrorIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		calls := 0
		g := faultfs.NewGroup(func() error {
			calls++
			time.Sleep(time.Second)
			if calls == 2 {
				return boom
			}
			return nil
		})
		require.NoError(t, g.Sync())
		var wg sync.WaitGroup
		for i := range 5 { // the first leads the failing sync, four wait for the next
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				require.ErrorIs(t, g.Sync(), boom)
			})
		}
		wg.Wait()
		require.ErrorIs(t, g.Sync(), boom)
		require.Equal(t, 2, calls)
	})
}

// With several functions as many callers sync at once, each by a function of its own; more of them gather until
// nobody syncs.
func TestGroupSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy [3]atomic.Bool
		var calls, most [3]int
		lane := func(i int) func() error {
			return func() error {
				require.False(t, busy[i].Swap(true), "a function is called twice at a time")
				calls[i]++
				n := 0
				for j := range busy {
					if busy[j].Load() {
						n++
					}
				}
				most[i] = n
				time.Sleep(time.Second)
				busy[i].Store(false)
				return nil
			}
		}
		g := faultfs.NewGroup(lane(0), lane(1), lane(2))
		begin := time.Now()
		var wg sync.WaitGroup
		call := func(after, wantEnd time.Duration) {
			wg.Go(func() {
				time.Sleep(after)
				require.NoError(t, g.Sync())
				require.Equal(t, wantEnd, time.Since(begin))
			})
		}
		// Limit: three callers do not wait for each other.
		call(0, 1000*time.Millisecond)
		call(100*time.Millisecond, 1100*time.Millisecond)
		call(200*time.Millisecond, 1200*time.Millisecond)
		// Limit + 1: the others begin together, when there are no more callers than functions: at 1.1 s.
		call(300*time.Millisecond, 2100*time.Millisecond)
		call(400*time.Millisecond, 2100*time.Millisecond)
		// One after the other needs the first alone.
		call(10*time.Second, 11*time.Second)
		call(12*time.Second, 13*time.Second)
		wg.Wait()
		require.Equal(t, 6, calls[0]+calls[1]+calls[2])
		require.Equal(t, 3, max(most[0], most[1], most[2]))
	})
}

// A crowd shares one sync at a time, however many functions there are.
func TestGroupCrowdGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most, calls atomic.Int64
		one := func() error {
			calls.Add(1)
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}
		g := faultfs.NewGroup(one, one)
		require.NoError(t, g.Sync())
		most.Store(0)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				time.Sleep(time.Duration(i/20) * 500 * time.Millisecond)
				require.NoError(t, g.Sync())
			})
		}
		wg.Wait()
		require.LessOrEqual(t, calls.Load(), int64(1+2+2), "the first ones side by side, the others together")
		require.LessOrEqual(t, most.Load(), int64(2))
	})
}

// An error of one function reaches the callers of all that have not returned yet.
func TestGroupErrorSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		calls := 0
		slow := func() error {
			calls++
			time.Sleep(3 * time.Second)
			return nil
		}
		g := faultfs.NewGroup(func() error {
			time.Sleep(time.Second)
			return boom
		}, slow)
		var wg sync.WaitGroup
		for i, want := range []time.Duration{time.Second, 3100 * time.Millisecond, time.Second, time.Second, 0} {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				if want == 0 { // after it
					time.Sleep(time.Minute)
				}
				begin := time.Now()
				require.ErrorIs(t, g.Sync(), boom)
				if want != 0 {
					require.Equal(t, want-time.Duration(i)*100*time.Millisecond, time.Since(begin))
				} else {
					require.Zero(t, time.Since(begin))
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, calls)
	})
}

// A panic in sync does not leave the others waiting.
func TestGroupPanic(t *testing.T) {
	g := faultfs.NewGroup(func() error { panic("ouch") })
	require.Panics(t, func() { _ = g.Sync() })
	require.ErrorContains(t, g.Sync(), "did not return")
}

// F02: many writers over a Crash with one Group: whoever was told "durable" is there
// in every state of a cut at that moment.
func TestF02GroupOverCrash(t *testing.T) {
	c := faultfs.NewCrash(1)
	d := openDir(t, c, "/")
	var more []func() error
	for range 3 {
		more = append(more, openDir(t, c, "/").Sync)
	}
	g := faultfs.NewGroup(d.Sync, more...)
	var mu sync.Mutex
	acked := map[string]bool{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 30 {
				name := fmt.Sprintf("%d-%d", w, i)
				f, err := d.Create(name, 0o600)
				if err != nil || f.Close() != nil || g.Sync() != nil {
					t.Error("cannot write")
					return
				}
				mu.Lock()
				acked[name] = true
				mu.Unlock()
			}
		})
	}
	for range 20 {
		mu.Lock()
		var promised []string
		for name := range acked {
			promised = append(promised, name)
		}
		mu.Unlock()
		for s := range c.States(20) { // taken after the promises were read
			require.Subset(t, names(t, openDir(t, s.FS, "/")), promised)
		}
	}
	wg.Wait()
	require.Len(t, acked, 240)
}
