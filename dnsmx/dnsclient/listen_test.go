package dnsclient_test

import "net"

func netListen() (net.PacketConn, error) { return net.ListenPacket("udp", "127.0.0.1:0") }
