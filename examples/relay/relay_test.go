package main

import (
	"crypto/x509"
	"log/slog"
	netsmtp "net/smtp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/smtptest"
)

// start runs a relay to a smarthost.
func start(t *testing.T, o options) string {
	t.Helper()
	o.log = slog.New(slog.DiscardHandler)
	r, err := newRelay(o)
	require.NoError(t, err)
	r.Addr = "127.0.0.1:0"
	done := make(chan error, 1)
	go func() { done <- r.ListenAndServe() }()
	<-r.Ready()
	t.Cleanup(func() {
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
	})
	return r.ListenAddr().String()
}

func TestRelay(t *testing.T) {
	host := smtptest.Start(t, smtptest.Config{TLS: true, Users: map[string]string{"alice": "wonder"}})
	send := func(password string, roots *x509.CertPool) error {
		addr := start(t, options{to: host.Addr(), user: "alice", password: auth.NewSecret(password), roots: roots})
		return netsmtp.SendMail(addr, nil, "alice@example.org", []string{"bob@example.net"}, []byte("Subject: hello\r\n\r\nhello\r\n"))
	}
	require.NoError(t, send("wonder", host.ClientTLS().RootCAs))
	got := host.Wait(1)[0]
	require.Equal(t, "alice", got.Envelope.Origin.User)
	require.NotEmpty(t, got.Envelope.Origin.TLSVersion)
	require.ErrorContains(t, send("wrong", host.ClientTLS().RootCAs), "451 \"4.4.0", "our password is no business of the sender's")
	require.ErrorContains(t, send("wonder", nil), "451", "a certificate that nobody knows")
	require.Len(t, host.Messages(), 1)

	_, err := newRelay(options{})
	require.ErrorContains(t, err, "-to is missing")
	_, err = newRelay(options{to: "a:b:c"})
	require.ErrorContains(t, err, "-to: ")
	_, err = newRelay(options{to: "smtp.example.org", user: "alice"})
	require.ErrorContains(t, err, "set the environment variable RELAY_PASSWORD")
	_, err = newRelay(options{to: "smtp.example.org", cert: "no-such-file"})
	require.ErrorContains(t, err, "-cert: open no-such-file")
}
