package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec"
)

// model is a second, plain reading of what a Queue promises. It stands between the Queue and its Store and in the place of the
// Deliverer, follows what passes through, and complains of what may not be. TestSchedulerModel drives it.
type model struct {
	Store
	q    *Queue
	seed uint64
	slow time.Duration // each Claim and Settle takes up to that

	mu       sync.Mutex
	faults   []string
	msgs     map[ID]*modelMsg
	dests    map[string]*modelDest
	reports  map[string]*modelTry // attempts at reports, by ID
	active   int                  // attempts under way
	bulky    int                  // of those: at mailings
	begun    time.Time            // the last attempt at all
	calls    int
	claiming atomic.Int64 // claims under way
	claimAt  time.Time
	claims   int          // at that moment
	panics   atomic.Int64 // those that were meant
	attempts int
}

type modelMsg struct {
	id     ID
	env    *goniec.Envelope
	since  time.Time
	until  time.Time // HoldUntil, as it is kept; zero = none: since may be a second ahead of a new Queue whose clock was set back
	jobs   []*modelJob
	fate   []EventKind // of each recipient, once it has one
	told   []int       // reports of failure, by recipient
	tried  []bool      // in the life of this Queue
	gone   bool        // deleted by somebody
	forced bool        // flushed by name: its HoldUntil does not count
	gaveUp bool        // by somebody
}

type modelJob struct {
	group    int
	dest     string
	rcpts    []int
	attempts int
	due      time.Time
	held     bool
	leased   bool
	noticed  bool
	bulk     bool
	touched  time.Time // by somebody: what should have happened before has a new beginning
	trying   *modelTry
}

// modelTry is an attempt that the Deliverer has seen.
type modelTry struct {
	dest    *modelDest
	bulk    bool
	verdict verdict
}

// modelDest is what the package comment says of destinations.
type modelDest struct {
	real      *destination // to see whether the Queue has forgotten it
	name      string
	mode      string // how it answers
	limits    Limits
	active    int
	window    int
	successes int
	failures  int
	dead      int
	died      time.Time          // the beginning of the pause
	revived   bool               // somebody flushed it since
	begun     time.Time          // the last attempt
	passed    map[*modelDest]int // attempts elsewhere while it could have had one
	band      [2]int             // attempts at one kind in a row while the other could have had one
}

func (m *model) fault(format string, args ...any) {
	if len(m.faults) < 20 {
		m.faults = append(m.faults, m.q.now().Format("02 15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (m *model) dest(name string) *modelDest {
	d := m.dests[name]
	if d == nil {
		d = &modelDest{name: name, mode: "up", limits: m.q.limitsOf(name), passed: map[*modelDest]int{}}
		d.window = d.limits.Window
		m.dests[name] = d
	}
	return d
}

// Time passes a FileStore's clock on.
func (m *model) Time() time.Time {
	if s, ok := m.Store.(interface{ Time() time.Time }); ok {
		return s.Time()
	}
	return time.Time{}
}

func (m *model) drowse() {
	if m.slow > 0 {
		time.Sleep(rand.N(m.slow) + 1)
	}
}

// Put follows new mail; its reports the Queue stores by Settle. It may be tried before Put returns.
func (m *model) Put(ctx context.Context, msg Message) (ID, error) {
	n := len(msg.Envelope.To)
	x := &modelMsg{id: ID(msg.Envelope.ID), env: msg.Envelope.Clone(), since: msg.Since, until: msg.Due}
	x.fate, x.told, x.tried = make([]EventKind, n), make([]int, n), make([]bool, n)
	m.mu.Lock()
	x.regroup(msg.Groups, latest(msg.Since, msg.Due), msg.Hold, m.q.now())
	m.msgs[x.id] = x
	m.mu.Unlock()
	id, err := m.Store.Put(ctx, msg)
	m.mu.Lock()
	defer m.mu.Unlock()
	if id != x.id { // its key is known
		delete(m.msgs, x.id)
	}
	return id, err
}

func (x *modelMsg) regroup(groups []Group, due time.Time, held bool, now time.Time) {
	x.jobs = nil
	for i, g := range groups {
		x.jobs = append(x.jobs, &modelJob{group: i, dest: g.Dest, rcpts: slices.Clone(g.Rcpts), due: due, held: held, bulk: len(groups) > bulkJobs, touched: now})
	}
}

func (x *modelMsg) job(group int) *modelJob {
	for _, j := range x.jobs {
		if j.group == group {
			return j
		}
	}
	return nil
}

// expiry is when a message is given up, as the package comment says.
func (m *model) expiry(x *modelMsg) time.Time {
	at := x.since.Add(m.q.o.expire)
	if by := x.env.DeliverBy; by != nil && by.Return && by.Deadline.Before(at) {
		at = by.Deadline
	}
	return at
}

// Claim checks what is handed out.
func (m *model) Claim(ctx context.Context, r ClaimRequest) ([]Lease, error) {
	m.claiming.Add(1)
	m.drowse()
	m.claiming.Add(-1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.q.now(); !now.Equal(m.claimAt) {
		m.claimAt, m.claims = now, 0
	}
	if m.claims++; m.claims > 5000 { // time would stand still for ever
		m.fault("claimed again and again: %+v", r)
		return nil, errors.New("claimed again and again")
	}
	leases, err := m.Store.Claim(ctx, r)
	for i := range leases {
		m.claimed(&r, &leases[i])
	}
	return leases, err
}

func (m *model) claimed(r *ClaimRequest, l *Lease) {
	if l.Kind != KindMail {
		return
	}
	x := m.msgs[l.ID]
	if x == nil || x.gone {
		m.fault("claim of %s, which there is not", l.ID)
		return
	}
	j := x.job(l.Group)
	switch {
	case j == nil:
		m.fault("claim of %s/%d, which is done", l.ID, l.Group)
		return
	case j.leased:
		m.fault("second claim of %s/%d", l.ID, l.Group)
	case j.held && r.ID == "":
		m.fault("claim of %s/%d, which is held", l.ID, l.Group)
	case !slices.Equal(j.rcpts, l.Rcpts) || j.dest != l.Dest || j.attempts != l.Attempts || j.bulk != l.Bulk || j.noticed != l.Noticed:
		m.fault("claim of %s/%d: %+v, expected %+v", l.ID, l.Group, *l, *j)
	case r.Dest != "" && (j.due.Truncate(time.Second).After(r.Now) || j.dest != r.Dest || r.Single && j.bulk):
		m.fault("claim of %s/%d for %s, single %v: due %v, expected %+v", l.ID, l.Group, r.Dest, r.Single, l.Due, *j)
	}
	j.leased = true
}

// Extend follows leases that are given back.
func (m *model) Extend(ctx context.Context, l Lease, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.Store.Extend(ctx, l, ttl)
	if x := m.msgs[l.ID]; err == nil && ttl <= 0 && x != nil {
		x.job(l.Group).leased = false
	}
	return err
}

// Settle checks outcomes, and learns of the destination as the Queue is about to.
func (m *model) Settle(ctx context.Context, l Lease, st Settlement) error {
	m.drowse()
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.Store.Settle(ctx, l, st)
	x := m.msgs[l.ID]
	if x == nil { // a report
		m.ended(m.reports[string(l.ID)])
		delete(m.reports, string(l.ID))
		return err
	}
	j := x.job(l.Group)
	if err != nil {
		if !x.gone || !errors.Is(err, ErrLeaseLost) {
			m.fault("settle of %s/%d: %v", l.ID, l.Group, err)
		}
		for _, old := range x.jobs {
			if old.group == l.Group && old.trying != nil {
				m.ended(old.trying)
				old.trying = nil
			}
		}
		return err
	}
	m.checkDue(x, j, &st)
	j.leased, j.rcpts, j.due, j.noticed, j.held = false, slices.Clone(st.Open), st.Due, j.noticed || st.Noticed, j.held || st.Hold
	if st.Attempted {
		j.attempts++
	}
	m.ended(j.trying)
	j.trying = nil
	x.jobs = slices.DeleteFunc(x.jobs, func(j *modelJob) bool { return len(j.rcpts) == 0 })
	return nil
}

// checkDue checks the time of the next attempt: the back-off with its jitter, no later than the message's end.
func (m *model) checkDue(x *modelMsg, j *modelJob, st *Settlement) {
	if !st.Attempted || len(st.Open) == 0 {
		return
	}
	now := m.q.now()
	least, most := m.backoff(j.attempts + 1)
	ends := []time.Time{m.expiry(x)}
	if by := x.env.DeliverBy; by != nil {
		ends = append(ends, by.Deadline)
	}
	for _, end := range ends {
		if end.After(now.Add(-m.q.o.timeout)) { // it may have passed while the attempt lasted
			least = min(least, max(end.Sub(now), 0))
		}
	}
	least -= m.slow + time.Second // which this Settle may have taken, and the Store counts seconds
	if wait := st.Due.Sub(now); wait < least || wait > most {
		m.fault("%s/%d is tried again after %v, expected %v to %v", x.id, j.group, wait, least, most)
	}
}

// backoff is the pause after the nth failure.
func (m *model) backoff(n int) (least, most time.Duration) {
	wait := m.q.o.minBack
	for ; n > 1 && wait < m.q.o.maxBack; n-- {
		wait *= 2
	}
	wait = min(wait, m.q.o.maxBack)
	part := time.Duration(m.q.o.jitter * float64(wait))
	return wait - part - time.Microsecond, wait + part + time.Microsecond
}

// ended learns from an attempt.
func (m *model) ended(t *modelTry) {
	if t == nil {
		return
	}
	d := t.dest
	d.active--
	m.active--
	m.bulky -= int(bit(t.bulk))
	real := m.look(d)
	switch v := t.verdict; {
	case !v.judged:
	case !v.failed:
		if d.dead > 0 {
			d.dead, d.window = 0, d.limits.Window
		}
		d.failures = 0
		if d.successes++; d.successes >= d.window && d.window < d.limits.MaxWindow {
			d.window, d.successes = d.window+1, 0
		}
	case d.dead > 0 && real.paused: // from before it died; somebody may have flushed it, and the Queue was busy since
	default:
		d.failures++
		d.successes = 0
		wide := d.window
		d.window = max(d.window/2, 1)
		if d.dead > 0 || d.failures >= wide {
			d.dead++
			d.failures, d.window = 0, 1
			d.died, d.revived = m.q.now(), false
		}
	}
}

// look compares what the Queue knows of a destination with what it should, before it learns more. It may have forgotten one that was idle.
func (m *model) look(d *modelDest) destination {
	s := &m.q.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	real := s.dests[d.name]
	if real == nil {
		m.fault("%s is forgotten while it is tried", d.name)
		return destination{}
	}
	if real != d.real {
		if least, _ := m.backoff(d.dead); d.real != nil && d.dead > 0 && !d.revived && m.q.now().Before(d.died.Add(least+2*m.q.o.maxBack)) {
			m.fault("%s was forgotten, though it is dead", d.name)
		}
		d.real, d.window, d.successes, d.failures, d.dead = real, d.limits.Window, 0, 0, 0
	}
	if real.window != d.window || real.dead != d.dead {
		m.fault("%s: window %d, dead %d; expected window %d, dead %d", d.name, real.window, real.dead, d.window, d.dead)
	}
	if d.dead > 0 && !d.revived && real.paused {
		least, most := m.backoff(d.dead)
		if wait := real.until.Sub(d.died); wait < least || wait > most {
			m.fault("%s pauses for %v, expected %v to %v", d.name, wait, least, most)
		}
	}
	return *real
}

// Update follows what people do.
func (m *model) Update(ctx context.Context, id ID, c Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.Store.Update(ctx, id, c)
	x := m.msgs[id]
	if err != nil || x == nil {
		return err
	}
	now := m.q.now()
	if c.Op == Reroute {
		held := slices.ContainsFunc(x.jobs, func(j *modelJob) bool { return j.held })
		x.regroup(c.Groups, latest(now, x.since).Truncate(time.Second), held, now)
		return nil
	}
	for _, j := range x.jobs {
		j.touched = now
		switch c.Op {
		case Hold:
			j.held = true
		case Release:
			j.held = false
		case Retry:
			j.due = c.Due
		}
	}
	x.gone = x.gone || c.Op == Remove
	return nil
}

// Deliver is the Deliverer: it answers as its destination does just now.
func (m *model) Deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	mode, took := m.begin(env)
	select {
	case <-time.After(took):
	case <-ctx.Done():
		if mode != "deaf" { // who does not listen ends as if nothing had happened
			m.conclude(env, verdict{})
			return context.Cause(ctx)
		}
		time.Sleep(time.Millisecond)
	}
	if env.From.IsZero() {
		b, _ := io.ReadAll(msg)
		m.reported(string(b))
		m.conclude(env, verdict{judged: true})
		return nil
	}
	return m.answer(env, mode)
}

// answer is the result in each mode. The verdict must be known before: what it means is in the package comment.
func (m *model) answer(env *goniec.Envelope, mode string) error {
	good, bad := verdict{judged: true}, verdict{judged: true, failed: true}
	switch mode {
	case "refused":
		m.conclude(env, bad)
		return errors.New("connection refused")
	case "421":
		m.conclude(env, bad)
		return goniec.NewStatus(421, goniec.EnhancedCode{4, 3, 2}, "too many connections")
	case "later":
		m.conclude(env, good)
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "greylisted")
	case "never":
		m.conclude(env, good)
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "not you")
	case "panic":
		m.conclude(env, verdict{})
		m.panics.Add(1)
		panic("model")
	case "mixed":
		errs := make(goniec.RcptErrors, len(env.To))
		for i, to := range env.To {
			switch to.Address.Local()[0] % 3 {
			case 1:
				errs[i] = goniec.NewStatus(452, goniec.EnhancedCode{4, 2, 2}, "full")
			case 2:
				errs[i] = goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "unknown")
			}
		}
		m.conclude(env, good)
		return errs.Err()
	}
	m.conclude(env, good)
	return nil
}

// begin checks that an attempt may be made, and says how it goes.
func (m *model) begin(env *goniec.Envelope) (mode string, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.attempts++
	x := m.msgs[ID(env.ID)]
	d, t := m.dest(domainRoute(&env.To[0])), &modelTry{}
	if x != nil {
		j := m.tried(x, env)
		if j == nil {
			return "up", time.Millisecond
		}
		d, t.bulk, j.trying = m.dest(j.dest), j.bulk, t
	}
	t.dest = d
	m.fair(d, t.bulk)
	m.permitted(d, x)
	if x == nil {
		m.reports[env.ID] = t
	}
	d.active++
	m.active++
	m.bulky += int(bit(t.bulk))
	d.begun, m.begun = m.q.now(), m.q.now()
	m.calls++
	r := rand.New(rand.NewPCG(m.seed, uint64(m.calls)))
	took = time.Duration(1 + r.IntN(int(time.Second))) // no two end at one moment
	switch r.IntN(20) {
	case 0:
		took += time.Duration(r.IntN(50)) * time.Minute
	case 1, 2, 3:
		took += time.Duration(r.IntN(60)) * time.Second
	}
	return d.mode, took
}

// tried finds the job of an attempt.
func (m *model) tried(x *modelMsg, env *goniec.Envelope) *modelJob {
	for _, j := range x.jobs {
		if x.env.To[j.rcpts[0]].Address != env.To[0].Address {
			continue
		}
		same := len(env.To) == len(j.rcpts)
		for i := range env.To {
			same = same && env.To[i].Address == x.env.To[j.rcpts[i]].Address
		}
		if !same || j.trying != nil || !j.leased && !x.gone {
			m.fault("attempt at %s/%d with %d recipients; expected %+v", x.id, j.group, len(env.To), *j)
		}
		for _, r := range j.rcpts {
			x.tried[r] = true
			if x.fate[r] != 0 {
				m.fault("%s: recipient %d is tried, and was %v", x.id, r, x.fate[r])
			}
		}
		return j
	}
	m.fault("attempt at %s for %v, which is done", x.id, env.To[0].Address)
	return nil
}

// permitted checks windows, limits, rates and pauses.
func (m *model) permitted(d *modelDest, x *modelMsg) {
	real := m.look(d)
	now := m.q.now()
	switch {
	case m.active >= m.q.o.active:
		m.fault("attempt number %d, and the limit is %d", m.active+1, m.q.o.active)
	case d.active >= d.window:
		m.fault("attempt number %d at %s, whose window is %d", d.active+1, d.name, d.window)
	case d.dead > 0 && d.active > 0 && real.active > 1:
		m.fault("a second probe of %s", d.name)
	}
	if d.dead > 0 && !d.revived {
		if least, _ := m.backoff(d.dead); now.Before(d.died.Add(least)) {
			m.fault("attempt at %s %v after it died, expected %v", d.name, now.Sub(d.died), least)
		}
	}
	if r := d.limits.Rate; r > 0 && !d.revived && now.Sub(d.begun) < perSecond(r)-time.Microsecond {
		m.fault("attempt at %s %v after the last one, and its rate is %v", d.name, now.Sub(d.begun), r)
	}
	if r := m.q.Rate; r > 0 && now.Sub(m.begun) < perSecond(r)-time.Microsecond {
		m.fault("attempt %v after the last one, and the rate is %v", now.Sub(m.begun), r)
	}
	if x != nil && x.until.After(now) && !x.forced {
		m.fault("attempt at %s %v before its HoldUntil", x.id, x.until.Sub(now))
	}
}

// conclude notes what an attempt will say of its destination.
func (m *model) conclude(env *goniec.Envelope, v verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.reports[env.ID]; t != nil {
		t.verdict = v
		return
	}
	for _, j := range m.msgs[ID(env.ID)].jobs {
		if j.trying != nil && m.msgs[ID(env.ID)].env.To[j.rcpts[0]].Address == env.To[0].Address {
			j.trying.verdict = v
		}
	}
}

// event follows the fate of recipients.
func (m *model) event(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.msgs[e.ID]
	if x == nil || e.kind != KindMail {
		return
	}
	switch e.Kind {
	case Delivered, Failed, Expired:
		r := slices.IndexFunc(x.env.To, func(to goniec.Recipient) bool { return to.Address == e.Rcpt })
		if x.fate[r] != 0 {
			m.fault("%s: recipient %d is %v, and was %v", x.id, r, e.Kind, x.fate[r])
		}
		x.fate[r] = e.Kind
		if e.Kind == Expired && !x.gaveUp {
			m.mayExpire(x, r, e.Dest)
		}
	}
}

// mayExpire: nothing expires early, nor without a try or a dead destination in the life of this Queue (Q07).
func (m *model) mayExpire(x *modelMsg, r int, dest string) {
	now := m.q.now()
	if now.Before(m.expiry(x).Add(-time.Second)) { // the Store counts seconds
		m.fault("%s expired at %v, and should at %v", x.id, now, m.expiry(x))
	}
	if _, dead := m.q.sched.deadReason(dest); !x.tried[r] && !dead && !x.since.After(now) {
		m.fault("%s: recipient %d expired without an attempt", x.id, r)
	}
}

// reported follows reports: which recipients they speak of.
func (m *model) reported(msg string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, rest, _ := strings.Cut(msg, "The message has the queue ID ")
	x := m.msgs[ID(strings.Fields(rest + " -")[0])]
	if x == nil {
		m.fault("report of an unknown message:\n%s", msg)
		return
	}
	for part := range strings.SplitSeq(msg, "Final-Recipient: rfc822; ") {
		addr, fields, _ := strings.Cut(part, "\r\n")
		r := slices.IndexFunc(x.env.To, func(to goniec.Recipient) bool { return to.Address.String() == addr })
		if r >= 0 && strings.Contains(fields, "Action: failed") {
			x.told[r]++
		}
	}
}
