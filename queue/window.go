package queue

import (
	"math/rand/v2"
	"time"
)

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
			d.dead, d.window = 0, d.limits.Window
			if d.paused {
				s.sleep(d, q.now())
			}
		}
		d.failures, d.reason = 0, ""
		d.successes++
		if d.successes >= d.window && d.window < d.limits.MaxWindow {
			d.window, d.successes = d.window+1, 0
		}
	case d.paused: // a straggler of the time before
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
			s.pause(d, q.now().Add(wait))
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
