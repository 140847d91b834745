package netserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lockedBuffer collects log records.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// pipeListener gives out one end of pipes made by dial. For synctest: nothing in it leaves the bubble.
type pipeListener struct {
	conns chan net.Conn
	errs  chan error
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), errs: make(chan error), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 25} }

// dial connects from an address of the test's choice.
func (l *pipeListener) dial(from string) net.Conn {
	near, far := net.Pipe()
	l.conns <- &addrConn{far, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), l.Addr()}
	return near
}

type addrConn struct {
	net.Conn
	remote, local net.Addr
}

func (c *addrConn) RemoteAddr() net.Addr { return c.remote }
func (c *addrConn) LocalAddr() net.Addr  { return c.local }

// bubble runs a test in virtual time. Channels must be made inside of it, or time would not pass.
func bubble(t *testing.T, test func(t *testing.T, serve serveFunc)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, l := new(Server), newPipeListener()
		served := make(chan error, 1)
		test(t, func(cfg *Config) (*Server, *pipeListener) {
			go func() { served <- s.Serve(l, cfg) }()
			<-s.Ready()
			return s, l
		})
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, ErrServerClosed)
		time.Sleep(time.Hour) // virtual: the clients notice and leave too
	})
}

// inBubble is bubble for a server whose Config holds no channel.
func inBubble(t *testing.T, cfg *Config, test func(t *testing.T, s *Server, l *pipeListener)) {
	t.Helper()
	bubble(t, func(t *testing.T, serve serveFunc) {
		s, l := serve(cfg)
		test(t, s, l)
	})
}

type serveFunc = func(*Config) (*Server, *pipeListener)

// trickle writes one octet every gap until the connection is gone.
func trickle(c net.Conn, gap time.Duration) {
	for {
		if _, err := c.Write([]byte{'a'}); err != nil {
			return
		}
		time.Sleep(gap)
	}
}

// certificate is for "mail.test", made for this run.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mail.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func countLines(s string) int { return strings.Count(s, "\n") }
