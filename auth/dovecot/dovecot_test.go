package dovecot

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/passwd"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

// users is a table of "alice" with the password "secret", in clear text so that everything works.
func users(t testing.TB) *passwd.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(path, []byte("alice:{PLAIN}secret\ntab:{PLAIN}a\tb\n"), 0o600))
	return &passwd.File{Path: path}
}

// serve runs a server and returns the path of its socket.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "goniec") // t.TempDir may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "auth")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-done, ErrServerClosed)
	})
	return path
}

func attempt(user, password string) *auth.Attempt {
	return &auth.Attempt{
		Mechanism: "PLAIN", Protocol: "imap", User: user, Secret: auth.NewSecret(password),
		Remote: netip.MustParseAddrPort("127.0.0.1:4000"), Local: netip.MustParseAddrPort("127.0.0.1:143"),
	}
}

// Our client asks our server.
func TestClientAndServer(t *testing.T) {
	ctx := context.Background()
	table := users(t)
	c := &Client{Addr: serve(t, &Server{Authenticator: table})}
	defer c.Close()
	for range 3 {
		id, err := c.Authenticate(ctx, attempt("alice", "secret"))
		require.NoError(t, err)
		require.Equal(t, "alice", id.User)
		_, err = c.Authenticate(ctx, attempt("tab", "a\tb"))
		require.NoError(t, err)
		for _, at := range []*auth.Attempt{attempt("alice", "wrong"), attempt("nobody", "secret"), attempt("a\x00b", "c"), attempt("alice", strings.Repeat("x", 20000))} {
			_, err = c.Authenticate(ctx, at)
			require.ErrorIs(t, err, auth.ErrCredentials)
		}
	}
	require.Len(t, c.idle, 1, "one connection did it all")
	require.True(t, c.Answers("PLAIN"))
	require.False(t, c.Answers("SCRAM-SHA-256"))

	far := attempt("alice", "secret")
	far.Remote = netip.MustParseAddrPort("192.0.2.1:5")
	_, err := c.Authenticate(ctx, far)
	require.ErrorIs(t, err, auth.ErrCredentials, "without TLS, and not from here")
}

func TestTemporaryTrouble(t *testing.T) {
	ctx := context.Background()
	down := auth.AuthenticatorFunc(func(context.Context, *auth.Attempt) (auth.Identity, error) {
		return auth.Identity{}, errors.New("ldap is down: SECRET DETAIL")
	})
	var log bytes.Buffer
	c := &Client{Addr: serve(t, &Server{Authenticator: down, Logger: slog.New(slog.NewTextHandler(&log, nil))})}
	defer c.Close()
	at := attempt("alice", "hunter2")
	at.Remote = netip.MustParseAddrPort("192.0.2.1:5")
	_, err := c.Authenticate(ctx, at)
	require.ErrorIs(t, err, auth.ErrCredentials, "no TLS and no permission")
	secured := &auth.Attempt{User: "alice", Secret: auth.NewSecret("hunter2"), TLS: tlsState()}
	_, err = c.Authenticate(ctx, secured)
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.NotContains(t, err.Error(), "SECRET DETAIL", "the cause stays in the server's log")
	require.Contains(t, log.String(), "SECRET DETAIL")
	require.NotContains(t, log.String(), "hunter2")

	panics := auth.AuthenticatorFunc(func(context.Context, *auth.Attempt) (auth.Identity, error) { panic("oops") })
	p := &Client{Addr: serve(t, &Server{Authenticator: panics})}
	defer p.Close()
	for range 2 {
		_, err = p.Authenticate(ctx, secured)
		require.ErrorIs(t, err, auth.ErrUnavailable)
	}

	_, err = (&Client{Addr: "/nonexistent/socket"}).Authenticate(ctx, secured)
	require.ErrorIs(t, err, auth.ErrUnavailable)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = p.Authenticate(canceled, secured)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, auth.ErrUnavailable)
}
