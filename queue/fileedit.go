package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// listChunk is how many jobs Entries looks at under one lock.
const listChunk = 512

// Entries implements Store. The order is that of arrival, but for places used again.
func (s *FileStore) Entries(ctx context.Context, f Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := s.open(); err != nil {
			yield(Entry{}, err)
			return
		}
		if f.ID != "" {
			if id, ok := parseID(f.ID); ok {
				s.yieldEntries(ctx, f, []uint64{id}, yield)
			}
			return
		}
		for from := uint32(1); ; from += listChunk {
			ids, more := s.messagesFrom(from)
			if !s.yieldEntries(ctx, f, ids, yield) || !more {
				return
			}
		}
	}
}

// messagesFrom returns the messages whose first job is in a range of numbers.
func (s *FileStore) messagesFrom(from uint32) (ids []uint64, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(from+listChunk, s.x.used)
	for n := from; n < end; n++ {
		if j := s.x.job(n); j.state != jobFree && s.x.first(j.id) == n {
			ids = append(ids, j.id)
		}
	}
	return ids, end < s.x.used
}

func (s *FileStore) yieldEntries(ctx context.Context, f Filter, ids []uint64, yield func(Entry, error) bool) bool {
	for _, id := range ids {
		if ctx.Err() != nil {
			yield(Entry{}, context.Cause(ctx))
			return false
		}
		e, ok := s.entry(id, f)
		if ok && !yield(e, nil) {
			return false
		}
	}
	return true
}

// entry describes a message if it passes the filter.
func (s *FileStore) entry(id uint64, f Filter) (Entry, bool) {
	s.clean.RLock()
	defer s.clean.RUnlock()
	e, jobs := s.brief(id)
	if len(jobs) == 0 || !f.match(&e) {
		return Entry{}, false
	}
	if f.Brief {
		return e, true
	}
	for i := range jobs {
		m, _, reasons, err := s.readJob(jobs[i], e.Jobs[i].Group)
		if err != nil {
			if errors.Is(err, ErrCorrupt) {
				e.Jobs[i].State = StateCorrupt
			}
			continue
		}
		e.Envelope, e.Size, e.Kind = m.env, m.size, m.op.kind
		if len(reasons) == len(e.Jobs[i].Rcpts) {
			e.Jobs[i].Reasons = reasons
		}
	}
	return e, true
}

// brief is what the index knows.
func (s *FileStore) brief(id uint64) (Entry, []job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := Entry{ID: formatID(id)}
	var jobs []job
	if s.closed {
		return e, nil
	}
	for n := s.x.first(id); n != 0; n = s.x.job(n).next {
		j := s.x.job(n)
		jobs = append(jobs, *j)
		e.Since = timeOf(j.since)
		e.Jobs = append(e.Jobs, Job{
			Group: s.x.group(n), Dest: s.x.dests[j.dest].name, Rcpts: toInt(s.x.rcpts(n)), State: j.shown(),
			Attempts: int(j.attempts), Due: timeOf(j.due), Noticed: j.flags&flagNoticed != 0,
		})
	}
	return e, jobs
}

// shown is the state that people see.
func (j *job) shown() State {
	switch {
	case j.flags&flagCorrupt != 0:
		return StateCorrupt
	case j.state == jobLeased:
		return StateActive
	case j.flags&flagHeld != 0:
		return StateHold
	case j.attempts > 0:
		return StateDeferred
	}
	return StateIncoming
}

// match reports whether a message passes.
func (f *Filter) match(e *Entry) bool {
	dest, state := f.Dest == "", len(f.State) == 0
	for i := range e.Jobs {
		dest = dest || e.Jobs[i].Dest == f.Dest
		state = state || slices.Contains(f.State, e.Jobs[i].State)
	}
	return dest && state && (f.ID == "" || f.ID == e.ID)
}

// Update implements Store.
func (s *FileStore) Update(_ context.Context, id ID, c Change) error {
	num, ok := parseID(id)
	if !ok {
		return ErrNotFound
	}
	err := s.lockedUpdate(num, c)
	if err == nil {
		s.wakeUp()
		s.kickMaintainer()
	}
	return err
}

// lockedUpdate keeps changes of one message in order. A new route is written from what is known of the
// message, so nothing of that may change meanwhile; other changes share their flushes.
func (s *FileStore) lockedUpdate(id uint64, c Change) error {
	if c.Op == Reroute {
		s.clean.Lock()
		defer s.clean.Unlock()
		return s.update(id, c)
	}
	s.clean.RLock()
	defer s.clean.RUnlock()
	stripe := &s.stripes[id%uint64(len(s.stripes))]
	stripe.Lock()
	defer stripe.Unlock()
	return s.update(id, c)
}

func (s *FileStore) update(id uint64, c Change) error {
	s.mu.Lock()
	first, closed := s.x.first(id), s.closed
	big := first != 0 && s.x.job(first).flags&jobBig != 0
	s.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case first == 0:
		return ErrNotFound
	case c.Op == Reroute:
		return s.reroute(id, c)
	case c.Op < Hold || c.Op > Reroute:
		return errors.New("queue: unknown change")
	}
	err := s.commitApply([]*op{{typ: opChange, id: id, change: uint8(c.Op), due: secondsUp(c.Due)}}, false)
	if err != nil {
		return fmt.Errorf("record change: %w", err)
	}
	if c.Op == Remove && big {
		_ = s.bodyHandle().Remove(bodyName(id))
	}
	return nil
}

// reroute writes the message anew, with other groups.
func (s *FileStore) reroute(id uint64, c Change) error {
	o, err := s.snapshot(id)
	if err != nil {
		return err
	}
	n, err := s.rcptCount(id)
	if err != nil {
		return err
	}
	open, held := make([]bool, n), uint8(0)
	for _, g := range o.groups {
		for _, r := range g.rcpts {
			open[r] = true
		}
		held |= g.flags & flagHeld
	}
	if err := checkGroups(c.Groups, open); err != nil {
		return err
	}
	s.mu.Lock()
	leased := false
	for n := s.x.first(id); n != 0; n = s.x.job(n).next {
		leased = leased || s.x.job(n).state == jobLeased
	}
	s.mu.Unlock()
	if leased {
		return ErrBusy
	}
	o.groups = nil
	due := s.now()
	if !c.Due.IsZero() {
		due = secondsUp(c.Due)
	}
	for i, g := range c.Groups {
		o.groups = append(o.groups, groupState{n: i, dest: g.Dest, rcpts: toUint32(g.Rcpts), due: due, flags: held})
	}
	o.data = stripReasons(o.data)
	return s.commitApply([]*op{o}, false)
}

// rcptCount returns how many recipients a message has.
func (s *FileStore) rcptCount(id uint64) (int, error) {
	e, jobs := s.brief(id)
	if len(jobs) == 0 {
		return 0, ErrNotFound
	}
	m, _, _, err := s.readJob(jobs[0], e.Jobs[0].Group)
	if err != nil {
		return 0, err
	}
	return len(m.env.To), nil
}
