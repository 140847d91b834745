package authtest_test

import (
	"context"
	"testing"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/authtest"
)

// yourTable is what an application writes: one method.
type yourTable struct{}

func (yourTable) Authenticate(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
	if at.User != "alice" || !at.Secret.Equal(auth.NewSecret("secret1")) {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: "alice", Attributes: map[string]string{"home": "/srv/mail/alice"}}, nil
}

// A table of one's own proves itself in a test of three lines.
func Example() {
	_ = func(t *testing.T) { // TestConformance
		authtest.TestAuthenticator(t, authtest.Suite{
			New:  func(*testing.T) auth.Authenticator { return yourTable{} },
			User: "alice", Password: "secret1", Account: "alice",
		})
	}
}
