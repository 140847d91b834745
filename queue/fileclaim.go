package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"
)

// lease is a job in the hands of a worker.
type lease struct {
	token   uint64
	expires time.Time // monotonic
	base    loc       // of the put record
	worker  string
	busy    bool    // being settled
	m       *stored // what Claim read of the message, for Open; nil once the message was moved
}

const defaultTTL = 15 * time.Minute

// Due implements Store.
func (s *FileStore) Due(_ context.Context, now time.Time) iter.Seq2[Dest, error] {
	return func(yield func(Dest, error) bool) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			yield(Dest{}, ErrClosed)
			return
		}
		s.expireLeases()
		s.seen(now)
		s.x.promote(seconds(now))
		list := make([]Dest, 0, len(s.x.due)+1)
		for _, d := range s.x.due {
			list = append(list, s.x.show(&s.x.dests[d]))
		}
		if w := s.x.waiting.jobs; len(w) > 0 {
			j := s.x.job(w[0])
			list = append(list, Dest{Name: s.x.dests[j.dest].name, Earliest: timeOf(j.due)})
		}
		s.mu.Unlock()
		for _, d := range list {
			if !yield(d, nil) {
				return
			}
		}
	}
}

// expireLeases frees the jobs of workers that did not come back.
func (s *FileStore) expireLeases() {
	now := time.Now()
	for n, l := range s.x.leases {
		if !l.busy && now.After(l.expires) {
			s.o.Logger.Warn("queue: lease ran out", "id", formatID(s.x.job(n).id), "worker", l.worker)
			s.x.park(n)
		}
	}
}

// Claim implements Store.
func (s *FileStore) Claim(ctx context.Context, r ClaimRequest) ([]Lease, error) {
	s.clean.RLock()
	defer s.clean.RUnlock()
	picked, err := s.pick(r)
	if err != nil {
		return nil, err
	}
	var leases []Lease
	for _, n := range picked {
		l, err := s.describe(n)
		if err != nil {
			s.unclaimable(ctx, n, err)
			continue
		}
		leases = append(leases, l)
	}
	if len(leases) == 0 || r.aged() {
		return leases, nil
	}
	// The attempt is on record before it begins, for blame; a power cut may forget it.
	o := &op{typ: opAttempt}
	for _, l := range leases {
		id, _ := parseID(l.ID)
		o.ids, o.groups = append(o.ids, id), append(o.groups, groupState{n: l.Group})
	}
	if _, _, err := s.commit([]*op{o}, false, false); err != nil {
		s.unlease(leases)
		return nil, fmt.Errorf("record attempts: %w", err)
	}
	return leases, nil
}

// pick leases jobs in the index.
func (s *FileStore) pick(r ClaimRequest) ([]uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.expireLeases()
	s.seen(r.Now)
	limit := max(r.Max, 1)
	var picked []uint32
	switch {
	case r.ID != "":
		id, _ := parseID(r.ID)
		for n := s.x.first(id); n != 0 && len(picked) < limit; n = s.x.job(n).next {
			if s.x.job(n).state != jobLeased {
				picked = append(picked, n)
			}
		}
	case !r.ArrivedBefore.IsZero():
		picked = s.x.aged(seconds(r.ArrivedBefore), r.Unnoticed, limit)
	case !r.DeadlineBefore.IsZero():
		picked = s.x.overdue(seconds(r.DeadlineBefore), limit)
	default:
		s.x.promote(seconds(r.Now))
		d, ok := s.x.destByID[r.Dest]
		for ok && len(picked) < limit {
			n := s.x.nextDue(&s.x.dests[d], r.Single)
			if n == 0 {
				break
			}
			if s.x.suspectWaits(n) {
				continue
			}
			s.leaseJob(n, r)
			picked = append(picked, n)
		}
		return picked, nil
	}
	for _, n := range picked {
		s.leaseJob(n, r)
	}
	return picked, nil
}

func (s *FileStore) leaseJob(n uint32, r ClaimRequest) {
	ttl := r.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	s.token++
	s.x.unpark(n)
	s.x.job(n).state = jobLeased
	if s.x.deaths[s.x.job(n).id] > 0 {
		s.x.suspect = n
	}
	s.x.leases[n] = &lease{token: s.token, expires: time.Now().Add(ttl), worker: r.Worker}
}

// suspectWaits takes a job of a message that may have killed the process out of the way while
// another such job is under way: one at a time, so that the next death tells which it was.
func (x *index) suspectWaits(n uint32) bool {
	if x.suspect == 0 || x.deaths[x.job(n).id] == 0 {
		return false
	}
	x.unpark(n)
	x.suspects = append(x.suspects, started{x.job(n).id, x.group(n)})
	return true
}

// suspectEnds lets the others go again.
func (x *index) suspectEnds() {
	waiting := x.suspects
	x.suspect, x.suspects = 0, nil
	for _, w := range waiting {
		if n := x.find(w.id, w.group); n != 0 && x.job(n).state == jobStopped {
			x.park(n)
		}
	}
}

// aged finds free jobs that arrived before a time. It looks at every job, from where it stopped the
// last time, so that those given back do not stand in the way of others.
func (x *index) aged(before uint32, unnoticed bool, limit int) []uint32 {
	var found []uint32
	for i := uint32(1); i < x.used && len(found) < limit; i++ {
		if x.agedAt++; x.agedAt >= x.used {
			x.agedAt = 1
		}
		n := x.agedAt
		j := x.job(n)
		if (j.state == jobWaiting || j.state == jobReady) && j.since < before &&
			(!unnoticed || j.flags&flagNoticed == 0) {
			found = append(found, n)
		}
	}
	return found
}

// overdue finds free jobs whose deadline is before a time, as ClaimRequest.DeadlineBefore says.
func (x *index) overdue(before uint32, limit int) (found []uint32) {
	for n, by := range x.by {
		j := x.job(n)
		if len(found) < limit && by.at < before && (j.state == jobWaiting || j.state == jobReady) && (by.back || j.flags&flagNoticed == 0) {
			found = append(found, n)
		}
	}
	return found
}

// describe reads a leased job from disk.
func (s *FileStore) describe(n uint32) (Lease, error) {
	s.mu.Lock()
	le := s.x.leases[n]
	if le == nil {
		s.mu.Unlock()
		return Lease{}, ErrLeaseLost
	}
	j := *s.x.job(n)
	recent := s.recent.take(j.id, j.at)
	l := Lease{
		ID: formatID(j.id), Group: s.x.group(n), Token: le.token, Dest: s.x.dests[j.dest].name,
		Rcpts: toInt(s.x.rcpts(n)), Since: timeOf(j.since), Due: timeOf(j.due), Attempts: int(j.attempts),
		Noticed: j.flags&flagNoticed != 0, Bulk: j.flags&jobBulk != 0, Deaths: int(s.x.deaths[j.id]),
	}
	s.mu.Unlock()
	m, base, reasons, err := recent, j.at, []string(nil), error(nil)
	if m == nil {
		m, base, reasons, err = s.readJob(j, l.Group)
		if err == nil {
			err = s.checkBody(m)
		}
		if err != nil {
			return l, err
		}
		m = m.slim()
	}
	if len(reasons) == len(l.Rcpts) {
		l.Reasons = reasons
	}
	l.Envelope, l.Size, l.Kind = m.env, m.size, m.op.kind
	s.mu.Lock()
	defer s.mu.Unlock()
	le.base, le.m = base, m
	return l, nil
}

// unclaimable deals with a job that can not be read: damaged for good, or not now.
func (s *FileStore) unclaimable(ctx context.Context, n uint32, err error) {
	s.mu.Lock()
	if s.x.job(n).state != jobLeased {
		s.mu.Unlock()
		return
	}
	id := s.x.job(n).id
	s.x.job(n).due = s.logTime() + 60
	s.x.park(n)
	s.mu.Unlock()
	s.o.Logger.LogAttrs(ctx, slog.LevelError, "queue: message can not be read", slog.String("id", string(formatID(id))), slog.Any("err", err))
	if errors.Is(err, ErrCorrupt) {
		if err := s.commitApply([]*op{{typ: opChange, id: id, change: changeCorrupt}}, false); err != nil {
			s.o.Logger.LogAttrs(ctx, slog.LevelError, "queue: quarantine failed", slog.Any("err", err))
		}
	}
}

func (s *FileStore) logTime() uint32 { return s.now() }

func (s *FileStore) unlease(leases []Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range leases {
		if n, le := s.leaseOf(l); le != nil {
			s.x.park(n)
		}
	}
}

// leaseOf finds a lease that is still held.
func (s *FileStore) leaseOf(l Lease) (uint32, *lease) {
	id, _ := parseID(l.ID)
	n := s.x.find(id, l.Group)
	le := s.x.leases[n]
	if n == 0 || le == nil || le.token != l.Token {
		return 0, nil
	}
	return n, le
}

// Extend implements Store.
func (s *FileStore) Extend(_ context.Context, l Lease, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, le := s.leaseOf(l)
	if le == nil || !le.busy && time.Now().After(le.expires) {
		return ErrLeaseLost
	}
	if ttl <= 0 && !le.busy {
		s.x.park(n)
		return nil
	}
	le.expires = time.Now().Add(ttl)
	return nil
}

// Settle implements Store.
func (s *FileStore) Settle(ctx context.Context, l Lease, st Settlement) error {
	news, err := s.buildReports(ctx, st.New)
	defer func() {
		for _, o := range news {
			s.putDone(o)
		}
	}()
	if err == nil {
		err = s.settle(l, st, news)
	}
	if err != nil {
		for _, o := range news {
			s.discardBody(o)
		}
		return err
	}
	s.wakeUp()
	s.kickMaintainer()
	return nil
}

// buildReports makes put operations of the messages whose key is not known yet.
func (s *FileStore) buildReports(ctx context.Context, msgs []Message) ([]*op, error) {
	var news []*op
	for i := range msgs {
		m := &msgs[i]
		if err := checkMessage(m); err != nil {
			return news, err
		}
		s.mu.Lock()
		_, known := s.keyID(hashKey(m.Key))
		s.mu.Unlock()
		if m.Key != "" && known {
			continue
		}
		o, err := s.build(ctx, m)
		if err != nil {
			return news, err
		}
		news = append(news, o)
	}
	return news, nil
}

func (s *FileStore) settle(l Lease, st Settlement, news []*op) error {
	s.clean.RLock()
	defer s.clean.RUnlock()
	o, big, err := s.outcome(l, st)
	if err != nil {
		return err
	}
	if err := s.commitApply(append([]*op{o}, news...), false); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, le := s.leaseOf(l); le != nil {
			le.busy = false
		}
		return fmt.Errorf("record outcome: %w", err)
	}
	s.mu.Lock()
	gone := s.x.first(o.id) == 0
	s.mu.Unlock()
	if gone && big {
		_ = s.bodyHandle().Remove(bodyName(o.id)) // what stays is garbage for start-up
	}
	return nil
}

// outcome makes the operation for a lease, which is busy until it is applied or fails.
func (s *FileStore) outcome(l Lease, st Settlement) (o *op, big bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, ErrClosed
	}
	n, le := s.leaseOf(l)
	if le == nil || le.busy || time.Now().After(le.expires) {
		return nil, false, ErrLeaseLost
	}
	j := s.x.job(n)
	g := groupState{n: l.Group, attempts: j.attempts, due: secondsUp(st.Due), flags: j.flags & flagNoticed, rcpts: toUint32(st.Open)}
	if !subset(g.rcpts, s.x.rcpts(n)) {
		return nil, false, errors.New("queue: settlement leaves recipients open that were not")
	}
	if st.Attempted && g.attempts < 1<<16-1 {
		g.attempts++
	}
	if st.Noticed {
		g.flags |= flagNoticed
	}
	if st.Hold {
		g.flags |= flagHeld
	}
	le.busy = true
	o = &op{typ: opOutcome, id: j.id, base: le.base, groups: []groupState{g}}
	if len(g.rcpts) > 0 {
		o.data = appendTexts(nil, st.Reasons)
	}
	return o, j.flags&jobBig != 0, nil
}

// subset wants a in rising order, all of it in b.
func subset(a, b []uint32) bool {
	for _, r := range a {
		for len(b) > 0 && b[0] < r {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != r {
			return false
		}
		b = b[1:]
	}
	return true
}
