package queue

import (
	"container/heap"
	"context"
	"slices"
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
	bulky  int                 // of active: attempts at mailings
	leases map[*Lease]struct{} // to be extended
	limits func(dest string) Limits
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

// Limits are those of one destination.
type Limits struct {
	Window    int     // deliveries at a time with which it starts; 0 = Queue.Window
	MaxWindow int     // to which that grows; 0 = Queue.MaxWindow
	Rate      float64 // deliveries that begin in a second; 0 = Queue.DestRate, negative = no limit
}

// limitsOf fills in the defaults.
func (q *Queue) limitsOf(dest string) (l Limits) {
	if q.Limits != nil {
		l = q.Limits(dest)
	}
	l.Window, l.MaxWindow, l.Rate = or(l.Window, q.o.window), or(l.MaxWindow, q.o.most), or(l.Rate, q.DestRate)
	l.MaxWindow = max(l.MaxWindow, l.Window)
	return l
}

// destination is what is known of one, while it has work or is dead.
type destination struct {
	name      string
	limits    Limits
	active    int
	window    int
	successes int // since the window last changed
	failures  int // in a row
	dead      int // back-offs in a row; 0 = alive
	until     time.Time
	reason    string
	lined     bool
	band      uint8 // in whose line
	paused    bool  // asleep because it is dead, not for its Rate
	due       bool  // may have due jobs
	bulk      bool  // ... only of mailings
	claiming  bool  // start has it in hand, without the lock
	sleeping  int   // index in asleep, from 1
}

func (s *scheduler) init(limits func(string) Limits) {
	s.limits = limits
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
	if d.lined && d.band == 1 && !d.bulk {
		s.leave(d) // a single mail does not wait for the places of mailings
	}
	s.line(d)
}

// leave takes a destination out of its line.
func (s *scheduler) leave(d *destination) {
	line := s.lines[d.band]
	if i := slices.Index(line, d); i >= 0 {
		s.lines[d.band] = slices.Delete(line, i, i+1)
	}
	d.lined = false
}

func (s *scheduler) dest(name string) *destination {
	d := s.dests[name]
	if d == nil {
		d = &destination{name: name, limits: s.limits(name)}
		d.window = d.limits.Window
		s.dests[name] = d
	}
	return d
}

// line lines a destination up if it is its time.
func (s *scheduler) line(d *destination) {
	if d.lined || !d.due || d.sleeping > 0 || d.active >= d.window {
		return
	}
	d.lined, d.band = true, bit(d.bulk)
	s.lines[d.band] = append(s.lines[d.band], d)
}

// pick takes the next destination out of its line; one with nothing but mailings only if they may have more room.
func (s *scheduler) pick(bulk bool) *destination {
	band := bit(s.bulk && bulk)
	if len(s.lines[band]) == 0 {
		band = 1 - band
	}
	if len(s.lines[band]) == 0 || band == 1 && !bulk {
		return nil
	}
	s.bulk = band == 0
	d := s.lines[band][0]
	s.lines[band][0] = nil
	s.lines[band] = s.lines[band][1:]
	d.lined = false
	return d
}

// forgetIdle drops dead destinations that were not tried for so long after their pause that no mail for them can wait: else those
// that never come back would be kept for ever.
func (s *scheduler) forgetIdle(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.dests {
		if d.idle() && d.until.Before(before) {
			delete(s.dests, d.name)
		}
	}
}

func (d *destination) idle() bool {
	return d.active == 0 && !d.due && !d.lined && !d.claiming && d.sleeping == 0
}

// forget drops a destination of which nothing is worth knowing.
func (s *scheduler) forget(d *destination) {
	if d.idle() && d.dead == 0 {
		delete(s.dests, d.name)
	}
}

// pause keeps a destination that does not answer out of the lines until a time.
func (s *scheduler) pause(d *destination, until time.Time) {
	s.sleep(d, until)
	d.paused = true
}

// rest keeps a destination out of the lines until a time, but does not make its sleep shorter.
func (s *scheduler) rest(d *destination, until time.Time) {
	if d.sleeping == 0 || d.until.Before(until) {
		s.sleep(d, until)
	}
}

// sleep is rest that may make it shorter.
func (s *scheduler) sleep(d *destination, until time.Time) {
	if d.lined {
		s.leave(d)
	}
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
		d.paused = false
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
		d := s.pick(s.bulky < q.bulkRoom())
		if d == nil {
			s.mu.Unlock()
			return until
		}
		room, single := q.room(d)
		d.due = d.due && room <= 0 // a Put during the claim sets it again
		d.claiming = room > 0
		s.mu.Unlock()
		if room > 0 {
			q.start(d, room, single, now)
		}
	}
}

// room is how many jobs of a destination to claim now, and whether single mails only.
func (q *Queue) room(d *destination) (room int, single bool) {
	room = min(q.free(d), claimBatch)
	forBulk := q.bulkRoom() - q.sched.bulky
	if d.bulk {
		room = min(room, forBulk)
	}
	if room > 0 && (d.limits.Rate > 0 || q.Rate > 0) {
		room = 1
	}
	return room, room > forBulk
}

// free is how many places there are for a destination.
func (q *Queue) free(d *destination) int {
	room := min(d.window-d.active, q.o.active-q.sched.active)
	if d.dead > 0 {
		room = min(room, 1-d.active) // the probe
	}
	return room
}

// singleShare is the part of all places that mailings leave to single mails: one to a thousand destinations that
// take minutes to fail would hold all.
const singleShare = 5

func (q *Queue) bulkRoom() int { return max(q.o.active-q.o.active/singleShare, 1) }

// claimBatch is how many jobs of one destination are claimed before the others have their turn.
const claimBatch = 4

// start claims jobs of a destination and tries them.
func (q *Queue) start(d *destination, room int, single bool, now time.Time) {
	s := &q.sched
	leases, err := q.Store.Claim(s.ctx, ClaimRequest{Dest: d.name, Single: single, Now: now, Max: room, Worker: q.o.host})
	kept := q.startLeased(d, leases, err, room, single)
	for i := range leases[kept:] {
		q.giveBack(&leases[kept+i])
	}
}

// startLeased tries what was claimed, as far as there is still room, and returns how many that are: a claim takes time, in which the
// destination may have died or others may have taken the places.
func (q *Queue) startLeased(d *destination, leases []Lease, err error, room int, single bool) (kept int) {
	s := &q.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	now := q.now()
	d.claiming = false
	if err != nil {
		q.o.logger.Error("queue: claim", "dest", d.name, "err", err)
		d.due = true
		s.rest(d, now.Add(storeRest))
		return 0
	}
	if single && len(leases) < room && !d.due {
		d.bulk, d.due = true, true // mailings may be left
	}
	d.due = d.due || len(leases) == room
	// What refuses a delivery here keeps the destination out of its line, or fill from going on: else it would be claimed again at once.
	if d.sleeping == 0 && !s.next.After(now) {
		kept = min(max(q.free(d), 0), len(leases))
	}
	for i := range leases[:kept] {
		q.launch(d, &leases[i], now)
	}
	s.line(d)
	s.forget(d)
	return kept
}

// spend notes for the rates that an attempt begins.
func (q *Queue) spend(d *destination, now time.Time) {
	s := &q.sched
	if d.limits.Rate > 0 {
		s.rest(d, now.Add(perSecond(d.limits.Rate)))
	}
	if q.Rate > 0 {
		s.next = now.Add(perSecond(q.Rate))
	}
}

func perSecond(rate float64) time.Duration { return time.Duration(float64(time.Second) / rate) }

// launch begins an attempt. s.mu is held.
func (q *Queue) launch(d *destination, l *Lease, now time.Time) {
	s := &q.sched
	q.spend(d, now)
	d.active++
	s.active++
	bulk := int(bit(l.Bulk))
	s.bulky += bulk
	s.leases[l] = struct{}{}
	go func() {
		verdict, _ := q.attempt(s.ctx, l, "")
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leases, l)
		d.active--
		s.active--
		s.bulky -= bulk
		q.learn(d, verdict)
		if l.Deaths > 0 {
			s.pollAt = time.Time{} // the next suspect may go
		}
		s.line(d)
		s.forget(d)
		s.poke()
	}()
}
