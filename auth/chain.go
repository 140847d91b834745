package auth

import (
	"context"
	"strings"
)

// Chain returns an Authenticator that asks several, in order, until one says yes. ErrCredentials, and
// every other 5xx, passes the question on; temporary trouble ends it, because nobody can then say that
// the password is wrong. An attempt is authorised by the one that proved it.
//
// SCRAM, CRAM-MD5 and APOP are offered if all of them can answer: a client that has a password takes the
// strongest mechanism and tries no other. Tokens and certificates need one that can.
func Chain(list ...Authenticator) Authenticator { return chain(list) }

type chain []Authenticator

// each asks those that implement T and answer for the mechanism, until one does not say no.
func each[T any](c chain, mechanism string, ask func(Authenticator, T) error) error {
	err := Unavailable(errNotAsked)
	asked := false
	for _, a := range c {
		t, ok := a.(T)
		if !ok || !Answers(a, mechanism) {
			continue
		}
		e := ask(a, t)
		if e == nil || !Denied(e) {
			return e
		}
		if !asked {
			err, asked = e, true
		}
	}
	return err
}

// Authenticate implements Authenticator.
func (c chain) Authenticate(ctx context.Context, at *Attempt) (id Identity, err error) {
	err = ErrCredentials
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
// authorised already, by the table that proved them. For the others that table is looked for again: no
// other one may be asked, as its "admin" is somebody else.
func (c chain) Authorize(ctx context.Context, id Identity, at *Attempt) (Identity, error) {
	if id.AuthzID != "" {
		return id, nil
	}
	if a := c.prover(ctx, id, at); a != nil {
		return authorize(ctx, a, id, at)
	}
	return Identity{}, refuse("%q may not act as %q", id.User, at.AuthzID)
}

// prover returns the table that vouches for id by at.Mechanism; nil for passwords.
func (c chain) prover(ctx context.Context, id Identity, at *Attempt) (found Authenticator) {
	is := func(a Authenticator, got Identity, err error) error {
		if err == nil && (got.User == id.User || got.User == "") {
			found = a
		}
		return err
	}
	switch mechanism := strings.ToUpper(at.Mechanism); {
	case strings.HasPrefix(mechanism, "SCRAM-"):
		_ = each(c, at.Mechanism, func(a Authenticator, k SCRAMKeyer) error {
			keys, err := k.SCRAMKeys(ctx, at)
			return is(a, keys.Identity, err)
		})
	case mechanism == "CRAM-MD5" || mechanism == "APOP":
		_ = each(c, at.Mechanism, func(a Authenticator, s PasswordSource) error {
			_, got, err := s.Password(ctx, at)
			return is(a, got, err)
		})
	case mechanism == "EXTERNAL":
		_ = each(c, at.Mechanism, func(a Authenticator, v CertificateVerifier) error {
			got, err := v.VerifyCertificate(ctx, at)
			return is(a, got, err)
		})
	case special(mechanism):
		_ = each(c, at.Mechanism, func(a Authenticator, v TokenVerifier) error {
			got, err := v.VerifyToken(ctx, at)
			return is(a, got, err)
		})
	}
	return found
}

// Version moves when that of one of them does: none ever goes back.
func (c chain) Version() (sum uint64) {
	for _, a := range c {
		sum += versionOf(a)
	}
	return sum
}

// Answers implements Answerer.
func (c chain) Answers(mechanism string) bool {
	able := 0
	for _, a := range c {
		if Answers(a, mechanism) {
			able++
		}
	}
	switch mechanism = strings.ToUpper(mechanism); mechanism {
	case "OAUTHBEARER", "XOAUTH2", "EXTERNAL":
		return able > 0
	}
	return able > 0 && able == len(c)
}

// SCRAMKeys implements SCRAMKeyer.
func (c chain) SCRAMKeys(ctx context.Context, at *Attempt) (keys SCRAMKeys, err error) {
	first := true
	err = each(c, at.Mechanism, func(_ Authenticator, k SCRAMKeyer) error {
		got, err := k.SCRAMKeys(ctx, at)
		if err == nil || first { // made-up keys are those of the first
			keys, first = got, false
		}
		return err
	})
	return keys, err
}

// VerifyToken implements TokenVerifier.
func (c chain) VerifyToken(ctx context.Context, at *Attempt) (id Identity, err error) {
	err = each(c, at.Mechanism, func(_ Authenticator, v TokenVerifier) (err error) {
		id, err = v.VerifyToken(ctx, at)
		return err
	})
	return proven(id, err)
}

// VerifyCertificate implements CertificateVerifier.
func (c chain) VerifyCertificate(ctx context.Context, at *Attempt) (id Identity, err error) {
	err = each(c, at.Mechanism, func(_ Authenticator, v CertificateVerifier) (err error) {
		id, err = v.VerifyCertificate(ctx, at)
		return err
	})
	return proven(id, err)
}

// Password implements PasswordSource.
func (c chain) Password(ctx context.Context, at *Attempt) (pw Secret, id Identity, err error) {
	err = each(c, at.Mechanism, func(_ Authenticator, s PasswordSource) (err error) {
		pw, id, err = s.Password(ctx, at)
		return err
	})
	if err != nil {
		return Secret{}, Identity{}, err
	}
	return pw, id, nil
}

// Observe implements Observer.
func (c chain) Observe(ctx context.Context, at *Attempt, err error) {
	for _, a := range c {
		if Answers(a, at.Mechanism) {
			Observe(ctx, a, at, err)
		}
	}
}
