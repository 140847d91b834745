package queue

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
)

// List yields queued messages. A job that waits for a destination that does not answer shows that as its
// reason.
func (q *Queue) List(ctx context.Context, f Filter) iter.Seq2[Entry, error] {
	q.init()
	return func(yield func(Entry, error) bool) {
		for e, err := range q.Store.Entries(ctx, f) {
			if err == nil && !f.Brief {
				q.explain(&e)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// explain fills in reasons that are the destination's.
func (q *Queue) explain(e *Entry) {
	for i := range e.Jobs {
		j := &e.Jobs[i]
		if reason, dead := q.sched.deadReason(j.Dest); dead && len(j.Reasons) == 0 {
			j.Reasons = slices.Repeat([]string{reason}, len(j.Rcpts))
		}
		for k, r := range j.Reasons {
			j.Reasons[k] = shownReason(r)
		}
	}
}

// Show returns one message. ErrNotFound.
func (q *Queue) Show(ctx context.Context, id ID) (Entry, error) {
	if id == "" { // which would be any message
		return Entry{}, ErrNotFound
	}
	for e, err := range q.List(ctx, Filter{ID: id}) {
		return e, err
	}
	return Entry{}, ErrNotFound
}

// Cat writes the body of a message. ErrNotFound, ErrCorrupt.
func (q *Queue) Cat(ctx context.Context, id ID, w io.Writer) error {
	b, err := q.Store.Open(ctx, id)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = io.Copy(w, goniec.NewReader(b))
	return err
}

// Hold keeps a message from further attempts until Release. An attempt under way goes on. ErrNotFound.
func (q *Queue) Hold(ctx context.Context, id ID) error {
	return q.told(Held, id, q.Store.Update(ctx, id, Change{Op: Hold}))
}

// Release ends Hold, and gives a corrupt message another chance. ErrNotFound.
func (q *Queue) Release(ctx context.Context, id ID) error {
	return q.changed(q.told(Released, id, q.Store.Update(ctx, id, Change{Op: Release})))
}

// Delete removes a message without a report. ErrNotFound.
func (q *Queue) Delete(ctx context.Context, id ID) error {
	return q.told(Removed, id, q.Store.Update(ctx, id, Change{Op: Remove}))
}

// told makes an event of what somebody did, unless it failed.
func (q *Queue) told(kind EventKind, id ID, err error) error {
	if err == nil {
		q.init()
		q.event(Event{Kind: kind, ID: id})
	}
	return err
}

// Flush tries a message at once, whatever its back-off and that of its destinations. Held messages stay held.
// ErrNotFound.
func (q *Queue) Flush(ctx context.Context, id ID) error {
	e, err := q.Show(ctx, id)
	if err != nil {
		return err
	}
	return q.flush(ctx, []Entry{e}, "")
}

// FlushDest tries all messages for a destination at once; "" means all destinations. Messages with a HoldUntil wait for
// it all the same (RFC 4865): only Flush, which names them, sends them earlier.
func (q *Queue) FlushDest(ctx context.Context, dest string) error {
	q.init()
	var batch []Entry
	for e, err := range q.List(ctx, Filter{Dest: dest, Brief: true}) {
		if err != nil {
			return err
		}
		if e.Since.After(q.now()) {
			continue
		}
		if batch = append(batch, e); len(batch) == flushBatch {
			if err := q.flush(ctx, batch, dest); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return q.flush(ctx, batch, dest)
}

const flushBatch = 256

// flush tries messages at once. Of their destinations only the one asked for is woken; "" wakes all.
func (q *Queue) flush(ctx context.Context, entries []Entry, dest string) error {
	q.init()
	now := q.now()
	var wg sync.WaitGroup
	errs := make([]error, len(entries))
	for i, e := range entries {
		if slices.ContainsFunc(e.Jobs, func(j Job) bool { return j.Due.After(now) }) {
			wg.Go(func() { errs[i] = q.Store.Update(ctx, e.ID, Change{Op: Retry, Due: now.Truncate(time.Second)}) })
		}
		for _, j := range e.Jobs {
			if dest == "" || dest == j.Dest {
				q.sched.revive(j.Dest, now)
			}
		}
	}
	wg.Wait()
	for _, err := range errs {
		// One that went meanwhile is no error, unless it was asked for alone.
		if err != nil && (len(entries) == 1 || !errors.Is(err, ErrNotFound)) {
			return err
		}
	}
	return q.changed(nil)
}

// revive ends a destination's back-off. It stays dead until a probe succeeds.
func (s *scheduler) revive(name string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.dests[name]; d != nil && d.paused {
		s.sleep(d, now)
	}
}

// changed has the store asked at once.
func (q *Queue) changed(err error) error {
	if err == nil {
		q.init()
		q.sched.pollBy(time.Time{})
		q.sched.poke()
	}
	return err
}

// Expire gives a message up now, with a report. ErrNotFound; ErrBusy when all recipients are under way, who are left alone. Any
// other error means that recipients are left in the queue: ErrCorrupt, or trouble of the Store that lasted until ctx ended.
func (q *Queue) Expire(ctx context.Context, id ID) error {
	q.init()
	if id == "" { // which would be any message
		return ErrNotFound
	}
	leases, err := q.Store.Claim(ctx, ClaimRequest{ID: id, Now: q.now(), Max: 1 << 20, Worker: "expire"})
	if err != nil {
		return err
	}
	if len(leases) == 0 {
		switch e, err := q.Show(ctx, id); {
		case err != nil:
			return err
		case e.Envelope == nil:
			return ErrCorrupt
		}
		return ErrBusy
	}
	for i := range leases {
		if _, failed := q.attempt(ctx, &leases[i], expiredText); failed != nil {
			err = errors.Join(err, failed)
			q.giveBack(&leases[i])
		}
	}
	return err
}

// Requeue asks Route again for the open recipients of a message, whose attempts start at zero and at once; at the end of a HoldUntil
// (RFC 4865), if that is still to come. ErrNotFound, ErrBusy; ErrCorrupt if the message can not be read.
func (q *Queue) Requeue(ctx context.Context, id ID) error {
	e, err := q.Show(ctx, id)
	if err != nil {
		return err
	}
	if e.Envelope == nil {
		return ErrCorrupt
	}
	var open []int
	for _, j := range e.Jobs {
		open = append(open, j.Rcpts...)
	}
	slices.Sort(open)
	due := latest(q.now().Truncate(time.Second), e.Since)
	return q.changed(q.Store.Update(ctx, id, Change{Op: Reroute, Groups: q.groups(e.Envelope, open), Due: due}))
}

// Stats are figures about a queue.
type Stats struct {
	Messages int
	Jobs     map[State]int
	Oldest   time.Time // arrival of the oldest message; zero = empty
	Active   int       // attempts under way here
	Panics   int64
	Dests    []DestStats // those with attempts under way, a changed window, or a pause; by name
}

// DestStats is what the scheduler knows of a destination.
type DestStats struct {
	Name   string
	Active int
	Window int
	Dead   bool
	Until  time.Time // next attempt; zero = now
	Reason string
}

// Stats counts; it looks at every message.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	q.init()
	st := Stats{Jobs: map[State]int{}, Panics: q.panics.Load()}
	for e, err := range q.Store.Entries(ctx, Filter{Brief: true}) {
		if err != nil {
			return st, err
		}
		st.Messages++
		if st.Oldest.IsZero() || e.Since.Before(st.Oldest) {
			st.Oldest = e.Since
		}
		for _, j := range e.Jobs {
			st.Jobs[j.State]++
		}
	}
	s := &q.sched
	s.mu.Lock()
	st.Active = s.active
	s.mu.Unlock()
	st.Dests = q.Dests()
	return st, nil
}

// Dests returns what Stats has of destinations. It costs little: for a display that is drawn again and again.
func (q *Queue) Dests() []DestStats {
	q.init()
	s := &q.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]DestStats, 0, len(s.dests))
	for _, d := range s.dests {
		x := DestStats{Name: d.name, Active: d.active, Window: d.window, Dead: d.dead > 0, Reason: shownReason(d.reason)}
		if d.sleeping > 0 {
			x.Until = d.until
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b DestStats) int { return strings.Compare(a.Name, b.Name) })
	return list
}
