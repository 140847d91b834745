package auth

import (
	"context"
	"errors"
)

// Op is a question that an Authenticator is asked, for Intercept.
type Op int

// The questions. Every method of Authenticator and its optional interfaces is one of them, but
// Answers, which is about no attempt.
const (
	OpPassword    Op = iota + 1 // Authenticate
	OpSCRAMKeys                 // SCRAMKeys
	OpToken                     // VerifyToken
	OpCertificate               // VerifyCertificate
	OpSource                    // Password, of a PasswordSource
	OpAuthorize                 // Authorize
	OpObserve                   // Observe; an error is the outcome that is observed, not one of the call
)

// String returns the name of the method.
func (o Op) String() string {
	names := [...]string{"?", "Authenticate", "SCRAMKeys", "VerifyToken", "VerifyCertificate", "Password", "Authorize", "Observe"}
	if o < 0 || int(o) >= len(names) {
		o = 0
	}
	return names[o]
}

// Interceptor stands before an Authenticator: it may refuse a question, change the attempt, call
// next, look at its error, and measure. For OpObserve next passes the outcome on; the error it
// returns, and which f should return, is that outcome.
type Interceptor func(ctx context.Context, op Op, at *Attempt, next func(context.Context, *Attempt) error) error

// Intercept returns an Authenticator that sends every question to a through f, those of the
// optional interfaces too, so that a guard, a log or a counter is written once and nothing slips
// past it. It answers for what a answers for.
func Intercept(a Authenticator, f Interceptor) Authenticator { return &intercepted{a, f} }

type intercepted struct {
	inner Authenticator
	f     Interceptor
}

// errNotAsked says that an inner Authenticator lacks the interface that a mechanism needs. Answers said so before.
var errNotAsked = errors.New("auth: this user table can not answer that")

// Version passes on the version of a table that has one (see auth/cache), and is 0 for others.
func (i *intercepted) Version() uint64 { return versionOf(i.inner) }

func versionOf(a Authenticator) uint64 {
	if v, ok := a.(interface{ Version() uint64 }); ok {
		return v.Version()
	}
	return 0
}

// Answers implements Answerer.
func (i *intercepted) Answers(mechanism string) bool { return Answers(i.inner, mechanism) }

// Authenticate implements Authenticator.
func (i *intercepted) Authenticate(ctx context.Context, at *Attempt) (id Identity, err error) {
	err = i.f(ctx, OpPassword, at, func(ctx context.Context, at *Attempt) (err error) {
		id, err = i.inner.Authenticate(ctx, at)
		return err
	})
	return proven(id, err)
}

// SCRAMKeys implements SCRAMKeyer.
func (i *intercepted) SCRAMKeys(ctx context.Context, at *Attempt) (keys SCRAMKeys, err error) {
	err = i.f(ctx, OpSCRAMKeys, at, func(ctx context.Context, at *Attempt) (err error) {
		k, ok := i.inner.(SCRAMKeyer)
		if !ok {
			return Unavailable(errNotAsked)
		}
		keys, err = k.SCRAMKeys(ctx, at)
		return err
	})
	return keys, err
}

// VerifyToken implements TokenVerifier.
func (i *intercepted) VerifyToken(ctx context.Context, at *Attempt) (id Identity, err error) {
	err = i.f(ctx, OpToken, at, func(ctx context.Context, at *Attempt) (err error) {
		v, ok := i.inner.(TokenVerifier)
		if !ok {
			return Unavailable(errNotAsked)
		}
		id, err = v.VerifyToken(ctx, at)
		return err
	})
	return proven(id, err)
}

// VerifyCertificate implements CertificateVerifier.
func (i *intercepted) VerifyCertificate(ctx context.Context, at *Attempt) (id Identity, err error) {
	err = i.f(ctx, OpCertificate, at, func(ctx context.Context, at *Attempt) (err error) {
		v, ok := i.inner.(CertificateVerifier)
		if !ok {
			return Unavailable(errNotAsked)
		}
		id, err = v.VerifyCertificate(ctx, at)
		return err
	})
	return proven(id, err)
}

// Password implements PasswordSource.
func (i *intercepted) Password(ctx context.Context, at *Attempt) (pw Secret, id Identity, err error) {
	err = i.f(ctx, OpSource, at, func(ctx context.Context, at *Attempt) (err error) {
		s, ok := i.inner.(PasswordSource)
		if !ok {
			return Unavailable(errNotAsked)
		}
		pw, id, err = s.Password(ctx, at)
		return err
	})
	return pw, id, err
}

// Authorize implements Authorizer.
func (i *intercepted) Authorize(ctx context.Context, id Identity, at *Attempt) (out Identity, err error) {
	err = i.f(ctx, OpAuthorize, at, func(ctx context.Context, at *Attempt) (err error) {
		out, err = authorize(ctx, i.inner, id, at)
		return err
	})
	return proven(out, err)
}

// Observe implements Observer.
func (i *intercepted) Observe(ctx context.Context, at *Attempt, err error) {
	_ = i.f(ctx, OpObserve, at, func(ctx context.Context, at *Attempt) error {
		Observe(ctx, i.inner, at, err)
		return err
	})
}

// proven makes sure that no Identity leaves together with an error.
func proven(id Identity, err error) (Identity, error) {
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

// WithAuthenticate returns an Authenticator whose passwords are checked by f in place of a, while all
// that is optional is a's: for caches and the like.
func WithAuthenticate(a Authenticator, f AuthenticatorFunc) Authenticator {
	pass := func(ctx context.Context, _ Op, at *Attempt, next func(context.Context, *Attempt) error) error {
		return next(ctx, at)
	}
	return &replaced{intercepted{a, pass}, f}
}

type replaced struct {
	intercepted
	f AuthenticatorFunc
}

// Authenticate implements Authenticator.
func (r *replaced) Authenticate(ctx context.Context, at *Attempt) (Identity, error) {
	return proven(r.f(ctx, at))
}
