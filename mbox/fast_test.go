package mbox

import (
	"os"
	"testing"
)

// fastDir is a temporary directory in memory, where the system has that: for tests that are about what the files
// say, not about the disk.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "goniec-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
