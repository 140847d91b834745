package queue

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// scheduler decides what is tried next. It knows destinations only; jobs stay in the store. A
// destination is lined up when it may have due jobs, may be tried, and has room in its window.
type scheduler struct {
	mu     sync.Mutex
	dests  map[string]*destination
	lines  [2][]*destination // of single mails, of mailings; they take turns
	bulk   bool
	asleep sleepers
	active int
	leases map[*Lease]struct{} // to be extended
	pollAt time.Time
	next   time.Time // by Rate: earliest next start

	sweeping          bool
	sweeper           sync.WaitGroup
	running, stopping bool
	wake              chan struct{}
	stop              chan struct{} // closed by Shutdown
	stopOnce          sync.Once
	cancel            context.CancelFunc
	ctx               context.Context // of attempts
	ended             chan struct{}   // closed when Run returns
}

// destination is what is known of one, while it has work or is dead.
type destination struct {
	name      string
	active    int
	window    int
	successes int // since the window last changed
	failures  int // in a row
	dead      int // back-offs in a row; 0 = alive
	until     time.Time
	reason    string
	lined     bool
	due       bool // may have due jobs
	bulk      bool // ... only of mailings
	claiming  bool // start has it in hand, without the lock
	sleeping  int  // index in asleep, from 1
}

func (s *scheduler) init() {
	s.dests = map[string]*destination{}
	s.leases = map[*Lease]struct{}{}
	s.wake = make(chan struct{}, 1)
	s.stop = make(chan struct{})
	s.ended = make(chan struct{})
	s.ctx, s.cancel = context.WithCancel(context.Background())
}

func (s *scheduler) closing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

func (s *scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// mark notes that a destination may have due jobs.
func (s *scheduler) mark(name string, bulk bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dest(name)
	d.bulk = bulk && (d.bulk || !d.due)
	d.due = true
	s.line(d)
}

func (s *scheduler) dest(name string) *destination {
	d := s.dests[name]
	if d == nil {
		d = &destination{name: name}
		s.dests[name] = d
	}
	return d
}

// line lines a destination up if it is its time.
func (s *scheduler) line(d *destination) {
	if d.lined || !d.due || d.sleeping > 0 || d.active >= max(d.window, 1) && d.window > 0 {
		return
	}
	d.lined = true
	band := bit(d.bulk)
	s.lines[band] = append(s.lines[band], d)
}

// pick takes the next destination out of its line.
func (s *scheduler) pick() *destination {
	band := bit(s.bulk)
	if len(s.lines[band]) == 0 {
		band = 1 - band
	}
	if len(s.lines[band]) == 0 {
		return nil
	}
	s.bulk = band == 0
	d := s.lines[band][0]
	s.lines[band][0] = nil
	s.lines[band] = s.lines[band][1:]
	d.lined = false
	return d
}

// forget drops a destination of which nothing is worth knowing.
func (s *scheduler) forget(d *destination) {
	if d.active == 0 && !d.due && !d.lined && !d.claiming && d.dead == 0 && d.sleeping == 0 {
		delete(s.dests, d.name)
	}
}

// sleep keeps a destination out of the lines until a time.
func (s *scheduler) sleep(d *destination, until time.Time) {
	d.until = until
	if d.sleeping > 0 {
		heap.Fix(&s.asleep, d.sleeping-1)
		return
	}
	heap.Push(&s.asleep, d)
}

// rouse lines up those whose time has come, and tells when the next one will.
func (s *scheduler) rouse(now time.Time) time.Time {
	for len(s.asleep) > 0 && !s.asleep[0].until.After(now) {
		d := heap.Pop(&s.asleep).(*destination)
		s.line(d)
		s.forget(d)
	}
	if len(s.asleep) > 0 {
		return s.asleep[0].until
	}
	return time.Time{}
}

// sleepers is a heap of destinations by until.
type sleepers []*destination

func (s sleepers) Len() int           { return len(s) }
func (s sleepers) Less(i, k int) bool { return s[i].until.Before(s[k].until) }
func (s sleepers) Swap(i, k int) {
	s[i], s[k] = s[k], s[i]
	s[i].sleeping, s[k].sleeping = i+1, k+1
}

func (s *sleepers) Push(v any) {
	d := v.(*destination)
	*s = append(*s, d)
	d.sleeping = len(*s)
}

func (s *sleepers) Pop() any {
	d := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	d.sleeping = 0
	return d
}

const (
	pollEvery  = time.Minute     // the store is asked at least so often
	pollRest   = time.Second     // and at most so often, unless something was flushed
	sweepEvery = time.Minute     // expiry and delays of destinations that are not tried
	storeRest  = 5 * time.Second // after an error of the store
	extendPart = 3               // leases are extended when a third of their time is over
)

// Run makes deliveries until Shutdown, Close or the end of ctx. It returns ErrQueueClosed after
// Shutdown and Close, ctx's error when that ended; deliveries under way then are cancelled.
// It may be called once.
func (q *Queue) Run(ctx context.Context) error {
	q.init()
	s := &q.sched
	s.mu.Lock()
	if s.running || s.stopping {
		s.mu.Unlock()
		return ErrQueueClosed
	}
	s.running = true
	s.mu.Unlock()
	defer close(s.ended)
	defer q.drain()
	defer context.AfterFunc(ctx, func() { s.cancel(); s.poke() })()

	last := time.Time{}
	sweepAt, extendAt := q.now().Add(sweepEvery), q.now().Add(defaultTTL/extendPart)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return ErrQueueClosed
		case <-s.ctx.Done():
			if err := ctx.Err(); err != nil {
				return err
			}
			return ErrQueueClosed
		case <-s.wake:
		case <-timer.C:
		case <-q.Store.Wake():
			s.pollBy(last.Add(pollRest))
		}
		now := q.now()
		if !s.pollTime().After(now) {
			last = now
			q.poll(now)
		}
		if !sweepAt.After(now) {
			sweepAt = now.Add(sweepEvery)
			q.sweep(now)
		}
		if !extendAt.After(now) {
			extendAt = now.Add(defaultTTL / extendPart)
			q.extend()
		}
		until := q.fill(now)
		timer.Reset(max(earliest(until, q.sendNotices(now), s.pollTime(), sweepAt, extendAt).Sub(q.now()), 0))
	}
}

// ErrQueueClosed is what Run returns after Shutdown or Close.
var ErrQueueClosed = errors.New("queue: closed")

func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func (s *scheduler) pollTime() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pollAt
}

// pollBy has the store asked at a time, or earlier.
func (s *scheduler) pollBy(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Before(s.pollAt) {
		s.pollAt = t
	}
}

// poll asks the store which destinations have due jobs.
func (q *Queue) poll(now time.Time) {
	s := &q.sched
	next := now.Add(pollEvery)
	for d, err := range q.Store.Due(s.ctx, now) {
		switch {
		case err != nil:
			q.o.logger.Error("queue: store", "err", err)
			next = now.Add(storeRest)
		case d.Jobs > 0:
			s.mark(d.Name, d.Bulk)
		case d.Earliest.Before(next):
			next = d.Earliest
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pollAt = latest(next, now.Add(pollRest))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fill starts deliveries while there is room, and tells when time alone will make more.
func (q *Queue) fill(now time.Time) time.Time {
	s := &q.sched
	for {
		s.mu.Lock()
		until := s.rouse(now)
		if s.stopping || s.active >= q.o.active {
			s.mu.Unlock()
			return until
		}
		if s.next.After(now) {
			s.mu.Unlock()
			return s.next
		}
		d := s.pick()
		if d == nil {
			s.mu.Unlock()
			return until
		}
		if d.window == 0 {
			d.window = q.o.window
		}
		room := min(d.window-d.active, q.o.active-s.active, claimBatch)
		if d.dead > 0 {
			room = min(room, 1-d.active) // the probe
		}
		if room > 0 && (q.DestRate > 0 || q.Rate > 0) {
			room = 1
		}
		d.due = d.due && room <= 0 // a Put during the claim sets it again
		d.claiming = room > 0
		s.mu.Unlock()
		if room > 0 {
			q.start(d, room, now)
		}
	}
}

// claimBatch is how many jobs of one destination are claimed before the others have their turn.
const claimBatch = 4

// start claims jobs of a destination and tries them.
func (q *Queue) start(d *destination, room int, now time.Time) {
	s := &q.sched
	leases, err := q.Store.Claim(s.ctx, ClaimRequest{Dest: d.name, Now: now, Max: room, Worker: q.o.host})
	s.mu.Lock()
	defer s.mu.Unlock()
	d.claiming = false
	if err != nil {
		q.o.logger.Error("queue: claim", "dest", d.name, "err", err)
		d.due = true
		s.sleep(d, now.Add(storeRest))
		return
	}
	d.due = d.due || len(leases) == room
	for i := range leases {
		q.launch(d, &leases[i])
	}
	switch {
	case len(leases) > 0 && q.DestRate > 0:
		s.sleep(d, now.Add(perSecond(q.DestRate)))
	default:
		s.line(d)
	}
	if len(leases) > 0 && q.Rate > 0 {
		s.next = now.Add(perSecond(q.Rate))
	}
	s.forget(d)
}

func perSecond(rate float64) time.Duration { return time.Duration(float64(time.Second) / rate) }

// launch begins an attempt. s.mu is held.
func (q *Queue) launch(d *destination, l *Lease) {
	s := &q.sched
	d.active++
	s.active++
	s.leases[l] = struct{}{}
	go func() {
		verdict := q.attempt(s.ctx, l, "")
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leases, l)
		d.active--
		s.active--
		q.learn(d, verdict)
		if l.Deaths > 0 {
			s.pollAt = time.Time{} // the next suspect may go
		}
		s.line(d)
		s.forget(d)
		s.poke()
	}()
}

// verdict is what an attempt says about the destination.
type verdict struct {
	judged bool // it says something
	failed bool
	reason string
}

// learn moves a destination's window: up by one for a window of successes, down by half for a
// failure. As many failures in a row as the window was wide make it dead: then one
// probe follows each back-off.
func (q *Queue) learn(d *destination, v verdict) {
	s := &q.sched
	switch {
	case !v.judged:
	case !v.failed:
		if d.dead > 0 {
			q.o.logger.Info("queue: destination answers again", "dest", d.name)
			d.dead, d.window = 0, q.o.window
			if d.sleeping > 0 {
				s.sleep(d, q.now())
			}
		}
		d.failures, d.reason = 0, ""
		d.successes++
		if d.successes >= d.window && d.window < q.o.most {
			d.window, d.successes = d.window+1, 0
		}
	case d.dead > 0 && d.sleeping > 0: // a straggler of the time before
	default:
		d.failures++
		d.successes = 0
		d.reason = v.reason
		wide := d.window
		d.window = max(d.window/2, 1)
		if d.dead > 0 || d.failures >= wide {
			d.dead++
			d.failures, d.window = 0, 1
			wait := q.backoff(d.dead)
			q.o.logger.Warn("queue: destination does not answer", "dest", d.name, "reason", v.reason, "pause", wait.Round(time.Second))
			s.sleep(d, q.now().Add(wait))
		}
	}
}

// backoff is the pause after the nth failure in a row.
func (q *Queue) backoff(n int) time.Duration {
	wait := q.o.minBack
	for ; n > 1 && wait < q.o.maxBack; n-- {
		wait *= 2
	}
	wait = min(wait, q.o.maxBack)
	return time.Duration(float64(wait) * (1 + q.o.jitter*(2*rand.Float64()-1)))
}

// Bounds of one sweep, and how many messages it settles at a time.
const (
	sweepRounds   = 100
	sweepBatch    = 100
	sweepParallel = 16
)

// sweep looks after messages that wait for a destination that is not tried: their senders learn of
// the delay, and in the end they are given up. It runs beside the scheduler, one at a time.
func (q *Queue) sweep(now time.Time) {
	s := &q.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweeping {
		return
	}
	s.sweeping = true
	s.sweeper.Go(func() {
		if q.o.delay > 0 {
			q.sweepRounds(ClaimRequest{Now: now, ArrivedBefore: now.Add(-q.o.delay), Unnoticed: true}, q.lateOne)
		}
		q.sweepRounds(ClaimRequest{Now: now, ArrivedBefore: now.Add(-q.o.expire)}, q.expireOne)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sweeping = false
	})
}

// sweepRounds claims aged jobs and hands them to a function, a few at a time.
func (q *Queue) sweepRounds(r ClaimRequest, each func(*Lease)) {
	r.Max, r.Worker = sweepBatch, q.o.host
	for range sweepRounds {
		leases, err := q.Store.Claim(q.sched.ctx, r)
		if err != nil || len(leases) == 0 || q.sched.closing() {
			for _, l := range leases {
				_ = q.Store.Extend(q.sched.ctx, l, 0)
			}
			return
		}
		var wg sync.WaitGroup
		slots := make(chan struct{}, sweepParallel)
		for i := range leases {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				each(&leases[i])
			})
		}
		wg.Wait()
	}
}

// deadReason returns why a destination is not tried; ok is false if it is.
func (s *scheduler) deadReason(name string) (reason string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dests[name]
	if d == nil || d.dead == 0 {
		return "", false
	}
	return d.reason, true
}

// expireOne gives up a message if its destination is dead. Otherwise it gets a last attempt instead,
// so that nothing expires because a clock jumped or we were away.
func (q *Queue) expireOne(l *Lease) {
	s := &q.sched
	if reason, dead := s.deadReason(l.Dest); dead {
		l.Reasons = orReasons(l, reason)
		q.attempt(s.ctx, l, expiredText)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dest(l.Dest)
	if s.active < q.o.active && d.active < max(d.window, 1) && !s.stopping {
		q.launch(d, l)
		return
	}
	s.forget(d)
	_ = q.Store.Extend(s.ctx, *l, 0)
}

// lateOne tells the sender of a delay, if there is one: the message was tried, or can not be.
func (q *Queue) lateOne(l *Lease) {
	reason, dead := q.sched.deadReason(l.Dest)
	if !dead && l.Attempts == 0 {
		_ = q.Store.Extend(q.sched.ctx, *l, 0)
		return
	}
	l.Reasons = orReasons(l, reason)
	q.attempt(q.sched.ctx, l, delayedText)
}

// orReasons fills in the destination's reason where a job has none of its own.
func orReasons(l *Lease, reason string) []string {
	if len(l.Reasons) == len(l.Rcpts) {
		return l.Reasons
	}
	out := make([]string, len(l.Rcpts))
	for i := range out {
		out[i] = reason
	}
	return out
}

// extend keeps the leases of attempts under way.
func (q *Queue) extend() {
	s := &q.sched
	s.mu.Lock()
	held := make([]Lease, 0, len(s.leases))
	for l := range s.leases {
		held = append(held, *l)
	}
	s.mu.Unlock()
	for _, l := range held {
		if err := q.Store.Extend(s.ctx, l, defaultTTL); err != nil {
			q.o.logger.Warn("queue: lease could not be extended", "id", string(l.ID), "err", err)
		}
	}
}

// drain waits for the attempts and the sweep under way.
func (q *Queue) drain() {
	s := &q.sched
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.sweeper.Wait()
	for {
		s.mu.Lock()
		n := s.active
		s.mu.Unlock()
		if n == 0 {
			return
		}
		<-s.wake
	}
}

// Shutdown stops the Queue: no new mail, no new attempt. Attempts under way may finish until ctx ends;
// then they are cancelled, and count as not made. It returns ctx's error in that case.
func (q *Queue) Shutdown(ctx context.Context) error {
	q.init()
	s := &q.sched
	s.mu.Lock()
	s.stopping = true
	s.stopOnce.Do(func() { close(s.stop) })
	running := s.running
	s.mu.Unlock()
	if !running {
		s.cancel()
		return nil
	}
	defer s.cancel()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		s.cancel()
		<-s.ended
		return ctx.Err()
	}
}

// Close is Shutdown without patience: attempts under way are cancelled.
func (q *Queue) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
