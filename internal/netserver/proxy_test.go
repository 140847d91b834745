package netserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// whoami answers with the addresses and then echoes.
func whoami(ctx context.Context, c *Conn) {
	fmt.Fprintf(c, "%v %v %v\r\n", c.Remote(), c.Local(), addrPort(c.Peer()).Addr())
	echo(ctx, c)
}

// v2 builds a version 2 header: PROXY over family, with n octets of TLVs after the addresses.
func v2(command, family byte, addrs []byte, n int) string {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	b = append(b, 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(addrs)+n))
	b = append(b, addrs...)
	if n >= 3 { // one PP2_TYPE_NOOP
		b = append(b, 4)
		b = binary.BigEndian.AppendUint16(b, uint16(n-3))
		b = append(b, bytes.Repeat([]byte{0}, n-3)...)
	}
	return string(b)
}

var (
	tcp4 = []byte{198, 51, 100, 7, 203, 0, 113, 25, 0x30, 0x39, 0, 25} // :12345 to :25
	tcp6 = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::25").AsSlice()...), 0x30, 0x39, 0, 25)
	own  = "192.0.2.1:1 192.0.2.25:25 192.0.2.1"
)

// S21
func TestS21_ProxyHeader(t *testing.T) {
	for _, tc := range []struct{ name, header, want string }{
		{"v1 IPv4", "PROXY TCP4 198.51.100.7 203.0.113.25 12345 25\r\n", "198.51.100.7:12345 203.0.113.25:25 192.0.2.1"},
		{"v1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::25 12345 25\r\n", "[2001:db8::7]:12345 [2001:db8::25]:25 192.0.2.1"},
		{"v1 mapped", "PROXY TCP6 ::ffff:198.51.100.7 ::ffff:203.0.113.25 12345 25\r\n", "198.51.100.7:12345 203.0.113.25:25 192.0.2.1"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", own},
		{"v2 IPv4", v2(1, 0x11, tcp4, 0), "198.51.100.7:12345 203.0.113.25:25 192.0.2.1"},
		{"v2 IPv6", v2(1, 0x21, tcp6, 0), "[2001:db8::7]:12345 [2001:db8::25]:25 192.0.2.1"},
		{"v2 local", v2(0, 0, nil, 0), own},
		{"v2 at the length limit", v2(1, 0x11, tcp4, 4096-12), "198.51.100.7:12345 203.0.113.25:25 192.0.2.1"},
		{"v2 over it", v2(1, 0x11, tcp4, 4097-12), ""},
		{"v2 announces the most", string([]byte(v2(1, 0x11, tcp4, 0))[:14]) + "\xff\xff", ""},
		{"v2 UDP", v2(1, 0x12, tcp4, 0), ""},
		{"v2 unix", v2(1, 0x31, make([]byte, 216), 0), ""},
		{"v2 too short for its family", v2(1, 0x11, tcp4[:11], 0), ""},
		{"v1 bare LF", "PROXY TCP4 198.51.100.7 203.0.113.25 12345 25\n", ""},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("f", 94) + "\r\n", ""},
		{"v1 family mismatch", "PROXY TCP4 2001:db8::7 2001:db8::25 12345 25\r\n", ""},
		{"none", "EHLO client\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := &Config{Handle: whoami, ProxyFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
			inBubble(t, cfg, func(t *testing.T, _ *Server, l *pipeListener) {
				nc := l.dial("192.0.2.1:1")
				go func() { _, _ = io.WriteString(nc, tc.header+"first command\r\n") }()
				c := newClient(t, nc)
				if tc.want == "" {
					c.expectClosed()
					return
				}
				c.expect(tc.want).expect("HELLO").expect("first command").say("second").expect("second")
			})
		})
	}
}

// S21: from an unlisted peer a header is only input.
func TestS21_ProxyHeaderFromUnlistedPeer(t *testing.T) {
	cfg := &Config{Handle: whoami, ProxyFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/32")}}
	inBubble(t, cfg, func(t *testing.T, _ *Server, l *pipeListener) {
		header := "PROXY TCP4 198.51.100.7 203.0.113.25 12345 25"
		newClient(t, l.dial("192.0.2.1:1")).expect(own).expect("HELLO").say(header).expect(header)
	})
}

func TestProxyTimeout(t *testing.T) {
	for _, tc := range []struct{ set, want time.Duration }{{0, DefaultProxyTimeout}, {time.Second, time.Second}} {
		cfg := &Config{Handle: echo, ProxyTimeout: tc.set, ProxyFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
		inBubble(t, cfg, func(t *testing.T, _ *Server, l *pipeListener) {
			start := time.Now()
			nc := l.dial("192.0.2.1:1")
			go trickleString(nc, v2(1, 0x11, tcp4, 0), 700*time.Millisecond)
			_, err := io.ReadAll(nc)
			require.NoError(t, err)
			require.Equal(t, tc.want, time.Since(start))
		})
	}
}

func trickleString(w io.Writer, s string, gap time.Duration) {
	for i := range s {
		if _, err := io.WriteString(w, s[i:i+1]); err != nil {
			return
		}
		time.Sleep(gap)
	}
}

func TestProxyClientsAreCounted(t *testing.T) {
	cfg := &Config{
		Handle: echo, MaxConnsPerIP: 2, Refusal: refusal,
		ProxyFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
	inBubble(t, cfg, func(t *testing.T, s *Server, l *pipeListener) {
		via := func(client string) *client {
			nc := l.dial("192.0.2.1:1")
			_, err := fmt.Fprintf(nc, "PROXY TCP4 %s 203.0.113.25 1 25\r\n", client)
			require.NoError(t, err)
			return newClient(t, nc)
		}
		for i := range 10 { // the proxy itself may have any number
			via(fmt.Sprintf("198.51.100.%d", i)).expect("HELLO")
		}
		second := via("198.51.100.1").expect("HELLO")
		via("198.51.100.1").expect("421 4.7.0 too many connections from this address").expectClosed()
		require.EqualValues(t, 1, s.Stats().Refused)
		second.say("QUIT").expectClosed()
		via("198.51.100.1").expect("HELLO")
		require.NoError(t, s.Shutdown(t.Context()))
		require.Empty(t, s.perIP)
	})
}

func TestProxyThenTLS(t *testing.T) {
	var s Server
	addr := startTLSServer(t, &s, &Config{
		Handle: whoami, TLSConfig: serverTLS(t),
		ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	plain := dial(t, addr).say("PROXY TCP4 198.51.100.7 203.0.113.25 12345 25")
	secure := newClient(t, tlsClient(plain.Conn))
	secure.expect("198.51.100.7:12345 203.0.113.25:25 127.0.0.1").expect("HELLO")
}
