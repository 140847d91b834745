package netserver

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyBuffer holds a whole version 1 header (107 octets) and all of version 2 but long TLVs.
const proxyBuffer = 256

var errProxyTransport = errors.New("only TCP over IPv4 or IPv6 is accepted")

// proxyAddrs are a PROXY header's addresses.
type proxyAddrs struct{ remote, local net.Addr }

// readProxyHeader reads the header that a trusted proxy must send first, and counts the client it names. Its length is
// limited by the library: 107 octets in version 1, 4096 after the fixed part in version 2.
func (c *Conn) readProxyHeader() error {
	if d := c.l.cfg.ProxyTimeout; d > 0 {
		_ = c.sock.SetReadDeadline(time.Now().Add(d))
	}
	br := bufio.NewReaderSize(c.sock, proxyBuffer)
	h, err := proxyproto.Read(br)
	if err != nil {
		return fmt.Errorf("PROXY header: %w", err)
	}
	_ = c.sock.SetReadDeadline(time.Time{})
	if n := br.Buffered(); n > 0 {
		rest, _ := br.Peek(n)
		c.rw = &prefixConn{c.sock, rest}
	}
	if h.Command.IsLocal() { // the proxy itself, as for a health check: the socket's own addresses stand
		return nil
	}
	if h.TransportProtocol != proxyproto.TCPv4 && h.TransportProtocol != proxyproto.TCPv6 {
		return fmt.Errorf("PROXY header: %w", errProxyTransport)
	}
	c.client = &proxyAddrs{h.SourceAddr, h.DestinationAddr}
	return c.claimClient()
}

// claimClient applies the limits per address to the client behind a proxy.
func (c *Conn) claimClient() error {
	s := c.l.srv
	s.mu.Lock()
	key, err := s.claimIP(&c.l.cfg, c.Remote().Addr())
	c.key = key
	s.mu.Unlock()
	if err != nil {
		c.l.refuse(c.sock, err)
	}
	return err
}

// prefixConn gives out what came in one read with the header before it reads on.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (p *prefixConn) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
