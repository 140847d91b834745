package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// tmpAge is how old a file in tmp/ must be to be taken for garbage: 36 hours, as the Maildir format says.
const tmpAge = 36 * time.Hour

// Problem is something that Check found.
type Problem struct {
	Folder   string // "" = the account itself
	File     string // "" = none in particular
	What     string // what is wrong, for people
	Repaired bool   // it is right now
}

// String tells the problem on one line.
func (p Problem) String() string {
	done := ""
	if p.Repaired {
		done = " (repaired)"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %q: %s%s", p.Folder, p.File, p.What, done))
}

// Check looks at everything an account has on disk and says what is not as it should be; with repair it puts right
// what can be without touching a message's content or UID. It may run while the account is in use. The error
// is for what could not be looked at.
//
// It finds: directories that are no folders' (repaired where the name is UTF-8, as Courier writes since version 5), folders without new/, cur/ or tmp/, files in tmp/ older
// than 36 hours, entries that are no files (not repaired), several files of one message, sizes in names that are
// wrong (not repaired: they are not believed), a damaged uidlist or index, folders half made or half removed, a wrong count in maildirsize.
func (a *Account) Check(ctx context.Context, repair bool) ([]Problem, error) {
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	c := &checker{a: a, ctx: ctx, repair: repair}
	c.tree()
	dirs, err := a.folderDirs()
	if err != nil {
		return c.found, err
	}
	for _, dir := range dirs {
		name := inbox
		if dir != "" {
			name, _ = folderName(dir)
		}
		if ctx.Err() != nil {
			return c.found, context.Cause(ctx)
		}
		c.keep(c.folder(name, dir))
	}
	c.keep(c.quota())
	return c.found, c.err
}

// checker gathers problems, and the first error.
type checker struct {
	a      *Account
	ctx    context.Context
	repair bool
	found  []Problem
	err    error
}

func (c *checker) keep(err error) {
	if c.err == nil && !errors.Is(err, mailbox.ErrNotFound) { // deleted meanwhile
		c.err = err
	}
}

// report notes a problem; fix, if not nil, puts it right.
func (c *checker) report(folder, file, what string, fix func() error) {
	p := Problem{Folder: folder, File: file, What: what}
	if c.repair && fix != nil {
		err := fix()
		c.keep(err)
		p.Repaired = err == nil
	}
	c.found = append(c.found, p)
}

// tree looks at what lies beside the folders.
func (c *checker) tree() {
	names, err := c.a.root.Names()
	c.keep(err)
	for _, n := range names {
		info, err := c.a.root.Lstat(n)
		if err != nil {
			continue
		}
		_, ok := folderName(n)
		switch {
		case strings.HasPrefix(n, unfinishedPrefix):
			if c.old(info) {
				c.report("", n, "folder half made or half removed", func() error { c.a.discard(n); return nil })
			}
		case n[0] == '.' && info.IsDir() && !ok:
			c.report("", n, "not the name of a folder: not canonical modified UTF-7", c.a.renameUTF8(n))
		case n[0] == '.' && ok && !info.IsDir() && info.Mode&fs.ModeSymlink != 0:
			c.report("", n, "a symbolic link is not followed", nil)
		}
	}
}

// old reports that nobody has touched a file for 36 hours. The time of modification alone does not tell: it is
// the message's date.
func (c *checker) old(info faultfs.Info) bool { return c.a.store.isOld(info) }

func (s *Store) isOld(info faultfs.Info) bool {
	last := info.ModTime
	if info.Changed.After(last) {
		last = info.Changed
	}
	if made := savedIn(info.Name).Time(); made.After(last) {
		last = made
	}
	return s.now().Sub(last) > tmpAge
}

func (c *checker) folder(name, dir string) error {
	base := c.a.root
	if dir != "" {
		d, err := base.OpenDir(dir)
		if err != nil {
			return notFound(err)
		}
		defer d.Close()
		base = d
	}
	for _, sub := range subDirs {
		if _, err := base.Lstat(sub); errors.Is(err, fs.ErrNotExist) {
			c.report(name, sub, "directory is missing", func() error { return makeDirs(base) })
			if !c.repair {
				return nil
			}
		}
	}
	f, err := c.a.store.acquire(c.a.account, name)
	if err != nil {
		return err
	}
	defer c.a.store.release(f)
	c.tmp(name, f)
	return c.messages(name, f)
}

func (c *checker) tmp(name string, f *folder) {
	files, err := f.tmp.Names()
	c.keep(err)
	for _, n := range files {
		if info, err := f.tmp.Lstat(n); err == nil && c.old(info) {
			c.report(name, "tmp/"+n, "left behind more than 36 hours ago", func() error { return f.tmp.Remove(n) })
		}
	}
}

// messages compares the files with the list and the index.
func (c *checker) messages(name string, f *folder) (err error) {
	if err := f.lock.lock(c.ctx); err != nil {
		return err
	}
	defer f.leave(&err)
	if err := f.exclusive(c.ctx); err != nil {
		return err
	}
	if err := f.checkList(); err != nil {
		c.report(name, listName, err.Error(), nil)
	}
	if err := f.checkIndex(); err != nil {
		c.report(name, indexName, err.Error(), func() error { f.state.loaded = false; return f.dropIndex() })
	}
	if err := c.files(name, f); err != nil {
		return err
	}
	return f.refresh(c.ctx)
}

// checkList reads the list as a whole. What is wrong with it is put right when the folder is read.
func (f *folder) checkList() error {
	var l listFile
	_, err := f.readList(&l, func(uint32, []byte, []byte) {})
	if err == nil && l.torn {
		err = fmt.Errorf("%w: the last line is cut off", errList)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// checkIndex reads the index as a whole, beside the one in use.
func (f *folder) checkIndex() error {
	data, err := faultfs.ReadFile(f.base, indexName, indexLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, ok := strings.CutPrefix(string(data), indexMagic)
	if !ok {
		return errIndex
	}
	var s state
	if _, err := s.replay([]byte(text)); err != nil {
		return err
	}
	if !s.loaded {
		return errIndex
	}
	return nil
}

// files looks at each file of cur/.
func (c *checker) files(name string, f *folder) error {
	files, err := f.cur.Names()
	if err != nil {
		return err
	}
	byBase := make(map[string]string, len(files))
	for _, n := range files {
		if !isMessage(n) {
			continue
		}
		info, err := f.cur.Lstat(n)
		if err != nil {
			continue // renamed or gone
		}
		base, _ := splitInfo(n)
		if !info.IsRegular() {
			c.report(name, "cur/"+n, "not a regular file", nil)
			continue
		}
		if other, twice := byBase[base]; twice {
			c.report(name, "cur/"+n, "second file of a message", func() error { return f.separate(other, n, info) })
			continue
		}
		byBase[base] = n
		if s := sizeIn(base, keyFileSize); s >= 0 && s != info.Size {
			c.report(name, "cur/"+n, fmt.Sprintf("has %d octets, its name says %d", info.Size, s), nil)
		}
	}
	return nil
}

// separate ends the state of two files of one name: when they are one file, a link goes; else the second one becomes
// another message.
func (f *folder) separate(first, second string, info faultfs.Info) error {
	f.state.seenCur = dirSeen{}
	if other, err := f.cur.Lstat(first); err == nil && faultfs.SameFile(other, info) {
		return errors.Join(f.cur.Remove(second), f.failed(f.cur.Sync()))
	}
	_, flags := splitInfo(second)
	return errors.Join(f.cur.Rename(second, f.cur.Dir, f.acct.store.names.next()+flags), f.failed(f.cur.Sync()))
}

func (c *checker) quota() error {
	c.a.quota.Lock()
	defer c.a.quota.Unlock()
	q, err := c.a.readQuota()
	if err != nil || !q.there {
		return err
	}
	use, err := c.a.count()
	if err != nil || use.Octets == q.Octets && use.Messages == q.Messages {
		return err
	}
	what := fmt.Sprintf("says %d octets in %d messages, there are %d in %d", q.Octets, q.Messages, use.Octets, use.Messages)
	c.report("", sizeName, what, func() error { _, err := c.a.recount(c.ctx, q); return err })
	return nil
}

// cleanTmp removes what was left behind in tmp/, when a folder is read for the first time.
func (f *folder) cleanTmp() {
	names, err := f.tmp.Names()
	if err != nil {
		return
	}
	for _, n := range names {
		if info, err := f.tmp.Lstat(n); err == nil && info.IsRegular() && f.acct.store.isOld(info) {
			_ = f.tmp.Remove(n)
		}
	}
}
