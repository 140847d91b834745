package auth

import "context"

// Chain returns an Authenticator that asks several, in order, until one says yes. ErrCredentials, and
// every other 5xx, passes the question on; temporary trouble ends it, because nobody can then say that
// the password is wrong. An attempt is authorised by the one that proved it.
//
// A mechanism beyond passwords is answered by the first that can (see Answers).
func Chain(list ...Authenticator) Authenticator { return chain(list) }

type chain []Authenticator

func (c chain) Authenticate(ctx context.Context, at *Attempt) (Identity, error) {
	err := ErrCredentials
	for _, a := range c {
		id, e := decide(ctx, a, at, func() (Identity, error) { return a.Authenticate(ctx, at) })
		if e == nil || !Denied(e) {
			return id, e
		}
		err = e
	}
	return Identity{}, err
}

// Authorize is asked about identities that this chain proved. Those proven by a password are
// authorised already, by the table that proved them, and no other table may be asked: its "admin" is
// somebody else.
func (c chain) Authorize(ctx context.Context, id Identity, at *Attempt) (Identity, error) {
	switch {
	case id.AuthzID != "":
		return id, nil
	case special(at.Mechanism):
		return authorize(ctx, c.first(at.Mechanism), id, at)
	}
	return Identity{}, refuse("%q may not act as %q", id.User, at.AuthzID)
}

// Version moves when that of one of them does: none ever goes back.
func (c chain) Version() (sum uint64) {
	for _, a := range c {
		sum += versionOf(a)
	}
	return sum
}

func (c chain) Answers(mechanism string) bool { return c.first(mechanism) != nil }

func (c chain) first(mechanism string) Authenticator {
	for _, a := range c {
		if Answers(a, mechanism) {
			return a
		}
	}
	return nil
}

func (c chain) SCRAMKeys(ctx context.Context, at *Attempt) (SCRAMKeys, error) {
	if k, ok := c.first(at.Mechanism).(SCRAMKeyer); ok {
		return k.SCRAMKeys(ctx, at)
	}
	return SCRAMKeys{}, Unavailable(errNotAsked)
}

func (c chain) VerifyToken(ctx context.Context, at *Attempt) (Identity, error) {
	if v, ok := c.first(at.Mechanism).(TokenVerifier); ok {
		return v.VerifyToken(ctx, at)
	}
	return Identity{}, Unavailable(errNotAsked)
}

func (c chain) VerifyCertificate(ctx context.Context, at *Attempt) (Identity, error) {
	if v, ok := c.first(at.Mechanism).(CertificateVerifier); ok {
		return v.VerifyCertificate(ctx, at)
	}
	return Identity{}, Unavailable(errNotAsked)
}

func (c chain) Password(ctx context.Context, at *Attempt) (Secret, Identity, error) {
	if s, ok := c.first(at.Mechanism).(PasswordSource); ok {
		return s.Password(ctx, at)
	}
	return Secret{}, Identity{}, Unavailable(errNotAsked)
}

func (c chain) Observe(ctx context.Context, at *Attempt, err error) {
	if a := c.first(at.Mechanism); a != nil {
		Observe(ctx, a, at, err)
	}
}
