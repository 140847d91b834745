package queuetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// Target is a store under test.
type Target struct {
	Store queue.Store
	// Reopen closes the store and opens it again, as after a restart. nil: the store keeps nothing.
	Reopen func(t *testing.T) queue.Store
}

// TestStore checks a store against the contract of queue.Store. open makes an empty store for each
// subtest.
func TestStore(t *testing.T, open func(t *testing.T) Target) {
	for _, c := range [...]struct {
		name string
		test func(*testing.T, *suite)
	}{
		{"PutOpen", testPutOpen},
		{"BodyError", testBodyError},
		{"Key", testKey},
		{"ClaimOrder", testClaimOrder},
		{"ClaimExclusive", testClaimExclusive},
		{"Settle", testSettle},
		{"SettleReports", testSettleReports},
		{"Lease", testLease},
		{"Due", testDue},
		{"Aged", testAged},
		{"Deadline", testDeadline},
		{"Hold", testHold},
		{"Update", testUpdate},
		{"Reroute", testReroute},
		{"Bulk", testBulk},
		{"Mailing", testMailing},
		{"Entries", testEntries},
		{"Parallel", testParallel},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := open(t)
			c.test(t, &suite{T: t, s: target.Store, target: target})
		})
	}
}

type suite struct {
	*testing.T
	s      queue.Store
	target Target
}

var base = time.Unix(1_800_000_000, 0)

// reopen restarts the store if it can be.
func (x *suite) reopen() {
	x.Helper()
	if x.target.Reopen != nil {
		x.s = x.target.Reopen(x.T)
	}
}

// Message makes a message from a to each of the addresses; the destination is the domain.
func Message(body string, to ...string) queue.Message {
	env := &goniec.Envelope{ID: goniec.NewID(), EnvID: "env-id"}
	env.From, _ = goniec.ParseAddress("sender@example.org")
	var dests []string
	for _, s := range to {
		a, err := goniec.ParseAddress(s)
		if err != nil {
			panic(err)
		}
		env.To = append(env.To, goniec.Recipient{Address: a})
		dests = append(dests, a.Domain())
	}
	return queue.Message{Envelope: env, Groups: queue.GroupBy(dests, 100), Body: strings.NewReader(body), Since: base}
}

func (x *suite) put(m queue.Message) queue.ID {
	x.Helper()
	id, err := x.s.Put(x.Context(), m)
	require.NoError(x, err)
	require.NotEmpty(x, id)
	return id
}

func (x *suite) body(id queue.ID) string {
	x.Helper()
	b, err := x.s.Open(x.Context(), id)
	require.NoError(x, err)
	defer b.Close()
	data, err := io.ReadAll(goniec.NewReader(b))
	require.NoError(x, err)
	require.EqualValues(x, len(data), b.Size())
	return string(data)
}

func (x *suite) claim(dest string, limit int) []queue.Lease {
	x.Helper()
	ls, err := x.s.Claim(x.Context(), queue.ClaimRequest{Dest: dest, Now: base.Add(time.Hour), Max: limit, Worker: "test"})
	require.NoError(x, err)
	return ls
}

func (x *suite) claimOne(dest string) queue.Lease {
	x.Helper()
	ls := x.claim(dest, 1)
	require.Len(x, ls, 1)
	return ls[0]
}

func (x *suite) settle(l queue.Lease, st queue.Settlement) {
	x.Helper()
	require.NoError(x, x.s.Settle(x.Context(), l, st))
}

func (x *suite) entries(f queue.Filter) map[queue.ID]queue.Entry {
	x.Helper()
	all := map[queue.ID]queue.Entry{}
	for e, err := range x.s.Entries(x.Context(), f) {
		require.NoError(x, err)
		all[e.ID] = e
	}
	return all
}

func testPutOpen(t *testing.T, x *suite) {
	want := map[queue.ID]string{}
	for _, n := range []int{0, 1, 100, 4 << 10, 64 << 10, 64<<10 + 1, 300 << 10} {
		body := strings.Repeat("0123456789abcde\n", n/16+1)[:n]
		m := Message(body, "a@x.example")
		id := x.put(m)
		require.Equal(t, m.Envelope.ID, string(id), "a free envelope ID is taken")
		want[id] = body
	}
	same := Message("same id", "a@x.example")
	for id := range want {
		same.Envelope.ID = string(id)
		break
	}
	other := x.put(same)
	require.NotContains(t, want, other, "an ID in use is not given again")
	want[other] = "same id"
	for range 2 {
		all := x.entries(queue.Filter{})
		require.Len(t, all, len(want))
		for id, body := range want {
			require.Equal(t, body, x.body(id))
			require.EqualValues(t, len(body), all[id].Size)
			require.Equal(t, "sender@example.org", all[id].Envelope.From.String())
			require.Equal(t, "env-id", all[id].Envelope.EnvID)
			require.Equal(t, base.Unix(), all[id].Since.Unix())
		}
		x.reopen()
		if x.target.Reopen == nil {
			break
		}
	}
	_, err := x.s.Open(t.Context(), "nosuchid")
	require.ErrorIs(t, err, queue.ErrNotFound)
	b, err := x.s.Open(t.Context(), other)
	require.NoError(t, err)
	require.NoError(t, x.s.Update(t.Context(), other, queue.Change{Op: queue.Remove}))
	data, err := io.ReadAll(goniec.NewReader(b))
	require.NoError(t, err, "an open body outlives its message")
	require.Equal(t, "same id", string(data))
	require.NoError(t, b.Close())
}

// S09: what does not arrive whole is not queued.
func testBodyError(t *testing.T, x *suite) {
	broken := errors.New("connection reset")
	for _, n := range []int{0, 10, 64 << 10, 200 << 10} {
		m := Message("", "a@x.example")
		m.Body = io.MultiReader(bytes.NewReader(make([]byte, n)), iotest.ErrReader(broken))
		_, err := x.s.Put(t.Context(), m)
		require.ErrorIs(t, err, broken)
	}
	bad := Message("x", "a@x.example", "b@y.example")
	bad.Groups = bad.Groups[:1]
	_, err := x.s.Put(t.Context(), bad)
	require.Error(t, err, "a recipient without group")
	for range 2 {
		require.Empty(t, x.entries(queue.Filter{}))
		x.reopen()
	}
}

func testKey(t *testing.T, x *suite) {
	m := Message("first", "a@x.example")
	m.Key, m.Since = "order 17", time.Now()
	id := x.put(m)
	again := Message("second", "a@x.example")
	again.Key, again.Since = m.Key, time.Now()
	known := func() {
		t.Helper()
		old, err := x.s.Put(t.Context(), again)
		require.ErrorIs(t, err, queue.ErrKnown)
		require.Equal(t, id, old)
	}
	known()
	x.reopen()
	again.Body = strings.NewReader("third")
	known()
	require.Equal(t, "first", x.body(id))
	l, err := x.s.Claim(t.Context(), queue.ClaimRequest{ID: id, Max: 1})
	require.NoError(t, err)
	x.settle(l[0], queue.Settlement{Attempted: true})
	known() // a key outlives its message
	x.reopen()
	known()
	require.Empty(t, x.entries(queue.Filter{}))

	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, first := map[queue.ID]bool{}, 0
	for range 20 {
		wg.Go(func() {
			m := Message("parallel", "a@x.example")
			m.Key, m.Since = "the same", time.Now()
			id, err := x.s.Put(context.WithoutCancel(t.Context()), m)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				first++
			}
			if err == nil || errors.Is(err, queue.ErrKnown) {
				ids[id] = true
			}
		})
	}
	wg.Wait()
	require.Len(t, ids, 1)
	require.Equal(t, 1, first)
}

func testClaimOrder(t *testing.T, x *suite) {
	var want []queue.ID
	for i := range 5 {
		m := Message("x", "a@x.example")
		m.Since = base.Add(time.Duration(5-i) * time.Minute)
		want = append([]queue.ID{x.put(m)}, want...)
	}
	urgent := Message("x", "a@x.example")
	urgent.Since, urgent.Envelope.Priority = base.Add(6*time.Minute), 4
	want = append([]queue.ID{x.put(urgent)}, want...)
	later := Message("x", "a@x.example")
	later.Due = base.Add(2 * time.Hour)
	x.put(later)
	x.put(Message("x", "a@y.example"))
	var got []queue.ID
	for _, l := range x.claim("x.example", 100) {
		got = append(got, l.ID)
	}
	require.Equal(t, want, got)
}

func testClaimExclusive(t *testing.T, x *suite) {
	const n = 200
	for range n {
		x.put(Message("x", "a@x.example"))
	}
	var mu sync.Mutex
	seen := map[queue.ID]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				ls, err := x.s.Claim(t.Context(), queue.ClaimRequest{Dest: "x.example", Now: base, Max: 3})
				if err != nil || len(ls) == 0 {
					return
				}
				mu.Lock()
				for _, l := range ls {
					seen[l.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, n)
	for _, times := range seen {
		require.Equal(t, 1, times)
	}
	require.Empty(t, x.claim("x.example", 1))
	x.reopen()
	if x.target.Reopen != nil {
		require.Len(t, x.claim("x.example", 2*n), n, "leases end with the process")
	}
}

func testSettle(t *testing.T, x *suite) {
	id := x.put(Message("x", "a@x.example", "b@x.example", "c@x.example", "d@y.example"))
	l := x.claimOne("x.example")
	require.Equal(t, []int{0, 1, 2}, l.Rcpts)
	require.Equal(t, id, l.ID)
	require.Zero(t, l.Attempts)
	require.EqualValues(t, 1, l.Size)
	require.Len(t, l.Envelope.To, 4)
	require.Error(t, x.s.Settle(t.Context(), l, queue.Settlement{Open: []int{3}, Reasons: []string{""}}), "not in the lease")
	x.settle(l, queue.Settlement{Open: []int{0, 2}, Reasons: []string{"451 a", "451 c"}, Due: base.Add(30 * time.Minute), Attempted: true})
	require.ErrorIs(t, x.s.Settle(t.Context(), l, queue.Settlement{}), queue.ErrLeaseLost)
	x.reopen()
	e := x.entries(queue.Filter{})[id]
	require.Len(t, e.Jobs, 2)
	j := e.Jobs[slices.IndexFunc(e.Jobs, func(j queue.Job) bool { return j.Dest == "x.example" })]
	require.Equal(t, []int{0, 2}, j.Rcpts)
	require.Equal(t, []string{"451 a", "451 c"}, j.Reasons)
	require.Equal(t, queue.StateDeferred, j.State)
	require.Equal(t, 1, j.Attempts)
	require.Equal(t, base.Add(30*time.Minute).Unix(), j.Due.Unix())

	ls, err := x.s.Claim(t.Context(), queue.ClaimRequest{Dest: "x.example", Now: base.Add(29 * time.Minute), Max: 1})
	require.NoError(t, err)
	require.Empty(t, ls, "not due yet")
	l = x.claimOne("x.example")
	require.Equal(t, []int{0, 2}, l.Rcpts)
	require.Equal(t, []string{"451 a", "451 c"}, l.Reasons)
	require.Equal(t, 1, l.Attempts)
	x.settle(l, queue.Settlement{Open: []int{2}, Reasons: []string{"451 c again"}, Due: base, Noticed: true})
	l = x.claimOne("x.example")
	require.True(t, l.Noticed)
	require.Equal(t, 1, l.Attempts, "not counted")
	x.settle(l, queue.Settlement{Attempted: true})
	require.Empty(t, x.claim("x.example", 1))
	x.reopen()
	require.Len(t, x.entries(queue.Filter{})[id].Jobs, 1)
	x.settle(x.claimOne("y.example"), queue.Settlement{Attempted: true})
	for range 2 {
		require.Empty(t, x.entries(queue.Filter{}))
		x.reopen()
	}
	_, err = x.s.Open(t.Context(), id)
	require.ErrorIs(t, err, queue.ErrNotFound)
}

func testSettleReports(t *testing.T, x *suite) {
	report := func() queue.Message {
		m := Message("report", "sender@example.org")
		m.Key, m.Kind, m.Since = "report/1", queue.KindReport, time.Now()
		return m
	}
	x.put(Message("x", "a@x.example"))
	l := x.claimOne("x.example")
	broken := report()
	broken.Body = iotest.ErrReader(io.ErrUnexpectedEOF)
	require.ErrorIs(t, x.s.Settle(t.Context(), l, queue.Settlement{New: []queue.Message{broken}}), io.ErrUnexpectedEOF)
	require.Len(t, x.entries(queue.Filter{}), 1, "all or nothing")
	x.settle(l, queue.Settlement{New: []queue.Message{report()}})
	x.put(Message("x", "a@x.example"))
	x.settle(x.claimOne("x.example"), queue.Settlement{New: []queue.Message{report()}}) // known: stored once
	x.reopen()
	all := x.entries(queue.Filter{})
	require.Len(t, all, 1)
	for id, e := range all {
		require.Equal(t, queue.KindReport, e.Kind)
		require.Equal(t, "report", x.body(id))
	}
}

func testLease(t *testing.T, x *suite) {
	id := x.put(Message("x", "a@x.example"))
	claim := func(ttl time.Duration) []queue.Lease {
		ls, err := x.s.Claim(t.Context(), queue.ClaimRequest{Dest: "x.example", Now: base, TTL: ttl})
		require.NoError(t, err)
		return ls
	}
	const short = 200 * time.Millisecond
	begin := time.Now()
	old := claim(short)
	require.Len(t, old, 1)
	var got []queue.Lease
	require.Eventually(t, func() bool { // by the store's clock, on a machine of any speed
		got = claim(time.Hour)
		return len(got) == 1
	}, time.Minute, 10*time.Millisecond, "the lease does not run out")
	require.GreaterOrEqual(t, time.Since(begin), short, "the lease ran out too soon")
	l := got[0]
	require.NotEqual(t, old[0].Token, l.Token)
	require.Empty(t, x.claim("x.example", 1))
	require.ErrorIs(t, x.s.Extend(t.Context(), old[0], time.Minute), queue.ErrLeaseLost)
	require.ErrorIs(t, x.s.Settle(t.Context(), old[0], queue.Settlement{}), queue.ErrLeaseLost)
	require.NoError(t, x.s.Extend(t.Context(), l, time.Hour))
	require.Empty(t, x.claim("x.example", 1))
	require.NoError(t, x.s.Extend(t.Context(), l, 0), "given back")
	require.ErrorIs(t, x.s.Extend(t.Context(), l, time.Minute), queue.ErrLeaseLost)
	l = x.claimOne("x.example")
	require.Zero(t, l.Attempts)
	require.NoError(t, x.s.Update(t.Context(), id, queue.Change{Op: queue.Remove}))
	require.ErrorIs(t, x.s.Settle(t.Context(), l, queue.Settlement{}), queue.ErrLeaseLost)
}

func (x *suite) due(now time.Time) map[string]queue.Dest {
	x.Helper()
	all := map[string]queue.Dest{}
	for d, err := range x.s.Due(x.Context(), now) {
		require.NoError(x, err)
		if _, ok := all[d.Name]; !ok {
			all[d.Name] = d
		}
	}
	return all
}

func testDue(t *testing.T, x *suite) {
	require.Empty(t, x.due(base))
	x.put(Message("x", "a@x.example"))
	x.put(Message("x", "a@x.example", "b@y.example"))
	m := Message("x", "a@z.example")
	m.Due = base.Add(time.Hour)
	x.put(m)
	m = Message("x", "a@w.example")
	m.Due = base.Add(2 * time.Hour)
	x.put(m)
	select {
	case <-x.s.Wake():
	case <-time.After(time.Minute):
		t.Fatal("no wake-up")
	}
	all := x.due(base.Add(time.Minute))
	require.Equal(t, []string{"x.example", "y.example", "z.example"}, slices.Sorted(maps.Keys(all)))
	require.Equal(t, 2, all["x.example"].Jobs)
	require.Equal(t, 1, all["y.example"].Jobs)
	require.Zero(t, all["z.example"].Jobs)
	require.Equal(t, base.Add(time.Hour).Unix(), all["z.example"].Earliest.Unix())
	x.reopen()
	require.Len(t, x.claim("x.example", 10), 2)
	require.NotContains(t, x.due(base.Add(time.Minute)), "x.example", "leased")
	require.Equal(t, 1, x.due(base.Add(time.Hour))["z.example"].Jobs)
}

func testAged(t *testing.T, x *suite) {
	old := x.put(Message("x", "a@x.example"))
	young := Message("x", "a@x.example")
	young.Since = base.Add(time.Hour)
	x.put(young)
	held := Message("x", "a@x.example")
	held.Hold = true
	x.put(held)
	r := queue.ClaimRequest{ArrivedBefore: base.Add(time.Minute), Unnoticed: true, Max: 10}
	ls, err := x.s.Claim(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, ls, 1)
	require.Equal(t, old, ls[0].ID)
	x.settle(ls[0], queue.Settlement{Open: ls[0].Rcpts, Reasons: []string{"x"}, Due: base.Add(100 * time.Hour), Noticed: true})
	ls, err = x.s.Claim(t.Context(), r)
	require.NoError(t, err)
	require.Empty(t, ls)
	r.Unnoticed = false
	ls, err = x.s.Claim(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, ls, 1, "due or not")
}

func testDeadline(t *testing.T, x *suite) {
	put := func(by *goniec.DeliverBy) queue.ID {
		m := Message("x", "a@x.example")
		m.Envelope.DeliverBy = by
		m.Due = base.Add(100 * time.Hour)
		return x.put(m)
	}
	put(nil)
	put(&goniec.DeliverBy{Deadline: base.Add(2 * time.Hour), Return: true})
	back := put(&goniec.DeliverBy{Deadline: base.Add(time.Hour), Return: true})
	told := put(&goniec.DeliverBy{Deadline: base.Add(-time.Hour)})
	claim := func() []queue.Lease {
		ls, err := x.s.Claim(t.Context(), queue.ClaimRequest{DeadlineBefore: base.Add(time.Hour + time.Second), Max: 10})
		require.NoError(t, err)
		return ls
	}
	x.reopen()
	ls := claim()
	require.Len(t, ls, 2, "due or not")
	require.Empty(t, claim(), "leased")
	for _, l := range ls {
		require.NotNil(t, l.Envelope.DeliverBy)
		x.settle(l, queue.Settlement{Open: l.Rcpts, Reasons: []string{"x"}, Due: base.Add(100 * time.Hour), Noticed: true})
	}
	x.reopen()
	ls = claim()
	require.Len(t, ls, 1, "of mode N once only")
	require.Equal(t, back, ls[0].ID)
	x.settle(ls[0], queue.Settlement{})
	require.Empty(t, claim())
	require.NoError(t, x.s.Update(t.Context(), told, queue.Change{Op: queue.Remove}))
	require.Len(t, x.entries(queue.Filter{}), 2)
}
