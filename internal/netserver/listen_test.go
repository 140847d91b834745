package netserver

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenPortInUse(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = Listen(l.Addr().String())
	require.ErrorContains(t, err, l.Addr().String())
	if runtime.GOOS != "windows" {
		require.ErrorContains(t, err, "another server listens there")
	}
}

func TestListenHintsAtPrivileges(t *testing.T) {
	err := explainListen(&net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "CAP_NET_BIND_SERVICE")
	plain := errors.New("other")
	require.Equal(t, plain, explainListen(plain))
}

func TestListenUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	var s Server
	served := make(chan error, 1)
	cfg := &Config{Handle: echo, MaxConnsPerIP: 1, RatePerIP: 1}
	go func() { served <- s.ListenAndServe("unix:"+path, cfg) }()
	<-s.Ready()
	for range 3 { // no address, so no limit per address
		nc, err := net.Dial("unix", path)
		require.NoError(t, err)
		newClient(t, nc).expect("HELLO")
	}
	_, err := Listen("unix:" + path)
	require.ErrorContains(t, err, "another server listens there")
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-served, ErrServerClosed)
}

func TestListenReplacesADeadSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	dead.SetUnlinkOnClose(false) // as after a kill
	require.NoError(t, dead.Close())
	l, err := Listen("unix:" + path)
	require.NoError(t, err)
	require.NoError(t, l.Close())

	require.NoError(t, os.WriteFile(path, []byte("mail"), 0o600))
	_, err = Listen("unix:" + path)
	require.ErrorContains(t, err, "is no socket")
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mail", string(kept))
}

func TestListenAbsolutePathIsASocket(t *testing.T) {
	for addr, want := range map[string]bool{"/run/lmtp": true, "unix:lmtp": true, ":25": false, "127.0.0.1:25": false, "[::1]:25": false} {
		_, ok := unixPath(addr)
		require.Equal(t, want, ok, addr)
	}
}
