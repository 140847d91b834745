package queue

import (
	"context"
	"errors"
	"time"
)

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
			// A job comes due within a back-off of its last attempt; the jitter is below one more.
			q.sched.forgetIdle(now.Add(-2 * q.o.maxBack))
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

// drain waits for the attempts and the sweep under way. Leases are extended as before: an attempt may take longer than one lasts.
func (q *Queue) drain() {
	s := &q.sched
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	swept := make(chan struct{})
	go func() {
		s.sweeper.Wait()
		close(swept)
	}()
	ticker := time.NewTicker(defaultTTL / extendPart)
	defer ticker.Stop()
	for done := swept; ; {
		s.mu.Lock()
		n := s.active
		s.mu.Unlock()
		if n == 0 && done == nil {
			return
		}
		select {
		case <-done:
			done = nil
		case <-s.wake:
		case <-ticker.C:
			q.extend()
		}
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
