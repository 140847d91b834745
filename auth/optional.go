package auth

import (
	"context"
	"strings"
)

// SCRAMKeys are what a user table stores for one user and one hash of the SCRAM family instead of
// a password (RFC 5802 §3): they prove a login and can not be used for one.
type SCRAMKeys struct {
	Identity   Identity // who it is, if the proof is right
	Salt       []byte
	Iterations int
	StoredKey  []byte // H(ClientKey)
	ServerKey  []byte
}

// SCRAMKeyer is an optional interface of an Authenticator whose table holds SCRAM keys.
type SCRAMKeyer interface {
	// SCRAMKeys returns the keys of at.User for at.Mechanism ("SCRAM-SHA-256", also for its -PLUS
	// form). ErrCredentials says that the user is unknown or has none; the exchange then goes on
	// with invented keys, so that the client learns nothing before its proof fails.
	SCRAMKeys(ctx context.Context, at *Attempt) (SCRAMKeys, error)
}

// TokenVerifier is an optional interface of an Authenticator that verifies OAuth 2.0 bearer
// tokens (OAUTHBEARER, XOAUTH2): signature, issuer, audience, expiry.
type TokenVerifier interface {
	// VerifyToken verifies at.Secret. at.User is what the client claims and may be empty: then
	// the token alone says who it is. A verifier must refuse a token of somebody else.
	VerifyToken(ctx context.Context, at *Attempt) (Identity, error)
}

// CertificateVerifier is an optional interface of an Authenticator that knows users by the client
// certificate of the TLS connection (EXTERNAL).
type CertificateVerifier interface {
	// VerifyCertificate maps at.TLS.VerifiedChains, which is never empty, to a user.
	// at.User is empty.
	VerifyCertificate(ctx context.Context, at *Attempt) (Identity, error)
}

// PasswordSource is an optional interface of an Authenticator whose table holds passwords in
// clear text, which CRAM-MD5 and APOP need. Prefer tables that have none.
type PasswordSource interface {
	// Password returns the password of at.User, and who that is. ErrCredentials as in SCRAMKeys.
	Password(ctx context.Context, at *Attempt) (Secret, Identity, error)
}

// Observer is an optional interface of an Authenticator that wants to know the outcome of
// exchanges that are decided outside it: SCRAM, CRAM-MD5 and APOP, where it only gave the keys.
// err is nil for success.
type Observer interface {
	Observe(ctx context.Context, at *Attempt, err error)
}

// Answerer is an optional interface of an Authenticator that implements an optional interface but
// can not answer for every mechanism that would need it: a wrapper, or a table that holds keys for
// SCRAM-SHA-256 only.
type Answerer interface {
	// Answers reports whether users of this table can be expected to log in with the mechanism.
	Answers(mechanism string) bool
}

// Answers reports whether a can answer for a mechanism, so that a server may offer it: what its
// Answerer says, or else whether a has the interface which that mechanism needs.
func Answers(a Authenticator, mechanism string) bool {
	mechanism = strings.ToUpper(mechanism)
	if an, ok := a.(Answerer); ok {
		return an.Answers(mechanism)
	}
	switch {
	case a == nil:
		return false
	case strings.HasPrefix(mechanism, "SCRAM-"):
		return is[SCRAMKeyer](a)
	case mechanism == "OAUTHBEARER" || mechanism == "XOAUTH2":
		return is[TokenVerifier](a)
	case mechanism == "EXTERNAL":
		return is[CertificateVerifier](a)
	case mechanism == "CRAM-MD5" || mechanism == "APOP":
		return is[PasswordSource](a)
	}
	return true
}

func is[T any](a Authenticator) bool {
	_, ok := a.(T)
	return ok
}

// special reports whether a mechanism needs more than Authenticate.
func special(mechanism string) bool {
	return !Answers(AuthenticatorFunc(nil), mechanism)
}

// Observe tells a the outcome of an exchange that was decided outside it, if it wants to know.
// Mechanisms call it; they do not report the verdicts of a itself.
func Observe(ctx context.Context, a Authenticator, at *Attempt, err error) {
	if o, ok := a.(Observer); ok {
		o.Observe(ctx, at, err)
	}
}

// Authorize decides whether id, who is proven, may act as at.AuthzID: for mechanisms outside this
// package that got their Identity without Authenticate. Acting as oneself is always allowed.
func Authorize(ctx context.Context, a Authenticator, id Identity, at *Attempt) (Identity, error) {
	return authorize(ctx, a, id, at)
}
