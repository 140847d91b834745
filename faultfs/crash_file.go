package faultfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// write is one change of a file's content: octets at an offset, a new size
// (truncate), or a time set by Chtimes.
type write struct {
	kind writeKind
	off  int64 // of truncate: the size
	data []byte
	time time.Time
}

type writeKind byte

const (
	writeData writeKind = iota
	writeSize
	writeTime
)

// apply performs the change on a content that may be modified in place.
func (w write) apply(data []byte) []byte {
	switch w.kind {
	case writeData:
		data = resize(data, max(int64(len(data)), w.off+int64(len(w.data))))
		copy(data[w.off:], w.data)
	case writeSize:
		data = resize(data, w.off)
	}
	return data
}

// resize cuts or fills with zeros.
func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size]
	}
	old := len(data)
	data = slices.Grow(data, int(size)-old)[:size]
	clear(data[old:]) // what was cut off earlier must not show again
	return data
}

// change performs a write in the current view and keeps it pending.
func (n *inode) change(w write, now time.Time) {
	if n.shared {
		n.data, n.shared = slices.Clone(n.data), false
	}
	n.data = w.apply(n.data)
	n.pending = append(n.pending, w)
	n.mtime, n.ctime = now, now
}

func (n *inode) truncate(size int64, now time.Time) {
	n.change(write{kind: writeSize, off: size}, now)
}

func (n *inode) chtimes(mtime, now time.Time) {
	n.pending = append(n.pending, write{kind: writeTime, time: mtime})
	n.mtime, n.ctime = mtime, now
}

// settle makes the pending changes durable; those of time only if asked. It
// applies the changes instead of copying the current content: what a failed
// sync dropped stays lost.
func (n *inode) settle(times bool) {
	if len(n.pending) == 0 {
		return
	}
	disk := n.disk
	if !n.onlyAppended() {
		disk = slices.Clone(disk)
	}
	var left []write
	for _, w := range n.pending {
		if w.kind == writeTime && !times {
			left = append(left, w)
		}
		disk = w.apply(disk)
	}
	n.disk, n.pending = disk, left
	n.version++
	if times {
		n.dtime = n.mtime
	}
}

// onlyAppended tells whether the pending changes leave the synced octets alone, so
// that a log that is synced after each record need not be copied each time.
func (n *inode) onlyAppended() bool {
	return !n.shared && !slices.ContainsFunc(n.pending, func(w write) bool {
		return w.kind == writeSize || w.kind == writeData && w.off < int64(len(n.disk))
	})
}

// crashFile is a handle on a file of a Crash.
type crashFile struct {
	c      *Crash
	n      *inode
	path   string
	flag   int
	pos    int64 // guarded by c.mu
	closed atomic.Bool
}

func (f *crashFile) with(op string, call func() error) error {
	err := error(fs.ErrClosed)
	if !f.closed.Load() {
		f.c.mu.Lock()
		defer f.c.mu.Unlock()
		err = call()
	}
	if err != nil && err != io.EOF {
		return &fs.PathError{Op: op, Path: f.path, Err: err}
	}
	return err
}

// Name implements File.
func (f *crashFile) Name() string { return f.path }

// Close implements File.
func (f *crashFile) Close() error {
	if f.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: f.path, Err: fs.ErrClosed}
	}
	return nil
}

// Read implements File.
func (f *crashFile) Read(p []byte) (n int, err error) {
	err = f.with("read", func() error {
		n, err = f.readAt(p, f.pos)
		f.pos += int64(n)
		if n > 0 || len(p) == 0 {
			return nil
		}
		return err
	})
	return n, err
}

// ReadAt implements File.
func (f *crashFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.with("read", func() error {
		n, err = f.readAt(p, off)
		return err
	})
	return n, err
}

func (f *crashFile) readAt(p []byte, off int64) (int, error) {
	switch {
	case f.flag&os.O_WRONLY != 0:
		return 0, syscall.EBADF
	case off < 0:
		return 0, syscall.EINVAL
	case off >= int64(len(f.n.data)):
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements File.
func (f *crashFile) Write(p []byte) (int, error) {
	return f.write(p, func() int64 {
		if f.flag&os.O_APPEND != 0 {
			f.pos = int64(len(f.n.data))
		}
		off := f.pos
		f.pos += int64(len(p))
		return off
	})
}

var errAppendMode = errors.New("WriteAt on a file opened with O_APPEND")

// WriteAt implements File.
func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	if f.flag&os.O_APPEND != 0 {
		return 0, &fs.PathError{Op: "write", Path: f.path, Err: errAppendMode}
	}
	return f.write(p, func() int64 { return off })
}

func (f *crashFile) write(p []byte, offset func() int64) (int, error) {
	err := f.with("write", func() error {
		if !writable(f.flag) {
			return syscall.EBADF
		}
		off := offset()
		switch {
		case off < 0:
			return syscall.EINVAL
		case off > maxCrashFile-int64(len(p)):
			return syscall.EFBIG
		case len(p) == 0:
			return nil
		}
		f.n.change(write{off: off, data: slices.Clone(p)}, f.c.now())
		f.c.changed("write " + f.path)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Seek implements File.
func (f *crashFile) Seek(offset int64, whence int) (pos int64, err error) {
	err = f.with("seek", func() error {
		switch whence {
		case io.SeekStart:
		case io.SeekCurrent:
			offset += f.pos
		case io.SeekEnd:
			offset += int64(len(f.n.data))
		default:
			return syscall.EINVAL
		}
		if offset < 0 {
			return syscall.EINVAL
		}
		f.pos = offset
		return nil
	})
	if err != nil {
		return 0, err
	}
	return offset, nil
}

// Truncate implements File.
func (f *crashFile) Truncate(size int64) error {
	return f.with("truncate", func() error {
		switch {
		case !writable(f.flag), size < 0:
			return syscall.EINVAL
		case size > maxCrashFile:
			return syscall.EFBIG
		}
		f.n.truncate(size, f.c.now())
		f.c.changed("truncate " + f.path)
		return nil
	})
}

// Stat implements File.
func (f *crashFile) Stat() (info Info, err error) {
	err = f.with("stat", func() error {
		info = f.c.info(f.n, path.Base(f.path))
		return nil
	})
	return info, err
}

// Sync implements File.
func (f *crashFile) Sync() error { return f.sync(true) }

// Datasync implements File.
func (f *crashFile) Datasync() error { return f.sync(false) }

func (f *crashFile) sync(times bool) error {
	return f.with("sync", func() error {
		f.c.syncFile(f.n, times)
		f.c.changed("sync " + f.path)
		return nil
	})
}

// loseUnsynced is what a failed Sync does; Fault calls it. The content stays
// readable, as from the page cache, and never reaches the disk.
func (f *crashFile) loseUnsynced() {
	_ = f.with("sync", func() error { f.n.pending = nil; return nil })
}
