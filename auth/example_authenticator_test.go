package auth_test

import (
	"context"
	"fmt"

	"github.com/goniec-mail/goniec/auth"
)

// An application's user table is one method.
func ExampleAuthenticatorFunc() {
	users := map[string]auth.Secret{"alice": auth.NewSecret("correct horse")}
	table := auth.AuthenticatorFunc(func(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
		if secret, ok := users[a.User]; !ok || !secret.Equal(a.Secret) {
			return auth.Identity{}, auth.ErrCredentials
		}
		return auth.Identity{User: a.User}, nil
	})
	for _, password := range []string{"correct horse", "wrong"} {
		id, err := auth.Authenticate(context.Background(), table, &auth.Attempt{User: "alice", Secret: auth.NewSecret(password)})
		fmt.Printf("%q %v\n", id.User, err)
	}
	// Output:
	// "alice" <nil>
	// "" authentication credentials invalid
}

// A program with a user or two needs no table of its own.
func ExampleUsers() {
	users := auth.Users{"alice": auth.NewSecret("correct horse")}
	for _, a := range []*auth.Attempt{
		{User: "alice", Secret: auth.NewSecret("correct horse")}, {User: "alice", Secret: auth.NewSecret("wrong")}, {User: "bob", Secret: auth.NewSecret("wrong")},
	} {
		id, err := auth.Authenticate(context.Background(), users, a)
		fmt.Printf("%q %v\n", id.User, err)
	}
	// Output:
	// "alice" <nil>
	// "" authentication credentials invalid
	// "" authentication credentials invalid
}
