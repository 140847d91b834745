package auth

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Limits of what an Authenticator is asked. Whatever is longer fails as wrong credentials without
// a question.
const (
	MaxUser     = 255  // octets of a user name or authorisation identity
	MaxPassword = 1024 // octets of a password; tokens are limited by MaxLine
)

// Attempt is one try to authenticate: what the client said and where it came from. Text that the
// client sent is opaque: an Authenticator never makes it part of a query, a path or a format string.
// An Attempt is not changed once it was handed over; WithUser makes a changed copy.
type Attempt struct {
	Mechanism string // SASL name ("PLAIN"), or the command that carried the password ("USER", "APOP")
	User      string // who the client says it is (authentication identity); valid UTF-8 without control characters
	AuthzID   string // whom it wants to act as; "" means User
	Secret    Secret // password or token; empty where the mechanism proves it otherwise

	Protocol string               // "smtp", "submission", "pop3", "imap", ...
	Remote   netip.AddrPort       // the client; the zero value if unknown
	Local    netip.AddrPort       // the server's end
	TLS      *tls.ConnectionState // nil: the connection is not encrypted
}

// WithUser returns a copy of a with another user name.
func (a *Attempt) WithUser(name string) *Attempt {
	c := *a
	c.User = name
	return &c
}

// LogValue returns the facts that a log may show.
func (a Attempt) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("mechanism", a.Mechanism), slog.String("user", a.User), slog.String("authzid", a.AuthzID),
		slog.String("protocol", a.Protocol), slog.String("remote", a.Remote.String()), slog.Bool("tls", a.TLS != nil),
	)
}

// Identity is who was authenticated, and what the table that said so knows about them.
type Identity struct {
	// User is the account's name in its final form (names normalised, default domain added): the
	// name that logs, envelopes and mailbox.Store.Account use. An Authenticator that leaves it
	// empty means Attempt.User.
	User string

	// AuthzID is the account to act as, where that is another one than User (RFC 4422 §2). Empty
	// means User.
	AuthzID string

	// Attributes are the user table's further fields, under the names of Dovecot's userdb: "home",
	// "uid", "gid", "mail", "quota_rule". The map is shared: read it, never change it. May be nil.
	Attributes map[string]string
}

// Account returns the name of the account to open: AuthzID, or User where that is empty.
func (id Identity) Account() string {
	if id.AuthzID != "" {
		return id.AuthzID
	}
	return id.User
}

// Authenticator says whether an Attempt proves who it claims to be. Its one method checks a
// password; everything else is optional (SCRAMKeyer, TokenVerifier, CertificateVerifier,
// PasswordSource, Authorizer, Observer).
//
// The error is ErrCredentials for an unknown user, a wrong password and a disabled account alike
// (and all three take the same work), a *goniec.Status to choose another reply, and anything else
// is taken for temporary trouble. It does not look at AuthzID. It must be safe for concurrent use
// and return soon when ctx ends.
type Authenticator interface {
	Authenticate(ctx context.Context, a *Attempt) (Identity, error)
}

// AuthenticatorFunc makes an Authenticator of a function.
type AuthenticatorFunc func(ctx context.Context, a *Attempt) (Identity, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(ctx context.Context, a *Attempt) (Identity, error) {
	return f(ctx, a)
}

// Authorizer is an optional interface of an Authenticator: may the authenticated id act as
// at.AuthzID? It returns the Identity to use, whose AuthzID is the account's final name. Without
// it everybody acts as themselves only.
type Authorizer interface {
	Authorize(ctx context.Context, id Identity, at *Attempt) (Identity, error)
}

// Authenticate checks the password of an attempt and its authorisation identity: what the
// mechanisms and the password commands of POP3 and IMAP call. Names and passwords beyond the
// limits fail without a question to a.
func Authenticate(ctx context.Context, a Authenticator, at *Attempt) (Identity, error) {
	// RFC 4616 §2 forbids an empty password; some directories take one for an anonymous bind.
	if at.Secret.Empty() || len(at.Secret.Reveal()) > MaxPassword {
		return Identity{}, refuse("password is empty or longer than %d octets", MaxPassword)
	}
	return decide(ctx, a, at, func() (Identity, error) { return a.Authenticate(ctx, at) })
}

// decide asks about an attempt whose names are in order, and then about its authorisation identity.
func decide(ctx context.Context, a Authenticator, at *Attempt, ask func() (Identity, error)) (Identity, error) {
	if err := CheckNames(at); err != nil {
		return Identity{}, err
	}
	id, err := ask()
	if err != nil {
		return Identity{}, err
	}
	if id.User == "" {
		id.User = at.User
	}
	return authorize(ctx, a, id, at)
}

// authorize decides on at.AuthzID for a user who is already proven to be id (see Authorize).
func authorize(ctx context.Context, a Authenticator, id Identity, at *Attempt) (Identity, error) {
	if at.AuthzID == "" || at.AuthzID == at.User || at.AuthzID == id.User {
		return id, nil
	}
	z, ok := a.(Authorizer)
	if !ok {
		return Identity{}, refuse("%q may not act as %q", id.User, at.AuthzID)
	}
	return z.Authorize(ctx, id, at)
}

// CheckNames refuses, with ErrCredentials, names that no account can have, before they reach a back
// end. Authenticate calls it; mechanisms that ask a back end otherwise do so themselves.
func CheckNames(at *Attempt) error {
	if at.User == "" {
		return refuse("user name is empty")
	}
	if !plausible(at.User) || !plausible(at.AuthzID) {
		return refuse("user name is longer than %d octets, not UTF-8, or has control characters", MaxUser)
	}
	return nil
}

// plausible reports whether name could be an account's. Control characters separate fields in
// many a back end's protocol, so that none gets through.
func plausible(name string) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }
	return len(name) <= MaxUser && utf8.ValidString(name) && strings.IndexFunc(name, control) < 0
}
