package faultfs_test

import (
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
