package netserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

// Listen listens on "host:port" ("" is all addresses, port 0 a free port), or on a unix socket written as "unix:PATH" or
// as an absolute path. A socket file that a dead server left behind is replaced. The error says what to do where we know.
func Listen(addr string) (net.Listener, error) {
	if path, ok := unixPath(addr); ok {
		return listenUnix(path)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, explainListen(err)
	}
	return l, nil
}

func explainListen(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: ports below 1024 need CAP_NET_BIND_SERVICE; run \"setcap cap_net_bind_service=+ep PROGRAM\", "+
			"let systemd open the socket, or choose a port above 1023", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another server listens there; stop it or choose another port", err)
	}
	return err
}

func unixPath(addr string) (string, bool) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return path, true
	}
	return addr, strings.HasPrefix(addr, "/")
}

func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	info, serr := os.Lstat(path)
	if serr != nil || info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%w: the file is there and is no socket; remove it or choose another path", err)
	}
	if c, derr := net.Dial("unix", path); !errors.Is(derr, syscall.ECONNREFUSED) {
		if derr == nil {
			_ = c.Close()
		}
		return nil, fmt.Errorf("%w: another server listens there", err)
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}
