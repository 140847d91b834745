package faultfs

import "syscall"

// RootOS is OS as it is on systems without openat.
type RootOS struct{}

func (RootOS) OpenDir(path string) (Dir, error) { return openRootDir(path) }

// FailTwice shows what a handle of OS answers when the first sync fails with EIO and
// the next would succeed.
func FailTwice() (calls int, first, second error) {
	var s syncer
	sync := func() error {
		calls++
		if calls == 1 {
			return syscall.EIO
		}
		return nil
	}
	first = s.do("/f", sync)
	second = s.do("/f", sync)
	return calls, first, second
}
