//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package maildir

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"golang.org/x/sys/unix"
)

// flock takes an advisory lock on an open file, waiting until ctx ends; wait false asks once. It goes
// with the file's descriptor, so that it never outlives the process. Files that are not of the system (in tests) have no
// other process: nothing to do.
func flock(ctx context.Context, f faultfs.File, wait bool) error {
	conn, ok := f.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, lockPoll) {
		var lockErr error
		if err := raw.Control(func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
			return err
		}
		if !wait || !errors.Is(lockErr, unix.EWOULDBLOCK) && !errors.Is(lockErr, unix.EINTR) {
			return lockErr
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func funlock(f faultfs.File) {
	if conn, ok := f.(syscall.Conn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Flock(int(fd), unix.LOCK_UN) })
		}
	}
}
