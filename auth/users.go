package auth

import "context"

// Users is an Authenticator with a fixed table of names and passwords: for tests, demos and programs with a user or two. Names are
// compared octet by octet. The passwords are in memory in clear text; package auth/passwd has tables of hashes. It is safe for
// concurrent use while nobody changes it.
//
//	server.Auth = auth.Users{"alice": auth.NewSecret(os.Getenv("PASSWORD"))}
type Users map[string]Secret

var _ interface {
	Authenticator
	PasswordSource
} = Users(nil)

// Authenticate implements Authenticator. A user without a password can not log in.
func (u Users) Authenticate(ctx context.Context, a *Attempt) (Identity, error) {
	secret, id, err := u.Password(ctx, a)
	if equal := secret.Equal(a.Secret); err != nil || !equal {
		return Identity{}, ErrCredentials
	}
	return id, nil
}

// Password implements PasswordSource, for CRAM-MD5 and APOP.
func (u Users) Password(_ context.Context, a *Attempt) (Secret, Identity, error) {
	secret := u[a.User]
	if secret.Empty() {
		return Secret{}, Identity{}, ErrCredentials
	}
	return secret, Identity{User: a.User}, nil
}
