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
	g := faultfs.NewGroup(d.Sync)
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
