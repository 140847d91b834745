//go:build linux

package mbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

func TestF08_StaleDotlock(t *testing.T) {
	dead := exec.Command("true")
	require.NoError(t, dead.Run())
	gone := fmt.Sprint(dead.Process.Pid)
	for _, tc := range []struct {
		name, text string
		age        time.Duration
		taken      bool
	}{
		{"dead and old", gone, 11 * time.Minute, true},
		{"dead and young", gone, 9 * time.Minute, false},
		{"alive and old", fmt.Sprint(os.Getppid()), time.Hour, false},
		{"unknown and old", "", 11 * time.Minute, true},
		{"unknown and young", "", 9 * time.Minute, false},
		{"our number, not ours, old", fmt.Sprint(os.Getpid()), 11 * time.Minute, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(fastDir(t), "box")
			require.NoError(t, os.WriteFile(path+".lock", []byte(tc.text), 0o600))
			at := time.Now().Add(-tc.age)
			require.NoError(t, os.Chtimes(path+".lock", at, at))
			f := &File{Path: path, LockTimeout: 50 * time.Millisecond}
			if tc.taken {
				f.LockTimeout = time.Minute
			}
			_, err := f.Append(t.Context(), FromLine{}, strings.NewReader("x\r\n"))
			if tc.taken {
				require.NoError(t, err)
				require.NoFileExists(t, path+".lock")
				return
			}
			require.ErrorIs(t, err, mailbox.ErrInUse)
			require.Equal(t, 450, goniec.StatusOf(err).Code)
			require.FileExists(t, path+".lock")
		})
	}
}

// TestF08_HungHolder: another process has the lock and does not give it back; the wait is bounded, and ends with the context.
func TestF08_HungHolder(t *testing.T) {
	for _, kind := range []string{"hold-dotlock", "hold-fcntl", "hold-flock"} {
		path := filepath.Join(fastDir(t), "box")
		require.NoError(t, appendText(faultfs.OS{}, path, "old\r\n"))
		cmd, out := startChild(t, kind, path)
		_, err := out.ReadString('\n')
		require.NoError(t, err)
		start := time.Now()
		f := &File{Path: path, LockTimeout: 100 * time.Millisecond}
		_, err = f.Append(t.Context(), FromLine{}, strings.NewReader("x\r\n"))
		require.ErrorIs(t, err, mailbox.ErrInUse, kind)
		require.Less(t, time.Since(start), 30*time.Second, "less than the default, and than the child lives")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("the sender left"))
		_, err = (&File{Path: path}).Append(ctx, FromLine{}, strings.NewReader("x\r\n"))
		cancel()
		require.ErrorContains(t, err, "the sender left", kind)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		got, err := fileTexts(faultfs.OS{}, path)
		require.NoError(t, err)
		require.Equal(t, []string{"old\r\n"}, got)
		_ = os.Remove(path + ".lock")
		require.NoError(t, appendText(faultfs.OS{}, path, "new\r\n"), kind)
	}
}

// TestF08_TwoProcesses appends from two processes while a third party reads: it sees whole messages only, and at
// the end each is there once.
func TestF08_TwoProcesses(t *testing.T) {
	path := filepath.Join(fastDir(t), "box")
	require.NoError(t, appendText(faultfs.OS{}, path, "first\r\n"))
	cmd, out := startChild(t, "append", path)
	for i := range childMessages {
		require.NoError(t, appendText(faultfs.OS{}, path, childText("parent", i)))
		if i%5 == 0 {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = tryAll(NewReader(strings.NewReader(string(b)), MboxRD))
			require.NoError(t, err)
		}
	}
	_, err := io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	got, err := fileTexts(faultfs.OS{}, path)
	require.NoError(t, err)
	require.Len(t, got, 2*childMessages+1)
	seen := make(map[string]int)
	for _, m := range got {
		seen[m]++
	}
	for i := range childMessages {
		require.Equal(t, 1, seen[childText("parent", i)])
		require.Equal(t, 1, seen[childText("child", i)])
	}
}

// TestF08_Killed kills a process that appends, again and again: what it has acknowledged is there, and nothing
// is half there.
func TestF08_Killed(t *testing.T) {
	path := filepath.Join(fastDir(t), "box")
	acked := 0
	for round := range 4 {
		cmd, out := startChild(t, "append", path)
		for range 3 + 2*round {
			if _, err := out.ReadString('\n'); err == nil {
				acked++
			}
		}
		require.NoError(t, cmd.Process.Kill())
		rest, _ := io.ReadAll(out)
		acked += strings.Count(string(rest), "\n")
		_ = cmd.Wait()
		_ = os.Remove(path + ".lock")
		require.NoError(t, (&File{Path: path}).Recover(t.Context()))
		got, err := fileTexts(faultfs.OS{}, path)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(got), acked)
		require.LessOrEqual(t, len(got), acked+round+1)
		for _, m := range got {
			require.True(t, strings.HasPrefix(m, "Subject: child ") && strings.HasSuffix(m, "end\r\n"), "%.100q", m)
		}
	}
}

const childMessages = 30

func childText(who string, i int) string {
	return fmt.Sprintf("Subject: %s %d\r\n\r\n%send\r\n", who, i, strings.Repeat("From here to there\r\n", i))
}

func startChild(t *testing.T, job, path string) (*exec.Cmd, *bufio.Reader) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "GONIEC_MBOX_CHILD="+job, "GONIEC_MBOX_PATH="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewReader(out)
}

// child is the other process.
func child(job string) {
	path := os.Getenv("GONIEC_MBOX_PATH")
	if job == "append" {
		for i := range childMessages {
			if err := appendText(faultfs.OS{}, path, childText("child", i)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println(i)
		}
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = holdLock(job, path, f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("locked")
	time.Sleep(time.Minute)
}

// F08: a stale lock that somebody else has removed, to lock himself, is not removed again, although his lock file may have the
// number of the one that was.
func TestF08_StaleDotlockOfTwo(t *testing.T) {
	dead := exec.Command("true")
	require.NoError(t, dead.Run())
	path := filepath.Join(fastDir(t), "box")
	require.NoError(t, os.WriteFile(path+".lock", []byte(fmt.Sprint(dead.Process.Pid)), 0o600))
	at := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path+".lock", at, at))
	fault, once := faultfs.NewFault(faultfs.OS{}), false
	fault.Inject = func(c faultfs.Call) error {
		if c.Op == faultfs.OpRename && !once {
			once = true
			require.NoError(t, os.Remove(path+".lock"))
			require.NoError(t, os.WriteFile(path+".lock", []byte(fmt.Sprint(os.Getppid())), 0o600))
		}
		return nil
	}
	f := &File{Path: path, FS: sameInode{fault}, LockTimeout: 50 * time.Millisecond}
	_, err := f.Append(t.Context(), FromLine{}, strings.NewReader("x\r\n"))
	require.True(t, once)
	require.ErrorIs(t, err, mailbox.ErrInUse)
	require.FileExists(t, path+".lock")
}
