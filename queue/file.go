package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// FileOptions says how a FileStore keeps its files. The zero value is ready for use.
type FileOptions struct {
	// FS is the file system; nil = faultfs.OS.
	FS faultfs.FS
	// SegmentSize is the size of a segment in octets. Zero means 16 MiB; less than 4 KiB counts as
	// 4 KiB, more than 1 GiB as 1 GiB. It may change between runs.
	SegmentSize int
	// InlineBody is the largest body that is kept in a segment; a larger one gets a file of its
	// own. Zero means 128 KiB; negative means none; never more than a quarter of a segment.
	InlineBody int
	// KeyMemory is how long a Key is remembered, counted from Message.Since, beyond the time that its
	// message is queued. Zero means 5 days; negative means not at all.
	KeyMemory time.Duration
	// MaxDeaths is after how many deaths of the process in a row during an attempt a message is set
	// aside as corrupt. Zero means 3; negative means never.
	MaxDeaths int
	// Control is the path of the control socket, for the error that a second process gets.
	Control string
	// Now is the clock; nil = time.Now. The store's time never goes back, whatever the clock does.
	Now func() time.Time
	// Logger is told what was repaired, recovered and quarantined; nil = silent.
	Logger *slog.Logger
}

func (o *FileOptions) setDefaults() {
	if o.FS == nil {
		o.FS = faultfs.OS{}
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 16 << 20
	}
	o.SegmentSize = min(max(o.SegmentSize, 4<<10), 1<<30)
	if o.InlineBody == 0 {
		o.InlineBody = 128 << 10
	}
	o.InlineBody = min(max(o.InlineBody, 0), o.SegmentSize/4)
	if o.KeyMemory == 0 {
		o.KeyMemory = 5 * 24 * time.Hour
	}
	if o.MaxDeaths == 0 {
		o.MaxDeaths = 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// FileStore is a Store in the files of one directory: a log of segments, and a file for each large
// body. It belongs to one process. See the package comment for its guarantees.
type FileStore struct {
	o      FileOptions
	path   string
	log    segmentLog
	lock   faultfs.File
	body   faultfs.Dir // files of large bodies
	bad    faultfs.Dir // quarantine
	bodies *faultfs.Group

	// clean keeps messages in their place: held for reading by those who work with one, for
	// writing by the cleaner that moves them.
	clean   sync.RWMutex
	stripes [64]sync.Mutex // by message, for changes
	buffers sync.Pool      // for records

	mu       sync.Mutex
	x        *index
	taken    map[uint64]bool           // IDs of Puts under way
	keying   map[keyHash]chan struct{} // keys of Puts under way
	mailings []cachedMailing           // read lately
	recent   recentList                // put lately
	token    uint64
	closed   bool
	wake     chan struct{}
	started  map[started]bool // during recovery: attempts without end
	scratch  op               // during recovery

	kick chan struct{}
	done chan struct{} // closed when the maintainer has ended
}

type started struct {
	id    uint64
	group int
}

// OwnedError says that another process owns the files.
type OwnedError struct {
	Path   string
	PID    int    // 0 = unknown
	Socket string // "" = none
}

// Error says who owns the queue and what to do.
func (e *OwnedError) Error() string {
	s := fmt.Sprintf("queue %s is open in process %d", e.Path, e.PID)
	if e.PID == 0 {
		s = fmt.Sprintf("queue %s is open in another process", e.Path)
	}
	if e.Socket == "" {
		return s + "; only one process may work on its files: wait for its end, or stop it"
	}
	return s + "; talk to it through its control socket " + e.Socket
}

// Names in a queue's directory.
const (
	lockName       = "lock"
	bodyDir        = "body"
	quarantineDir  = "quarantine"
	bodySuffix     = ".eml"
	garbageAge     = 36 * time.Hour // of a body file without record
	maxSegmentFile = 1<<32 - 1
)

// OpenFiles opens the queue in a directory, and makes the directory if it is not there. What a crash
// left behind is put in order first: torn tails are cut, damaged parts copied to the folder
// quarantine and named in the log. *OwnedError: another process has it.
func OpenFiles(path string, o FileOptions) (_ *FileStore, err error) {
	o.setDefaults()
	s := &FileStore{
		o: o, path: path, x: newIndex(), taken: map[uint64]bool{}, keying: map[keyHash]chan struct{}{},
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), done: make(chan struct{}),
		started: map[started]bool{},
	}
	s.log.size = uint32(o.SegmentSize)
	s.log.needSpare = s.kickMaintainer
	s.log.reopen = func() (faultfs.Dir, error) { return o.FS.OpenDir(path) }
	defer func() {
		if err != nil {
			s.closeFiles()
		}
	}()
	if err := s.openDirs(); err != nil {
		return nil, err
	}
	if err := s.own(); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open queue %s: %w", path, err)
	}
	go s.maintain()
	s.kickMaintainer()
	return s, nil
}

func (s *FileStore) openDirs() (err error) {
	if err := faultfs.MkdirAll(s.o.FS, s.path, 0o700); err != nil {
		return err
	}
	dir, err := s.o.FS.OpenDir(s.path)
	if err != nil {
		return err
	}
	s.log.handle.Store(&dir)
	if s.body, err = faultfs.MkdirSync(s.log.dir(), bodyDir, 0o700); err != nil {
		return err
	}
	s.bodies = faultfs.NewGroup(s.body.Sync)
	s.bad, err = faultfs.MkdirSync(s.log.dir(), quarantineDir, 0o700)
	return err
}

// own locks the directory and says who has it.
func (s *FileStore) own() (err error) {
	if s.lock, err = s.log.dir().OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	ok, err := faultfs.TryLock(s.lock)
	if err != nil {
		return fmt.Errorf("lock queue %s: %w", s.path, err)
	}
	if !ok {
		return s.owner()
	}
	if err := s.lock.Truncate(0); err != nil {
		return err
	}
	_, err = s.lock.WriteAt([]byte(fmt.Sprintf("%d\n%s\n", os.Getpid(), s.o.Control)), 0)
	return err
}

func (s *FileStore) owner() error {
	e := &OwnedError{Path: s.path}
	b := make([]byte, 4096)
	n, err := s.lock.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return e
	}
	pid, rest, _ := strings.Cut(string(b[:n]), "\n")
	e.PID, _ = strconv.Atoi(pid)
	e.Socket, _, _ = strings.Cut(rest, "\n")
	return e
}

// Close ends the store. Leases end with it, in peace: they count as no death.
func (s *FileStore) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.kick)
	<-s.done
	s.clean.Lock() // waits for those who write
	defer s.clean.Unlock()
	var err error
	if len(s.log.segs) > 0 {
		_, _, err = s.commit([]*op{{typ: opStart}}, true, false)
		if errors.Is(err, ErrFull) {
			err = nil // attempts will count as deaths
		}
	}
	return errors.Join(err, s.closeFiles())
}

func (s *FileStore) closeFiles() error {
	var errs []error
	for _, seg := range s.log.segs {
		seg.drop()
	}
	if s.log.spare != nil {
		errs = append(errs, s.log.spare.file.Close())
	}
	if dir := s.log.handle.Load(); dir != nil {
		errs = append(errs, (*dir).Close())
	}
	if s.lock != nil {
		faultfs.Unlock(s.lock)
	}
	for _, c := range [...]io.Closer{s.body, s.bad, s.lock} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// now is the store's time.
func (s *FileStore) now() uint32 {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.last = max(s.log.last, seconds(s.o.Now()))
	return s.log.last
}

// seen notes the time of a worker. Its clock runs evenly while it works, and may be ahead of ours when that was set back meanwhile.
func (s *FileStore) seen(t time.Time) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.last = max(s.log.last, seconds(t))
}

// Time is the store's time: the clock, or the latest time on record if the clock has gone back.
func (s *FileStore) Time() time.Time {
	last := timeOf(s.now())
	if now := s.o.Now(); now.After(last) {
		return now
	}
	return last
}

// commit writes operations as one record.
func (s *FileStore) commit(ops []*op, durable, keep bool) (*segment, loc, error) {
	buf := s.buffer()
	defer s.recycle(buf)
	b, heads := payload(*buf, ops)
	*buf = b
	return s.log.append(b, heads, seconds(s.o.Now()), durable, keep)
}

// maxBuffer is the largest buffer that is kept for use again, in octets.
const maxBuffer = 256 << 10

// buffer returns an empty buffer.
func (s *FileStore) buffer() *[]byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 4096)
	return &b
}

// recycle takes a buffer back that nobody uses any more.
func (s *FileStore) recycle(b *[]byte) {
	if cap(*b) <= maxBuffer {
		*b = (*b)[:0]
		s.buffers.Put(b)
	}
}

// Wake implements Store.
func (s *FileStore) Wake() <-chan struct{} { return s.wake }

func (s *FileStore) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// segment returns a segment by number, nil if it is gone.
func (s *FileStore) segment(n uint32) *segment {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if len(s.log.segs) == 0 {
		return nil
	}
	lo, hi := 0, len(s.log.segs)
	for lo < hi {
		mid := (lo + hi) / 2
		if s.log.segs[mid].n < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(s.log.segs) && s.log.segs[lo].n == n {
		return s.log.segs[lo]
	}
	return nil
}

// quarantine keeps a copy of damaged octets, once.
func (s *FileStore) quarantine(name string, b []byte) {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return
	}
	f, err := s.bad.Create(name, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return
	}
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Sync(), f.Close(), s.bad.Sync())
	}
	if err != nil {
		s.o.Logger.LogAttrs(context.Background(), slog.LevelError, "queue: damaged data could not be copied",
			slog.String("name", name), slog.Any("err", err))
	}
}
