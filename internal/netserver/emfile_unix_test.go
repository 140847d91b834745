//go:build unix

package netserver

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// R03: the real thing, in a process of its own that may open few files. While all are taken new clients wait in the kernel's
// queue; as soon as one is free they are served, and the server has hardly used the processor meanwhile.
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

	var clients []*client
	for { // both ends are ours, so about half of the descriptors are clients
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			require.ErrorIs(t, err, syscall.EMFILE)
			break
		}
		clients = append(clients, newClient(t, nc))
	}
	eventually(t, "accept fails", func() bool { return strings.Contains(log.String(), "too many open files") })
	require.Greater(t, len(clients), 10)
	for _, c := range clients[:len(clients)/2] {
		_ = c.Close()
	}
	eventually(t, "descriptors are free again", func() bool {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		newClient(t, nc).expect("HELLO").say("again").expect("again")
		return true
	})
	require.Less(t, strings.Count(log.String(), "accept failed"), 30)
}
