package faultfs

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// MkdirAll makes a directory with all that is missing above it, durably: each
// directory's entry is synced before the next one is made below it.
// Existing directories are left as they are. The deepest existing one may have
// been made by another process a moment ago, so its parent is synced as well,
// where the permissions allow.
func MkdirAll(fsys FS, path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	d, missing, err := deepest(fsys, path)
	if err != nil {
		return err
	}
	syncAbove(fsys, d.Name())
	for i := len(missing) - 1; i >= 0; i-- {
		next, err := MkdirSync(d, missing[i], perm)
		d.Close()
		if err != nil {
			return err
		}
		d = next
	}
	return d.Close()
}

// deepest opens the deepest existing directory of path and lists the missing
// elements below it, the last one first.
func deepest(fsys FS, path string) (Dir, []string, error) {
	var missing []string
	for {
		d, err := fsys.OpenDir(path)
		parent := filepath.Dir(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || parent == path {
			return d, missing, err
		}
		missing = append(missing, filepath.Base(path))
		path = parent
	}
}

// syncAbove makes an existing directory's own entry durable. Errors are not
// reported: we made no entry there, and a parent we may not read is not ours.
func syncAbove(fsys FS, path string) {
	if d, err := fsys.OpenDir(filepath.Dir(path)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// MkdirSync makes one directory unless it is there, syncs its entry, and opens
// it.
func MkdirSync(d Dir, name string, perm fs.FileMode) (Dir, error) {
	if err := d.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := d.Sync(); err != nil {
		return nil, err
	}
	return d.OpenDir(name)
}

// Sub opens a directory below d by a relative path with slashes ("a/b/c"),
// element by element, so that no symbolic link and no ".." is followed. An
// empty path or "." is ErrBadName.
func Sub(d Dir, path string) (Dir, error) {
	first, rest, more := strings.Cut(path, "/")
	sub, err := d.OpenDir(first)
	for more && err == nil {
		var next Dir
		first, rest, more = strings.Cut(rest, "/")
		next, err = sub.OpenDir(first)
		sub.Close()
		sub = next
	}
	if err != nil {
		return nil, err
	}
	return sub, nil
}

// ReadFile returns the content of a file of at most limit octets; a longer one
// is an error (EFBIG). Limit zero means 1 MiB, negative no limit.
func ReadFile(d Dir, name string, limit int64) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if limit == 0 {
		limit = 1 << 20
	}
	if limit < 0 {
		return io.ReadAll(f)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: syscall.EFBIG}
	}
	return data, err
}

// WriteFile replaces a file's content durably and atomically: after any crash
// the name shows the old content or the new, and once WriteFile has returned
// nil, the new. It writes a temporary file, syncs and renames it, then syncs the
// directory. The temporary name is "." + name + ".tmp": callers that replace one
// name concurrently need a lock of their own; a left-over of a crash is replaced.
//
// If the last step, the directory's Sync, fails, the new content is visible but
// not known to be durable; before it, an error leaves the old content.
func WriteFile(d Dir, name string, data []byte, perm fs.FileMode) error {
	if err := CheckName(name); err != nil {
		return &fs.PathError{Op: "write", Path: filepath.Join(d.Name(), name), Err: err}
	}
	tmp := "." + name + ".tmp"
	f, err := createOver(d, tmp, perm)
	if err != nil {
		return err
	}
	if err := fill(f, data); err != nil {
		_ = d.Remove(tmp)
		return err
	}
	if err := d.Rename(tmp, d, name); err != nil {
		_ = d.Remove(tmp)
		return err
	}
	return d.Sync()
}

// createOver creates a file that nobody else uses, removing what an earlier
// crash left under its name. O_TRUNC would write through a planted hard link.
func createOver(d Dir, name string, perm fs.FileMode) (File, error) {
	f, err := d.Create(name, perm)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := d.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return d.Create(name, perm)
}

// fill writes, syncs and closes f.
func fill(f File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	// NFS and quota systems may report a failed write only here.
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
