package mbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// holdLock takes one of the locks as other programs do, or our dotlock.
func holdLock(kind, path string, f *os.File) error {
	switch kind {
	case "hold-fcntl": // the classic one, of the process
		return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	case "hold-flock":
		return unix.Flock(int(f.Fd()), unix.LOCK_EX)
	case "hold-ours":
		return os.WriteFile(path+".lock", holderText(), 0o600)
	default:
		return os.WriteFile(path+".lock", nil, 0o600)
	}
}
