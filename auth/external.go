package auth

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"
)

// External is the mechanism EXTERNAL (RFC 4422 appendix A) of a server: the client is who its TLS
// certificate says, as a CertificateVerifier understands it. It is offered on connections whose
// client certificate was verified.
type External struct{}

// Name returns "EXTERNAL".
func (External) Name() string { return "EXTERNAL" }

// Permit refuses connections without a verified client certificate.
func (External) Permit(c *Conn, a Authenticator) error {
	switch {
	case !Answers(a, "EXTERNAL"):
		return ErrUnknownMechanism
	case !c.Encrypted():
		return ErrEncryptionRequired
	case len(c.TLS.VerifiedChains) == 0:
		return ErrUnknownMechanism
	}
	return nil
}

// Start begins an exchange.
func (External) Start(c *Conn, a Authenticator) Exchange { return &externalExchange{conn: c, table: a} }

type externalExchange struct {
	conn  *Conn
	table Authenticator
	id    Identity
}

func (x *externalExchange) Identity() Identity { return x.id }

func (x *externalExchange) Next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	if resp == nil {
		return nil, false, nil
	}
	v, ok := x.table.(CertificateVerifier)
	switch {
	case !ok:
		return nil, false, Unavailable(errNotAsked)
	case !plausible(string(resp)):
		return nil, false, refuse("authorization identity can be no account's")
	}
	at := x.conn.NewAttempt("EXTERNAL", "", string(resp), Secret{})
	id, err := v.VerifyCertificate(ctx, at)
	if err == nil && id.User == "" {
		err = Unavailable(errors.New("auth: CertificateVerifier did not tell whose certificate it is"))
	}
	if err == nil {
		id, err = authorize(ctx, x.table, id, at)
	}
	if err != nil {
		return nil, false, err
	}
	x.id = id
	return nil, true, nil
}

// ExternalClient is the mechanism EXTERNAL of a client; the certificate is the TLS connection's.
type ExternalClient struct {
	AuthzID string // "": the certificate's account
}

// Name returns "EXTERNAL".
func (ExternalClient) Name() string { return "EXTERNAL" }

// Permit refuses connections without TLS.
func (ExternalClient) Permit(c *Conn) error {
	if !c.Encrypted() {
		return errors.New("auth: EXTERNAL needs a TLS connection with a client certificate")
	}
	return nil
}

// Start returns the authorisation identity as the initial response.
func (m ExternalClient) Start(*Conn) (ClientExchange, []byte, error) {
	return oneShot{}, append([]byte{}, m.AuthzID...), nil
}

// Anonymous is the mechanism ANONYMOUS (RFC 4505) of a server. It lets everybody in as User, asks no
// table, and is in no list by default.
type Anonymous struct {
	User string // the account of strangers; empty: the mechanism is not offered
}

// Name returns "ANONYMOUS".
func (Anonymous) Name() string { return "ANONYMOUS" }

// Permit refuses where no User is set.
func (m Anonymous) Permit(*Conn, Authenticator) error {
	if m.User == "" {
		return ErrUnknownMechanism
	}
	return nil
}

// Start begins an exchange.
func (m Anonymous) Start(*Conn, Authenticator) Exchange { return &anonymousExchange{user: m.User} }

type anonymousExchange struct {
	user string
	id   Identity
}

func (x *anonymousExchange) Identity() Identity { return x.id }

func (x *anonymousExchange) Next(_ context.Context, resp []byte) ([]byte, bool, error) {
	if resp == nil {
		return nil, false, nil
	}
	// RFC 4505 §2: an email address or up to 255 characters of anything but controls.
	trace := string(resp)
	if len(trace) > MaxUser || !utf8.ValidString(trace) || strings.ContainsFunc(trace, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, false, malformed("ANONYMOUS: bad trace information")
	}
	x.id = Identity{User: x.user, Attributes: map[string]string{"trace": trace}}
	return nil, true, nil
}

// AnonymousClient is the mechanism ANONYMOUS (RFC 4505) of a client.
type AnonymousClient struct {
	Trace string // an email address or other text for the server's log; may be empty
}

// Name returns "ANONYMOUS".
func (AnonymousClient) Name() string { return "ANONYMOUS" }

// Permit allows every connection.
func (AnonymousClient) Permit(*Conn) error { return nil }

// Start returns the trace as the initial response.
func (m AnonymousClient) Start(*Conn) (ClientExchange, []byte, error) {
	return oneShot{}, append([]byte{}, m.Trace...), nil
}
