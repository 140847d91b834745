package lmtp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"
)

// Knowing one server is knowing all.
func TestShape(t *testing.T) {
	srv := &lmtp.Server{Handler: smtp.DeliverTo(&deliverer{}, "example.org"), Hostname: "store.example.org"}
	require.NoError(t, srv.Shutdown(t.Context()))
	require.ErrorIs(t, srv.ListenAndServe(), smtp.ErrServerClosed)

	srv = &lmtp.Server{Handler: smtp.DeliverTo(&deliverer{}, "example.org"), Hostname: "store.example.org", Addr: "127.0.0.1:0"}
	done := make(chan error, 1)
	go func() { done <- srv.ListenAndServe() }()
	<-srv.Ready()
	c, err := net.Dial("tcp", srv.ListenAddr().String())
	require.NoError(t, err)
	defer c.Close()
	line := make([]byte, 100)
	_, err = c.Read(line)
	require.NoError(t, err)
	require.Equal(t, 1, srv.Stats().Conns)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, srv.Shutdown(ctx))
	rest, _ := io.ReadAll(c)
	require.Equal(t, "421 4.3.2 server is shutting down\r\n", string(rest))
	require.ErrorIs(t, <-done, smtp.ErrServerClosed)
}

// TLS from the first octet, and only for those who mean LMTP.
func TestServeTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	srv := &lmtp.Server{
		Handler: smtp.DeliverTo(&deliverer{}, "example.org"), Hostname: "store.example.org",
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
	}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	for proto, ok := range map[string]bool{"lmtp": true, "smtp": false} {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}}) // the certificate is the test's own
		require.Equal(t, ok, err == nil, "%s: %v", proto, err)
		if err != nil {
			continue
		}
		line := make([]byte, 100)
		n, err := c.Read(line)
		require.NoError(t, err)
		require.Equal(t, "220 store.example.org LMTP ready\r\n", string(line[:n]))
		require.NoError(t, c.Close())
	}
}
