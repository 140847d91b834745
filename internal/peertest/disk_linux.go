package peertest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h, and its flags.
const (
	ioctlShutdown    = 0x8004587d
	shutdownLogFlush = 1
	shutdownNoFlush  = 2
)

// shutdownFS ends a mounted ext4 without writing anything more, but its journal if asked.
func shutdownFS(path string, journal bool) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flag := shutdownNoFlush
	if journal {
		flag = shutdownLogFlush
	}
	if err := unix.IoctlSetPointerInt(fd, ioctlShutdown, flag); err != nil {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN: %w", err)
	}
	return nil
}
