//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package mbox

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/goniec-mail/goniec/faultfs"
)

// lockFile asks once for flock's lock. These systems keep it in one table with fcntl's: it excludes those who take
// that one, and to take both would be to wait for oneself.
func lockFile(f faultfs.File) (bool, error) {
	return control(f, func(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
}

func unlockFile(f faultfs.File) {
	_, _ = control(f, func(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_UN) })
}

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
	if errors.Is(lockErr, unix.EWOULDBLOCK) || errors.Is(lockErr, unix.EINTR) {
		return false, nil
	}
	return lockErr == nil, lockErr
}

// processAlive reports whether there is a process with the number on this host.
func processAlive(pid int) bool { return syscall.Kill(pid, 0) != syscall.ESRCH }
