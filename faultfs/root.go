package faultfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// rootDir is a Dir on top of os.Root, for systems without openat. It is compiled
// everywhere so that it is tested everywhere.
type rootDir struct {
	root   *os.Root
	path   string
	closed atomic.Bool // os.Root does not tell of a second Close
}

func openRootDir(path string) (Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, &fs.PathError{Op: "opendir", Path: path, Err: bare(err)}
	}
	return &rootDir{root: root, path: path}, nil
}

func (d *rootDir) join(name string) string { return filepath.Join(d.path, name) }

// at checks the name, makes the call, and names the error.
func (d *rootDir) at(op, name string, call func() error) error {
	err := CheckName(name)
	if err == nil {
		err = bare(call())
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: d.join(name), Err: err}
	}
	return nil
}

// self is at for the directory itself.
func (d *rootDir) self(op string, call func() error) error {
	err := error(fs.ErrClosed)
	if !d.closed.Load() {
		err = bare(call())
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: d.path, Err: err}
	}
	return nil
}

// Name implements Dir.
func (d *rootDir) Name() string { return d.path }

// Close implements Dir.
func (d *rootDir) Close() error {
	return d.self("close", func() error {
		if d.closed.Swap(true) {
			return fs.ErrClosed
		}
		return d.root.Close()
	})
}

// Open implements Dir.
func (d *rootDir) Open(name string) (File, error) { return d.OpenFile(name, os.O_RDONLY, 0) }

// Create implements Dir.
func (d *rootDir) Create(name string, perm fs.FileMode) (File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

// OpenFile implements Dir.
func (d *rootDir) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	var f *os.File
	err := d.at("open", name, func() (err error) {
		f, err = d.openRegular(name, flag, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

// openRegular looks before and after: os.Root has no O_NOFOLLOW.
func (d *rootDir) openRegular(name string, flag int, perm fs.FileMode) (*os.File, error) {
	if flag&os.O_EXCL == 0 {
		if info, err := d.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
			return nil, ErrNotRegular
		}
	}
	f, err := d.root.OpenFile(name, flag, perm.Perm())
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenDir implements Dir.
func (d *rootDir) OpenDir(name string) (Dir, error) {
	sub := &rootDir{path: d.join(name)}
	err := d.at("opendir", name, func() error {
		info, err := d.root.Lstat(name)
		if err == nil && !info.IsDir() {
			err = ErrNotDir
		}
		if err == nil {
			sub.root, err = d.root.OpenRoot(name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return sub, nil
}

// Mkdir implements Dir.
func (d *rootDir) Mkdir(name string, perm fs.FileMode) error {
	return d.at("mkdir", name, func() error { return d.root.Mkdir(name, perm.Perm()) })
}

// Remove implements Dir.
func (d *rootDir) Remove(name string) error {
	return d.at("remove", name, func() error { return d.root.Remove(name) })
}

// Chtimes implements Dir.
func (d *rootDir) Chtimes(name string, mtime time.Time) error {
	return d.at("chtimes", name, func() error { return d.root.Chtimes(name, mtime, mtime) })
}

// Link implements Dir.
func (d *rootDir) Link(name string, to Dir, newName string) error {
	return d.both("link", name, to, newName, d.root.Link, os.Link)
}

// Rename implements Dir.
func (d *rootDir) Rename(name string, to Dir, newName string) error {
	return d.both("rename", name, to, newName, d.root.Rename, os.Rename)
}

// both stays inside the root where it can; between two roots only paths are left.
func (d *rootDir) both(op, name string, to Dir, newName string, inside, outside func(a, b string) error) error {
	target, ok := to.(*rootDir)
	err := errForeignDir
	switch {
	case !ok:
	case CheckName(name) != nil || CheckName(newName) != nil:
		err = ErrBadName
	case d.closed.Load() || target.closed.Load():
		err = fs.ErrClosed
	case d == target:
		err = bare(inside(name, newName))
	default:
		err = bare(outside(d.join(name), target.join(newName)))
	}
	if err != nil {
		return &os.LinkError{Op: op, Old: d.join(name), New: filepath.Join(to.Name(), newName), Err: err}
	}
	return nil
}

// Lstat implements Dir.
func (d *rootDir) Lstat(name string) (info Info, err error) {
	err = d.at("lstat", name, func() error {
		info, err = infoFrom(d.root.Lstat(name))
		return err
	})
	return info, err
}

// Stat implements Dir.
func (d *rootDir) Stat() (info Info, err error) {
	err = d.self("stat", func() error {
		info, err = infoFrom(d.root.Stat("."))
		info.Name = filepath.Base(d.path)
		return err
	})
	return info, err
}

// Sync implements Dir. There is nothing to call; see the package comment.
func (d *rootDir) Sync() error { return d.self("sync", func() error { return nil }) }

// Names implements Dir.
func (d *rootDir) Names() (names []string, err error) {
	err = d.self("readdir", func() error {
		f, err := d.root.Open(".")
		if err != nil {
			return err
		}
		defer f.Close()
		names, err = f.Readdirnames(-1)
		return err
	})
	return names, err
}

func infoFrom(i fs.FileInfo, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	return Info{Name: i.Name(), Size: i.Size(), Mode: i.Mode(), ModTime: i.ModTime(), Links: 1}, nil
}
