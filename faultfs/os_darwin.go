package faultfs

import "golang.org/x/sys/unix"

const errFileType = unix.EFTYPE

// fsync flushes the drive's cache, too, which fsync(2) does not do on macOS; file
// systems without F_FULLFSYNC get what there is.
func fsync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	if err == unix.ENOTSUP || err == unix.EINVAL || err == unix.ENOTTY {
		return unix.Fsync(fd)
	}
	return err
}

func (f *osFile) datasync() error { return f.File.Sync() }
