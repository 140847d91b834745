package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// snapshot makes a put operation that says all that is known of a message now. The caller holds
// s.clean for writing.
func (s *FileStore) snapshot(id uint64) (*op, error) {
	e, jobs := s.brief(id)
	if len(jobs) == 0 {
		return nil, ErrNotFound
	}
	o := &op{typ: opPut, id: id}
	reasons := make([][]string, len(jobs))
	var last *stored
	for i, j := range jobs {
		m, _, why, err := s.readJob(j, e.Jobs[i].Group)
		if err != nil {
			return nil, err
		}
		reasons[i], last = why, m
		o.groups = append(o.groups, groupState{
			n: e.Jobs[i].Group, dest: e.Jobs[i].Dest, rcpts: toUint32(e.Jobs[i].Rcpts),
			attempts: j.attempts, due: j.due, flags: j.flags & flagMask,
		})
	}
	o.since, o.kind, o.prio, o.big, o.by, o.key = last.op.since, last.op.kind, last.op.prio, last.op.big, last.op.by, last.op.key
	o.data = withReasons(last.op.data, reasons)
	return o, nil
}

// withReasons replaces the replies in the data of a put operation.
func withReasons(data []byte, reasons [][]string) []byte {
	c := cursor{b: data}
	env := c.text()
	for range c.count() {
		c.texts()
	}
	out := appendText(make([]byte, 0, len(data)+64), env)
	out = appendReasons(out, reasons)
	return append(out, c.b...)
}

func stripReasons(data []byte) []byte { return withReasons(data, nil) }

func appendReasons(dst []byte, reasons [][]string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(reasons)))
	for _, r := range reasons {
		dst = appendTexts(dst, r)
	}
	return dst
}

func (s *FileStore) kickMaintainer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// maintain makes spare segments and cleans old ones, until the store is closed.
func (s *FileStore) maintain() {
	defer close(s.done)
	for range s.kick {
		s.prepareSpare()
		for s.cleanable() && s.open() == nil {
			if err := s.cleanOldest(); err != nil {
				s.o.Logger.Error("queue: an old segment could not be cleaned; tried again later", "err", err)
				break
			}
		}
	}
}

// prepareSpare makes the next segment's file when the last one is half full, so that nobody has to
// wait for it.
func (s *FileStore) prepareSpare() {
	s.log.mu.Lock()
	n := len(s.log.segs)
	needed := s.log.spare == nil && (n == 0 || s.log.segs[n-1].end > s.log.segs[n-1].size/2)
	s.log.mu.Unlock()
	if !needed {
		return
	}
	spare, err := s.log.makeSpare(s.log.size)
	if err != nil {
		s.o.Logger.Warn("queue: no room for another segment", "err", err)
		return
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if s.log.spare == nil {
		s.log.spare = spare
	} else {
		s.log.discard(spare)
	}
}

// minSegments is how many segments are left alone whatever is in them.
const minSegments = 4

// cleanable reports whether the oldest segment should go: nothing in it is queued any more, or
// less than half of all segments is. So no message is moved more often than space is gained.
func (s *FileStore) cleanable() bool {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	segs := s.log.segs
	if len(segs) < 2 {
		return false
	}
	if segs[0].live.Load() == 0 {
		return true
	}
	used := 0.0
	for _, seg := range segs {
		if p := seg.puts.Load(); p > 0 {
			used += float64(seg.live.Load()) / float64(p)
		}
	}
	return len(segs) > minSegments && used < float64(len(segs))/2
}

// cleanOldest writes what is still wanted of the oldest segment to the end of the log, and releases
// the segment.
func (s *FileStore) cleanOldest() error {
	s.log.mu.Lock()
	seg := s.log.segs[0]
	s.log.mu.Unlock()
	for from := uint32(1); from != 0 && seg.live.Load() > 0; {
		var err error
		if from, err = s.moveSome(seg, from); err != nil {
			return err
		}
	}
	s.clean.Lock()
	defer s.clean.Unlock()
	if err := s.moveKeys(seg); err != nil {
		return err
	}
	return s.log.release()
}

// moveBatch is how many messages are moved while all others wait.
const moveBatch = 64

// moved is a message's new place.
type moved struct {
	o   *op
	seg *segment
	at  loc
}

// moveSome moves messages out of a segment, durably, before the index is told. It looks at jobs from
// a number on and returns where to go on, 0 at the end.
func (s *FileStore) moveSome(seg *segment, from uint32) (uint32, error) {
	s.clean.Lock()
	defer s.clean.Unlock()
	ids, next := s.messagesIn(seg.n, from)
	var batch []moved
	for _, id := range ids {
		o, err := s.snapshot(id)
		if errors.Is(err, ErrCorrupt) {
			err = s.bury(id, err)
			o = nil
		}
		if err != nil {
			return 0, err
		}
		if o == nil {
			continue
		}
		m := moved{o: o}
		if m.seg, m.at, err = s.commit([]*op{o}, false, false); err != nil {
			return 0, err
		}
		batch = append(batch, m)
	}
	for i, m := range batch {
		if i+1 < len(batch) && batch[i+1].seg == m.seg {
			continue
		}
		if err := s.log.flush(m.seg); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		s.relocate(m.o, m.at)
	}
	return next, nil
}

// messagesIn finds some messages whose put record is in a segment.
func (s *FileStore) messagesIn(seg, from uint32) (ids []uint64, next uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := from; n < s.x.used; n++ {
		j := s.x.job(n)
		if j.state == jobFree || j.baseSeg != seg || s.x.first(j.id) != n {
			continue
		}
		if len(ids) == moveBatch {
			return ids, n
		}
		ids = append(ids, j.id)
	}
	return ids, 0
}

// relocate tells the index where a message is now. Its leases stay.
func (s *FileStore) relocate(o *op, at loc) {
	from := uint32(0)
	for n := s.x.first(o.id); n != 0; n = s.x.job(n).next {
		j := s.x.job(n)
		from = j.baseSeg
		j.at, j.baseSeg = at, at.seg
		if l := s.x.leases[n]; l != nil {
			l.base, l.m = at, nil // the segment that m speaks of is written anew soon
		}
	}
	s.x.ended(from)
	seg := s.segment(at.seg)
	seg.puts.Add(1)
	seg.live.Add(1)
	if k, ok := s.x.keys[o.key]; ok && k.id == o.id {
		k.seg = at.seg
		s.x.keys[o.key] = k
	}
}

// bury drops a message that is damaged beyond reading, keeping the octets.
func (s *FileStore) bury(id uint64, cause error) error {
	_, jobs := s.brief(id)
	for _, j := range jobs {
		if seg := s.segment(j.at.seg); seg != nil {
			b := make([]byte, 64<<10)
			n, _ := seg.file.ReadAt(b, int64(j.at.off))
			s.quarantine(fmt.Sprintf("%s-%s-%d.bad", formatID(id), seg.name, j.at.off), b[:n])
		}
	}
	s.o.Logger.Error("queue: damaged message removed; what is left of it is in quarantine", "id", formatID(id), slog.Any("err", cause))
	return s.commitApply([]*op{{typ: opChange, id: id, change: uint8(Remove)}}, false)
}

// moveKeys writes keys anew that must outlive a segment, and forgets old ones.
func (s *FileStore) moveKeys(seg *segment) error {
	var ops []*op
	s.mu.Lock()
	for k, e := range s.x.keys {
		switch {
		case s.keyForgotten(e):
			delete(s.x.keys, k)
		case e.seg <= seg.n:
			ops = append(ops, &op{typ: opKey, id: e.id, key: k, since: e.since})
		}
	}
	s.mu.Unlock()
	for batch := range slices.Chunk(ops, 4096) {
		if err := s.commitApply(batch, false); err != nil {
			return err
		}
	}
	return nil
}
