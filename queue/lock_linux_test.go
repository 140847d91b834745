package queue

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A process that was being started when the queue was closed has a copy of the lock's descriptor for a moment, and must not
// keep the next owner out by it.
func TestLockIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenFiles(dir, FileOptions{})
	require.NoError(t, err)
	raw, err := s.lock.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	copied := -1
	var dup error
	require.NoError(t, raw.Control(func(fd uintptr) { copied, dup = syscall.Dup(int(fd)) }))
	require.NoError(t, dup)
	defer syscall.Close(copied)
	require.NoError(t, s.Close())
	s, err = OpenFiles(dir, FileOptions{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
