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
	failed   atomic.Pointer[error]
}

// Sync implements File.
func (f *osFile) Sync() error { return f.final(f.File.Sync) }

// Datasync implements File.
func (f *osFile) Datasync() error { return f.final(f.datasync) }

// final runs a sync unless one has failed before. After an error the kernel
// may drop the dirty pages and let the next fsync succeed without them.
func (f *osFile) final(sync func() error) error {
	if e := f.failed.Load(); e != nil {
		return *e
	}
	err := sync()
	if err == nil {
		return nil
	}
	err = &fs.PathError{Op: "sync", Path: f.Name(), Err: bare(err)}
	f.failed.CompareAndSwap(nil, &err)
	return err
}

// bare strips the path that package os put around a system error.
func bare(err error) error {
	if e, ok := err.(*fs.PathError); ok {
		return e.Err
	}
	return err
}
