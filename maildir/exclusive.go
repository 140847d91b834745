package maildir

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// lockName is the file by which our processes keep out of each other's way while they change what is
// known of a folder. It is never removed; a process that dies gives the lock back.
const lockName = "goniec-lock"

// errBroken is temporary: the next use opens the folder's directories anew.
var errBroken = errors.New("maildir: an operation on the folder failed, it is opened anew")

// enter locks the folder's state for this goroutine and brings it up to date; write says that the
// caller is going to change something, so that other processes are kept out too. leave must follow
// when the error is nil. errBroken says that a sync failed while the lock was waited for: what is known of the
// folder may not be so.
func (f *folder) enter(ctx context.Context, write bool) error {
	if err := f.lock.lock(ctx); err != nil {
		return err
	}
	err := errBroken
	if !f.broken.Load() {
		err = f.update(ctx, write)
	}
	if denied(err) && !f.cannotWrite.Load() {
		f.goReadOnly()
		err = f.update(ctx, write)
	}
	if err != nil {
		f.leave(&err)
	}
	return err
}

func (f *folder) update(ctx context.Context, write bool) error {
	switch {
	case f.cannotWrite.Load() && write:
		return mailbox.ErrReadOnly
	case f.cannotWrite.Load():
		return f.refreshReadOnly(ctx)
	}
	if write {
		if err := f.exclusive(ctx); err != nil {
			return err
		}
	}
	return f.refresh(ctx)
}

// leave writes what was noted for the index, and unlocks. err is the operation's, and gets the
// failure to make its mod-sequences durable.
func (f *folder) leave(err *error) {
	if f.owned {
		if e := f.flush(); *err == nil {
			*err = e
		}
		f.owned = false
		funlock(f.lockFile)
	}
	f.lock.unlock()
}

// exclusive keeps other processes out until leave, and takes in what they have done.
func (f *folder) exclusive(ctx context.Context) (err error) {
	if f.owned || f.cannotWrite.Load() {
		return nil
	}
	if f.lockFile == nil {
		if f.lockFile, err = openLock(f.base, lockName); err != nil {
			return err
		}
	}
	if err := flock(ctx, f.lockFile, true); err != nil {
		return err
	}
	f.owned = true
	return f.catchUp(ctx)
}

// catchUp reads what other processes have put into the index. f.owned is set.
func (f *folder) catchUp(ctx context.Context) error {
	changed, err := f.recover()
	if err != nil {
		return err
	}
	if !f.state.loaded {
		return nil // all will be read
	}
	if changed {
		f.state.seenCur = dirSeen{}
	}
	if f.index.file == nil {
		if _, err := f.base.Lstat(indexName); err != nil {
			return nil
		}
		return f.load(ctx)
	}
	if !f.indexChanged() {
		return nil
	}
	ok, err := f.readTail()
	if err != nil || ok {
		f.changed()
		return err
	}
	return f.load(ctx)
}

// openLock opens a file for flock(2), made if need be. One that is there needs no room on the disk.
func openLock(d faultfs.Dir, name string) (faultfs.File, error) {
	file, err := d.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	}
	return file, err
}
