package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/peertest"
)

// TestSchedulerModel drives the Queue by random scripts beside a model of what it promises: windows, limits, rates, pauses and probes,
// turns, holds, expiry, reports, what people do meanwhile, restarts and jumps of the clock. GONIEC_SEED=n runs one script alone.
func TestSchedulerModel(t *testing.T) {
	from, n := uint64(1), uint64(12)
	if peertest.LongForm() {
		n = 1500
	}
	if s := os.Getenv("GONIEC_SEED"); s != "" {
		one, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		from, n = one, 1
	}
	attempts := 0
	for seed := from; seed < from+n; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { attempts += runModel(t, seed) })
		})
	}
	t.Logf("%d scripts, %d attempts", n, attempts)
	require.Greater(t, attempts, int(n), "the scripts do something")
}

// modelScript is one run.
type modelScript struct {
	*model
	t     *testing.T
	r     *rand.Rand
	jump  atomic.Int64 // of the wall clock
	conf  func() *Queue
	ended chan error
	keys  map[string]ID
	ids   []ID
	put   int
	smart atomic.Bool // all goes to one next hop
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func newModel(t *testing.T, seed uint64) *modelScript {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &modelScript{t: t, r: r, keys: map[string]ID{}}
	now := func() time.Time { return time.Now().Add(time.Duration(s.jump.Load())) }
	s.model = &model{seed: seed, msgs: map[ID]*modelMsg{}, dests: map[string]*modelDest{}, reports: map[string]*modelTry{}}
	s.model.Store = Store(&Memory{})
	if r.IntN(2) == 0 {
		f, err := OpenFiles("/queue", FileOptions{FS: faultfs.NewCrash(1), SegmentSize: 64 << 10, Now: now})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, f.Close()) })
		s.model.Store = f
	}
	s.slow = pick(r, 0, 0, 20*time.Millisecond, time.Second)
	q := Queue{
		MaxActive: pick(r, 1, 2, 5, 10, 100), Window: pick(r, 0, 1, 4), MaxWindow: pick(r, 0, 3), MaxRcpts: pick(r, 0, 1, 2),
		Rate: pick(r, 0, 0, 0, 2.0), DestRate: pick(r, 0, 0, 0.5), Jitter: pick(r, 0, -1.0), MinBackoff: pick(r, 0, time.Minute),
		MaxBackoff: pick(r, 0, 2*time.Hour), ExpireAfter: pick(r, 6*time.Hour, 3*24*time.Hour), DelayAfter: pick(r, 0, -1, time.Hour),
	}
	own := Limits{Window: pick(r, 0, 1, 6), MaxWindow: pick(r, 0, 8), Rate: pick(r, 0, -1, 1.0)}
	s.conf = func() *Queue {
		return &Queue{
			Store: s.model, Deliverer: s.model, Event: s.event, Now: now, Hostname: "mx.example.net",
			MaxActive: q.MaxActive, Window: q.Window, MaxWindow: q.MaxWindow, MaxRcpts: q.MaxRcpts, Rate: q.Rate, DestRate: q.DestRate,
			Jitter: q.Jitter, MinBackoff: q.MinBackoff, MaxBackoff: q.MaxBackoff, ExpireAfter: q.ExpireAfter, DelayAfter: q.DelayAfter,
			Limits: func(dest string) (l Limits) {
				if dest == "own.example" {
					return own
				}
				return l
			},
			Route: func(to *goniec.Recipient) string {
				if s.smart.Load() && strings.HasPrefix(to.Address.Domain(), "d") {
					return "smarthost"
				}
				return domainRoute(to)
			},
		}
	}
	return s
}

func runModel(t *testing.T, seed uint64) int {
	s := newModel(t, seed)
	s.start()
	for range 80 {
		s.step()
		time.Sleep(pick(s.r, 0, time.Second, 10*time.Second, time.Minute, 10*time.Minute, time.Hour) * time.Duration(1+s.r.IntN(3)))
		synctest.Wait()
		s.check()
		if len(s.faults) > 0 {
			break
		}
	}
	s.finish()
	if len(s.faults) > 0 {
		t.Fatalf("GONIEC_SEED=%d: %T, %+v\n%s", seed, s.model.Store, s.settings(), strings.Join(s.faults, "\n"))
	}
	return s.attempts
}

func (s *modelScript) settings() string {
	o := s.q.o
	return fmt.Sprintf("active %d, window %d to %d, rcpts %d, rate %v, of a destination %v, jitter %v, back-off %v to %v, expiry %v, slow %v",
		o.active, o.window, o.most, o.rcpts, s.q.Rate, s.q.DestRate, o.jitter, o.minBack, o.maxBack, o.expire, s.slow)
}

// start begins the life of a Queue.
func (s *modelScript) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.conf()
	q.init()
	s.q, s.begun = q, time.Time{}
	for name, d := range s.dests {
		s.dests[name] = &modelDest{name: name, mode: d.mode, limits: d.limits, window: d.limits.Window, passed: map[*modelDest]int{}}
	}
	for _, x := range s.msgs {
		x.tried = make([]bool, len(x.tried))
		for _, j := range x.jobs {
			j.touched = q.now()
		}
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- q.Run(context.Background()) }()
}

// stop ends it, with patience or without.
func (s *modelScript) stop(patience bool) {
	if patience {
		require.NoError(s.t, s.q.Shutdown(context.Background()))
	} else {
		require.NoError(s.t, s.q.Close())
	}
	require.ErrorIs(s.t, <-s.ended, ErrQueueClosed)
	if n := s.panics.Swap(0); s.q.Panics() != n {
		s.fault("%d panics, expected %d", s.q.Panics(), n)
	}
	if s.active != 0 {
		s.fault("%d attempts under way after the end", s.active)
	}
}

// step does one thing.
func (s *modelScript) step() {
	switch n := s.r.IntN(40); {
	case n < 14:
		for range 1 + s.r.IntN(8) {
			s.mail(1 + s.r.IntN(3))
		}
	case n < 17:
		s.mail(20 + s.r.IntN(30))
	case n < 26:
		s.change()
	case n < 28:
		s.smart.Store(s.r.IntN(2) == 0)
	case n < 30:
		by := pick(s.r, 24*time.Hour, -24*time.Hour, -20*365*24*time.Hour, time.Minute)
		if _, ok := s.model.Store.(*Memory); ok {
			by = max(by, 0) // it does not know the time when the Queue starts again
		}
		s.jump.Add(int64(by))
	case n == 30:
		s.stop(s.r.IntN(2) == 0)
		s.start()
	case n == 31:
		s.flushDest(pick(s.r, "", "d1.example", "d2.example", "smarthost", "own.example"))
	default:
		s.operate()
	}
}

// change has a destination answer otherwise.
func (s *modelScript) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	modes := []string{"up", "up", "up", "refused", "refused", "421", "later", "never", "mixed", "panic", "deaf"}
	for _, name := range []string{pick(s.r, "d0.example", "d1.example", "d2.example", "d3.example"), pick(s.r, "own.example", "smarthost")} {
		s.dest(name).mode = pick(s.r, modes...)
	}
}

// mail enqueues a message.
func (s *modelScript) mail(rcpts int) {
	s.put++
	env := &goniec.Envelope{ID: fmt.Sprintf("%012d", s.put), From: goniec.MustAddress("sender@senders.example")}
	mailing := rcpts > 3
	for i := range rcpts {
		domain := pick(s.r, "d0.example", "d1.example", "d2.example", "d3.example", "own.example")
		if mailing && s.r.IntN(2) == 0 {
			domain = fmt.Sprintf("d%d.example", i)
		}
		env.To = append(env.To, goniec.Recipient{Address: goniec.MustAddress(fmt.Sprintf("%c%d@%s", 'a'+s.r.IntN(3), i, domain))})
		if s.r.IntN(6) == 0 {
			env.To[i].Notify = goniec.NotifyNever
		}
	}
	o := Options{Hold: s.r.IntN(15) == 0}
	now := s.q.now()
	switch s.r.IntN(12) {
	case 0:
		env.HoldUntil = now.Add(time.Duration(s.r.IntN(20)) * time.Hour)
	case 1:
		env.DeliverBy = &goniec.DeliverBy{Deadline: now.Add(time.Duration(s.r.IntN(300)) * time.Minute), Return: s.r.IntN(2) == 0}
	case 2:
		env.HoldUntil = now.Add(time.Duration(s.r.IntN(20)) * time.Hour)
		env.DeliverBy = &goniec.DeliverBy{Deadline: now.Add(time.Duration(s.r.IntN(20)) * time.Hour), Return: true}
	case 3:
		env.Priority = int8(s.r.IntN(19) - 9)
	case 4:
		o.Key = fmt.Sprint("key", s.r.IntN(4))
	}
	id, err := s.q.Enqueue(s.t.Context(), env, strings.NewReader(testBody), o)
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.keys[o.Key]; o.Key != "" && old != "" && len(s.open(old)) > 0 && old != id {
		s.fault("key %s brings %s, and was %s", o.Key, id, old)
	}
	if !slices.Contains(s.ids, id) {
		s.ids = append(s.ids, id)
	}
	if o.Key != "" {
		s.keys[o.Key] = id
	}
}

// open are a message's jobs that are not done. s.mu is held.
func (s *modelScript) open(id ID) []*modelJob {
	if x := s.msgs[id]; x != nil && !x.gone {
		return x.jobs
	}
	return nil
}

// operate does something to a message, and checks the answer.
func (s *modelScript) operate() {
	if len(s.ids) == 0 {
		return
	}
	id := s.ids[s.r.IntN(len(s.ids))]
	s.mu.Lock()
	jobs := slices.Clone(s.open(id))
	leased := 0
	for _, j := range jobs {
		leased += int(bit(j.leased))
	}
	s.mu.Unlock()
	ctx, want := s.t.Context(), error(nil)
	if len(jobs) == 0 {
		want = ErrNotFound
	}
	var err error
	op := pick(s.r, "hold", "hold", "release", "release", "flush", "flush", "delete", "requeue", "expire")
	switch op {
	case "hold":
		err = s.q.Hold(ctx, id)
	case "release":
		err = s.q.Release(ctx, id)
	case "flush":
		s.revive(jobs, "")
		s.mu.Lock()
		if x := s.msgs[id]; x != nil {
			x.forced = true
		}
		s.mu.Unlock()
		err = s.q.Flush(ctx, id)
	case "delete":
		err = s.q.Delete(ctx, id)
	case "requeue":
		if leased > 0 {
			want = ErrBusy
		}
		err = s.q.Requeue(ctx, id)
	case "expire":
		if leased > 0 && leased == len(jobs) {
			want = ErrBusy
		}
		s.mu.Lock()
		if x := s.msgs[id]; x != nil {
			x.gaveUp = true
		}
		s.mu.Unlock()
		err = s.q.Expire(ctx, id)
		s.mu.Lock()
		left := len(s.open(id))
		s.mu.Unlock()
		if err == nil && left > leased && s.slow == 0 {
			s.fault("expire of %s leaves %d jobs", id, left)
		}
	}
	if !errors.Is(err, want) && !(s.slow > 0 && (err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrBusy))) {
		s.fault("%s of %s: %v, expected %v", op, id, err, want)
	}
}

// revive notes that somebody wants destinations tried.
func (s *modelScript) revive(jobs []*modelJob, dest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range jobs {
		if dest == "" || dest == j.dest {
			s.dest(j.dest).revived = true
		}
	}
}

func (s *modelScript) flushDest(dest string) {
	for _, id := range s.ids {
		s.mu.Lock()
		jobs := slices.Clone(s.open(id))
		if len(jobs) > 0 && s.msgs[id].since.After(s.q.now()) {
			jobs = nil
		}
		s.mu.Unlock()
		s.revive(jobs, dest)
	}
	require.NoError(s.t, s.q.FlushDest(s.t.Context(), dest))
}

// fair checks, at each attempt, that no destination and no kind of mail is passed over for long.
func (m *model) fair(at *modelDest, bulk bool) {
	waiting := m.waiting(2 * time.Second)
	for _, d := range m.dests {
		w := waiting[d.name]
		switch {
		case d == at || d.limits.Rate > 0 || m.q.Rate > 0 || m.slow > 0 || w[0]+w[1] == 0 || w[0] == 0 && m.bulky >= m.q.bulkRoom():
			d.passed = map[*modelDest]int{}
		case bulk || w[0] > 0:
			d.passed[at]++
		}
		most := 3 * claimBatch
		if w[0] == 0 { // destinations with single mails have every other turn
			most *= len(m.dests)
		}
		if d.passed[at] > most {
			m.fault("%s was passed over for %s %d times, with %v jobs due", d.name, at.name, d.passed[at], w)
			d.passed = map[*modelDest]int{}
		}
	}
	one := bit(bulk)
	at.band[1-one] = 0
	if w := waiting[at.name]; w[1-one] > 0 && m.bulky < m.q.bulkRoom() {
		at.band[one]++
	} else {
		at.band[one] = 0
	}
	if at.band[one] > 3*claimBatch {
		m.fault("%s: %d attempts in a row with bulk %v, while others waited", at.name, at.band[one], bulk)
		at.band[one] = 0
	}
}

// waiting counts jobs of single mails and of mailings that are due for so long and could be tried, as far as their destination goes.
func (m *model) waiting(since time.Duration) map[string][2]int {
	now := m.q.now()
	found := map[string][2]int{}
	for _, x := range m.msgs {
		for _, j := range x.jobs {
			if x.gone || j.leased || j.held || now.Sub(j.due) < since || now.Sub(j.touched) < since {
				continue
			}
			d := m.dest(j.dest)
			_, most := m.backoff(d.dead)
			switch {
			case d.active >= d.window:
			case d.dead > 0 && (d.active > 0 || now.Sub(d.died) < most+since):
			case d.limits.Rate > 0 && now.Sub(d.begun) < perSecond(d.limits.Rate)+since:
			case m.q.Rate > 0 && now.Sub(m.begun) < perSecond(m.q.Rate)+since:
			default:
				w := found[j.dest]
				w[bit(j.bulk)]++
				found[j.dest] = w
			}
		}
	}
	return found
}

// check compares, when nothing moves.
func (s *modelScript) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) > 0 {
		return
	}
	for name, w := range s.waiting(30*time.Second + 300*s.slow) {
		idle := s.q.now().Sub(s.dest(name).begun) > 30*time.Second+300*s.slow
		if s.claiming.Load() > 0 {
			break // it looks for work, one destination after the other: what it finds takes the place that is free
		}
		if idle && s.active < s.q.o.active && (w[0] > 0 || s.bulky < s.q.bulkRoom()) {
			s.q.sched.mu.Lock()
			s.fault("%s has %v jobs due and is not tried; %d attempts under way, %d at mailings; %+v", name, w, s.active, s.bulky, s.q.sched.dests[name])
			s.q.sched.mu.Unlock()
		}
	}
	s.overdue()
	s.listed()
	s.known()
}

// overdue: what should have been given up, or tried for the last time.
func (s *modelScript) overdue() {
	now := s.q.now()
	for _, x := range s.msgs {
		for _, j := range x.jobs {
			late := now.Sub(latest(s.expiry(x), j.touched))
			d := s.dest(j.dest)
			busy := d.active >= d.window || s.active >= s.q.o.active || j.bulk && s.bulky >= s.q.bulkRoom() || s.q.Rate > 0 || d.limits.Rate > 0
			if !x.gone && !j.leased && !j.held && late > 3*sweepEvery && !busy && now.Sub(d.begun) > 3*sweepEvery {
				s.fault("%s/%d should have ended %v ago: %+v; %s: %d of %d, dead %d, begun %v; %d attempts under way",
					x.id, j.group, late, *j, d.name, d.active, d.window, d.dead, d.begun, s.active)
			}
		}
	}
}

// listed: List and Stats say what the model says.
func (s *modelScript) listed() {
	seen := map[ID]bool{}
	jobs := map[State]int{}
	n := 0
	for e, err := range s.q.List(s.t.Context(), Filter{}) {
		require.NoError(s.t, err)
		n++
		for _, j := range e.Jobs {
			jobs[j.State]++
		}
		if e.Kind != KindMail {
			continue
		}
		seen[e.ID] = true
		open := s.open(e.ID)
		if len(open) != len(e.Jobs) {
			s.fault("%s is listed with %d jobs, expected %d", e.ID, len(e.Jobs), len(open))
			return
		}
		for i := range e.Jobs {
			s.listedJob(&e, &e.Jobs[i])
		}
	}
	for id := range s.msgs {
		if len(s.open(id)) > 0 && !seen[id] {
			s.fault("%s is not listed", id)
		}
	}
	st, err := s.q.Stats(s.t.Context())
	require.NoError(s.t, err)
	if st.Messages != n || fmt.Sprint(st.Jobs) != fmt.Sprint(jobs) {
		s.fault("statistics %v, expected %d messages, %v", st, n, jobs)
	}
}

func (s *modelScript) listedJob(e *Entry, got *Job) {
	j := s.msgs[e.ID].job(got.Group)
	if j == nil {
		s.fault("%s/%d is listed, and done", e.ID, got.Group)
		return
	}
	state := StateIncoming
	switch {
	case j.leased:
		state = StateActive
	case j.held:
		state = StateHold
	case j.attempts > 0:
		state = StateDeferred
	}
	off := got.Due.Sub(j.due)
	if got.State != state || got.Dest != j.dest || !slices.Equal(got.Rcpts, j.rcpts) || got.Attempts != j.attempts || got.Noticed != j.noticed || off < -time.Second || off > time.Second {
		s.fault("%s is listed as %+v, expected %v %+v", e.ID, *got, state, *j)
	}
}

// known: what the Queue shows of destinations is what the model knows.
func (s *modelScript) known() {
	for _, x := range s.q.Dests() {
		d := s.dest(x.Name)
		s.q.sched.mu.Lock()
		real := s.q.sched.dests[x.Name]
		s.q.sched.mu.Unlock()
		if real != d.real && x.Window == d.limits.Window && !x.Dead {
			continue // new, not tried yet
		}
		if x.Window != d.window || x.Dead != (d.dead > 0) || x.Active != d.active {
			s.fault("%s is shown as %+v, expected window %d, dead %v, %d attempts", x.Name, x, d.window, d.dead > 0, d.active)
		}
	}
}

// finish lets everything go, and counts.
func (s *modelScript) finish() {
	s.mu.Lock()
	for _, d := range s.dests {
		d.mode = "up"
	}
	s.mu.Unlock()
	for _, id := range s.ids {
		_ = s.q.Release(s.t.Context(), id)
	}
	time.Sleep(24*time.Hour + s.q.o.expire + 4*s.q.o.maxBack)
	synctest.Wait()
	s.stop(true)
	if n := left(s.t, s.model.Store); n > 0 {
		s.fault("%d messages are left", n)
	}
	for _, id := range s.ids {
		x := s.msgs[id]
		for r, fate := range x.fate {
			want := 0
			if (fate == Failed || fate == Expired) && x.env.To[r].Notify == 0 {
				want = 1
			}
			if fate == 0 && !x.gone || x.told[r] != want {
				s.fault("%s: recipient %d is %v, with %d reports", id, r, fate, x.told[r])
			}
		}
	}
}
