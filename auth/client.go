package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ClientMechanism is a SASL mechanism (RFC 4422) as a client uses it, with the credentials inside:
// a value without state, good for many connections.
type ClientMechanism interface {
	// Name returns the registered name, in upper case.
	Name() string

	// Permit returns nil if the client may use the mechanism on this connection, else the reason.
	Permit(c *Conn) error

	// Start begins an exchange. The initial response is nil if the mechanism lets the server speak
	// first. A client that can not send it with its command wraps the exchange with Delay.
	Start(c *Conn) (x ClientExchange, initial []byte, err error)
}

// ClientExchange is the client's side of one run of a mechanism, used by one goroutine.
type ClientExchange interface {
	// Next answers a challenge. On an error the client cancels the exchange with "*".
	Next(challenge []byte) (resp []byte, err error)

	// Done is asked when the server reported success; an error means that the server did not do
	// its part (as to prove that it knows the password) and must not be believed.
	Done() error
}

var (
	// ErrInsecure says that a client would have to send a password in clear text: set up TLS, or
	// set AllowInsecureAuth for tests.
	ErrInsecure = errors.New("auth: connection is not encrypted; set AllowInsecureAuth for loopback tests or configure TLS")

	// ErrNoMechanism says that client and server have no mechanism in common.
	ErrNoMechanism = errors.New("auth: no common mechanism")
)

// permitSending is Permit of the client mechanisms that send the password itself.
func permitSending(c *Conn, name string) error {
	if !c.SendsPasswords() {
		return fmt.Errorf("%s refused: %w", name, ErrInsecure)
	}
	return nil
}

// strength orders mechanisms; a higher one is taken first. The order is: nothing to steal at all,
// both sides proven and bound to the TLS channel, both sides proven, a token that ends by itself,
// a password that is not shown, a password that is. What is not listed comes between those and
// ANONYMOUS.
func strength(name string) int {
	order := [...]string{
		"ANONYMOUS", "", "LOGIN", "PLAIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER",
		"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512",
		"SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS", "EXTERNAL",
	}
	return max(slices.Index(order[:], strings.ToUpper(name)), 1)
}

// Choose returns the strongest of mechs that the server offered and that the connection permits,
// whatever the order of either list, and the Conn to start it with. There is no second choice: a
// client that fails with it reports the failure and does not try a weaker one. The error wraps
// ErrNoMechanism or, when TLS is all that is missing, ErrInsecure.
func Choose(offered []string, c *Conn, mechs []ClientMechanism) (ClientMechanism, *Conn, error) {
	with := *c
	with.Offered = offered
	var best ClientMechanism
	var reason error
	for _, m := range mechs {
		if !slices.ContainsFunc(offered, func(name string) bool { return strings.EqualFold(name, m.Name()) }) {
			continue
		}
		if err := m.Permit(&with); err != nil {
			reason = err
			continue
		}
		if best == nil || strength(m.Name()) > strength(best.Name()) {
			best = m
		}
	}
	switch {
	case best != nil:
		return best, &with, nil
	case reason != nil:
		return nil, nil, reason
	}
	return nil, nil, fmt.Errorf("%w: server offers %q, client has %q", ErrNoMechanism, offered, names(mechs))
}

func names(mechs []ClientMechanism) []string {
	var out []string
	for _, m := range mechs {
		out = append(out, m.Name())
	}
	return out
}

// Answer answers one challenge line: base64 in, base64 out, neither with its CRLF.
func Answer(x ClientExchange, challenge string) (string, error) {
	b, err := decode(challenge)
	if err != nil {
		return "", fmt.Errorf("auth: challenge: %w", err)
	}
	resp, err := x.Next(b)
	if err != nil {
		return "", err
	}
	return EncodeChallenge(resp), nil
}

// Delay returns an exchange that gives the initial response in answer to the server's first and
// empty challenge: for servers that take none with the command, and for commands that would be too
// long with it. x itself is returned if there is no initial response.
func Delay(x ClientExchange, initial []byte) ClientExchange {
	if initial == nil {
		return x
	}
	return &delayed{ClientExchange: x, initial: initial}
}

type delayed struct {
	ClientExchange
	initial []byte // nil once it was sent
}

func (x *delayed) Next(challenge []byte) ([]byte, error) {
	if x.initial == nil {
		return x.ClientExchange.Next(challenge)
	}
	if len(challenge) > 0 {
		return nil, errors.New("auth: first challenge is not empty")
	}
	first := x.initial
	x.initial = nil
	return first, nil
}

func (x *delayed) Done() error {
	if x.initial != nil {
		return errors.New("auth: success before anything was proven")
	}
	return x.ClientExchange.Done()
}

// PasswordClients returns the light mechanisms for a user name and a password: PLAIN and LOGIN.
// Package auth/scram adds the SCRAM family.
func PasswordClients(user string, password Secret) []ClientMechanism {
	return []ClientMechanism{PlainClient{User: user, Password: password}, LoginClient{User: user, Password: password}}
}

// oneShot is the exchange of a mechanism that has said everything in its initial response.
type oneShot struct{}

func (oneShot) Next(challenge []byte) ([]byte, error) {
	return nil, errors.New("auth: unexpected challenge")
}

func (oneShot) Done() error { return nil }
