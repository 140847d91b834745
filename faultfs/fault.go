package faultfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Op names a kind of call that Fault counts.
type Op string

// The calls. OpSync is a file's Sync or Datasync, OpSyncDir a directory's;
// OpCreate is every open that may make a file.
const (
	OpOpenDir  Op = "opendir"
	OpOpen     Op = "open"
	OpCreate   Op = "create"
	OpMkdir    Op = "mkdir"
	OpLink     Op = "link"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpLstat    Op = "lstat"
	OpStat     Op = "stat"
	OpChtimes  Op = "chtimes"
	OpNames    Op = "readdir"
	OpSyncDir  Op = "syncdir"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpTruncate Op = "truncate"
	OpSync     Op = "sync"
	OpClose    Op = "close"
)

// Call is one call that went through a Fault.
type Call struct {
	N    int    // number among all calls, from 1
	Op   Op     // kind
	Path string // the file or directory
	To   string // second path of link and rename
}

// String is a line for messages.
func (c Call) String() string {
	if c.To != "" {
		return fmt.Sprintf("%d %s %s %s", c.N, c.Op, c.Path, c.To)
	}
	return fmt.Sprintf("%d %s %s", c.N, c.Op, c.Path)
}

// Half makes a write fail after the first half of its octets went through; any
// other call it fails like the plain error.
type Half struct{ Err error }

// Error implements error.
func (e Half) Error() string { return "half done: " + e.Err.Error() }

// Unwrap gives the plain error.
func (e Half) Unwrap() error { return e.Err }

// Late makes a call fail after it was done, as an NFS server may whose answer was
// lost: the link or rename stands and the caller is told otherwise.
type Late struct{ Err error }

// Error implements error.
func (e Late) Error() string { return "done, but: " + e.Err.Error() }

// Unwrap gives the plain error.
func (e Late) Unwrap() error { return e.Err }

// maxCalls bounds the list that Fault keeps of calls made.
const maxCalls = 100_000

// Fault passes calls on to another FS, counts them, and makes those fail that
// Inject chooses. It is safe for concurrent use.
//
// A Sync made to fail over a [Crash] also loses what was not yet durable, as
// Linux does: it stays visible until the power cut, and a later Sync succeeds
// without saving it. Over other file systems nothing is lost. A Close made to
// fail does close the handle.
type Fault struct {
	// Inject is asked before each call, and may block to imitate a slow disk.
	// If it returns an error, the call fails with that error (inside a
	// *fs.PathError or *os.LinkError) instead of being done; see Half and Late.
	// Nil injects nothing. It must be safe for concurrent use, and set before
	// the first call.
	Inject func(Call) error

	fsys  FS
	mu    sync.Mutex
	count int
	calls []Call
	open  map[any]string
}

// NewFault wraps a file system.
func NewFault(fsys FS) *Fault { return &Fault{fsys: fsys, open: map[any]string{}} }

// FailCall makes call number n fail.
func FailCall(n int, err error) func(Call) error {
	return func(c Call) error {
		if c.N == n {
			return err
		}
		return nil
	}
}

// FailOp makes every call of a kind fail.
func FailOp(op Op, err error) func(Call) error {
	return func(c Call) error {
		if c.Op == op {
			return err
		}
		return nil
	}
}

// Count tells how many calls were made.
func (f *Fault) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Calls lists the first 100,000 calls made.
func (f *Fault) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Open lists the paths of the handles not yet closed, sorted. A test that ends
// with an empty list has leaked no descriptor.
func (f *Fault) Open() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var paths []string
	for _, p := range f.open {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// call counts a call and asks Inject; then it does the call, unless told
// otherwise, and says how it ended.
func (f *Fault) call(op Op, name, to string, do func() error) error {
	f.mu.Lock()
	f.count++
	c := Call{f.count, op, name, to}
	if len(f.calls) < maxCalls {
		f.calls = append(f.calls, c)
	}
	f.mu.Unlock()
	var injected error
	if f.Inject != nil {
		injected = f.Inject(c)
	}
	late, isLate := injected.(Late)
	switch {
	case injected == nil:
		return do()
	case isLate:
		if err := do(); err != nil {
			return err
		}
		injected = late.Err
	}
	if to != "" {
		return &os.LinkError{Op: string(op), Old: name, New: to, Err: injected}
	}
	return &fs.PathError{Op: string(op), Path: name, Err: injected}
}

func (f *Fault) opened(handle any, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[handle] = name
}

func (f *Fault) closed(handle any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, handle)
}

// OpenDir implements FS.
func (f *Fault) OpenDir(name string) (Dir, error) {
	return f.openDir(name, func() (Dir, error) { return f.fsys.OpenDir(name) })
}

func (f *Fault) openDir(name string, open func() (Dir, error)) (Dir, error) {
	var d *faultDir
	err := f.call(OpOpenDir, name, "", func() error {
		inner, err := open()
		if err == nil {
			d = &faultDir{f, inner}
			f.opened(d, name)
		}
		return err
	})
	if err != nil {
		if d != nil { // Late
			f.closed(d)
			d.inner.Close()
		}
		return nil, err
	}
	return d, nil
}

// faultDir is a directory behind a Fault.
type faultDir struct {
	f     *Fault
	inner Dir
}

func (d *faultDir) join(name string) string { return path.Join(d.inner.Name(), name) }

// Name implements Dir.
func (d *faultDir) Name() string { return d.inner.Name() }

// Open implements Dir.
func (d *faultDir) Open(name string) (File, error) {
	return d.openFile(OpOpen, name, func() (File, error) { return d.inner.Open(name) })
}

// Create implements Dir.
func (d *faultDir) Create(name string, perm fs.FileMode) (File, error) {
	return d.openFile(OpCreate, name, func() (File, error) { return d.inner.Create(name, perm) })
}

// OpenFile implements Dir.
func (d *faultDir) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	op := OpOpen
	if flag&os.O_CREATE != 0 {
		op = OpCreate
	}
	return d.openFile(op, name, func() (File, error) { return d.inner.OpenFile(name, flag, perm) })
}

func (d *faultDir) openFile(op Op, name string, open func() (File, error)) (File, error) {
	var file *faultFile
	err := d.f.call(op, d.join(name), "", func() error {
		inner, err := open()
		if err == nil {
			file = &faultFile{d.f, inner}
			d.f.opened(file, d.join(name))
		}
		return err
	})
	if err != nil {
		if file != nil { // Late
			d.f.closed(file)
			file.inner.Close()
		}
		return nil, err
	}
	if conn, ok := file.inner.(syscall.Conn); ok {
		return &faultConnFile{file, conn}, nil
	}
	return file, nil
}

// OpenDir implements Dir.
func (d *faultDir) OpenDir(name string) (Dir, error) {
	return d.f.openDir(d.join(name), func() (Dir, error) { return d.inner.OpenDir(name) })
}

// Mkdir implements Dir.
func (d *faultDir) Mkdir(name string, perm fs.FileMode) error {
	return d.f.call(OpMkdir, d.join(name), "", func() error { return d.inner.Mkdir(name, perm) })
}

// Link implements Dir.
func (d *faultDir) Link(name string, to Dir, newName string) error {
	return d.both(OpLink, name, to, newName, d.inner.Link)
}

// Rename implements Dir.
func (d *faultDir) Rename(name string, to Dir, newName string) error {
	return d.both(OpRename, name, to, newName, d.inner.Rename)
}

func (d *faultDir) both(op Op, name string, to Dir, newName string, do func(string, Dir, string) error) error {
	// A foreign directory goes on as it is: the one below says what is wrong.
	if target, ok := to.(*faultDir); ok {
		to = target.inner
	}
	return d.f.call(op, d.join(name), path.Join(to.Name(), newName), func() error { return do(name, to, newName) })
}

// Remove implements Dir.
func (d *faultDir) Remove(name string) error {
	return d.f.call(OpRemove, d.join(name), "", func() error { return d.inner.Remove(name) })
}

// Lstat implements Dir.
func (d *faultDir) Lstat(name string) (info Info, err error) {
	err = d.f.call(OpLstat, d.join(name), "", func() error {
		info, err = d.inner.Lstat(name)
		return err
	})
	return info, err
}

// Chtimes implements Dir.
func (d *faultDir) Chtimes(name string, mtime time.Time) error {
	return d.f.call(OpChtimes, d.join(name), "", func() error { return d.inner.Chtimes(name, mtime) })
}

// Names implements Dir.
func (d *faultDir) Names() (names []string, err error) {
	err = d.f.call(OpNames, d.Name(), "", func() error {
		names, err = d.inner.Names()
		return err
	})
	return names, err
}

// Stat implements Dir.
func (d *faultDir) Stat() (info Info, err error) {
	err = d.f.call(OpStat, d.Name(), "", func() error {
		info, err = d.inner.Stat()
		return err
	})
	return info, err
}

// Sync implements Dir.
func (d *faultDir) Sync() error { return d.f.sync(OpSyncDir, d.Name(), d.inner, d.inner.Sync) }

// Close implements Dir.
func (d *faultDir) Close() error {
	d.f.closed(d)
	return d.f.close(d.Name(), d.inner.Close)
}

// sync is a call whose failure loses what was not durable.
func (f *Fault) sync(op Op, name string, inner any, do func() error) error {
	done := false
	err := f.call(op, name, "", func() error {
		done = true
		return do()
	})
	if loser, ok := inner.(interface{ loseUnsynced() }); ok && !done {
		loser.loseUnsynced()
	}
	return err
}

// close closes even when told to fail: Linux frees the descriptor in any case.
func (f *Fault) close(name string, do func() error) error {
	done := false
	err := f.call(OpClose, name, "", func() error {
		done = true
		return do()
	})
	if !done {
		_ = do()
	}
	return err
}
