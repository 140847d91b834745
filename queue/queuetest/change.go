package queuetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

func testHold(t *testing.T, x *suite) {
	m := Message("x", "a@x.example")
	m.Hold = true
	id := x.put(m)
	require.Empty(t, x.claim("x.example", 1))
	require.Empty(t, x.due(base.Add(time.Hour)))
	x.reopen()
	require.Empty(t, x.claim("x.example", 1))
	e := x.entries(queue.Filter{})[id]
	require.Equal(t, queue.StateHold, e.State())
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Release}))
	x.reopen()
	l := x.claimOne("x.example")
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Hold}))
	x.settle(l, queue.Settlement{Open: []int{0}, Reasons: []string{"r"}, Due: base, Attempted: true})
	require.Empty(t, x.claim("x.example", 1), "held while it was leased")
	x.reopen()
	require.Empty(t, x.claim("x.example", 1))
	ls, err := x.s.Claim(t.Context(), queue.ClaimRequest{ID: id, Max: 2})
	require.NoError(t, err)
	require.Len(t, ls, 1, "by its ID")
	require.NoError(t, x.s.Extend(t.Context(), ls[0], 0))
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Release}))
	x.settle(x.claimOne("x.example"), queue.Settlement{Open: []int{0}, Reasons: []string{"r"}, Due: base, Hold: true})
	x.reopen()
	require.Empty(t, x.claim("x.example", 1))
}

func testUpdate(t *testing.T, x *suite) {
	m := Message("x", "a@x.example")
	m.Due = base.Add(100 * time.Hour)
	id := x.put(m)
	require.Empty(t, x.claim("x.example", 1))
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Retry, Due: base}))
	x.reopen()
	require.NoError(t, x.s.Extend(t.Context(), x.claimOne("x.example"), 0))
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Remove}))
	require.ErrorIs(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Hold}), queue.ErrNotFound)
	require.ErrorIs(t, x.s.Update(t.Context(), "nosuchid", queue.Change{Op: queue.Hold}), queue.ErrNotFound)
	x.reopen()
	require.Empty(t, x.entries(queue.Filter{}))
	id = x.put(Message("x", "a@x.example"))
	require.Error(t, x.s.Update(t.Context(), id, queue.Change{}))
}

func testReroute(t *testing.T, x *suite) {
	id := x.put(Message("body", "a@x.example", "b@x.example", "c@y.example"))
	x.settle(x.claimOne("x.example"), queue.Settlement{Open: []int{1}, Reasons: []string{"r"}, Due: base, Attempted: true})
	groups := []queue.Group{{Dest: "smarthost", Rcpts: []int{1, 2}}}
	wrong := []queue.Group{{Dest: "smarthost", Rcpts: []int{0, 1, 2}}}
	require.Error(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Reroute, Groups: wrong}), "one is done")
	l := x.claimOne("y.example")
	require.ErrorIs(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Reroute, Groups: groups}), queue.ErrBusy)
	require.NoError(t, x.s.Extend(t.Context(), l, 0))
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Reroute, Groups: groups}))
	x.reopen()
	require.Empty(t, x.claim("x.example", 1))
	require.Equal(t, "body", x.body(id))
	l = x.claimOne("smarthost")
	require.Equal(t, []int{1, 2}, l.Rcpts)
	require.Zero(t, l.Attempts)

	// At a time of its own, and no longer a mailing when the groups are few.
	m := Message("x")
	for i := range 15 {
		m.Envelope.To = append(m.Envelope.To, goniec.Recipient{Address: goniec.MustAddress(fmt.Sprintf("u%d@z%d.example", i, i))})
		m.Groups = append(m.Groups, queue.Group{Dest: fmt.Sprintf("z%d.example", i), Rcpts: []int{i}})
	}
	id = x.put(m)
	one := queue.Group{Dest: "later", Rcpts: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}}
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Reroute, Groups: []queue.Group{one}, Due: base.Add(time.Hour)}))
	x.reopen()
	require.Zero(t, x.due(base.Add(time.Hour - time.Second))["later"].Jobs)
	d := x.due(base.Add(time.Hour))["later"]
	require.Equal(t, 1, d.Jobs)
	require.False(t, d.Bulk)
}

func testBulk(t *testing.T, x *suite) {
	var to []string
	for i := range 15 {
		to = append(to, fmt.Sprintf("u%d@x.example", i))
	}
	m := Message("x", to...)
	m.Groups = nil
	for i := range to {
		m.Groups = append(m.Groups, queue.Group{Dest: "x.example", Rcpts: []int{i}})
	}
	mailing := x.put(m)
	require.True(t, x.due(base)["x.example"].Bulk)
	var singles []queue.ID
	for range 3 {
		m := Message("x", "a@x.example")
		m.Since = base.Add(time.Minute)
		singles = append(singles, x.put(m))
	}
	require.False(t, x.due(base.Add(time.Hour))["x.example"].Bulk)
	x.reopen()
	ls, err := x.s.Claim(x.Context(), queue.ClaimRequest{Dest: "x.example", Single: true, Now: base.Add(time.Hour), Max: 10})
	require.NoError(t, err)
	require.Len(t, ls, len(singles), "the mailing is left out")
	for _, l := range ls {
		require.Contains(t, singles, l.ID)
		require.NoError(t, x.s.Extend(x.Context(), l, 0))
	}
	first := 0
	for range 7 {
		l := x.claimOne("x.example")
		if slices.Contains(singles, l.ID) {
			require.False(t, l.Bulk)
			first++
		} else {
			require.Equal(t, mailing, l.ID)
			require.True(t, l.Bulk)
		}
	}
	require.Equal(t, 3, first, "single mails and mailings take turns")
}

func testEntries(t *testing.T, x *suite) {
	a := x.put(Message("x", "a@x.example"))
	b := x.put(Message("x", "b@y.example"))
	require.NoError(t, x.s.Update(t.Context(), b, queue.Change{Op: queue.Hold}))
	keys := func(f queue.Filter) []queue.ID { return slices.Sorted(maps.Keys(x.entries(f))) }
	require.Equal(t, []queue.ID{a}, keys(queue.Filter{Dest: "x.example"}))
	require.Equal(t, []queue.ID{b}, keys(queue.Filter{State: []queue.State{queue.StateHold}}))
	require.Equal(t, []queue.ID{a}, keys(queue.Filter{ID: a}))
	require.Empty(t, keys(queue.Filter{ID: a, Dest: "y.example"}))
	require.Len(t, keys(queue.Filter{Brief: true}), 2)
	for range x.s.Entries(t.Context(), queue.Filter{}) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range x.s.Entries(ctx, queue.Filter{}) {
		require.ErrorIs(t, err, context.Canceled)
	}
}

// testParallel runs everything at once and counts.
func testParallel(t *testing.T, x *suite) {
	const writers, each = 8, 50
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored, settled := map[queue.ID]bool{}, map[queue.ID]int{}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id, err := x.s.Put(t.Context(), Message(strings.Repeat("x", i*97), fmt.Sprintf("a@d%d.example", w%3)))
				mu.Lock()
				stored[id] = err == nil
				mu.Unlock()
			}
		})
		wg.Go(func() {
			for range each * 3 {
				ls, _ := x.s.Claim(t.Context(), queue.ClaimRequest{Dest: fmt.Sprintf("d%d.example", w%3), Now: base, Max: 2})
				for i, l := range ls {
					st := queue.Settlement{Attempted: true}
					if i%2 == 1 {
						st.Open, st.Reasons, st.Due = l.Rcpts, []string{"later"}, base
					}
					err := x.s.Settle(t.Context(), l, st)
					mu.Lock()
					if err == nil && st.Open == nil {
						settled[l.ID]++
					}
					mu.Unlock()
				}
			}
		})
		wg.Go(func() {
			for range x.s.Entries(t.Context(), queue.Filter{}) {
			}
		})
	}
	wg.Wait()
	for range 2 {
		left := x.entries(queue.Filter{})
		require.Len(t, stored, writers*each)
		for id, ok := range stored {
			require.True(t, ok)
			_, there := left[id]
			require.Equal(t, settled[id] == 0, there, "stored and not settled is there")
			require.LessOrEqual(t, settled[id], 1)
		}
		if x.target.Reopen == nil {
			return
		}
		x.reopen()
	}
}

// testMailing settles the many jobs of a message in no certain order.
func testMailing(t *testing.T, x *suite) {
	const n = 200
	to := make([]string, n)
	m := Message("x", "a@x.example")
	m.Envelope.To, m.Groups = nil, nil
	for i := range to {
		to[i] = fmt.Sprintf("u%d@x.example", i)
		m.Groups = append(m.Groups, queue.Group{Dest: "x.example", Rcpts: []int{i}})
	}
	m.Envelope.To = Message("x", to...).Envelope.To
	id := x.put(m)
	left := map[int]bool{}
	for i := range n {
		left[i] = true
	}
	random := rand.New(rand.NewPCG(1, 2))
	for round := 0; len(left) > 0; round++ {
		require.Less(t, round, 10*n)
		x.checkMailing(id, left)
		leases := x.claim("x.example", 30)
		random.Shuffle(len(leases), func(i, k int) { leases[i], leases[k] = leases[k], leases[i] })
		for _, l := range leases {
			require.True(t, left[l.Rcpts[0]], "once only")
			st := queue.Settlement{Attempted: true}
			if random.IntN(3) == 0 {
				st.Open, st.Reasons, st.Due = l.Rcpts, []string{"later"}, base
			} else {
				delete(left, l.Rcpts[0])
			}
			x.settle(l, st)
		}
		if round%3 == 2 {
			x.reopen()
		}
	}
	require.Empty(t, x.entries(queue.Filter{}))
}

// checkMailing compares what is queued of a message with what should be.
func (x *suite) checkMailing(id queue.ID, left map[int]bool) {
	var open []int
	e := x.entries(queue.Filter{})[id]
	for _, j := range e.Jobs {
		open = append(open, j.Rcpts...)
	}
	slices.Sort(open)
	require.Equal(x, slices.Sorted(maps.Keys(left)), open)
}
