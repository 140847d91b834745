//go:build !linux

package peertest

import (
	"net"
	"net/netip"
)

// reserve finds a port that is free now; another may take it.
func reserve() (addr netip.AddrPort, release func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	return l.Addr().(*net.TCPAddr).AddrPort(), func() {}, l.Close()
}
