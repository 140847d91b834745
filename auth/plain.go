package auth

import (
	"bytes"
	"context"
	"errors"
)

// Plain is the mechanism PLAIN (RFC 4616) of a server. It needs TLS, or loopback and
// AllowInsecureAuth.
type Plain struct{}

// Name returns "PLAIN".
func (Plain) Name() string { return "PLAIN" }

// Permit refuses connections in clear text.
func (Plain) Permit(c *Conn, _ Authenticator) error { return permitPassword(c) }

// Start begins an exchange.
func (Plain) Start(c *Conn, a Authenticator) Exchange { return &plainExchange{conn: c, table: a} }

type plainExchange struct {
	conn  *Conn
	table Authenticator
	id    Identity
}

func (x *plainExchange) Identity() Identity { return x.id }

func (x *plainExchange) Next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	if resp == nil {
		return nil, false, nil
	}
	// RFC 4616 §2: message = [authzid] UTF8NUL authcid UTF8NUL passwd, none of which has a NUL.
	parts := bytes.Split(resp, []byte{0})
	if len(parts) != 3 {
		return nil, false, malformed("PLAIN has %d parts, not 3", len(parts))
	}
	at := x.conn.NewAttempt("PLAIN", string(parts[1]), string(parts[0]), NewSecret(string(parts[2])))
	id, err := Authenticate(ctx, x.table, at)
	x.id = id
	return nil, err == nil, err
}

// PlainClient is the mechanism PLAIN (RFC 4616) of a client.
type PlainClient struct {
	User     string
	Password Secret
	AuthzID  string // "": act as User
}

// Name returns "PLAIN".
func (PlainClient) Name() string { return "PLAIN" }

// Permit refuses connections in clear text.
func (PlainClient) Permit(c *Conn) error { return permitSending(c, "PLAIN") }

// Start returns the whole message as the initial response.
func (m PlainClient) Start(*Conn) (ClientExchange, []byte, error) {
	msg := m.AuthzID + "\x00" + m.User + "\x00" + m.Password.Reveal()
	if bytes.Count([]byte(msg), []byte{0}) != 2 {
		return nil, nil, errNUL
	}
	return oneShot{}, []byte(msg), nil
}

var errNUL = errors.New("auth: user name or password contains NUL")
