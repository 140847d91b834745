package mbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// TestF08_DeadHolder: a dotlock of ours whose process was killed is removed at once, whatever the clock says, also where
// another process has its number now; one of another system, or of a process that lives, is not. Other programs find the number
// in front.
func TestF08_DeadHolder(t *testing.T) {
	line := holderLine()
	if line == "" {
		t.Skip("this system does not tell when processes began")
	}
	dir := fastDir(t)
	path := filepath.Join(dir, "box")
	try := func(text string) error {
		require.NoError(t, os.WriteFile(path+".lock", []byte(text), 0o600))
		defer os.Remove(path + ".lock")
		at := time.Now().Add(time.Hour) // the clock was set back
		require.NoError(t, os.Chtimes(path+".lock", at, at))
		_, err := (&File{Path: path, LockTimeout: 30 * time.Millisecond}).Append(t.Context(), FromLine{}, strings.NewReader("x\r\n"))
		return err
	}
	require.NoError(t, appendText(faultfs.OS{}, path, "old\r\n"))
	cmd, out := startChild(t, "hold-ours", path)
	_, err := out.ReadString('\n')
	require.NoError(t, err)
	text, err := os.ReadFile(path + ".lock")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), fmt.Sprintf("%d\n", cmd.Process.Pid)), "%q", text)
	require.NotContains(t, string(text), ":", "Dovecot takes what is behind it for a host")
	require.ErrorIs(t, try(string(text)), mailbox.ErrInUse, "it lives")
	other := strings.Replace(string(text), "goniec 1 ", "goniec 1 another-", 1)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.ErrorIs(t, try(other), mailbox.ErrInUse, "another system")
	require.ErrorIs(t, try(strings.Split(string(text), "\n")[0]), mailbox.ErrInUse, "not ours")
	require.NoError(t, try(string(text)), "dead")
	// Its number is another process's now.
	fields := strings.Fields(line)
	fields[len(fields)-1] = "1"
	require.NoError(t, try(fmt.Sprintf("%d\n%s\n", os.Getppid(), strings.Join(fields, " "))))
	require.ErrorIs(t, try(fmt.Sprintf("%d\n%s %s\n", os.Getppid(), strings.Join(fields[:len(fields)-1], " "), beganAt(os.Getppid()))), mailbox.ErrInUse)
}

// TestF08_ClockSetBack: what nobody touches for ten minutes before our eyes is stale, though the clock says it is young.
func TestF08_ClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watchedLocks
		touched := time.Now().Add(time.Hour)
		require.Zero(t, w.since(lockID{1, 1}, touched))
		time.Sleep(staleLock)
		require.Equal(t, staleLock, w.since(lockID{1, 1}, touched))
		require.Zero(t, w.since(lockID{1, 2}, touched))
		require.Zero(t, w.since(lockID{1, 1}, touched.Add(1)), "somebody has touched it")
		for i := range 2 * maxSightings {
			w.since(lockID{2, uint64(i)}, touched)
		}
		require.LessOrEqual(t, len(w.seen), maxSightings)
	})
}

// TestF08_HolderOfAnotherProc: in a namespace of process numbers that has the /proc of another one, what that tells of a
// number is another process's, which may end while ours has the lock: our dotlocks hold the number alone.
func TestF08_HolderOfAnotherProc(t *testing.T) {
	const inside = "GONIEC_MBOX_HOLDER_LINE"
	if os.Getenv(inside) != "" {
		fmt.Printf("pid %d line %q\n", os.Getpid(), holderLine())
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
		t.Skip("a namespace can not be made:", err)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), `pid 1 line ""`)
}
