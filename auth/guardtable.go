package auth

import (
	"net/netip"
	"time"
)

// bucket counts the failures of one address, name or pair; it leaks.
type bucket struct {
	level  int
	at     time.Time // when level was true; of a known pair, the last success
	until  time.Time // refused until then; zero: not refused
	limit  int
	told   bool   // the event of this refusal was sent
	mark   uint64 // of the last wrong password
	prefix netip.Prefix
	user   string
}

func (b *bucket) full() bool { return b.limit > 0 && b.level >= b.limit }

func (b *bucket) refused(now time.Time) bool { return now.Before(b.until) }

// drain lets the level sink: from the limit to zero in one window, one by one. A refusal that is
// over leaves half of the limit, so that a guesser who waited for it is refused sooner the next time.
func (b *bucket) drain(now time.Time, window time.Duration) {
	if !b.until.IsZero() && !b.refused(now) {
		b.level, b.until, b.at, b.told = min(b.level, b.limit/2), time.Time{}, now, false
	}
	if window < 0 {
		return
	}
	step := max(window/time.Duration(max(b.limit, 10)), 1)
	sunk := now.Sub(b.at) / step
	if b.level == 0 || sunk >= time.Duration(b.level) {
		b.level, b.at = 0, now
		return
	}
	if sunk > 0 {
		b.level -= int(sunk)
		b.at = b.at.Add(sunk * step)
	}
}

// guardTable is a bounded map of buckets.
type guardTable struct {
	m    map[guardName]*bucket
	life time.Duration // of an entry that nobody asks for
}

// get returns the bucket of a name, nil if there is none or its life is over.
func (t *guardTable) get(name guardName, now time.Time) *bucket {
	b := t.m[name]
	if b == nil || t.dead(b, now) {
		return nil
	}
	return b
}

func (t *guardTable) dead(b *bucket, now time.Time) bool {
	return t.life >= 0 && now.Sub(b.at) > t.life && !b.refused(now)
}

// put returns the bucket of a name, a new one if need be.
func (t *guardTable) put(name guardName, limit int, now time.Time) *bucket {
	b := t.m[name]
	if b == nil {
		if len(t.m) >= limit {
			t.evict(now)
		}
		b = &bucket{at: now}
		t.m[name] = b
	}
	return b
}

func (t *guardTable) drop(name guardName) { delete(t.m, name) }

// evictSample is how many entries are looked at to find one to evict. Go's maps begin their
// iteration anywhere, so these are as good as random ones.
const evictSample = 16

// evict removes the dead among a sample, or else the mildest: not refused, least level, oldest.
func (t *guardTable) evict(now time.Time) {
	var victim guardName
	var mildest *bucket
	seen, removed := 0, false
	for name, b := range t.m {
		if seen++; seen > evictSample {
			break
		}
		if t.dead(b, now) {
			delete(t.m, name)
			removed = true
			continue
		}
		if mildest == nil || milder(b, mildest, now) {
			victim, mildest = name, b
		}
	}
	if !removed && mildest != nil {
		delete(t.m, victim)
	}
}

func milder(a, b *bucket, now time.Time) bool {
	if a.refused(now) != b.refused(now) {
		return b.refused(now)
	}
	if a.level != b.level {
		return a.level < b.level
	}
	return a.at.Before(b.at)
}
