package auth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/authtest"
)

// Users keeps what every Authenticator keeps; nobody logs in without a password, whatever is sent for one.
func TestUsers(t *testing.T) {
	users := auth.Users{"alice": auth.NewSecret("correct horse"), "empty": {}}
	authtest.TestAuthenticator(t, authtest.Suite{
		New:  func(*testing.T) auth.Authenticator { return users },
		User: "alice", Password: "correct horse", Account: "alice", Disabled: "empty",
	})
	for _, name := range []string{"empty", "nobody", ""} {
		for _, table := range []auth.Users{users, nil} {
			_, err := table.Authenticate(t.Context(), &auth.Attempt{User: name})
			require.ErrorIs(t, err, auth.ErrCredentials, name)
		}
	}
}
