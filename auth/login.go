package auth

import (
	"bytes"
	"context"
	"fmt"
)

// Login is the mechanism LOGIN of a server: no standard (draft-murchison-sasl-login), but
// old Outlooks, printers and scanners know no other one. It needs TLS, or loopback and
// AllowInsecureAuth.
type Login struct{}

// Name returns "LOGIN".
func (Login) Name() string { return "LOGIN" }

// Permit refuses connections in clear text.
func (Login) Permit(c *Conn, _ Authenticator) error { return permitPassword(c) }

// Start begins an exchange.
func (Login) Start(c *Conn, a Authenticator) Exchange { return &loginExchange{conn: c, table: a} }

type loginExchange struct {
	conn  *Conn
	table Authenticator
	step  int // 0: nothing asked, 1: user name asked, 2: password asked
	user  string
	id    Identity
}

func (x *loginExchange) Identity() Identity { return x.id }

func (x *loginExchange) Next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	if x.step == 0 && resp == nil {
		x.step = 1
		return []byte("Username:"), false, nil // clients compare these texts to the letter
	}
	if x.step <= 1 { // the answer, or an initial response, which some clients send
		x.step, x.user = 2, string(resp)
		return []byte("Password:"), false, nil
	}
	id, err := Authenticate(ctx, x.table, x.conn.NewAttempt("LOGIN", x.user, "", NewSecret(string(resp))))
	x.id = id
	return nil, err == nil, err
}

// LoginClient is the mechanism LOGIN of a client, for servers that offer nothing better.
type LoginClient struct {
	User     string
	Password Secret
}

// Name returns "LOGIN".
func (LoginClient) Name() string { return "LOGIN" }

// Permit refuses connections in clear text.
func (LoginClient) Permit(c *Conn) error { return permitSending(c, "LOGIN") }

// Start sends no initial response.
func (m LoginClient) Start(*Conn) (ClientExchange, []byte, error) {
	return &loginClient{m: m}, nil, nil
}

type loginClient struct {
	m    LoginClient
	step int
}

// Next answers by position: servers word the two questions in many ways.
func (x *loginClient) Next(challenge []byte) ([]byte, error) {
	x.step++
	switch {
	case x.step == 1 && !asksPassword(challenge):
		return []byte(x.m.User), nil
	case x.step == 2:
		return []byte(x.m.Password.Reveal()), nil
	}
	return nil, fmt.Errorf("auth: LOGIN: unexpected question number %d", x.step)
}

// Done reports whether the server asked both questions before it said yes.
func (x *loginClient) Done() error {
	if x.step != 2 {
		return fmt.Errorf("auth: LOGIN: success after %d questions", x.step)
	}
	return nil
}

// asksPassword guards the first answer: the user name goes into logs, the password must not.
func asksPassword(challenge []byte) bool {
	return bytes.HasPrefix(bytes.ToLower(challenge), []byte("password"))
}
