package authtest_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/authtest"
	"github.com/goniec-mail/goniec/auth/cache"
	"github.com/goniec-mail/goniec/auth/passwd"
)

func file(t *testing.T, lines string) *passwd.File {
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(path, []byte(lines), 0o600))
	return &passwd.File{Path: path}
}

// The suite holds for our own tables and for every wrapper around them.
func TestOurs(t *testing.T) {
	clear := func(t *testing.T) auth.Authenticator {
		return file(t, "alice@example.org:{PLAIN}secret1\noff:{PLAIN}secret1::::::nologin\n")
	}
	hashed := func(t *testing.T) auth.Authenticator {
		f := file(t, "")
		f.Hasher = &passwd.Hasher{Scheme: "SCRAM-SHA-256"}
		require.NoError(t, f.Add(context.Background(), passwd.User{Name: "alice@example.org"}, auth.NewSecret("secret1")))
		require.NoError(t, f.Add(context.Background(), passwd.User{Name: "off", Extra: map[string]string{"nologin": "y"}}, auth.NewSecret("secret1")))
		return f
	}
	for name, s := range map[string]authtest.Suite{
		"passwd clear": {New: clear},
		"passwd SCRAM": {New: hashed},
		"cache":        {New: func(t *testing.T) auth.Authenticator { return (&cache.Cache{}).Wrap(clear(t)) }},
		"chain":        {New: func(t *testing.T) auth.Authenticator { return auth.Chain(file(t, "x:{PLAIN}y\n"), clear(t)) }},
		"names":        {New: func(t *testing.T) auth.Authenticator { return auth.Names{}.Wrap(clear(t)) }},
		"guard": {New: func(t *testing.T) auth.Authenticator {
			g := &auth.Guard{Delay: -1, PairLimit: -1, AddrLimit: -1, UserLimit: -1}
			return g.Wrap(clear(t))
		}},
	} {
		s.User, s.Password, s.Account, s.Disabled = "Alice@Example.org", "secret1", "alice@example.org", "off"
		t.Run(name, func(t *testing.T) { authtest.TestAuthenticator(t, s) })
	}
}

// The smallest user table there is.
type table map[string]string

func (u table) Authenticate(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
	if pw, ok := u[at.User]; !ok || !at.Secret.Equal(auth.NewSecret(pw)) {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: at.User}, nil
}

func TestSmallest(t *testing.T) {
	authtest.TestAuthenticator(t, authtest.Suite{
		New:  func(*testing.T) auth.Authenticator { return table{"alice": "secret1"} },
		User: "alice", Password: "secret1",
	})
	authtest.TestAuthenticator(t, authtest.Suite{
		New:  func(*testing.T) auth.Authenticator { return auth.Users{"alice": auth.NewSecret("secret1"), "off": {}} },
		User: "alice", Password: "secret1", Disabled: "off",
	})
}
