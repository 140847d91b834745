package mbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

const (
	defaultLockTimeout = 30 * time.Second
	// staleLock is how long nobody has touched a dotlock whose holder is dead before it is removed.
	staleLock = 10 * time.Minute
	lockPoll  = 50 * time.Millisecond
	// kernelWait is how long the locks of the open file are waited for with the dotlock held. Programs that take them in
	// another order (bsd-mailx has fcntl's and waits for the dotlock) must get their turn.
	kernelWait = 100 * time.Millisecond
	// kernelPause is how long the dotlock is left to others then; it grows, to more than they take between two looks.
	kernelPause, maxKernelPause = 200 * time.Millisecond, 2 * time.Second
)

// heldLocks are the dotlocks of this process: one with our process number that is not among them was left by
// an earlier process with the same number. It is a fact about the process, so it is one for all.
var heldLocks sync.Map // lockID -> bool: held; false: it could not be removed

type lockID struct{ device, inode uint64 }

// locks takes the three locks of a mailbox file, always in this order: the dotlock "file.lock", the lock of
// fcntl on the open file, and that of flock.
type locks struct {
	timeout time.Duration
	now     func() time.Time
}

// errInUse is the reply for a mailbox that stays locked. It is temporary.
func errInUse(what string) error {
	return goniec.NewStatus(450, goniec.EnhancedCode{4, 2, 0}, "mailbox is locked").
		WithCause(fmt.Errorf("%s: %w", what, mailbox.ErrInUse))
}

// retry calls try until it is true, the time is over, or ctx ends.
func retry(ctx context.Context, deadline time.Time, what string, try func() (bool, error)) error {
	for pause := 200 * time.Microsecond; ; pause = min(2*pause, lockPoll) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ok, err := try(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errInUse(what)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// dotlock is the file "name.lock".
type dotlock struct {
	dir  faultfs.Dir
	name string
	id   lockID
}

func (l *locks) dotlock(ctx context.Context, dir faultfs.Dir, name string) (*dotlock, error) {
	return l.dotlockBy(ctx, time.Now().Add(l.timeout), dir, name)
}

func (l *locks) dotlockBy(ctx context.Context, deadline time.Time, dir faultfs.Dir, name string) (*dotlock, error) {
	d := &dotlock{dir: dir, name: name + ".lock"}
	err := retry(ctx, deadline, dir.Name()+"/"+d.name, func() (bool, error) {
		err := d.create()
		if !errors.Is(err, fs.ErrExist) {
			return err == nil, err
		}
		return false, l.breakStale(d)
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *dotlock) create() error {
	f, err := d.dir.Create(d.name, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		d.id = lockID{info.Device, info.Inode}
		heldLocks.Store(d.id, true)
		_, err = f.Write(holderText())
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		if d.id == (lockID{}) {
			_ = d.dir.Remove(d.name)
		} else {
			d.release()
		}
	}
	return err
}

// holderText is the content of a dotlock of ours: the number first, which is all that others read.
func holderText() []byte {
	text := fmt.Appendf(nil, "%d\n", os.Getpid())
	if line := holderLine(); line != "" {
		text = append(append(text, line...), '\n')
	}
	return text
}

// release removes the lock file, if it is still ours. Where that fails the next one of this process does it.
func (d *dotlock) release() {
	info, err := d.dir.Lstat(d.name)
	if err == nil && (lockID{info.Device, info.Inode}) == d.id {
		err = d.dir.Remove(d.name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		heldLocks.Store(d.id, false)
		return
	}
	heldLocks.Delete(d.id)
}

// breakStale removes the lock file when it is stale. It is moved aside first and looked at again: somebody
// else may have removed it and locked meanwhile, with a file of the same number even, but not of the same time.
func (l *locks) breakStale(d *dotlock) error {
	info, err := d.dir.Lstat(d.name)
	if err != nil || !l.isStale(d, info) {
		return nil // gone, or held
	}
	aside := d.name + "." + strconv.Itoa(os.Getpid()) + ".stale"
	if err := d.dir.Rename(d.name, d.dir, aside); err != nil {
		return nil
	}
	if now, err := d.dir.Lstat(aside); err == nil && !(now.Inode == info.Inode && now.Device == info.Device && now.ModTime.Equal(info.ModTime)) {
		_ = d.dir.Link(aside, d.dir, d.name)
	}
	return d.dir.Remove(aside)
}

// isStale: the holder's process is dead, or unknown, and nobody has touched the file for ten minutes: by the clock, or, as that
// may have been set back, before our eyes. A lock that this process could not remove is stale at once, and so is one whose
// holder is surely dead.
func (l *locks) isStale(d *dotlock, info faultfs.Info) bool {
	id := lockID{info.Device, info.Inode}
	held, ours := heldLocks.Load(id)
	if ours && held == false {
		heldLocks.Delete(id)
		return true
	}
	text, err := faultfs.ReadFile(d.dir, d.name, 512)
	if err != nil || !info.IsRegular() {
		return false
	}
	number, line, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(number))
	known := err == nil && pid > 0
	if known && pid == os.Getpid() {
		if ours {
			return false
		}
		known = false
	}
	if err == nil && pid > 0 && holderDead(pid, line) {
		return true
	}
	if known && processAlive(pid) {
		return false
	}
	return l.now().Sub(info.ModTime) > staleLock || sightings.since(id, info.ModTime) > staleLock
}

// sightings are dotlocks of others that this process waits for: how they were when it saw them first. They are
// a fact about the process, too.
var sightings watchedLocks

type watchedLocks struct {
	mu   sync.Mutex
	seen map[lockID]sighting
}

type sighting struct{ touched, first time.Time }

const maxSightings = 1000

// since returns for how long a lock has been seen untouched, by a clock that nobody sets.
func (w *watchedLocks) since(id lockID, touched time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.seen[id]; ok && s.touched.Equal(touched) {
		return time.Since(s.first)
	}
	if w.seen == nil || len(w.seen) >= maxSightings {
		w.seen = make(map[lockID]sighting)
	}
	w.seen[id] = sighting{touched, time.Now()}
	return 0
}

// held is a locked and open mailbox file.
type held struct {
	dot  *dotlock
	dir  faultfs.Dir
	name string
	file faultfs.File
	info faultfs.Info
	made bool // the file is new: its directory is not synced yet
}

// open locks a mailbox file and opens it, making it when create is set; otherwise fs.ErrNotExist tells that
// there is none. owner is who must own it (negative: anybody).
func (l *locks) open(ctx context.Context, dir faultfs.Dir, name string, create bool, owner int) (h *held, err error) {
	deadline := time.Now().Add(l.timeout)
	h = &held{dir: dir, name: name}
	for pause := kernelPause; ; pause = min(2*pause, maxKernelPause) {
		if h.dot, err = l.dotlockBy(ctx, deadline, dir, name); err != nil {
			return nil, err
		}
		soon := time.Now().Add(kernelWait)
		last := !soon.Before(deadline)
		if last {
			soon = deadline
		}
		err = retry(ctx, soon, dir.Name()+"/"+name, func() (bool, error) { return h.openFile(create, owner) })
		if err == nil {
			return h, nil
		}
		h.close()
		if last || !errors.Is(err, mailbox.ErrInUse) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(min(pause, time.Until(deadline))):
		}
	}
}

// openFile opens the file and asks once for its locks; false when somebody else has them, or another
// file has come into its place.
func (h *held) openFile(create bool, owner int) (ok bool, err error) {
	h.file, err = h.dir.OpenFile(h.name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) && create {
		h.file, err = h.dir.Create(h.name, 0o600)
		h.made = h.made || err == nil
	}
	if err != nil {
		h.file = nil
		return false, err
	}
	defer func() {
		if !ok {
			_ = h.file.Close()
			h.file = nil
		}
	}()
	if h.info, err = faultfs.CheckPrivate(h.file, owner); err != nil {
		return false, err
	}
	if got, err := lockFile(h.file); !got || err != nil {
		return false, err
	}
	if h.info, err = h.file.Stat(); err != nil { // the size, now that nobody changes it
		return false, err
	}
	now, err := h.dir.Lstat(h.name)
	if err != nil {
		return false, err
	}
	if now.Inode != h.info.Inode || now.Device != h.info.Device {
		return false, nil
	}
	// At this moment the file has this name and no other.
	if now.Links > 1 {
		return false, &fs.PathError{Op: "open", Path: h.file.Name(), Err: faultfs.ErrLinked}
	}
	return true, nil
}

// close gives the locks back in the opposite order.
func (h *held) close() {
	if h.file != nil {
		unlockFile(h.file)
		_ = h.file.Close()
	}
	h.dot.release()
}
