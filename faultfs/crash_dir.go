package faultfs

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sync/atomic"
	"syscall"
	"time"
)

// crashDir is a handle on a directory of a Crash.
type crashDir struct {
	c      *Crash
	n      *inode
	path   string
	closed atomic.Bool
}

// with runs call under the lock, on an open handle and a good name.
func (d *crashDir) with(op, name string, call func() error) error {
	err := CheckName(name)
	if err == nil {
		err = d.locked(call)
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: d.join(name), Err: err}
	}
	return nil
}

func (d *crashDir) locked(call func() error) error {
	if d.closed.Load() {
		return fs.ErrClosed
	}
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	return call()
}

func (d *crashDir) join(name string) string { return path.Join(d.path, name) }

// Name implements Dir.
func (d *crashDir) Name() string { return d.path }

// Close implements Dir.
func (d *crashDir) Close() error {
	if d.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: d.path, Err: fs.ErrClosed}
	}
	return nil
}

// Open implements Dir.
func (d *crashDir) Open(name string) (File, error) { return d.OpenFile(name, os.O_RDONLY, 0) }

// Create implements Dir.
func (d *crashDir) Create(name string, perm fs.FileMode) (File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

// OpenFile implements Dir.
func (d *crashDir) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	var f *crashFile
	err := d.with("open", name, func() error {
		n, err := d.openInode(name, flag, perm)
		f = &crashFile{c: d.c, n: n, path: d.join(name), flag: flag}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *crashDir) openInode(name string, flag int, perm fs.FileMode) (*inode, error) {
	n := d.n.entries[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0, n == nil && d.n.links == 0:
		return nil, syscall.ENOENT
	case n == nil:
		n = d.c.newInode(perm.Perm(), d.c.now())
		d.c.commit("create "+d.join(name), effect{d.n, name, n})
		return n, nil
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case n.entries != nil:
		return nil, ErrNotRegular
	}
	if flag&os.O_TRUNC != 0 && writable(flag) && len(n.data) > 0 {
		n.truncate(0, d.c.now())
		d.c.changed("truncate " + d.join(name))
	}
	return n, nil
}

// writable tells whether an open flag asks for writing.
func writable(flag int) bool { return flag&(os.O_WRONLY|os.O_RDWR) != 0 }

// OpenDir implements Dir.
func (d *crashDir) OpenDir(name string) (Dir, error) {
	sub := &crashDir{c: d.c, path: d.join(name)}
	err := d.with("opendir", name, func() error {
		switch n := d.n.entries[name]; {
		case n == nil:
			return syscall.ENOENT
		case n.entries == nil:
			return ErrNotDir
		default:
			sub.n = n
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	return sub, nil
}

// Mkdir implements Dir.
func (d *crashDir) Mkdir(name string, perm fs.FileMode) error {
	return d.with("mkdir", name, func() error {
		if d.n.entries[name] != nil {
			return syscall.EEXIST
		}
		if d.n.links == 0 {
			return syscall.ENOENT
		}
		n := d.c.newInode(fs.ModeDir|perm.Perm(), d.c.now())
		d.c.commit("mkdir "+d.join(name), effect{d.n, name, n})
		return nil
	})
}

// Remove implements Dir.
func (d *crashDir) Remove(name string) error {
	return d.with("remove", name, func() error {
		n := d.n.entries[name]
		switch {
		case n == nil:
			return syscall.ENOENT
		case len(n.entries) > 0:
			return syscall.ENOTEMPTY
		}
		d.c.commit("remove "+d.join(name), effect{d.n, name, nil})
		return nil
	})
}

// Link implements Dir.
func (d *crashDir) Link(name string, to Dir, newName string) error {
	return d.both("link", name, to, newName, func(target *crashDir) error {
		n := d.n.entries[name]
		switch {
		case n == nil, target.n.links == 0:
			return syscall.ENOENT
		case target.n.entries[newName] != nil:
			return syscall.EEXIST
		case n.entries != nil:
			return syscall.EPERM
		}
		d.c.commit("link "+d.join(name)+" "+target.join(newName), effect{target.n, newName, n})
		return nil
	})
}

// Rename implements Dir.
func (d *crashDir) Rename(name string, to Dir, newName string) error {
	return d.both("rename", name, to, newName, func(target *crashDir) error {
		n, old := d.n.entries[name], target.n.entries[newName]
		if n == nil || target.n.links == 0 {
			return syscall.ENOENT
		}
		if n == old { // POSIX: two links of one file, nothing happens
			return nil
		}
		if err := mayReplace(n, old, target.n); err != nil {
			return err
		}
		d.c.commit("rename "+d.join(name)+" "+target.join(newName),
			effect{target.n, newName, n}, effect{d.n, name, nil})
		return nil
	})
}

// mayReplace holds rename's rules about directories.
func mayReplace(n, old, into *inode) error {
	if n.entries != nil {
		for up := into; ; up = up.parent {
			if up == n {
				return syscall.EINVAL // into itself
			}
			if up.parent == up {
				break
			}
		}
	}
	switch {
	case old == nil:
		return nil
	case n.entries == nil && old.entries != nil:
		return syscall.EISDIR
	case n.entries != nil && old.entries == nil:
		return syscall.ENOTDIR
	case len(old.entries) > 0:
		return syscall.ENOTEMPTY
	}
	return nil
}

func (d *crashDir) both(op, name string, to Dir, newName string, call func(target *crashDir) error) error {
	target, ok := to.(*crashDir)
	err := errForeignDir
	if ok && target.c == d.c {
		err = ErrBadName
		if CheckName(name) == nil && CheckName(newName) == nil {
			err = d.locked(func() error {
				if target.closed.Load() {
					return fs.ErrClosed
				}
				return call(target)
			})
		}
	}
	if err != nil {
		return &os.LinkError{Op: op, Old: d.join(name), New: path.Join(to.Name(), newName), Err: err}
	}
	return nil
}

// Lstat implements Dir.
func (d *crashDir) Lstat(name string) (info Info, err error) {
	err = d.with("lstat", name, func() error {
		n := d.n.entries[name]
		if n == nil {
			return syscall.ENOENT
		}
		info = d.c.info(n, name)
		return nil
	})
	return info, err
}

// Chtimes implements Dir.
func (d *crashDir) Chtimes(name string, mtime time.Time) error {
	return d.with("chtimes", name, func() error {
		n := d.n.entries[name]
		if n == nil {
			return syscall.ENOENT
		}
		n.chtimes(mtime, d.c.now())
		d.c.changed("chtimes " + d.join(name))
		return nil
	})
}

// Names implements Dir.
func (d *crashDir) Names() ([]string, error) {
	var names []string
	err := d.self("readdir", func() error {
		names = sortedKeys(d.n.entries)
		d.c.lists++
		rng := d.c.rng(d.c.lists)
		shuffle(rng, names)
		return nil
	})
	return names, err
}

func shuffle(rng *rand.Rand, names []string) {
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
}

// Stat implements Dir.
func (d *crashDir) Stat() (info Info, err error) {
	err = d.self("stat", func() error {
		info = d.c.info(d.n, path.Base(d.path))
		return nil
	})
	return info, err
}

// Sync implements Dir.
func (d *crashDir) Sync() error {
	return d.self("sync", func() error {
		d.c.syncDir(d.n)
		d.c.changed("sync " + d.path)
		return nil
	})
}

func (d *crashDir) self(op string, call func() error) error {
	if err := d.locked(call); err != nil {
		return &fs.PathError{Op: op, Path: d.path, Err: err}
	}
	return nil
}

// loseUnsynced is what a failed Sync does; Fault calls it.
func (d *crashDir) loseUnsynced() {
	_ = d.locked(func() error { d.c.dropDir(d.n); return nil })
}

func (c *Crash) info(n *inode, name string) Info {
	links := n.links
	if n.entries != nil {
		links++ // its own "."
	}
	return Info{
		Name: name, Size: int64(len(n.data)), Mode: n.mode, ModTime: n.mtime, Changed: n.ctime,
		Inode: n.num, Device: c.device, Links: uint64(links), UID: uint32(max(os.Geteuid(), 0)),
	}
}
