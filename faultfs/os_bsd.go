//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package faultfs

import "os"

// readNames lists a directory and closes fd.
func readNames(fd int, path string) ([]string, error) {
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	return f.Readdirnames(-1)
}
