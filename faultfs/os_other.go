//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package faultfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// badInName: Windows reads backslash as a separator and colon as a drive or
// alternate stream.
const badInName = "/\\:\x00"

// rootDir is a directory behind os.Root.
type rootDir struct {
	root *os.Root
	path string
}

func openDir(path string) (Dir, error) {
	root, err := os.OpenRoot(path)
	return newRootDir(root, path, err)
}

func newRootDir(root *os.Root, path string, err error) (Dir, error) {
	if err != nil {
		return nil, err
	}
	return &rootDir{root, path}, nil
}

func (d *rootDir) join(name string) string { return filepath.Join(d.path, name) }

func (d *rootDir) check(op, name string) error {
	if err := CheckName(name); err != nil {
		return &fs.PathError{Op: op, Path: d.join(name), Err: err}
	}
	return nil
}

// Name implements Dir.
func (d *rootDir) Name() string { return d.path }

// Close implements Dir.
func (d *rootDir) Close() error { return d.root.Close() }

// Open implements Dir.
func (d *rootDir) Open(name string) (File, error) { return d.OpenFile(name, os.O_RDONLY, 0) }

// Create implements Dir.
func (d *rootDir) Create(name string, perm fs.FileMode) (File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

// OpenFile implements Dir. The look before the open is what os.Root leaves us
// without O_NOFOLLOW.
func (d *rootDir) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	if info, err := d.root.Lstat(name); err == nil && !info.Mode().IsRegular() && flag&os.O_EXCL == 0 {
		return nil, &fs.PathError{Op: "open", Path: d.join(name), Err: ErrNotRegular}
	}
	f, err := d.root.OpenFile(name, flag, perm.Perm())
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: d.join(name), Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &osFile{File: f}, nil
}

// OpenDir implements Dir.
func (d *rootDir) OpenDir(name string) (Dir, error) {
	if err := d.check("opendir", name); err != nil {
		return nil, err
	}
	if info, err := d.root.Lstat(name); err == nil && !info.IsDir() {
		return nil, &fs.PathError{Op: "opendir", Path: d.join(name), Err: ErrNotDir}
	}
	root, err := d.root.OpenRoot(name)
	return newRootDir(root, d.join(name), err)
}

// Mkdir implements Dir.
func (d *rootDir) Mkdir(name string, perm fs.FileMode) error {
	if err := d.check("mkdir", name); err != nil {
		return err
	}
	return d.root.Mkdir(name, perm.Perm())
}

// Remove implements Dir.
func (d *rootDir) Remove(name string) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	return d.root.Remove(name)
}

// Chtimes implements Dir.
func (d *rootDir) Chtimes(name string, mtime time.Time) error {
	if err := d.check("chtimes", name); err != nil {
		return err
	}
	return d.root.Chtimes(name, mtime, mtime)
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
	if !ok {
		return &os.LinkError{Op: op, Old: d.join(name), New: newName, Err: errForeignDir}
	}
	if CheckName(name) != nil || CheckName(newName) != nil {
		return &os.LinkError{Op: op, Old: d.join(name), New: target.join(newName), Err: ErrBadName}
	}
	if d == target || d.path == target.path {
		return inside(name, newName)
	}
	return outside(d.join(name), target.join(newName))
}

// Lstat implements Dir.
func (d *rootDir) Lstat(name string) (Info, error) {
	if err := d.check("lstat", name); err != nil {
		return Info{}, err
	}
	info, err := d.root.Lstat(name)
	return infoFrom(info, err)
}

// Stat implements Dir.
func (d *rootDir) Stat() (Info, error) {
	info, err := d.root.Stat(".")
	return infoFrom(info, err)
}

// Sync implements Dir. There is nothing to call; see the package comment.
func (d *rootDir) Sync() error { return nil }

// Names implements Dir.
func (d *rootDir) Names() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// Stat implements File.
func (f *osFile) Stat() (Info, error) {
	info, err := f.File.Stat()
	return infoFrom(info, err)
}

func (f *osFile) datasync() error { return f.File.Sync() }

func infoFrom(i fs.FileInfo, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	return Info{Name: i.Name(), Size: i.Size(), Mode: i.Mode(), ModTime: i.ModTime(), Links: 1}, nil
}
