package peertest

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// reserve takes a port by a socket that never listens. Linux gives such a port to nobody who asks for any port, for listening or as
// the near end of a connection, and refuses connections to it; who asks for it by number, with SO_REUSEADDR, gets it, as
// often as he likes.
func reserve() (addr netip.AddrPort, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	release = func() { _ = unix.Close(fd) }
	loopback := [4]byte{127, 0, 0, 1}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback})
	}
	var sa unix.Sockaddr
	if err == nil {
		sa, err = unix.Getsockname(fd)
	}
	if err != nil {
		release()
		return netip.AddrPort{}, nil, err
	}
	return netip.AddrPortFrom(netip.AddrFrom4(loopback), uint16(sa.(*unix.SockaddrInet4).Port)), release, nil
}
