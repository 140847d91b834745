package mbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

const (
	inboxName  = "INBOX"
	childDir   = ".sbd"
	maxLevel   = 200 // octets of a level: the files beside it have longer names
	maxFolders = 100_000
)

// checkName refuses names that can not be a path here.
func checkName(name string) error {
	if err := mailbox.CheckName(name); err != nil {
		return err
	}
	for level := range strings.SplitSeq(name, "/") {
		if !levelOK(level) {
			return fmt.Errorf("%w: %.40q can not be the name of a file", mailbox.ErrName, level)
		}
	}
	return nil
}

func levelOK(level string) bool {
	return len(level) <= maxLevel && level[0] != '.' && !strings.HasSuffix(level, ".lock") &&
		!strings.HasSuffix(level, childDir) && faultfs.CheckName(level) == nil
}

// place opens the directory of a folder; with makeDirs set, directories are made. fs.ErrNotExist when there is none.
func (a *account) place(name string, makeDirs bool) (dir faultfs.Dir, file string, err error) {
	if name == inboxName {
		dir, err = a.store.fs().OpenDir(filepath.Dir(a.inbox))
		return dir, filepath.Base(a.inbox), err
	}
	if err := checkName(name); err != nil {
		return nil, "", err
	}
	if a.root == "" {
		return nil, "", fs.ErrNotExist
	}
	if dir, err = a.store.fs().OpenDir(a.root); err != nil {
		return nil, "", err
	}
	levels := strings.Split(name, "/")
	for _, level := range levels[:len(levels)-1] {
		next, err := childrenOf(dir, level, makeDirs)
		_ = dir.Close()
		if err != nil {
			return nil, "", err
		}
		dir = next
	}
	return dir, levels[len(levels)-1], nil
}

// childrenOf opens the directory of a level's children.
func childrenOf(dir faultfs.Dir, level string, makeDir bool) (faultfs.Dir, error) {
	next, err := dir.OpenDir(level + childDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return next, err
	}
	if info, e := dir.Lstat(level); e == nil && info.IsDir() {
		return dir.OpenDir(level)
	}
	if !makeDir {
		return nil, err
	}
	return faultfs.MkdirSync(dir, level+childDir, 0o700)
}

// find is place for a folder that is there; else ErrNotFound.
func (a *account) find(name string) (faultfs.Dir, string, error) {
	dir, file, err := a.place(name, false)
	if err != nil {
		return nil, "", absent(err)
	}
	info, err := dir.Lstat(file)
	switch {
	case err == nil && info.IsRegular():
	case err != nil && name == inboxName && errors.Is(err, fs.ErrNotExist):
	default: // a link or directory is no folder
		_ = dir.Close()
		if err == nil {
			err = fs.ErrNotExist
		}
		return nil, "", absent(err)
	}
	return dir, file, nil
}

// absent gives errors that say that something is not there the name they have in mailbox.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, faultfs.ErrNotDir) {
		return fmt.Errorf("%w: %w", mailbox.ErrNotFound, err)
	}
	return err
}

func begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Mailboxes implements mailbox.Account. Files that do not begin with a From_ line are left out.
func (a *account) Mailboxes(ctx context.Context) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) {
		if err := begin(ctx); err != nil {
			yield(mailbox.Info{}, err)
			return
		}
		if !yield(mailbox.Info{Name: inboxName}, nil) || a.root == "" {
			return
		}
		todo := []string{""} // prefixes of names; no recursion
		for n := 0; len(todo) > 0 && n < maxFolders; n++ {
			prefix := todo[0]
			todo = todo[1:]
			files, below, err := a.list(prefix)
			todo = append(todo, below...)
			if err != nil {
				yield(mailbox.Info{}, err)
				return
			}
			for _, name := range files {
				if !yield(mailbox.Info{Name: name}, nil) {
					return
				}
			}
		}
	}
}

// list returns the folders of one directory, and the prefixes of those below.
func (a *account) list(prefix string) (files, below []string, err error) {
	dir, _, err := a.place(prefix+"x", false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	names, err := dir.Names()
	for _, n := range names {
		info, err := dir.Lstat(n)
		if err != nil {
			continue // it went meanwhile
		}
		base := strings.TrimSuffix(n, childDir)
		if base == "" || checkName(prefix+base) != nil {
			continue
		}
		switch {
		case info.IsDir():
			if n == base { // both spellings: the first one counts
				if _, err := dir.Lstat(n + childDir); err == nil {
					continue
				}
			}
			below = append(below, prefix+base+"/")
		case n == base && prefix+n != inboxName && looksLikeMbox(dir, n):
			files = append(files, prefix+n)
		}
	}
	return files, below, err
}

// looksLikeMbox tells whether a file is empty or begins with "From ".
func looksLikeMbox(dir faultfs.Dir, name string) bool {
	f, err := dir.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [5]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == 0 || string(b[:n]) == "From " || b[0] == '\n' || b[0] == '\r'
}

// Open implements mailbox.Account.
func (a *account) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	name = mailbox.CanonicalName(name)
	dir, file, err := a.find(name)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.folders[name]
	if f == nil {
		f = &folder{account: a, store: a.store, dir: dir, name: file, title: name, busy: make(chan struct{}, 1)}
		a.folders[name] = f
	} else {
		_ = dir.Close()
	}
	f.refs++
	return &handle{f: f}, nil
}

// change begins a change of the tree.
func (a *account) change(ctx context.Context) error {
	if err := begin(ctx); err != nil {
		return err
	}
	if a.store.ReadOnly {
		return mailbox.ErrReadOnly
	}
	return nil
}

// Create implements mailbox.Account. Special uses are not kept.
func (a *account) Create(ctx context.Context, name string, o mailbox.CreateOptions) error {
	if err := a.change(ctx); err != nil {
		return err
	}
	name = mailbox.CanonicalName(name)
	if name == inboxName {
		return mailbox.ErrExists
	}
	if err := checkName(name); err != nil {
		return err
	}
	if o.SpecialUse != "" || a.root == "" {
		return mailbox.ErrCannot
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	dir, file, err := a.place(name, true)
	if err != nil {
		return err
	}
	defer dir.Close()
	if info, err := dir.Lstat(file); err == nil {
		if info.IsDir() { // of children, in the other spelling
			return mailbox.ErrCannot
		}
		return mailbox.ErrExists
	}
	// What is known of an older folder of this name must not be taken for this one's.
	if err := removeSides(dir, file); err != nil {
		return err
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	f, err := dir.Create(file, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return mailbox.ErrExists
	}
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), dir.Sync()); err != nil {
		_ = dir.Remove(file)
		return err
	}
	return nil
}

// sideNames are the files beside a mailbox file.
func sideNames(file string) []string {
	return []string{indexName(file), journalName(file), rewriteName(file)}
}

func removeSides(dir faultfs.Dir, file string) error {
	for _, n := range sideNames(file) {
		if err := dir.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Delete implements mailbox.Account.
func (a *account) Delete(ctx context.Context, name string) error {
	if err := a.change(ctx); err != nil {
		return err
	}
	if name = mailbox.CanonicalName(name); name == inboxName {
		return mailbox.ErrCannot
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	dir, file, err := a.find(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	lock, err := a.store.locks().dotlock(ctx, dir, file)
	if err != nil {
		return err
	}
	defer lock.release()
	if err := dir.Remove(file); err != nil {
		return absent(err)
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	a.forgetOne(name)
	_ = removeSides(dir, file) // left-overs are removed before a folder of this name is made
	return nil
}

// forgetOne makes the handles on a folder answer ErrNotFound.
func (a *account) forgetOne(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.folders[name]; f != nil {
		delete(a.folders, name)
		f.gone.Store(true)
		f.drop()
	}
}

// Rename implements mailbox.Account: the index gets its new name first, then the file, then the directory of
// children; a crash between the last two leaves the children where they were.
func (a *account) Rename(ctx context.Context, from, to string) error {
	if err := a.change(ctx); err != nil {
		return err
	}
	from, to = mailbox.CanonicalName(from), mailbox.CanonicalName(to)
	if from == inboxName || strings.HasPrefix(to, from+"/") {
		return mailbox.ErrCannot
	}
	if to == inboxName {
		return mailbox.ErrExists
	}
	if err := checkName(to); err != nil {
		return err
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	src, oldFile, err := a.find(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, newFile, err := a.place(to, true)
	if err != nil {
		return err
	}
	defer dst.Close()
	for _, n := range []string{newFile, newFile + childDir} {
		if _, err := dst.Lstat(n); err == nil && (n == newFile || dst.Remove(n) != nil) {
			return mailbox.ErrExists
		}
	}
	return a.rename(ctx, from, src, oldFile, dst, newFile)
}

func (a *account) rename(ctx context.Context, from string, src faultfs.Dir, oldFile string, dst faultfs.Dir, newFile string) error {
	h, err := a.store.locks().open(ctx, src, oldFile, false, ownerOf(a.store.Owner))
	if err != nil {
		return absent(err)
	}
	defer h.close()
	if err := h.recoverAll(a.store.Logger); err != nil {
		return err
	}
	if err := removeSides(dst, newFile); err != nil {
		return err
	}
	err = src.Link(indexName(oldFile), dst, indexName(newFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := dst.Sync(); err != nil {
		return err
	}
	if err := src.Rename(oldFile, dst, newFile); err != nil {
		return err
	}
	a.forget(from)
	err = src.Rename(oldFile+childDir, dst, newFile+childDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	_ = removeSides(src, oldFile)
	return errors.Join(err, dst.Sync(), src.Sync())
}
