package queue

import (
	"sync"
	"sync/atomic"
	"time"
)

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
		q.sweepRounds(ClaimRequest{Now: now, DeadlineBefore: now}, q.overdueOne)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sweeping = false
	})
}

// sweepRounds claims aged jobs and hands them to a function, a few at a time. It reports false for those that it gave back; where
// it could do nothing with a whole batch, more of them will not help.
func (q *Queue) sweepRounds(r ClaimRequest, each func(*Lease) bool) {
	r.Max, r.Worker = sweepBatch, q.o.host
	for range sweepRounds {
		leases, err := q.Store.Claim(q.sched.ctx, r)
		if err != nil || len(leases) == 0 || q.sched.closing() {
			for i := range leases {
				q.giveBack(&leases[i])
			}
			return
		}
		var done atomic.Bool
		var wg sync.WaitGroup
		slots := make(chan struct{}, sweepParallel)
		for i := range leases {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if each(&leases[i]) {
					done.Store(true)
				}
			})
		}
		wg.Wait()
		if len(leases) < r.Max || !done.Load() {
			return // what is left was given back
		}
	}
}

// expireOne gives up a message if its destination is dead. Otherwise it gets a last attempt instead,
// so that nothing expires because a clock jumped or we were away.
func (q *Queue) expireOne(l *Lease) bool {
	s := &q.sched
	if reason, dead := s.deadReason(l.Dest); dead {
		l.Reasons = orReasons(l, reason)
		_, _ = q.attempt(s.ctx, l, expiredText)
		return true
	}
	if !q.lastTry(l) {
		q.giveBack(l)
		return false
	}
	return true
}

// lastTry launches an attempt if there is room for it.
func (q *Queue) lastTry(l *Lease) bool {
	s := &q.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dest(l.Dest)
	defer s.forget(d)
	now := q.now()
	switch {
	case s.stopping || s.active >= q.o.active || d.active >= d.window || l.Bulk && s.bulky >= q.bulkRoom():
		return false
	case s.next.After(now) || d.sleeping > 0: // the rates
		return false
	}
	q.launch(d, l, now)
	return true
}

// giveBack ends a lease as if it had not been. While it lasted the scheduler may have found nothing to do for the destination.
func (q *Queue) giveBack(l *Lease) {
	_ = q.Store.Extend(q.sched.ctx, *l, 0)
	if !l.Due.After(q.now()) {
		q.sched.mark(l.Dest, l.Bulk)
		q.sched.poke()
	}
}

// lateOne tells the sender of a delay, if there is one: the message was tried, or can not be.
func (q *Queue) lateOne(l *Lease) bool {
	reason, dead := q.sched.deadReason(l.Dest)
	if !dead && l.Attempts == 0 {
		q.giveBack(l)
		return false
	}
	l.Reasons = orReasons(l, reason)
	_, _ = q.attempt(q.sched.ctx, l, delayedText)
	return true
}

// overdueOne does what the sender asked for when a message is not delivered in time (RFC 2852 §4.1.4): it goes back,
// or goes on with a report of the delay.
func (q *Queue) overdueOne(l *Lease) bool {
	if l.Envelope.DeliverBy.Return {
		if l.Since.After(q.now()) { // held until later than that (RFC 4865): it must not be tried
			_, _ = q.attempt(q.sched.ctx, l, expiredText)
			return true
		}
		return q.expireOne(l)
	}
	reason, dead := q.sched.deadReason(l.Dest)
	if !dead {
		reason = overdueText
	}
	l.Reasons = orReasons(l, reason)
	_, _ = q.attempt(q.sched.ctx, l, delayedText)
	return true
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
