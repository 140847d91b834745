package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

const (
	// lockStale is Dovecot's MAILDIR_UIDLIST_LOCK_STALE_TIMEOUT: a lock whose file nobody has touched for that
	// long is taken over.
	lockStale = 2 * time.Minute
	// lockUnsigned is the same for a lock file without content: its maker was stopped, or ran out of
	// space, before it could write its number.
	lockUnsigned = time.Second
	// lockTimeout bounds the wait for a lock that its holder keeps touching.
	lockTimeout = lockStale + 2*time.Second
	// lockPoll is the longest pause between two tries.
	lockPoll = 20 * time.Millisecond
)

// errLocked ends the wait for a dotlock.
var errLocked = errors.New("locked by another process for too long")

// heldLocks are the lock files of this process. A lock file with our process number that is not
// among them was left by an earlier process with the same number. It is a fact about the process, so
// it is one for all Stores.
var heldLocks sync.Map // lockID -> *dotlock: by whom it is held; nil: it could not be removed

type lockID struct{ device, inode uint64 }

// dotlock is the lock file beside name by the rules of Dovecot: made with O_EXCL, "pid:host" inside.
type dotlock struct {
	dir  faultfs.Dir
	name string // of the lock file
	id   lockID

	spare *spareLock
}

// takeDotlock locks name, waiting until ctx ends or for lockTimeout.
func (s *Store) takeDotlock(ctx context.Context, dir faultfs.Dir, name string) (*dotlock, error) {
	return s.takeDotlockBy(ctx, dir, name, nil)
}

// takeDotlockBy is takeDotlock with a spare lock file, where there is one.
func (s *Store) takeDotlockBy(ctx context.Context, dir faultfs.Dir, name string, spare *spareLock) (*dotlock, error) {
	l := &dotlock{dir: dir, name: name + ".lock", spare: spare}
	start := time.Now()
	for pause := 200 * time.Microsecond; ; pause = min(2*pause, lockPoll) {
		err := l.make(s)
		if !errors.Is(err, fs.ErrExist) {
			return l, err
		}
		if took, err := s.breakStale(l); err != nil || took {
			if err != nil {
				return nil, err
			}
			continue
		}
		if time.Since(start) > lockTimeout {
			return nil, fmt.Errorf("%s in %s: %w", l.name, dir.Name(), errLocked)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// make makes the lock file: fs.ErrExist when somebody has the lock.
func (l *dotlock) make(s *Store) error {
	if id, err := l.spare.link(s, l); err == nil || errors.Is(err, fs.ErrExist) {
		l.id = id
		return err
	}
	return l.create(s.names)
}

func (l *dotlock) create(n *namer) error {
	f, err := l.dir.Create(l.name, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		l.id = lockID{info.Device, info.Inode}
		heldLocks.Store(l.id, l)
		_, err = f.Write([]byte(n.pid + ":" + n.host))
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		heldLocks.Delete(l.id)
		if l.dir.Remove(l.name) != nil {
			heldLocks.Store(l.id, (*dotlock)(nil)) // left behind, perhaps without its content
		}
	}
	return err
}

// unlock removes the lock file unless somebody has taken the lock over. It is held until it is removed: it would else be
// taken for one that was left behind, and what is removed would be the next holder's. That one's may have the same number.
func (l *dotlock) unlock() {
	if info, err := l.dir.Lstat(l.name); err == nil && info.Device == l.id.device && info.Inode == l.id.inode {
		_ = l.dir.Remove(l.name)
	}
	heldLocks.CompareAndDelete(l.id, l)
}

// breakStale removes the lock file when its holder is dead or has not touched it for long. It is
// moved aside first and looked at again: another process may have broken it and locked meanwhile, with a file of the same
// number even, but not of the same time.
func (s *Store) breakStale(l *dotlock) (bool, error) {
	info, err := l.dir.Lstat(l.name)
	if err != nil || !s.isStale(l, info) {
		return errors.Is(err, fs.ErrNotExist), nil
	}
	aside := l.name + "." + s.names.next()
	if err := l.dir.Rename(l.name, l.dir, aside); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	if now, err := l.dir.Lstat(aside); err == nil && !(sameDir(now, info) && now.ModTime.Equal(info.ModTime)) {
		_ = l.dir.Link(aside, l.dir, l.name)
		_ = l.dir.Remove(aside)
		return false, nil
	}
	s.log("stale lock removed", "dir", l.dir.Name(), "lock", l.name)
	return true, l.dir.Remove(aside)
}

func (s *Store) isStale(l *dotlock, info faultfs.Info) bool {
	id := lockID{info.Device, info.Inode}
	if held, ours := heldLocks.Load(id); ours && held == (*dotlock)(nil) {
		heldLocks.Delete(id)
		return true
	}
	text, err := faultfs.ReadFile(l.dir, l.name, 512)
	pid, host, ok := strings.Cut(strings.TrimSpace(string(text)), ":")
	if n, numErr := strconv.Atoi(pid); err == nil && ok && numErr == nil && host == s.names.host {
		if pid == s.names.pid {
			_, held := heldLocks.Load(id)
			return !held
		}
		if processGone(n) {
			return true
		}
	}
	age := s.now().Sub(info.ModTime)
	if !ok && age > cmp.Or(s.unsigned, lockUnsigned) {
		return true
	}
	return age > lockStale
}

// spareLock is a lock file that stays in tmp/ while a folder is in use. To lock is to link it, to unlock to remove the
// link: where appends follow each other, files that are made and deleted for each of them cost more than the rest, since ext4
// does not give away the inodes of files deleted lately and passes over them each time it makes a file.
type spareLock struct {
	dir   faultfs.Dir
	name  string // "": there is none
	id    lockID
	locks int // how often the folder was locked
}

// spareAfter is how often a folder is locked before it gets a spare lock file.
const spareAfter = 8

var errNoSpare = errors.New("maildir: no spare lock file")

// link makes the lock file of l a link to the spare one. Any error but fs.ErrExist says that it has to be made in the other way.
func (p *spareLock) link(s *Store, l *dotlock) (lockID, error) {
	if p == nil || p.locks < cmp.Or(s.spares, spareAfter) || p.name == "" && p.create(s) != nil {
		return lockID{}, errNoSpare
	}
	// Its time is the time of the lock: others compare it with lockStale.
	err := p.dir.Chtimes(p.name, s.now())
	if err == nil {
		heldLocks.Store(p.id, l)
		err = p.dir.Link(p.name, l.dir, l.name)
	}
	if err != nil {
		heldLocks.CompareAndDelete(p.id, l)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		p.drop() // somebody has cleaned tmp/, or there are no links here
		p.locks = 0
	}
	return p.id, err
}

func (p *spareLock) create(s *Store) error {
	own := &dotlock{dir: p.dir, name: s.names.next()}
	if err := own.create(s.names); err != nil {
		p.locks = 0
		return err
	}
	heldLocks.Delete(own.id)
	p.name, p.id = own.name, own.id
	return nil
}

// drop removes the file.
func (p *spareLock) drop() {
	if p.name != "" {
		_ = p.dir.Remove(p.name)
		p.name = ""
	}
}
