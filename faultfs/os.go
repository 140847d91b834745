package faultfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
)

// OS is the real file system. On Linux, macOS and the BSDs each call costs one
// system call on an open directory (two to four for opening an existing
// file); interrupted calls are repeated. Elsewhere see the package comment.
type OS struct{}

// OpenDir implements FS.
func (OS) OpenDir(path string) (Dir, error) { return openDir(filepath.Clean(path)) }

// osFile adds to os.File what the seam promises: Info, Datasync, final sync
// errors.
type osFile struct {
	*os.File // opened under the full path, for messages
	synced   syncer
}

// Sync implements File.
func (f *osFile) Sync() error { return f.synced.do(f.Name(), f.File.Sync) }

// Datasync implements File.
func (f *osFile) Datasync() error { return f.synced.do(f.Name(), f.datasync) }

// syncer remembers the first error of a handle's syncs: the kernel may drop the
// dirty pages then, and let the next fsync succeed without them.
type syncer struct{ failed atomic.Pointer[error] }

func (s *syncer) do(path string, sync func() error) error {
	if e := s.failed.Load(); e != nil {
		return *e
	}
	err := sync()
	if err == nil {
		return nil
	}
	err = &fs.PathError{Op: "sync", Path: path, Err: bare(err)}
	s.failed.CompareAndSwap(nil, &err)
	return err
}

// bare strips the paths that package os put around a system error.
func bare(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}
