package selfsigned

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tls.pem")
	first, err := Load(path, "mx.test", "127.0.0.1")
	require.NoError(t, err)
	require.NoError(t, first.Leaf.VerifyHostname("mx.test"))
	require.NoError(t, first.Leaf.VerifyHostname("127.0.0.1"))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	again, err := Load(path, "other.test")
	require.NoError(t, err)
	require.Equal(t, first.Certificate, again.Certificate, "kept from start to start")

	require.NoError(t, os.WriteFile(path, []byte("junk"), 0o600))
	_, err = Load(path, "mx.test")
	require.ErrorContains(t, err, path)
	_, err = Load(filepath.Join(t.TempDir(), "no", "tls.pem"), "mx.test")
	require.Error(t, err)
}
