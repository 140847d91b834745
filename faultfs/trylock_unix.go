//go:build unix && !solaris && !aix

package faultfs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// TryLock locks a file (flock) until it is closed or the process ends; false: another open file has the lock. Files that are not the
// system's have no locks: true. Where the platform has no flock it is always true, and nobody is kept out. It does not block.
func TryLock(f File) (bool, error) {
	c, ok := f.(syscall.Conn)
	if !ok {
		return true, nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var lockErr error
	if err := raw.Control(func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return false, err
	}
	if errors.Is(lockErr, unix.EWOULDBLOCK) {
		return false, nil
	}
	return lockErr == nil, lockErr
}

// Unlock gives the lock back. Closing the file does so too, but not while a process that is being started has a copy of the descriptor:
// whoever opens the file again at once calls this before Close.
func Unlock(f File) {
	c, ok := f.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Flock(int(fd), unix.LOCK_UN) })
	}
}
