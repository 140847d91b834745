//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package faultfs

import (
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ReadWhole implements WholeReader: open, fstat, one read as a rule, close.
func (d *unixDir) ReadWhole(name string, buf []byte) (n int, info Info, err error) {
	if err = CheckName(name); err == nil {
		err = d.enter()
	}
	if err == nil {
		n, info, err = readWhole(d.fd, name, buf)
		d.leave()
	}
	if err != nil {
		err = &fs.PathError{Op: "read", Path: filepath.Join(d.path, name), Err: err}
	}
	return n, info, err
}

func readWhole(dir int, name string, buf []byte) (n int, info Info, err error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, info, refusal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err = retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return 0, info, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, info, ErrNotRegular
	}
	if info = infoOf(name, &st); info.Size > int64(len(buf)) {
		return 0, info, nil
	}
	for n < int(info.Size) {
		m, err := unix.Read(fd, buf[n:info.Size])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, info, err
		case m == 0:
			return n, info, io.ErrUnexpectedEOF // somebody cuts it at this moment
		default:
			n += m
		}
	}
	return n, info, nil
}
