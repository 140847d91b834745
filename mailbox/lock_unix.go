//go:build unix && !solaris && !aix

package mailbox

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/goniec-mail/goniec/faultfs"
)

// tryLock locks a file until it is closed or the process ends. A file system in memory has no locks.
func tryLock(f faultfs.File) (bool, error) {
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
