//go:build unix && !solaris && !aix

package passwdfile

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/goniec-mail/goniec/faultfs"
)

// lockPoll is how often a lock that another process holds is tried again.
const lockPoll = 20 * time.Millisecond

// lock takes the lock file, which stays: removing it would let two processes lock two files of the
// same name. The kernel frees it when its holder dies.
func lock(ctx context.Context, dir faultfs.Dir, name string) (unlock func(), err error) {
	file, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = file.Close() }
	for {
		err := onFD(file, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			unlock()
			return nil, err
		}
		select {
		case <-ctx.Done():
			unlock()
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

// copyOwner gives a new file the owner, group and permissions of the old one: a file that root
// edited must stay readable for the server's user.
func copyOwner(from, to faultfs.File) error {
	var want, have unix.Stat_t
	if err := onFD(from, func(fd int) error { return unix.Fstat(fd, &want) }); err != nil {
		return err
	}
	if err := onFD(to, func(fd int) error { return unix.Fstat(fd, &have) }); err != nil {
		return err
	}
	return onFD(to, func(fd int) error {
		if want.Uid != have.Uid || want.Gid != have.Gid {
			if err := unix.Fchown(fd, int(want.Uid), int(want.Gid)); err != nil {
				return err
			}
		}
		return unix.Fchmod(fd, uint32(want.Mode)&0o777)
	})
}

// onFD calls f with the descriptor of a file. A file that has none, as those of a file system in
// memory, belongs to this process alone and needs no call.
func onFD(file faultfs.File, f func(fd int) error) error {
	c, ok := file.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
