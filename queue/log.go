package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// segmentLog is the sequence of segments: records are appended to the last one, whole segments go
// away at the front. That order is what makes a record's disappearance safe: no record speaks of
// a later one, so when the oldest segment goes, nothing that stays depended on it.
type segmentLog struct {
	handle atomic.Pointer[faultfs.Dir] // of the directory
	reopen func() (faultfs.Dir, error)
	size   uint32

	mu        sync.Mutex
	segs      []*segment   // by number; the last one is open
	spare     *segment     // ready to be the next one
	next      uint32       // number of the next segment
	last      uint32       // time of the last record: the log's time never goes back
	failedAt  time.Time    // when no segment could be made
	asked     uint32       // segment for whose successor needSpare was called
	needSpare func()       // called when the last segment is half full
	cut       *loc         // to be told by the next segment
	spares    atomic.Int32 // for names
}

const (
	sparePrefix = "spare"
	// reserveShare is the part of the last segment that outcomes may use when a full disk refuses
	// new messages: mail must be able to leave.
	reserveShare = 16
	// retryFull is how long a full disk is left alone.
	retryFull = 250 * time.Millisecond
)

// append writes one record behind the others and, if asked, returns when it is durable. The record
// is b as made by payload. keep says that the reserve must be left alone.
func (l *segmentLog) append(b, heads []byte, now uint32, durable, keep bool) (*segment, loc, error) {
	sum := payloadSum(b)
	l.mu.Lock()
	seg, err := l.fit(len(b), len(heads), keep)
	if err != nil {
		l.mu.Unlock()
		return nil, loc{}, err
	}
	off := seg.end
	l.last = max(l.last, now)
	seg.stamp(b, off, l.last, sum)
	if _, err := seg.file.WriteAt(b, int64(off)); err != nil {
		l.mu.Unlock()
		return nil, loc{}, fullError(err) // the next record overwrites what is there of this one
	}
	seg.end += uint32(len(b))
	seg.written.Store(seg.end)
	seg.note(off, uint32(len(b)), heads)
	ask := seg.end > seg.size/2 && l.spare == nil && l.asked != seg.n
	if ask {
		l.asked = seg.n
	}
	l.mu.Unlock()
	if ask {
		l.needSpare()
	}
	if durable {
		if err := l.flush(seg); err != nil {
			return nil, loc{}, err
		}
	}
	return seg, loc{seg.n, off}, nil
}

// flush makes durable what was appended to a segment; it is shared by all who wait. This is the way
// from fsync to an acknowledgement.
func (l *segmentLog) flush(seg *segment) error {
	err := seg.flusher.Sync()
	if err == nil {
		return nil
	}
	// What was written since the last good flush may be gone, and no later flush would tell: the
	// file is left alone from now on, and the next segment says where it ended.
	l.mu.Lock()
	defer l.mu.Unlock()
	if !seg.broken && !seg.sealed {
		seg.broken = true
		l.cut = &loc{seg.n, seg.flusher.durable()}
	}
	return fmt.Errorf("flush of queue segment %s: %w", seg.name, err)
}

// fit returns the segment where a record goes.
func (l *segmentLog) fit(record, heads int, keep bool) (*segment, error) {
	var cur *segment
	if len(l.segs) > 0 {
		cur = l.segs[len(l.segs)-1]
	}
	usable := cur != nil && !cur.broken && !cur.sealed && cur.room(record, heads, 0)
	if usable && (!keep || l.spare != nil || cur.room(record, heads, int(l.size/reserveShare))) {
		return cur, nil
	}
	if keep && !l.failedAt.IsZero() && time.Since(l.failedAt) < retryFull {
		return nil, ErrFull
	}
	err := l.rotate(record + heads)
	l.failedAt = time.Time{}
	if err == nil {
		return l.segs[len(l.segs)-1], nil
	}
	if errors.Is(err, ErrFull) {
		l.failedAt = time.Now()
	}
	if usable && !keep {
		return cur, nil
	}
	return nil, err
}

// rotate opens the next segment and closes the last one.
func (l *segmentLog) rotate(need int) error {
	next, err := l.newSegment(need)
	if err != nil {
		return err
	}
	if len(l.segs) > 0 {
		if cur := l.segs[len(l.segs)-1]; !cur.broken && !cur.sealed {
			l.seal(cur)
		}
	}
	l.segs = append(l.segs, next)
	if l.cut == nil {
		return nil
	}
	b, heads := payload(nil, []*op{{typ: opCut, base: *l.cut}})
	next.stamp(b, next.end, l.last, payloadSum(b))
	if _, err := next.file.WriteAt(b, int64(next.end)); err != nil {
		next.broken = true // its own cut is its whole content
		l.cut = &loc{next.n, segmentHeader}
		return fullError(err)
	}
	next.note(next.end, uint32(len(b)), heads)
	next.end += uint32(len(b))
	next.written.Store(next.end)
	l.cut = nil
	return nil
}

// seal writes the footer. If that fails, the records up to the last good flush count: others
// are waiting for a flush that will fail for them too.
func (l *segmentLog) seal(cur *segment) {
	err := cur.writeFooter(l.last)
	if err == nil {
		err = cur.flusher.Sync()
	}
	if err != nil {
		cur.broken = true
		l.cut = &loc{cur.n, cur.flusher.durable()}
		return
	}
	cur.sealed = true
	cur.footer = nil
	cur.flusher.retire() // all that it holds is durable now
}

// newSegment gives a spare, or a new file, its number, epoch and name.
func (l *segmentLog) newSegment(need int) (*segment, error) {
	need += 2*segmentHeader + recordHeader + 64 + footerEntry + trailerSize
	s := l.spare
	l.spare = nil
	if s == nil || int64(s.size) < int64(need) {
		if s != nil {
			l.discard(s)
		}
		var err error
		if s, err = l.makeSpare(uint32(max(int64(l.size), int64(need)))); err != nil {
			return nil, fullError(err)
		}
	}
	if err := l.christen(s); err != nil {
		l.discard(s)
		return nil, fullError(err)
	}
	return s, nil
}

// christen makes a segment of a spare: durable before the first record.
func (l *segmentLog) christen(s *segment) error {
	s.n, s.epoch = l.next, newEpoch()
	if _, err := s.file.WriteAt(s.header(), 0); err != nil {
		return err
	}
	if err := s.file.Datasync(); err != nil {
		return err
	}
	name := segmentName(s.n)
	if err := l.dir().Rename(s.name, l.dir(), name); err != nil {
		return err
	}
	l.next++ // the name is in use, whatever happens now
	s.name = name
	if err := l.syncDir(); err != nil {
		return err
	}
	l.start(s, segmentHeader)
	return nil
}

// start readies a segment for records behind end.
func (l *segmentLog) start(s *segment, end uint32) {
	s.end = end
	s.written.Store(end)
	var others []faultfs.File
	for len(others) < lanes-1 {
		f, err := l.dir().OpenFile(s.name, os.O_RDWR, 0)
		if err != nil {
			break // fewer will do
		}
		others = append(others, f)
	}
	s.flusher = newFlusher(s.written.Load, s.file, others)
}

// makeSpare makes a file full of zeros: its blocks exist, so that later flushes change data only.
func (l *segmentLog) makeSpare(size uint32) (*segment, error) {
	name, file, err := l.createSpare()
	if err != nil {
		return nil, err
	}
	s := &segment{name: name, file: file, size: size}
	zeros := make([]byte, min(size, 1<<20))
	for at := uint32(0); at < size && err == nil; at += uint32(len(zeros)) {
		_, err = file.WriteAt(zeros[:min(uint32(len(zeros)), size-at)], int64(at))
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		l.discard(s)
		return nil, err
	}
	return s, nil
}

func (l *segmentLog) dir() faultfs.Dir { return *l.handle.Load() }

func (l *segmentLog) spareName() string { return fmt.Sprintf("%s%d", sparePrefix, l.spares.Add(1)) }

func (l *segmentLog) createSpare() (string, faultfs.File, error) {
	for {
		name := l.spareName()
		file, err := l.dir().Create(name, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return name, file, err
		}
	}
}

// discard removes a file that is no segment (any more). Where that fails, start-up tries again.
func (l *segmentLog) discard(s *segment) {
	_ = s.file.Close()
	_ = l.dir().Remove(s.name)
}

// release takes the oldest segment away: as a spare, or for good. The removal of its name is
// durable before the next one goes; else a crash could bring back messages without the records
// that say they are done.
func (l *segmentLog) release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segs[0]
	name := l.spareName()
	if err := l.dir().Rename(s.name, l.dir(), name); err != nil {
		return err
	}
	s.name = name
	if err := l.syncDir(); err != nil {
		return err
	}
	l.segs = l.segs[1:]
	if l.spare == nil && s.pins.Load() == 0 && s.size == l.size && !s.broken {
		l.spare = &segment{name: s.name, file: s.file, size: s.size}
		return nil
	}
	_ = l.dir().Remove(s.name) // start-up tries again
	s.drop()
	return nil
}

// syncDir makes names durable. After an error the directory is opened anew: the old handle can not
// be trusted.
func (l *segmentLog) syncDir() error {
	err := l.dir().Sync()
	if err == nil {
		return nil
	}
	if dir, openErr := l.reopen(); openErr == nil {
		_ = (*l.handle.Swap(&dir)).Close()
	}
	return err
}

// drop closes the file of a removed segment when nobody reads from it any more.
func (s *segment) drop() {
	if s.flusher != nil {
		s.flusher.retire()
	}
	s.unpin()
}

// unpin ends a use: that of a reader, or of the log itself.
func (s *segment) unpin() {
	if s.pins.Add(-1) < 0 {
		_ = s.file.Close()
	}
}

// isSegment reports whether a file name is a segment's.
func isSegment(name string) bool {
	return len(name) == len(segmentName(0)) && strings.HasPrefix(name, "s") && strings.HasSuffix(name, ".seg") &&
		strings.Trim(name[1:11], "0123456789") == ""
}

// fullError tells a full disk from other trouble.
func fullError(err error) error {
	for _, full := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return err
}
