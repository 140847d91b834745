//go:build unix

package netserver

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// R03: the real thing, in a process of its own that may open few files. While all are taken new clients wait in the kernel's
// queue; as soon as one is free they are served, and the server has not spun meanwhile.
func TestR03_OutOfFileDescriptors(t *testing.T) {
	if os.Getenv("NETSERVER_EMFILE") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestR03_OutOfFileDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), "NETSERVER_EMFILE=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "--- PASS")
		return
	}
	var s Server
	var log lockedBuffer
	addr := start(t, &s, &Config{Handle: echo, Logger: log.logger()})
	limit := &syscall.Rlimit{}
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, limit))
	limit.Cur = 64
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, limit))

	began := time.Now()
	before := dial(t, addr).expect("HELLO")

	var files []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			require.ErrorIs(t, err, syscall.EMFILE)
			break
		}
		files = append(files, f)
	}
	last := len(files) - 1
	require.NoError(t, files[last].Close())
	waiting := dial(t, addr) // takes the last descriptor, so none is left to accept it with
	eventually(t, "accept fails", func() bool { return strings.Contains(log.String(), "too many open files") })
	before.say("still here").expect("still here")
	for _, f := range files[:last] {
		require.NoError(t, f.Close())
	}
	waiting.expect("HELLO").say("at last").expect("at last")
	require.Less(t, strings.Count(log.String(), "accept failed"), 20+int(time.Since(began)/time.Second), "one a second, once it has seen that it does not pass")
}
