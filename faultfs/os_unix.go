//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package faultfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// badInName are the octets that no name may contain.
const badInName = "/\x00"

// unixDir is a directory descriptor that counts its users, so that Close never
// lets a call in progress land on a reused descriptor. A count, not a lock:
// Rename holds two directories, and locks could wait for each other.
type unixDir struct {
	fd     int
	path   string
	users  atomic.Int64 // calls in progress; negative once closed
	synced syncer
}

const closedBias = -1 << 40 // added by Close: keeps users negative for good

func openDir(path string) (Dir, error) {
	return openDirAt(unix.AT_FDCWD, path, path, 0)
}

func openDirAt(at int, name, path string, extra int) (Dir, error) {
	fd, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|extra, 0)
	if err == unix.ENOTDIR || extra != 0 && isLoop(err) {
		err = ErrNotDir
	}
	if err != nil {
		return nil, &fs.PathError{Op: "opendir", Path: path, Err: err}
	}
	return &unixDir{fd: fd, path: path}, nil
}

func openat(at int, name string, flag int, perm uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(at, name, flag|unix.O_CLOEXEC, perm)
		return err
	})
	return fd, err
}

// isLoop recognises what O_NOFOLLOW answers for a symbolic link: ELOOP by
// POSIX, EMLINK on FreeBSD and DragonFly, EFTYPE on NetBSD.
func isLoop(err error) bool {
	return err == unix.ELOOP || err == unix.EMLINK || err == errFileType
}

// retry repeats a call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// enter registers a call in progress; leave must follow.
func (d *unixDir) enter() error {
	for {
		n := d.users.Load()
		if n < 0 {
			return fs.ErrClosed
		}
		if d.users.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (d *unixDir) leave() {
	if d.users.Add(-1) == closedBias {
		_ = unix.Close(d.fd)
	}
}

// Close implements Dir. The last call in progress closes the descriptor.
func (d *unixDir) Close() error {
	for {
		n := d.users.Load()
		if n < 0 {
			return &fs.PathError{Op: "close", Path: d.path, Err: fs.ErrClosed}
		}
		if d.users.CompareAndSwap(n, n+closedBias) {
			if n == 0 {
				return unix.Close(d.fd)
			}
			return nil
		}
	}
}

// at checks the name, runs call between enter and leave, and names the error.
func (d *unixDir) at(op, name string, call func() error) error {
	err := CheckName(name)
	if err == nil {
		err = d.enter()
	}
	if err == nil {
		err = retry(call)
		d.leave()
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
	}
	return nil
}

// Name implements Dir.
func (d *unixDir) Name() string { return d.path }

// Open implements Dir.
func (d *unixDir) Open(name string) (File, error) { return d.OpenFile(name, os.O_RDONLY, 0) }

// Create implements Dir.
func (d *unixDir) Create(name string, perm fs.FileMode) (File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

// OpenFile implements Dir.
func (d *unixDir) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	// What O_EXCL makes is a regular file. Anything else may be a FIFO:
	// O_NONBLOCK keeps open from waiting for its other end.
	fresh := flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL
	extra := unix.O_NOFOLLOW
	if !fresh {
		extra |= unix.O_NONBLOCK
	}
	var fd int
	err := d.at("open", name, func() (err error) {
		fd, err = unix.Openat(d.fd, name, flag|extra|unix.O_CLOEXEC, uint32(perm.Perm()))
		return refusal(err)
	})
	if err != nil {
		return nil, err
	}
	if fresh {
		return d.file(fd, name), nil
	}
	return d.existing(fd, name)
}

// refusal is the error of an open: EISDIR, and ENXIO of a FIFO or socket, are refusals of the kind.
func refusal(err error) error {
	if isLoop(err) || err == unix.EISDIR || err == unix.ENXIO || err == unix.EOPNOTSUPP {
		return ErrNotRegular
	}
	return err
}

// existing makes a File of a descriptor opened with O_NONBLOCK, if it is a
// regular file.
func (d *unixDir) existing(fd int, name string) (File, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(fd, &st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	if err == nil {
		// So that package os does not take it for something to poll.
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(d.path, name), Err: err}
	}
	return d.file(fd, name), nil
}

func (d *unixDir) file(fd int, name string) *osFile {
	return &osFile{File: os.NewFile(uintptr(fd), filepath.Join(d.path, name))}
}

// OpenDir implements Dir.
func (d *unixDir) OpenDir(name string) (Dir, error) {
	path := filepath.Join(d.path, name)
	err := CheckName(name)
	if err == nil {
		err = d.enter()
	}
	if err != nil {
		return nil, &fs.PathError{Op: "opendir", Path: path, Err: err}
	}
	defer d.leave()
	return openDirAt(d.fd, name, path, unix.O_NOFOLLOW)
}

// Mkdir implements Dir.
func (d *unixDir) Mkdir(name string, perm fs.FileMode) error {
	return d.at("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, uint32(perm.Perm())) })
}

// Remove implements Dir.
func (d *unixDir) Remove(name string) error {
	return d.at("remove", name, func() error {
		err := unix.Unlinkat(d.fd, name, 0)
		// A directory answers EISDIR on Linux, EPERM elsewhere.
		if err != unix.EISDIR && err != unix.EPERM {
			return err
		}
		if e := unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR); e != unix.ENOTDIR {
			return e
		}
		return err
	})
}

// Chtimes implements Dir.
func (d *unixDir) Chtimes(name string, mtime time.Time) error {
	ts, err := unix.TimeToTimespec(mtime)
	if err != nil {
		return &fs.PathError{Op: "chtimes", Path: filepath.Join(d.path, name), Err: err}
	}
	times := []unix.Timespec{ts, ts}
	return d.at("chtimes", name, func() error {
		return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// Link implements Dir.
func (d *unixDir) Link(name string, to Dir, newName string) error {
	return d.both("link", name, to, newName, func(tofd int) error {
		return unix.Linkat(d.fd, name, tofd, newName, 0)
	})
}

// Rename implements Dir.
func (d *unixDir) Rename(name string, to Dir, newName string) error {
	return d.both("rename", name, to, newName, func(tofd int) error {
		return unix.Renameat(d.fd, name, tofd, newName)
	})
}

// both is at for two directories.
func (d *unixDir) both(op, name string, to Dir, newName string, call func(tofd int) error) error {
	err := d.bothEntered(name, to, newName, call)
	if err != nil {
		return &os.LinkError{Op: op, Old: filepath.Join(d.path, name), New: filepath.Join(to.Name(), newName), Err: err}
	}
	return nil
}

func (d *unixDir) bothEntered(name string, to Dir, newName string, call func(tofd int) error) error {
	target, ok := to.(*unixDir)
	if !ok {
		return errForeignDir
	}
	if CheckName(name) != nil || CheckName(newName) != nil {
		return ErrBadName
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if err := target.enter(); err != nil {
		return err
	}
	defer target.leave()
	return retry(func() error { return call(target.fd) })
}

// Lstat implements Dir.
func (d *unixDir) Lstat(name string) (Info, error) {
	var st unix.Stat_t
	err := d.at("lstat", name, func() error {
		return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return Info{}, err
	}
	return infoOf(name, &st), nil
}

// Stat implements Dir.
func (d *unixDir) Stat() (Info, error) {
	var st unix.Stat_t
	err := d.self("stat", func() error { return unix.Fstat(d.fd, &st) })
	if err != nil {
		return Info{}, err
	}
	return infoOf(filepath.Base(d.path), &st), nil
}

// Sync implements Dir.
func (d *unixDir) Sync() error {
	return d.synced.do(d.path, func() error {
		return d.self("sync", func() error { return fsync(d.fd) })
	})
}

// self is at for the directory itself.
func (d *unixDir) self(op string, call func() error) error {
	err := d.enter()
	if err == nil {
		err = retry(call)
		d.leave()
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: d.path, Err: err}
	}
	return nil
}

// Names implements Dir. It reads through a descriptor of its own, so that
// concurrent calls do not share a position.
func (d *unixDir) Names() ([]string, error) {
	var fd int
	err := d.self("readdir", func() (err error) {
		fd, err = unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	names, err := readNames(fd, d.path)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: d.path, Err: bare(err)}
	}
	return names, nil
}

// Stat implements File.
func (f *osFile) Stat() (Info, error) {
	var st unix.Stat_t
	err := f.control(func(fd int) error { return unix.Fstat(fd, &st) })
	if err != nil {
		return Info{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return infoOf(filepath.Base(f.Name()), &st), nil
}

// control runs a call on the descriptor while it cannot be closed.
func (f *osFile) control(call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return fs.ErrClosed
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		result = retry(func() error { return call(int(fd)) })
	})
	if err != nil {
		return fs.ErrClosed
	}
	return result
}

// infoOf converts what the system tells. The integer types differ by system.
func infoOf(name string, st *unix.Stat_t) Info {
	return Info{
		Name:    name,
		Size:    st.Size,
		Mode:    modeOf(uint32(st.Mode)),
		ModTime: time.Unix(st.Mtim.Unix()),
		Changed: time.Unix(st.Ctim.Unix()),
		Inode:   uint64(st.Ino),
		Device:  uint64(st.Dev),
		Links:   uint64(st.Nlink),
		UID:     st.Uid,
	}
}

func modeOf(st uint32) fs.FileMode {
	mode := fs.FileMode(st & 0o777)
	switch st & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	default:
		mode |= fs.ModeDevice
	}
	return mode
}
