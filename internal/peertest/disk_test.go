package peertest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// write makes a file under a temporary name and renames it, with as many syncs as asked.
func write(t *testing.T, dir, name string, file, folder bool) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name+".tmp"))
	require.NoError(t, err)
	_, err = f.WriteString("content of " + name)
	require.NoError(t, err)
	if file {
		require.NoError(t, f.Sync())
	}
	require.NoError(t, f.Close())
	require.NoError(t, os.Rename(filepath.Join(dir, name+".tmp"), filepath.Join(dir, name)))
	if folder {
		d, err := os.Open(dir)
		require.NoError(t, err)
		require.NoError(t, d.Sync())
		require.NoError(t, d.Close())
	}
}

// A cut loses what was not synced, so that a test which survives it has shown something; and keeps what was.
func TestF03_DiskForgets(t *testing.T) {
	for _, journal := range []bool{false, true} {
		d := peertest.NewDisk(t, 64<<20)
		require.NoError(t, os.Mkdir(filepath.Join(d.Path, "a"), 0o700))
		require.NoError(t, os.Mkdir(filepath.Join(d.Path, "b"), 0o700))
		write(t, d.Path, "first", true, true) // with the folders
		write(t, filepath.Join(d.Path, "a"), "careful", true, true)
		write(t, filepath.Join(d.Path, "b"), "name", true, false)
		write(t, filepath.Join(d.Path, "b"), "nothing", false, false)
		d.Cut(journal)
		require.Error(t, os.WriteFile(filepath.Join(d.Path, "late"), nil, 0o600))
		d.Restore()

		text, err := os.ReadFile(filepath.Join(d.Path, "a", "careful"))
		require.NoError(t, err)
		require.Equal(t, "content of careful", string(text))
		_, err = os.Stat(filepath.Join(d.Path, "b", "name"))
		require.Equal(t, journal, err == nil, "a rename without the folder's sync: only the journal has it")
		text, err = os.ReadFile(filepath.Join(d.Path, "b", "nothing"))
		require.True(t, err != nil || len(text) == 0, "data without sync survived: %q", text)
	}
}
