package maildir

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// WatchAccount implements mailbox.AccountWatcher. All who watch an account share its watches and one
// goroutine. Changes made through this Store are told at once; those of other programs at once on Linux, by three
// inotify watches for each folder, elsewhere and beyond Store.MaxWatches by polling: every two seconds, and ten
// milliseconds more for each folder.
func (a *Account) WatchAccount(ctx context.Context, notify func(name string)) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	s, shared := a.store, a.account
	s.mu.Lock()
	shared.refs++
	s.mu.Unlock()
	remove := shared.watch.add(shared, func(name string) {
		if ctx.Err() == nil { // what follows its end may come late
			notify(name)
		}
	})
	context.AfterFunc(ctx, func() {
		remove()
		_ = s.releaseAccount(shared)
	})
	return nil
}

// accountWatch is who watches an account.
type accountWatch struct {
	turn sync.Mutex // of those who begin and end
	stop func()     // ends the goroutine; set while anybody watches

	mu   sync.Mutex
	next int
	fns  map[int]func(name string)

	kick   chan struct{} // the list of folders may have changed
	forced atomic.Bool   // it has, in a way that the goroutine can not see
}

// add adds a watcher. What happens after its return is told.
func (w *accountWatch) add(a *account, fn func(name string)) (remove func()) {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	if w.fns == nil {
		w.fns, w.kick = make(map[int]func(string)), make(chan struct{}, 1)
	}
	id := w.next
	w.next++
	w.fns[id] = fn
	w.mu.Unlock()
	if w.stop == nil {
		w.stop = watchTree(a)
	}
	return func() { w.remove(id) }
}

func (w *accountWatch) remove(id int) {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	delete(w.fns, id)
	last := len(w.fns) == 0
	w.mu.Unlock()
	if last {
		w.stop()
		w.stop = nil
	}
}

// folderChanged tells that a folder may have changed.
func (w *accountWatch) folderChanged(dir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.fns) == 0 {
		return
	}
	name := inbox
	if dir != "" {
		name, _ = folderName(dir)
	}
	for _, fn := range w.fns {
		fn(name)
	}
}

// listChanged tells that the list of folders, their uses, or the account's annotations changed.
func (w *accountWatch) listChanged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fn := range w.fns {
		fn("")
	}
}

// look makes the goroutine look at the list of folders; force: and tell of it in any case.
func (w *accountWatch) look(force bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.fns) == 0 {
		return
	}
	if force {
		w.forced.Store(true)
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// tree is what the goroutine of a watched account knows of it.
type tree struct {
	acct    *account
	folders map[string]*watchedFolder // by directory
	names   fileStamp                 // of the subscriptions
	polled  bool                      // the system does not tell
	made    []string                  // folders to be told of: what came into them before they were watched is not known
}

// watchedFolder is a folder of a watched account.
type watchedFolder struct {
	info  faultfs.Info // to notice that another directory has its name
	stop  func()       // ends its watches; nil when it is polled
	mail  [3]fileStamp // of new/, cur/ and the annotations; only when it is polled
	use   fileStamp
	fresh bool // it had changed so shortly before the last look that the next change may show the same times
}

// fileStamp tells one state of a file or directory from another.
type fileStamp struct {
	inode uint64
	at    time.Time
}

// fileStampOf is the zero fileStamp for what is not there.
func fileStampOf(d faultfs.Dir, name string) fileStamp {
	info, err := d.Lstat(name)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.Inode, info.ModTime}
}

// watchTree begins to watch an account. The present state is taken in before it returns.
func watchTree(a *account) (stop func()) {
	t := &tree{acct: a, folders: make(map[string]*watchedFolder)}
	t.compare()
	t.made = nil
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.run(ctx)
	}()
	return func() {
		cancel()
		<-done
		t.unwatch()
	}
}

// run looks after the tree until ctx ends.
func (t *tree) run(ctx context.Context) {
	w := &t.acct.watch
	for {
		tick, stop := t.ticker()
		select {
		case <-ctx.Done():
			stop()
			return
		case <-tick:
			t.poll()
		case <-w.kick:
		}
		stop()
		if changed := t.compare(); w.forced.Swap(false) || changed {
			w.listChanged()
		}
		for _, dir := range t.made {
			w.folderChanged(dir)
		}
		t.made = t.made[:0]
	}
}

// ticker says when to poll; never where the system tells.
func (t *tree) ticker() (tick <-chan time.Time, stop func()) {
	if !t.polled {
		return nil, func() {}
	}
	timer := time.NewTimer(t.interval())
	return timer.C, func() { timer.Stop() }
}

// interval grows with the number of folders, so that polling costs little of a processor.
func (t *tree) interval() time.Duration {
	return cmp.Or(t.acct.store.polled, pollInterval) + time.Duration(len(t.folders))*10*time.Millisecond
}

// compare takes in which folders there are, and reports whether the list is another than before.
func (t *tree) compare() (changed bool) {
	now, err := t.list()
	if err != nil {
		return false // the next look may succeed
	}
	var gone []*watchedFolder
	for dir, f := range t.folders {
		if info, ok := now[dir]; !ok || !sameDir(info, f.info) {
			delete(t.folders, dir)
			gone = append(gone, f)
		}
	}
	// A directory keeps its watches when it is renamed: they go before it is watched under its new name.
	for _, f := range gone {
		f.unwatch()
	}
	for dir, info := range now {
		if t.folders[dir] == nil {
			changed = true
			t.watch(dir, info)
		}
	}
	names := fileStampOf(t.acct.root, subscriptionsName)
	changed = changed || len(gone) > 0 || names != t.names
	t.names = names
	return changed
}

// list reads which folders there are.
func (t *tree) list() (map[string]faultfs.Info, error) {
	root := t.acct.root
	names, err := root.Names()
	if err != nil {
		return nil, err
	}
	now := map[string]faultfs.Info{"": t.acct.info}
	for _, n := range names {
		if name, ok := folderName(n); !ok || name == inbox {
			continue
		}
		if info, err := root.Lstat(n); err == nil && info.IsDir() {
			now[n] = info
		}
	}
	return now, nil
}

// watch begins to watch a folder.
func (t *tree) watch(dir string, info faultfs.Info) {
	f := &watchedFolder{info: info}
	t.folders[dir] = f
	if !t.polled {
		stop, ok := t.acct.store.observe(t.acct.watchedDirs(dir)...)
		if f.stop = stop; !ok {
			t.goPolling()
		}
	}
	if t.polled {
		t.lookAt(dir, f)
	}
	t.made = append(t.made, dir)
}

// goPolling gives up the system's watches: there are too many, or it has none.
func (t *tree) goPolling() {
	t.polled = true
	for dir, f := range t.folders {
		f.unwatch()
		t.lookAt(dir, f)
	}
}

func (t *tree) unwatch() {
	for _, f := range t.folders {
		f.unwatch()
	}
}

func (f *watchedFolder) unwatch() {
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// poll tells of folders whose directories have other times than before.
func (t *tree) poll() {
	for dir, f := range t.folders {
		wasFresh := f.fresh
		mail, use := t.lookAt(dir, f)
		if mail || wasFresh {
			t.acct.watch.folderChanged(dir)
		}
		if use {
			t.acct.watch.forced.Store(true)
		}
	}
}

// lookAt takes in the times of a folder and reports which are other than before.
func (t *tree) lookAt(dir string, f *watchedFolder) (mail, use bool) {
	base := t.acct.root
	if dir != "" {
		d, err := base.OpenDir(dir)
		if err != nil {
			return false, false // compare notices
		}
		defer d.Close()
		base = d
	}
	now := [...]fileStamp{fileStampOf(base, "new"), fileStampOf(base, "cur"), fileStampOf(base, metadataName)}
	nowUse := fileStampOf(base, useName)
	mail, use = now != f.mail, nowUse != f.use
	f.mail, f.use = now, nowUse
	f.fresh = mail && t.acct.store.now().Sub(latest(now[:])) < settleTime
	return mail, use
}

func latest(stamps []fileStamp) (at time.Time) {
	for _, s := range stamps {
		if s.at.After(at) {
			at = s.at
		}
	}
	return at
}

// watchTarget is told of what the system sees in a directory.
type watchTarget interface {
	// concerned returns whom an entry of the directory concerns, nil when nobody. name is "" when events were lost.
	concerned(name string) watchTarget
	// touched says that something happened. It must not block for long.
	touched()
}

// dirWatch is a directory to be observed, and who is told.
type dirWatch struct {
	path   string
	target watchTarget
}

// watchedDir is a directory of a watched account. It is comparable: many events make one call.
type watchedDir struct {
	acct *account
	dir  string // of the folder
	role dirRole
}

// dirRole says what a directory is to a watched account, or what concerns it.
type dirRole uint8

const (
	roleMail        dirRole = iota // new/, cur/
	roleBase                       // of a folder
	roleRoot                       // of the account, and INBOX's base
	roleAnnotations                // something was told of a folder's annotations
	roleList                       // of the list of folders
	roleUses                       // of their special uses, or the account's annotations
)

// watchedDirs are the directories to observe for a folder.
func (a *account) watchedDirs(dir string) []dirWatch {
	path, role := a.root.Name(), roleRoot
	if dir != "" {
		path, role = path+"/"+dir, roleBase
	}
	return []dirWatch{
		{path, watchedDir{a, dir, role}},
		{path + "/new", watchedDir{a, dir, roleMail}},
		{path + "/cur", watchedDir{a, dir, roleMail}},
	}
}

func (d watchedDir) concerned(name string) watchTarget {
	if d.role == roleMail {
		return d
	}
	switch {
	case name == metadataName:
		d.role = roleAnnotations
	case name == useName, d.role == roleRoot && name == accountMetadataName:
		d.role = roleUses
	case d.role == roleRoot && (name == "" || name == subscriptionsName || strings.HasPrefix(name, ".")):
		d.role = roleList
	default:
		return nil
	}
	return d
}

func (d watchedDir) touched() {
	w := &d.acct.watch
	switch d.role {
	case roleList:
		w.look(false)
	case roleUses:
		w.look(true)
	case roleAnnotations:
		w.folderChanged(d.dir)
	case roleMail:
		if f := d.acct.store.inMemory(d.acct, d.dir); f != nil {
			defer d.acct.store.release(f)
			f.touched() // tells, unless it was this process
			return
		}
		w.folderChanged(d.dir)
	}
}

// inMemory returns the shared state of a folder with one more reference if there is one already.
func (s *Store) inMemory(a *account, dir string) *folder {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := a.folders[dir]
	if f != nil {
		s.take(f)
	}
	return f
}
