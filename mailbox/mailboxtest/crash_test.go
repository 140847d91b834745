package mailboxtest

import (
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/stretchr/testify/require"
)

// maildirs opens maildirs in which each opening is an hour after the last one, so that the locks of
// those who died are stale.
func maildirs(wrap func(faultfs.FS) faultfs.FS) func(faultfs.FS) (mailbox.Store, error) {
	var opens atomic.Int64
	return func(fsys faultfs.FS) (mailbox.Store, error) {
		later := time.Duration(opens.Add(1)) * time.Hour
		return &maildir.Store{
			FS: wrap(fsys), Root: "/mail/{user}", Host: "h", Now: func() time.Time { return time.Now().Add(later) },
		}, nil
	}
}

// TestCrashSuite runs the suite over a store that passes it.
func TestCrashSuite(t *testing.T) {
	s := CrashSuite{Open: maildirs(func(fsys faultfs.FS) faultfs.FS { return fsys }), Limit: crashLimit()}
	s.Crashes(t)
	if peertest.LongForm() {
		s.Faults(t)
	}
}

// crashLimit keeps the short form short: maildir runs the suite in full.
func crashLimit() int {
	if peertest.LongForm() {
		return 1000
	}
	return 5
}

// TestCrashSuiteFinds: the suite finds a store that syncs no directory, or no file.
func TestCrashSuiteFinds(t *testing.T) {
	for name, lie := range map[string]lyingFS{"directories": {dirs: true}, "files": {files: true}} {
		s := CrashSuite{Open: maildirs(func(fsys faultfs.FS) faultfs.FS { return lyingFS{fsys, lie.dirs, lie.files} }), Limit: 20}.defaults()
		for _, op := range crashOperations {
			if op.name != "Append" && (op.name != "Move" || lie.files) {
				continue // a move may be a rename, and then has no file to sync
			}
			_, err := s.crash(op)
			require.Error(t, err, "%s without sync of %s", op.name, name)
			t.Log(name, op.name, err)
		}
	}
}

// lyingFS forgets to sync directories or files.
type lyingFS struct {
	faultfs.FS
	dirs, files bool
}

type lyingDir struct {
	faultfs.Dir
	fs lyingFS
}

type lyingFile struct{ faultfs.File }

func (lyingFile) Sync() error     { return nil }
func (lyingFile) Datasync() error { return nil }

func (f lyingFS) dir(d faultfs.Dir, err error) (faultfs.Dir, error) {
	if err != nil {
		return nil, err
	}
	return lyingDir{d, f}, nil
}

func (f lyingFS) file(file faultfs.File, err error) (faultfs.File, error) {
	if err != nil || !f.files {
		return file, err
	}
	return lyingFile{file}, nil
}

func (f lyingFS) OpenDir(path string) (faultfs.Dir, error)  { return f.dir(f.FS.OpenDir(path)) }
func (d lyingDir) OpenDir(name string) (faultfs.Dir, error) { return d.fs.dir(d.Dir.OpenDir(name)) }

func (d lyingDir) Link(n string, to faultfs.Dir, m string) error { return d.Dir.Link(n, honest(to), m) }

func (d lyingDir) Rename(n string, to faultfs.Dir, m string) error {
	return d.Dir.Rename(n, honest(to), m)
}

func (d lyingDir) Create(name string, perm fs.FileMode) (faultfs.File, error) {
	return d.fs.file(d.Dir.Create(name, perm))
}

func (d lyingDir) OpenFile(name string, flag int, perm fs.FileMode) (faultfs.File, error) {
	return d.fs.file(d.Dir.OpenFile(name, flag, perm))
}

func (d lyingDir) Sync() error {
	if d.fs.dirs {
		return nil
	}
	return d.Dir.Sync()
}

func honest(d faultfs.Dir) faultfs.Dir {
	if l, ok := d.(lyingDir); ok {
		return l.Dir
	}
	return d
}
