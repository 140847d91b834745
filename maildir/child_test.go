//go:build unix

package maildir_test

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// childEnv tells a test that it runs in a child process, and what it is to do.
const childEnv = "GONIEC_MAILDIR_CHILD"

// asNobody runs a test of this binary as another user, in a copy of it that the user may run.
func asNobody(t *testing.T, test string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "goniec-nobody-*")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	binary, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/test", binary, 0o755))
	cmd := exec.Command(dir+"/test", "-test.run", test, "-test.timeout", "300s", "-test.v="+strconv.FormatBool(testing.Verbose()))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"=nobody", "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Log(string(out))
}
