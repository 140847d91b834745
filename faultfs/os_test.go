package faultfs_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

func TestWriteFileOS(t *testing.T) {
	path := t.TempDir() + "/a/b"
	require.NoError(t, faultfs.MkdirAll(faultfs.OS{}, path, 0o700))
	d, err := faultfs.OS{}.OpenDir(path)
	require.NoError(t, err)
	defer d.Close()
	for _, content := range []string{"one", "two"} {
		require.NoError(t, faultfs.WriteFile(d, "f", []byte(content), 0o600))
		got, err := faultfs.ReadFile(d, "f", 3)
		require.NoError(t, err)
		require.Equal(t, content, string(got))
	}
	names, err := d.Names()
	require.NoError(t, err)
	require.Equal(t, []string{"f"}, names)
}

// Rule 13: a handle whose sync failed does not sync again.
func TestF04SyncErrorIsFinal(t *testing.T) {
	calls, first, second := faultfs.FailTwice()
	require.ErrorIs(t, first, syscall.EIO)
	require.ErrorContains(t, first, "/f")
	require.Equal(t, first, second)
	require.Equal(t, 1, calls)
}
