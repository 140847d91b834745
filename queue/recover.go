package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// recover rebuilds the index from the segments: from their footers, or by reading them.
func (s *FileStore) recover() error {
	s.x.ended = func(seg uint32) {
		if g := s.segment(seg); g != nil {
			g.live.Add(-1)
		}
	}
	names, err := s.log.dir().Names()
	if err != nil {
		return err
	}
	slices.Sort(names)
	s.log.next = 1
	for _, name := range names {
		if err := s.openSegment(name); err != nil {
			return err
		}
	}
	cuts, err := s.readCuts()
	if err != nil {
		return err
	}
	for i, seg := range s.log.segs {
		if err := s.replay(seg, cuts, i == len(s.log.segs)-1); err != nil {
			return fmt.Errorf("%s: %w", seg.name, err)
		}
	}
	if err := s.blame(); err != nil {
		return err
	}
	if s.x.messages > largeQueue {
		debug.FreeOSMemory() // reading the log leaves garbage of the size of the index
	}
	return s.sweepBodies()
}

// largeQueue is from how many messages on start-up gives memory back.
const largeQueue = 200_000

// openSegment opens one file of the directory. What can be no segment of ours is moved to the
// quarantine, so that it does not stand in the way of the others.
func (s *FileStore) openSegment(name string) error {
	switch {
	case strings.HasPrefix(name, sparePrefix):
		return s.log.dir().Remove(name) // of unknown content
	case name == lockName || name == bodyDir || name == quarantineDir:
		return nil
	case !isSegment(name):
		s.o.Logger.Warn("queue: foreign file left alone", "file", name)
		return nil
	}
	seg := &segment{name: name}
	if _, err := fmt.Sscanf(name, "s%d.seg", &seg.n); err != nil || seg.n == 0 {
		return s.setAside(name, "its number is not possible")
	}
	s.log.next = max(s.log.next, seg.n+1)
	file, err := s.log.dir().OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	seg.file, seg.size = file, uint32(min(info.Size, maxSegmentFile))
	why, err := s.readHeader(seg)
	if why != "" || err != nil {
		_ = file.Close()
	}
	if err != nil {
		return err // an unreadable disk is no damage: somebody must look at it
	}
	if why != "" {
		return s.setAside(name, why)
	}
	s.log.segs = append(s.log.segs, seg)
	return nil
}

// readHeader finds a segment's epoch: in the header, or, if that is damaged, in the first record.
func (s *FileStore) readHeader(seg *segment) (why string, err error) {
	b := make([]byte, segmentHeader+8)
	n, err := seg.file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	full, ok, newer := seg.parseHeader(b[:n])
	if ok && seg.size < full {
		s.o.Logger.Error("queue: segment is cut short; what was behind is lost", "segment", seg.name, "size", seg.size, "was", full)
	}
	if ok {
		return "", nil
	}
	if n == len(b) && !newer {
		c := cursor{b: b[segmentHeader:]}
		seg.epoch = c.u64()
		_, _, err := seg.readRecord(segmentHeader, nil)
		if err == nil {
			s.o.Logger.Warn("queue: header of a segment is damaged; its records are not", "segment", seg.name)
			return "", nil
		}
		if !errors.Is(err, ErrCorrupt) {
			return "", err
		}
	}
	return "it is damaged, of another version or name, or no segment", nil
}

func (s *FileStore) setAside(name, why string) error {
	s.o.Logger.Error("queue: file moved to quarantine", "file", name, "why", why)
	for i := 0; ; i++ {
		to := name
		if i > 0 {
			to = fmt.Sprintf("%s.%d", name, i)
		}
		if _, err := s.bad.Lstat(to); err == nil && i < 1000 {
			continue
		}
		if err := s.log.dir().Rename(name, s.bad, to); err != nil {
			return err
		}
		break
	}
	if err := s.bad.Sync(); err != nil {
		return err
	}
	return s.log.syncDir()
}

// readCuts collects where segments end whose last flush failed: the first record of the next one
// tells.
func (s *FileStore) readCuts() (map[uint32]uint32, error) {
	cuts := map[uint32]uint32{}
	for _, seg := range s.log.segs {
		b, _, err := seg.readRecord(segmentHeader, nil)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
		if ops, opErr := splitPayload(b); err == nil && opErr == nil && len(ops) > 0 && ops[0].typ == opCut {
			cuts[ops[0].base.seg] = ops[0].base.off
		}
	}
	return cuts, nil
}

// replay applies the records of a segment.
func (s *FileStore) replay(seg *segment, cuts map[uint32]uint32, last bool) error {
	cut, isCut := cuts[seg.n]
	if !isCut {
		now, ok, err := seg.readFooter(func(off, _ uint32, heads []byte) error {
			return s.replayHeads(heads, loc{seg.n, off})
		})
		if ok || err != nil {
			seg.sealed = true
			s.log.last = max(s.log.last, now)
			return err
		}
	}
	img := make([]byte, seg.size)
	if n, err := seg.file.ReadAt(img, 0); n < len(img) {
		return err
	}
	if isCut {
		img = img[:min(cut, seg.size)]
	}
	bad, err := seg.scan(img, func(off, length, now uint32, payload []byte) error {
		s.log.last = max(s.log.last, now)
		c := cursor{b: payload}
		heads := c.take(uint64(c.u32()))
		seg.note(off, length, heads)
		return s.replayHeads(heads, loc{seg.n, off})
	})
	if err != nil {
		return err
	}
	for _, d := range bad {
		name := fmt.Sprintf("%s-%d.bad", seg.name, d.from)
		s.o.Logger.Error("queue: damaged part of a segment, or a torn tail, was passed over", "segment", seg.name,
			"from", d.from, "to", d.to, "copy", name)
		s.quarantine(name, img[d.from:d.to])
	}
	return s.reopenSegment(seg, last && !isCut)
}

// reopenSegment prepares a segment that has no footer: the last one is written on, others are not.
func (s *FileStore) reopenSegment(seg *segment, last bool) error {
	if !last {
		seg.broken, seg.footer = true, nil
		return nil
	}
	// What was read may be in the page cache only.
	if err := seg.file.Datasync(); err != nil {
		return err
	}
	s.log.start(seg, seg.end)
	return nil
}

// replayHeads applies one record. A record that does not parse though its checksum is right was
// written by a newer version or by a bug: opening fails, nothing is lost.
func (s *FileStore) replayHeads(heads []byte, at loc) error {
	c := cursor{b: heads, intern: func([]byte) string { return "" }}
	for len(c.b) > 0 && !c.bad { // first look: all or nothing
		c.head(&s.scratch)
	}
	if c.bad {
		return fmt.Errorf("record at %d: %w", at.off, errCodec)
	}
	c = cursor{b: heads, intern: s.x.intern}
	for len(c.b) > 0 {
		c.head(&s.scratch)
		s.apply(&s.scratch, at)
	}
	return nil
}

// apply brings the index to the state that an operation sets. It is the only way there, for what
// happens now as for what is replayed.
func (s *FileStore) apply(o *op, at loc) {
	x := s.x
	switch o.typ {
	case opPut:
		s.applyPut(o, at)
	case opOutcome:
		s.applyOutcome(o, at)
	case opAttempt:
		for i, id := range o.ids {
			s.started[started{id, o.groups[i].n}] = true
		}
	case opChange:
		s.applyChange(o)
	case opKey:
		x.keys[o.key] = keyEntry{id: o.id, since: o.since, seg: at.seg}
	case opStart:
		clear(s.started)
	}
}

func (s *FileStore) applyPut(o *op, at loc) {
	x := s.x
	if !x.put(o, at) {
		return
	}
	seg := s.segment(at.seg)
	seg.puts.Add(1)
	seg.live.Add(1)
	if o.key != (keyHash{}) {
		x.keys[o.key] = keyEntry{id: o.id, since: o.since, seg: at.seg}
	}
}

func (s *FileStore) applyOutcome(o *op, at loc) {
	x := s.x
	g := &o.groups[0]
	delete(s.started, started{o.id, g.n})
	n := x.find(o.id, g.n)
	if n == 0 {
		return
	}
	delete(x.deaths, o.id)
	if len(g.rcpts) == 0 {
		x.done(n)
		return
	}
	j := x.job(n)
	// A hold that came meanwhile stays.
	j.at, j.attempts, j.due, j.flags = at, g.attempts, g.due, j.flags&^flagNoticed|g.flags
	x.setRcpts(n, g.n, g.rcpts)
	x.park(n)
}

func (s *FileStore) applyChange(o *op) {
	x := s.x
	if o.change == changeDeaths {
		x.deaths[o.id] = uint8(o.due)
		return
	}
	if o.change == uint8(Remove) {
		x.remove(o.id)
		delete(x.deaths, o.id)
		return
	}
	for n := x.first(o.id); n != 0; n = x.job(n).next {
		s.changeJob(n, o)
	}
	if o.change == uint8(Release) {
		delete(x.deaths, o.id)
	}
}

func (s *FileStore) changeJob(n uint32, o *op) {
	j := s.x.job(n)
	switch o.change {
	case uint8(Hold):
		j.flags |= flagHeld
	case uint8(Release):
		j.flags &^= flagHeld | flagCorrupt
	case uint8(Retry):
		j.due = o.due
	case changeCorrupt:
		j.flags |= flagCorrupt
	}
	if j.state != jobLeased {
		s.x.park(n)
	}
}

// blame finds out which messages killed the process: attempts that began and did not end. The first
// time every message under way is a suspect. Suspects are then tried one at a time (see Queue), so
// that the next time only one of them can have done it, and the others go free.
func (s *FileStore) blame() error {
	ids := map[uint64]bool{}
	suspects := false
	for st := range s.started {
		if s.x.find(st.id, st.group) != 0 {
			ids[st.id] = true
			suspects = suspects || s.x.deaths[st.id] > 0
		}
	}
	ops := []*op{{typ: opStart}}
	for id := range ids {
		deaths := s.x.deaths[id]
		if suspects && deaths == 0 {
			continue
		}
		deaths = uint8(min(int(deaths)+1, 255))
		ops = append(ops, &op{typ: opChange, id: id, change: changeDeaths, due: uint32(deaths)})
		if s.o.MaxDeaths > 0 && int(deaths) >= s.o.MaxDeaths {
			ops = append(ops, &op{typ: opChange, id: id, change: changeCorrupt})
			s.o.Logger.Error("queue: message set aside: the process died each time it was tried", "id", formatID(id), "deaths", deaths)
		}
	}
	if len(s.started) == 0 {
		return nil
	}
	_, at, err := s.commit(ops, true, false)
	if err != nil {
		return err
	}
	for _, o := range ops {
		s.apply(o, at)
	}
	return nil
}

// sweepBodies removes files of bodies that no record names. Young ones are left: they may be looked
// at by people after a crash.
func (s *FileStore) sweepBodies() error {
	names, err := s.body.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		id, ok := parseID(ID(strings.TrimSuffix(name, bodySuffix)))
		if ok && s.x.first(id) != 0 {
			continue
		}
		info, err := s.body.Lstat(name)
		if err != nil || s.o.Now().Sub(info.ModTime) < garbageAge {
			continue
		}
		err = s.body.Remove(name)
		s.o.Logger.LogAttrs(context.Background(), slog.LevelInfo, "queue: body without message removed",
			slog.String("file", name), slog.Time("from", info.ModTime), slog.Any("err", err))
	}
	return nil
}
