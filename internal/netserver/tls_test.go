package netserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func clientTLS(protos ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protos} //nolint:gosec // a certificate made for this run
}

func serverTLS(t testing.TB) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
}

func startTLSServer(t testing.TB, s *Server, cfg *Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	startOn(t, s, l, cfg, s.ServeTLS)
	return l.Addr().String()
}

func TestServeTLS(t *testing.T) {
	var s Server
	states := make(chan *tls.ConnectionState, 1)
	addr := startTLSServer(t, &s, &Config{TLSConfig: serverTLS(t), Handle: func(ctx context.Context, c *Conn) {
		states <- c.TLS()
		if c.StartTLS(ctx, 0) != ErrAlreadyTLS {
			return
		}
		echo(ctx, c)
	}})
	nc, err := tls.Dial("tcp", addr, clientTLS())
	require.NoError(t, err)
	c := newClient(t, nc).expect("HELLO").say("one").expect("one")
	require.True(t, (<-states).HandshakeComplete)
	require.NoError(t, s.Shutdown(context.Background()))
	c.expect("SHUT").expectClosed()
}

func TestServeTLSNeedsAConfig(t *testing.T) {
	var s Server
	require.ErrorIs(t, s.ServeTLS(newPipeListener(), &Config{Handle: echo}), ErrNoTLS)
}

func TestListenerOfCryptoTLS(t *testing.T) {
	var s Server
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS(t))
	require.NoError(t, err)
	startOn(t, &s, l, &Config{MaxConns: 1, Refusal: refusal, Handle: func(ctx context.Context, c *Conn) {
		if c.TLS() != nil && c.TLS().HandshakeComplete {
			echo(ctx, c)
		}
	}}, s.Serve)
	nc, err := tls.Dial("tcp", l.Addr().String(), clientTLS())
	require.NoError(t, err)
	newClient(t, nc).expect("HELLO")
	_, err = tls.Dial("tcp", l.Addr().String(), clientTLS())
	require.Error(t, err, "refused without a handshake in the accept loop")
}

// S14: cross-protocol sessions are refused in the handshake (ALPACA).
func TestS14_ALPN(t *testing.T) {
	perClient := serverTLS(t)
	perClient.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return serverTLS(t), nil }
	for name, cfg := range map[string]*tls.Config{"plain": serverTLS(t), "per client": perClient} {
		var s Server
		addr := startTLSServer(t, &s, &Config{Handle: echo, TLSConfig: cfg, NextProtos: []string{"toy"}})
		for _, tc := range []struct {
			offer []string
			ok    bool
		}{{nil, true}, {[]string{"toy"}, true}, {[]string{"h2", "toy"}, true}, {[]string{"h2", "http/1.1"}, false}, {[]string{"http/1.1"}, false}, {[]string{"imap"}, false}} {
			nc, err := tls.Dial("tcp", addr, clientTLS(tc.offer...))
			require.Equal(t, tc.ok, err == nil, "%s %v: %v", name, tc.offer, err)
			if err == nil {
				newClient(t, nc).expect("HELLO")
			}
		}
	}
}

// upgrading serves STARTTLS once and then echoes.
func upgrading(errs chan<- error) func(context.Context, *Conn) {
	return func(ctx context.Context, c *Conn) {
		br := bufio.NewReader(c)
		_, _ = br.ReadString('\n')
		fmt.Fprint(c, "GO\r\n")
		err := c.StartTLS(ctx, br.Buffered())
		errs <- err
		if err == nil {
			echo(ctx, c)
		}
	}
}

func TestStartTLS(t *testing.T) {
	var s Server
	errs := make(chan error, 1)
	addr := start(t, &s, &Config{Handle: upgrading(errs), TLSConfig: serverTLS(t)})
	c := dial(t, addr).say("STARTTLS").expect("GO")
	require.NoError(t, c.SetDeadline(time.Time{}))
	secure := newClient(t, tls.Client(c.Conn, clientTLS()))
	secure.expect("HELLO").say("one").expect("one")
	require.NoError(t, <-errs)
	require.NoError(t, s.Shutdown(context.Background()))
	secure.expect("SHUT").expectClosed()
}

func TestStartTLSRefusesBufferedPlaintext(t *testing.T) {
	var s Server
	errs := make(chan error, 1)
	addr := start(t, &s, &Config{Handle: upgrading(errs), TLSConfig: serverTLS(t)})
	dial(t, addr).say("STARTTLS\r\nMAIL FROM:<injected@example.org>").expect("GO").expectClosed()
	require.ErrorIs(t, <-errs, ErrPlaintextBuffered)
}

func TestStartTLSWithoutConfig(t *testing.T) {
	var s Server
	errs := make(chan error, 1)
	addr := start(t, &s, &Config{Handle: upgrading(errs)})
	dial(t, addr).say("STARTTLS").expect("GO").expectClosed()
	require.ErrorIs(t, <-errs, ErrNoTLS)
}

// T08: a stalled handshake, and one octet a second of a hello that would never end.
func TestT08_HandshakeDeadline(t *testing.T) {
	cfg := serverTLS(t)
	for _, slow := range []bool{false, true} {
		bubble(t, func(t *testing.T, serve serveFunc) {
			errs := make(chan error, 1)
			_, l := serve(&Config{Handle: upgrading(errs), TLSConfig: cfg})
			nc := l.dial("192.0.2.1:1")
			newClient(t, nc).say("STARTTLS").expect("GO")
			start := time.Now()
			if slow {
				_ = nc.SetDeadline(time.Time{})
				_, _ = nc.Write([]byte{22, 3, 1, 2, 0}) // a handshake record of 512 octets
				go trickle(nc, time.Second)
			}
			require.ErrorIs(t, <-errs, os.ErrDeadlineExceeded)
			require.Equal(t, DefaultHandshakeTimeout, time.Since(start))
		})
	}
}

// T08
func TestT08_ImplicitHandshakeIsFreed(t *testing.T) {
	cfg := serverTLS(t)
	synctest.Test(t, func(t *testing.T) {
		s, l := new(Server), newPipeListener()
		served := make(chan error, 1)
		go func() {
			served <- s.ServeTLS(l, &Config{Handle: echo, TLSConfig: cfg, HandshakeTimeout: 3 * time.Second})
		}()
		<-s.Ready()
		start := time.Now()
		_, err := io.ReadAll(l.dial("192.0.2.1:1"))
		require.NoError(t, err)
		require.Equal(t, 3*time.Second, time.Since(start))

		stalled := l.dial("192.0.2.1:2") // Shutdown does not wait for a handshake
		synctest.Wait()
		start = time.Now()
		require.NoError(t, s.Shutdown(context.Background()))
		require.Zero(t, time.Since(start))
		_, err = stalled.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.ErrorIs(t, <-served, ErrServerClosed)
	})
}

func TestStartTLSEndsWithItsContext(t *testing.T) {
	var s Server
	errs := make(chan error, 1)
	addr := start(t, &s, &Config{TLSConfig: serverTLS(t), Handle: func(ctx context.Context, c *Conn) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		errs <- c.StartTLS(ctx, 0)
	}})
	dial(t, addr).expectClosed()
	err := <-errs
	require.True(t, errors.Is(err, context.DeadlineExceeded), err)
}

func tlsClient(nc net.Conn) *tls.Conn { return tls.Client(nc, clientTLS()) }
