package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// subDirs are the three directories of every Maildir.
var subDirs = [...]string{"tmp", "new", "cur"}

// folder is what all handles on one folder share: open directories, and what is known of the
// messages.
type folder struct {
	acct *account
	dir  string // ".Name"; "" for INBOX
	base faultfs.Dir
	tmp  faultfs.Dir
	new  syncDir
	cur  syncDir
	info faultfs.Info               // of base, to notice that another directory has its name
	subs [len(subDirs)]faultfs.Info // of tmp, new and cur, likewise

	refs   int         // guarded by Store.mu
	gone   atomic.Bool // deleted or renamed: handles answer ErrNotFound
	broken atomic.Bool // a sync failed: directories are opened anew for the next use

	cannotWrite atomic.Bool // it is only read; set once
	ro          readOnly    // then; guarded by lock

	lock      ctxMutex // guards what follows
	state     state
	listLock  *dotlock // of the uidlist, while listDepth > 0
	listDepth int
	spare     spareLock    // for listLock
	lockFile  faultfs.File // see exclusive; nil until it is needed
	owned     bool         // exclusive is in force
	declared  bool         // the note of a change is on the disk
	index     index
	derived   derived

	wrongSizes sync.Map // UIDs of messages whose names have wrong sizes: uint32 -> true

	appends appendQueue
	busy    atomic.Pointer[appending]
	watch   watchers
	popLock atomic.Bool
}

// ctxMutex is a mutex that a context can give up waiting for.
type ctxMutex chan struct{}

func (m ctxMutex) lock(ctx context.Context) error {
	select {
	case m <- struct{}{}:
		return nil
	default:
	}
	select {
	case m <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m ctxMutex) unlock() { <-m }

// openFolder opens the directories of a folder. new, cur or tmp that are missing are made: other
// programs leave them out. A link in their place is refused (F06).
func openFolder(a *account, dir string) (_ *folder, err error) {
	f := &folder{acct: a, dir: dir, base: a.root, lock: make(ctxMutex, 1)}
	f.watch.init()
	if dir != "" {
		if f.base, err = a.root.OpenDir(dir); err != nil {
			return nil, notFound(err)
		}
	}
	defer func() {
		if err != nil {
			f.closeDirs()
		}
	}()
	if f.info, err = f.base.Stat(); err != nil {
		return nil, err
	}
	var dirs [len(subDirs)]faultfs.Dir
	for i, name := range subDirs {
		if dirs[i], err = openSub(f.base, name); err != nil {
			closeAll(dirs[:i])
			return nil, err
		}
		if f.subs[i], err = dirs[i].Stat(); err != nil {
			closeAll(dirs[:i+1])
			return nil, err
		}
	}
	f.tmp, f.spare.dir = dirs[0], dirs[0]
	f.new.init(dirs[1], f.base, subDirs[1])
	f.cur.init(dirs[2], f.base, subDirs[2])
	return f, nil
}

func openSub(base faultfs.Dir, name string) (faultfs.Dir, error) {
	d, err := base.OpenDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return faultfs.MkdirSync(base, name, 0o700)
	}
	return d, err
}

func closeAll(dirs []faultfs.Dir) {
	for _, d := range dirs {
		if d != nil {
			_ = d.Close()
		}
	}
}

// notFound turns "no such file" into the seam's error.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", mailbox.ErrNotFound, err)
	}
	return err
}

func (f *folder) closeDirs() {
	f.index.close()
	f.derived.drop()
	if f.lockFile != nil {
		_ = f.lockFile.Close()
	}
	f.new.closeMore()
	f.cur.closeMore()
	dirs := []faultfs.Dir{f.tmp, f.new.Dir, f.cur.Dir}
	if f.dir != "" {
		dirs = append(dirs, f.base)
	}
	closeAll(dirs)
}

// drop closes a folder that nobody has open any more: once the operation has ended that is still under way, where a
// handle was closed, or left a broken folder, meanwhile.
func (f *folder) drop() {
	select {
	case f.lock <- struct{}{}:
		f.end()
	default:
		go func() {
			f.lock <- struct{}{}
			f.end()
		}()
	}
}

// end closes the folder. f.lock is held; it is given up for operations that still wait for it: they find closed directories.
func (f *folder) end() {
	defer f.lock.unlock()
	if !f.gone.Load() && !f.broken.Load() {
		f.saveLook()
	}
	f.spare.drop()
	f.closeDirs()
	_ = f.acct.store.releaseAccount(f.acct)
}

// stillThere reports whether the folder's name still leads to the directories we have open.
func (f *folder) stillThere() bool {
	if f.gone.Load() || f.broken.Load() {
		return false
	}
	if f.dir != "" && moved(f.acct.root, f.dir, f.info) {
		return false
	}
	for i, name := range subDirs {
		if moved(f.base, name, f.subs[i]) {
			return false
		}
	}
	return true
}

// moved reports that a name does not lead to a directory any more. When that can not be found out, it has not.
func moved(d faultfs.Dir, name string, info faultfs.Info) bool {
	now, err := d.Lstat(name)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return !sameDir(now, info)
}

// failed notes an error after which a directory handle must not be used again, and returns it.
func (f *folder) failed(err error) error {
	if err != nil {
		f.broken.Store(true)
	}
	return err
}

// watchers are the functions to call after a change.
type watchers struct {
	mu   sync.Mutex
	next int
	fns  map[int]func()
	end  func() // of observing the folder, for all of them
}

func (w *watchers) init() { w.fns = make(map[int]func()) }

// add is for as long as somebody watches: the first begins to observe the folder, the last to leave ends that.
func (w *watchers) add(fn func(), observe func() (end func())) (remove func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.next
	w.next++
	w.fns[id] = fn
	if len(w.fns) == 1 {
		w.end = observe()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.fns, id); len(w.fns) == 0 {
			w.end()
		}
	}
}

// changed tells all watchers, of the folder and of its account.
func (f *folder) changed() {
	defer f.acct.watch.folderChanged(f.dir)
	f.watch.mu.Lock()
	defer f.watch.mu.Unlock()
	for _, fn := range f.watch.fns {
		fn()
	}
}
