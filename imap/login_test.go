package imap_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/imap"
)

// Login names a user by the address that was dialled, in LOGIN and in AUTHENTICATE.
func TestLoginField(t *testing.T) {
	f := newFixture(t)
	f.users.passwords = map[string]string{"alice@example.org": "secret"}
	f.Login = func(name string, local netip.AddrPort) string {
		require.True(t, local.IsValid())
		return name + "@example.org"
	}
	addr := f.start(t)
	dial(t, addr).ok("LOGIN alice secret")
	dial(t, addr).ok("AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==")
	_, tagged := dial(t, addr).do("LOGIN alice@example.org secret")
	require.Contains(t, tagged, "AUTHENTICATIONFAILED")
}

// T03: with TLS from the first octet passwords are welcome and STARTTLS is not.
func TestImplicitTLS(t *testing.T) {
	f := newFixture(t)
	f.AllowInsecureAuth = false
	f.setting(t, "tls", "yes")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.ServeTLS(l) }()
	defer func() {
		require.NoError(t, f.Close())
		require.ErrorIs(t, <-done, imap.ErrServerClosed)
	}()
	<-f.Ready()
	require.Equal(t, l.Addr().String(), f.ListenAddr().String())
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"imap"}})
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, "imap", c.ConnectionState().NegotiatedProtocol)
	_, err = io.WriteString(c, "a CAPABILITY\r\nb LOGIN alice secret\r\nc LOGOUT\r\n")
	require.NoError(t, err)
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(got), "AUTH=PLAIN")
	require.NotContains(t, string(got), "STARTTLS")
	require.NotContains(t, string(got), "LOGINDISABLED")
	require.Contains(t, string(got), "b OK")
	// ALPN of another protocol is refused (S14).
	_, err = tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	require.Error(t, err)
}

// A refusal by the store at login leaves the session before login.
func TestLoginStoreFails(t *testing.T) {
	f := newFixture(t)
	kind := "Account"
	f.fail.Store(&kind)
	c := dial(t, f.start(t))
	_, tagged := c.do("LOGIN alice secret")
	require.Regexp(t, `^NO \[UNAVAILABLE\]`, tagged)
	_, tagged = c.do("SELECT INBOX")
	require.Regexp(t, "^BAD", tagged)
	f.fail.Store(nil)
	c.ok("LOGIN alice secret")
}
