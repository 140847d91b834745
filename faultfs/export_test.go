package faultfs

import "syscall"

// RootOS is OS as it is on systems without openat.
type RootOS struct{}

func (RootOS) OpenDir(path string) (Dir, error) { return openRootDir(path) }

// FailTwice shows what a handle of OS answers when the first sync fails with EIO and
// the next would succeed.
func FailTwice() (first, second error, calls int) {
	var s syncer
	sync := func() error {
		calls++
		if calls == 1 {
			return syscall.EIO
		}
		return nil
	}
	return s.do("/f", sync), s.do("/f", sync), calls
}
