package passwdfile

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// Defaults of File.
const (
	DefaultMaxBytes = 4 << 30
	DefaultMaxLine  = 64 << 10
	DefaultInterval = time.Second
	DefaultSettle   = time.Second
)

// File is a passwd-file that follows its changes. Set the fields, then call Load or Lookup; do not
// change them after that. It is safe for concurrent use.
type File struct {
	Path     string
	MaxBytes int64         // longest file; 0: DefaultMaxBytes; negative: no limit
	MaxLine  int           // longest line in octets; 0: DefaultMaxLine; negative: no limit
	Interval time.Duration // between looks for a change; 0: DefaultInterval; negative: only Load reloads
	Settle   time.Duration // for how long a change must have been left alone; 0: DefaultSettle; negative: not at all

	// Key maps a name, on a line or asked for, to the form in which names are compared. Nil
	// compares octets.
	Key func(name string) string

	// Check may refuse an entry when the file is loaded; the line is then left out and reported. Its
	// error must not contain the password. Otherwise it returns the entry's kind, from 0 to Kinds-1,
	// which Count counts.
	Check func(Entry) (kind int, err error)

	FS     faultfs.FS       // nil: the real one, where Path may be a symbolic link
	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now

	current  atomic.Pointer[version]
	loads    atomic.Uint64 // how often current has changed
	nextLook atomic.Int64  // Unix nanoseconds
	mu       sync.Mutex    // held while loading
	failing  time.Time     // since when looking has failed; under mu
	editMu   sync.Mutex    // held by Edit
}

// version is what look-ups use: a table, or the error that stands for one.
type version struct {
	table *table
	err   error
	info  faultfs.Info
}

var errChanged = errors.New("file changed while it was read")

// Lookup returns the entry for a name; ok is false if the file has none. An error is temporary
// trouble and says nothing about the name.
func (f *File) Lookup(name string) (e Entry, ok bool, err error) {
	t, err := f.table()
	if err != nil || len(name) > maxName {
		return Entry{}, false, err
	}
	e, ok = t.lookup(name)
	return e, ok, nil
}

// All iterates over the entries in the order of the file.
func (f *File) All() (iter.Seq[Entry], error) {
	t, err := f.table()
	if err != nil {
		return nil, err
	}
	return t.all(), nil
}

// Len returns the number of users, 0 if the file could not be loaded.
func (f *File) Len() int {
	t, err := f.table()
	if err != nil {
		return 0
	}
	return t.users
}

// Count returns how many users there are of each kind that Check returned.
func (f *File) Count() ([Kinds]int, error) {
	t, err := f.table()
	if err != nil {
		return [Kinds]int{}, err
	}
	return t.kinds, nil
}

// Sample returns some entry, the same one for the same n and version of the file. ok is false if
// there is none.
func (f *File) Sample(n uint64) (e Entry, ok bool) {
	t, err := f.table()
	if err != nil {
		return Entry{}, false
	}
	return t.sample(n)
}

// Version returns a number that is another one whenever look-ups may answer differently.
func (f *File) Version() uint64 {
	_, _ = f.table() // look for a change
	return f.loads.Load()
}

// Errors returns the lines that were left out, as errors of the form "file:line: reason": at
// most 100, and one that counts the rest.
func (f *File) Errors() []error {
	t, err := f.table()
	if err != nil {
		return []error{err}
	}
	errs := t.errs
	if t.more > 0 {
		errs = append(errs[:len(errs):len(errs)], fmt.Errorf("%s: %d more lines are bad", f.Path, t.more))
	}
	return errs
}

// Load reads the file now, whether it changed or not.
func (f *File) Load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load()
}

// table returns the version to use, after a look for a change if it is time for one.
func (f *File) table() (*table, error) {
	v := f.current.Load()
	if v == nil {
		return f.first()
	}
	if interval := orDefault(f.Interval, DefaultInterval); interval >= 0 {
		now := f.now()
		next := f.nextLook.Load()
		if now.UnixNano() >= next && f.nextLook.CompareAndSwap(next, now.Add(interval).UnixNano()) {
			f.look(now)
			v = f.current.Load()
		}
	}
	return v.table, v.err
}

// first loads the file for the first look-up; others wait for it.
func (f *File) first() (*table, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.current.Load(); v != nil {
		return v.table, v.err
	}
	err := f.load()
	v := f.current.Load()
	if v == nil {
		return nil, err
	}
	return v.table, v.err
}

// look reloads the file if it changed and has settled. Meanwhile other look-ups use the old version.
func (f *File) look(now time.Time) {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	info, err := f.stat()
	if err == nil && sameFile(info, f.current.Load().info) && f.current.Load().err == nil {
		f.failing = time.Time{}
		return
	}
	settle := max(orDefault(f.Settle, DefaultSettle), 0)
	if err == nil && now.Sub(info.ModTime) < settle && now.After(info.ModTime) {
		return
	}
	if err == nil {
		err = f.load()
	}
	switch {
	case err == nil:
		f.failing = time.Time{}
	case f.failing.IsZero():
		f.failing = now // a program that removes and writes the file is given its time
	case now.Sub(f.failing) >= settle:
		f.current.Store(&version{err: err})
		f.loads.Add(1)
		f.log(err)
	}
}

// load reads the file and makes it the current version. On an error the current one stays.
func (f *File) load() error {
	text, info, err := f.read()
	if err != nil {
		return err
	}
	t := build(f.Path, text, f.maxLine(), f.key, f.Check)
	f.current.Store(&version{table: t, info: info})
	f.loads.Add(1)
	f.nextLook.CompareAndSwap(0, f.now().Add(max(orDefault(f.Interval, DefaultInterval), 0)).UnixNano())
	for _, err := range t.errs {
		f.log(err)
	}
	return nil
}

// read returns the text of the file. A file that changed meanwhile is an error.
func (f *File) read() (text string, info faultfs.Info, err error) {
	dir, name, err := f.open()
	if err != nil {
		return "", info, err
	}
	defer dir.Close()
	file, err := dir.Open(name)
	if err != nil {
		return "", info, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return "", info, err
	}
	if limit := f.maxBytes(); info.Size > limit {
		return "", info, fmt.Errorf("%s: file has %d octets, limit is %d", f.Path, info.Size, limit)
	}
	var b strings.Builder
	b.Grow(int(info.Size))
	n, err := io.Copy(&b, io.LimitReader(file, info.Size+1))
	if err != nil {
		return "", info, err
	}
	after, err := file.Stat()
	if err != nil {
		return "", info, err
	}
	// Not Changed: replacing the file by a rename moves that, and this version is still whole.
	if n != info.Size || after.Size != info.Size || !after.ModTime.Equal(info.ModTime) {
		return "", info, fmt.Errorf("%s: %w", f.Path, errChanged)
	}
	return b.String(), info, nil
}

// stat describes the file as it is now.
func (f *File) stat() (faultfs.Info, error) {
	dir, name, err := f.open()
	if err != nil {
		return faultfs.Info{}, err
	}
	defer dir.Close()
	return dir.Lstat(name)
}

// open returns the directory of the file and its name there. The path is the administrator's and
// may be a symbolic link, as mounted secrets are; it is resolved anew each time.
func (f *File) open() (faultfs.Dir, string, error) {
	fsys, path := f.FS, f.Path
	if fsys == nil {
		fsys = faultfs.OS{}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, "", err
		}
		path = real
	}
	dir, err := fsys.OpenDir(filepath.Dir(path))
	return dir, filepath.Base(path), err
}

func (f *File) maxBytes() int64 {
	switch {
	case f.MaxBytes == 0:
		return DefaultMaxBytes
	case f.MaxBytes < 0:
		return offsetMask - 1
	}
	return f.MaxBytes
}

func (f *File) maxLine() int {
	switch {
	case f.MaxLine == 0:
		return DefaultMaxLine
	case f.MaxLine < 0:
		return math.MaxInt
	}
	return f.MaxLine
}

func (f *File) log(err error) {
	if f.Logger != nil {
		f.Logger.Warn("passwd-file", "err", err)
	}
}

// key returns the form in which a name is compared.
func (f *File) key(name string) string {
	if f.Key != nil {
		return f.Key(name)
	}
	return name
}

func (f *File) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

// sameFile compares the time of the last change too: a rename or chmod moves it, and so does a
// write within one tick of ModTime.
func sameFile(a, b faultfs.Info) bool {
	return a.Inode == b.Inode && a.Device == b.Device && a.Size == b.Size && a.ModTime.Equal(b.ModTime) && a.Changed.Equal(b.Changed)
}

func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}
