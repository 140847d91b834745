package mbox

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/goniec-mail/goniec/faultfs"
)

// lockFile asks once for fcntl's lock, then for flock's. The first belongs to the open file (OFD), not to the
// process: closing another descriptor of the same file does not give it back.
func lockFile(f faultfs.File) (bool, error) {
	return control(f, func(fd uintptr) error {
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lock); err != nil {
			return err
		}
		err := unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			releaseFcntl(fd)
		}
		return err
	})
}

func unlockFile(f faultfs.File) {
	_, _ = control(f, func(fd uintptr) error {
		_ = unix.Flock(int(fd), unix.LOCK_UN)
		releaseFcntl(fd)
		return nil
	})
}

func releaseFcntl(fd uintptr) {
	lock := unix.Flock_t{Type: unix.F_UNLCK}
	_ = unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lock)
}

// control calls do with the descriptor; false when the lock is somebody else's. Files that are not of the system
// (in tests) have no other process: nothing to do.
func control(f faultfs.File, do func(fd uintptr) error) (bool, error) {
	conn, ok := f.(syscall.Conn)
	if !ok {
		return true, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	var lockErr error
	if err := raw.Control(func(fd uintptr) { lockErr = do(fd) }); err != nil {
		return false, err
	}
	if errors.Is(lockErr, unix.EAGAIN) || errors.Is(lockErr, unix.EACCES) || errors.Is(lockErr, unix.EINTR) {
		return false, nil
	}
	return lockErr == nil, lockErr
}

// processAlive reports whether there is a process with the number on this host.
func processAlive(pid int) bool { return syscall.Kill(pid, 0) != syscall.ESRCH }
