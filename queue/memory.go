package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
)

// Memory is a Store that keeps everything in memory: the shortest right reading of the contract, and a
// Store for tests and for mail that may be lost. The zero value is ready for use. Keys are never forgotten.
type Memory struct {
	mu     sync.Mutex
	msgs   map[ID]*memMessage
	order  []ID
	keys   map[string]ID
	token  uint64
	wake   chan struct{}
	bulked map[string]bool // whose turn it was
	agedAt int             // how many aged jobs were claimed: those given back do not stand in the way of others
}

type memMessage struct {
	entry Entry // its jobs are in jobs
	body  []byte
	prio  int8
	jobs  []*memJob
	bulk  bool
}

type memJob struct {
	Job
	held, corrupt bool
	token         uint64 // of the lease; 0 = free
	expires       time.Time
}

var errNoReader = errors.New("queue: message without body")

func (s *Memory) init() {
	if s.msgs == nil {
		s.msgs, s.keys, s.bulked = map[ID]*memMessage{}, map[string]ID{}, map[string]bool{}
	}
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
}

// Put implements Store.
func (s *Memory) Put(_ context.Context, m Message) (ID, error) {
	if err := checkMessage(&m); err != nil {
		return "", err
	}
	if m.Body == nil {
		return "", errNoReader
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	return s.put(m, body)
}

func (s *Memory) put(m Message, body []byte) (ID, error) {
	if id, ok := s.keys[m.Key]; ok && m.Key != "" {
		return id, ErrKnown
	}
	id := ID(m.Envelope.ID)
	for _, fits := parseID(id); !fits || s.msgs[id] != nil; _, fits = parseID(id) {
		id = ID(goniec.NewID())
	}
	if m.Since.IsZero() {
		m.Since = time.Now()
	}
	if m.Due.IsZero() {
		m.Due = m.Since
	}
	msg := &memMessage{body: body, prio: m.Envelope.Priority, bulk: len(m.Groups) > bulkJobs}
	msg.entry = Entry{ID: id, Envelope: m.Envelope.Clone(), Size: int64(len(body)), Kind: m.Kind, Since: m.Since}
	for i, g := range m.Groups {
		msg.jobs = append(msg.jobs, &memJob{Job: Job{Group: i, Dest: g.Dest, Rcpts: slices.Clone(g.Rcpts), Due: m.Due}, held: m.Hold})
	}
	s.msgs[id] = msg
	s.order = append(s.order, id)
	if m.Key != "" {
		s.keys[m.Key] = id
	}
	s.poke()
	return id, nil
}

func (s *Memory) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (j *memJob) free() bool { return j.token == 0 || time.Now().After(j.expires) }

func (j *memJob) tryable() bool { return j.free() && !j.held && !j.corrupt }

// each calls f for the jobs of all messages, the oldest first.
func (s *Memory) each(f func(*memMessage, *memJob)) {
	s.order = slices.DeleteFunc(s.order, func(id ID) bool { return s.msgs[id] == nil })
	for _, id := range s.order {
		for _, j := range s.msgs[id].jobs {
			f(s.msgs[id], j)
		}
	}
}

// Due implements Store.
func (s *Memory) Due(_ context.Context, now time.Time) iter.Seq2[Dest, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	byName := map[string]*Dest{}
	var list []*Dest
	var next *Dest
	s.each(func(m *memMessage, j *memJob) {
		switch {
		case !j.tryable():
		case j.Due.After(now):
			if next == nil || j.Due.Before(next.Earliest) {
				next = &Dest{Name: j.Dest, Earliest: j.Due}
			}
		default:
			d := byName[j.Dest]
			if d == nil {
				d = &Dest{Name: j.Dest, Bulk: true, Earliest: j.Due}
				byName[j.Dest] = d
				list = append(list, d)
			}
			d.Jobs++
			d.Bulk = d.Bulk && m.bulk
			if j.Due.Before(d.Earliest) {
				d.Earliest = j.Due
			}
		}
	})
	if next != nil {
		list = append(list, next)
	}
	return func(yield func(Dest, error) bool) {
		for _, d := range list {
			if !yield(*d, nil) {
				return
			}
		}
	}
}

// Claim implements Store.
func (s *Memory) Claim(_ context.Context, r ClaimRequest) ([]Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	type pair struct {
		m *memMessage
		j *memJob
	}
	var found [2][]pair
	s.each(func(m *memMessage, j *memJob) {
		var ok bool
		switch {
		case r.ID != "":
			ok = m.entry.ID == r.ID && j.free()
		case !r.ArrivedBefore.IsZero():
			ok = j.tryable() && m.entry.Since.Before(r.ArrivedBefore) && !(r.Unnoticed && j.Noticed)
		case !r.DeadlineBefore.IsZero():
			by := m.entry.Envelope.DeliverBy
			ok = j.tryable() && by != nil && by.Deadline.Before(r.DeadlineBefore) && (by.Return || !j.Noticed)
		default:
			ok = j.tryable() && j.Dest == r.Dest && !j.Due.After(r.Now) && !(r.Single && m.bulk)
		}
		if ok {
			band := bit(m.bulk && r.Dest != "")
			found[band] = append(found[band], pair{m, j})
		}
	})
	if n := len(found[0]); r.aged() && n > 0 {
		at := s.agedAt % n
		found[0] = append(found[0][at:n:n], found[0][:at]...)
		s.agedAt += min(n, max(r.Max, 1))
	}
	rank := func(p pair) int64 { return p.j.Due.Unix() - priorityStep*int64(p.m.prio) }
	for _, f := range found {
		if r.Dest != "" {
			slices.SortStableFunc(f, func(a, b pair) int { return int(rank(a) - rank(b)) })
		}
	}
	var out []Lease
	for len(out) < max(r.Max, 1) && len(found[0])+len(found[1]) > 0 {
		band := bit(s.bulked[r.Dest])
		if len(found[band]) == 0 {
			band = 1 - band
		}
		s.bulked[r.Dest] = band == 0
		p := found[band][0]
		found[band] = found[band][1:]
		out = append(out, s.lease(p.m, p.j, r.TTL))
	}
	return out, nil
}

func (s *Memory) lease(m *memMessage, j *memJob, ttl time.Duration) Lease {
	if ttl == 0 {
		ttl = defaultTTL
	}
	s.token++
	j.token, j.expires = s.token, time.Now().Add(ttl)
	return Lease{
		ID: m.entry.ID, Group: j.Group, Token: j.token, Dest: j.Dest, Rcpts: slices.Clone(j.Rcpts), Envelope: m.entry.Envelope.Clone(),
		Size: m.entry.Size, Kind: m.entry.Kind, Since: m.entry.Since, Due: j.Due, Attempts: j.Attempts, Noticed: j.Noticed,
		Bulk: m.bulk, Reasons: slices.Clone(j.Reasons),
	}
}

// leased returns the job of a lease that is still held.
func (s *Memory) leased(l Lease) (*memMessage, *memJob) {
	if m := s.msgs[l.ID]; m != nil {
		for _, j := range m.jobs {
			if j.Group == l.Group && j.token == l.Token && !j.free() {
				return m, j
			}
		}
	}
	return nil, nil
}

// Extend implements Store.
func (s *Memory) Extend(_ context.Context, l Lease, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, j := s.leased(l)
	if j == nil {
		return ErrLeaseLost
	}
	if ttl <= 0 {
		j.token = 0
	}
	j.expires = time.Now().Add(ttl)
	return nil
}

// Settle implements Store.
func (s *Memory) Settle(_ context.Context, l Lease, st Settlement) error {
	bodies := make([][]byte, len(st.New))
	for i := range st.New {
		if err := checkMessage(&st.New[i]); err != nil {
			return err
		}
		var err error
		if bodies[i], err = io.ReadAll(st.New[i].Body); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, j := s.leased(l)
	if j == nil {
		return ErrLeaseLost
	}
	if !subset(toUint32(st.Open), toUint32(j.Rcpts)) {
		return errors.New("queue: settlement leaves recipients open that were not")
	}
	j.token, j.Rcpts, j.Reasons, j.Due = 0, slices.Clone(st.Open), slices.Clone(st.Reasons), st.Due
	j.Noticed, j.held = j.Noticed || st.Noticed, j.held || st.Hold
	if st.Attempted {
		j.Attempts++
	}
	m.jobs = slices.DeleteFunc(m.jobs, func(j *memJob) bool { return len(j.Rcpts) == 0 })
	if len(m.jobs) == 0 {
		delete(s.msgs, l.ID)
	}
	for i := range st.New {
		_, _ = s.put(st.New[i], bodies[i]) // ErrKnown: it was made before
	}
	s.poke()
	return nil
}

type memBody struct{ *bytes.Reader }

func (memBody) Close() error { return nil }

// Open implements Store.
func (s *Memory) Open(_ context.Context, id ID) (Body, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.msgs[id]
	if m == nil {
		return nil, ErrNotFound
	}
	return memBody{bytes.NewReader(m.body)}, nil
}

// Entries implements Store.
func (s *Memory) Entries(ctx context.Context, f Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		s.mu.Lock()
		order := slices.Clone(s.order)
		s.mu.Unlock()
		for _, id := range order {
			if ctx.Err() != nil {
				yield(Entry{}, context.Cause(ctx))
				return
			}
			if e, ok := s.entry(id); ok && f.match(&e) && !yield(e, nil) {
				return
			}
		}
	}
}

func (s *Memory) entry(id ID) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.msgs[id]
	if m == nil {
		return Entry{}, false
	}
	e := m.entry
	e.Envelope = e.Envelope.Clone()
	for _, j := range m.jobs {
		shown := j.Job
		shown.Rcpts, shown.Reasons = slices.Clone(j.Rcpts), slices.Clone(j.Reasons)
		switch {
		case j.corrupt:
			shown.State = StateCorrupt
		case !j.free():
			shown.State = StateActive
		case j.held:
			shown.State = StateHold
		case j.Attempts > 0:
			shown.State = StateDeferred
		}
		e.Jobs = append(e.Jobs, shown)
	}
	return e, true
}

// Update implements Store.
func (s *Memory) Update(_ context.Context, id ID, c Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.msgs[id]
	if m == nil {
		return ErrNotFound
	}
	defer s.poke()
	switch c.Op {
	case Remove:
		delete(s.msgs, id)
		return nil
	case Reroute:
		return m.reroute(c)
	case Hold, Release, Retry:
	default:
		return errors.New("queue: unknown change")
	}
	for _, j := range m.jobs {
		switch c.Op {
		case Hold:
			j.held = true
		case Release:
			j.held, j.corrupt = false, false
		case Retry:
			j.Due = c.Due
		}
	}
	return nil
}

func (m *memMessage) reroute(c Change) error {
	open, held := make([]bool, len(m.entry.Envelope.To)), false
	for _, j := range m.jobs {
		if !j.free() {
			return ErrBusy
		}
		for _, r := range j.Rcpts {
			open[r] = true
		}
		held = held || j.held
	}
	if err := checkGroups(c.Groups, open); err != nil {
		return err
	}
	m.jobs, m.bulk = nil, len(c.Groups) > bulkJobs
	due := c.Due
	if due.IsZero() {
		due = time.Now()
	}
	for i, g := range c.Groups {
		m.jobs = append(m.jobs, &memJob{Job: Job{Group: i, Dest: g.Dest, Rcpts: slices.Clone(g.Rcpts), Due: due}, held: held})
	}
	return nil
}

// Wake implements Store.
func (s *Memory) Wake() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	return s.wake
}
