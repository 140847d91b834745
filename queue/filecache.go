package queue

import (
	"github.com/goniec-mail/goniec"
)

// mailingCache is how many mailings are kept parsed: each of their many jobs needs the whole envelope.
const mailingCache = 8

// cached returns a mailing that was read lately.
func (s *FileStore) cached(id uint64, at loc) *stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mailings {
		if c.at == at && c.m.op.id == id {
			return c.m
		}
	}
	return nil
}

// cachedMailing is a mailing by the place of its put record. What it holds is never changed.
type cachedMailing struct {
	at loc
	m  *stored
}

func (s *FileStore) cache(at loc, m *stored) {
	if len(m.op.groups) <= bulkJobs {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mailings) == mailingCache {
		s.mailings = s.mailings[1:]
	}
	s.mailings = append(s.mailings[:len(s.mailings):len(s.mailings)], cachedMailing{at, m})
}

// recentPuts is how many messages are remembered that were stored and not claimed since: a queue that keeps up
// hands each to a worker without reading it again.
const recentPuts = 256

// recentList holds the last messages that were put, the oldest first out.
type recentList struct {
	byID  map[uint64]cachedMailing
	order [recentPuts]uint64
	next  int
}

// add remembers a message. The caller holds FileStore.mu.
func (r *recentList) add(at loc, m *stored) {
	if r.byID == nil {
		r.byID = make(map[uint64]cachedMailing, recentPuts)
	}
	delete(r.byID, r.order[r.next])
	r.order[r.next] = m.op.id
	r.next = (r.next + 1) % recentPuts
	r.byID[m.op.id] = cachedMailing{at, m}
}

// take gives a message away, nil if it is not there or its put record is elsewhere.
func (r *recentList) take(id uint64, at loc) *stored {
	c, ok := r.byID[id]
	if !ok || c.at != at {
		return nil
	}
	delete(r.byID, id)
	return c.m
}

// recall makes what remember needs of a message to be stored, nil if it is not worth it: one that waits, or a
// mailing, which has a cache of its own.
func recall(o *op, env *goniec.Envelope) *stored {
	if len(o.groups) != 1 || o.groups[0].flags != 0 || o.groups[0].due > o.since {
		return nil
	}
	return &stored{op: op{id: o.id, kind: o.kind, big: o.big}, env: env.Clone(), size: o.size, sum: o.sum, sound: true}
}

// remember keeps a message at hand that was stored just now. The caller holds s.mu.
func (s *FileStore) remember(m *stored, o *op, seg *segment, at loc) {
	if m == nil {
		return
	}
	m.seg = seg
	if !o.big {
		m.bodyAt = int64(at.off) + recordHeader + int64(o.dataAt+len(o.data)) - o.size
	}
	s.recent.add(at, m)
}
