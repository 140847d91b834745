package auth

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// CRAMMD5 is the mechanism CRAM-MD5 (RFC 2195) of a server. It needs a PasswordSource, that is
// passwords in clear text, and rests on MD5; it is in no list by default.
type CRAMMD5 struct{}

// Name returns "CRAM-MD5".
func (CRAMMD5) Name() string { return "CRAM-MD5" }

// Permit refuses tables without passwords in clear text.
func (CRAMMD5) Permit(_ *Conn, a Authenticator) error {
	if !Answers(a, "CRAM-MD5") {
		return ErrUnknownMechanism
	}
	return nil
}

// Start begins an exchange.
func (CRAMMD5) Start(c *Conn, a Authenticator) Exchange { return &cramExchange{conn: c, table: a} }

type cramExchange struct {
	conn      *Conn
	table     Authenticator
	challenge string // "" until it was sent; used once
	id        Identity
}

func (x *cramExchange) Identity() Identity { return x.id }

func (x *cramExchange) Next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	if x.challenge == "" {
		if resp != nil {
			return nil, false, malformed("CRAM-MD5 has no initial response")
		}
		x.challenge = NewChallenge(x.conn.Host)
		return []byte(x.challenge), false, nil
	}
	i := strings.LastIndexByte(string(resp), ' ') // a user name may contain blanks
	if i < 0 {
		return nil, false, malformed("CRAM-MD5 response has no blank")
	}
	at := x.conn.NewAttempt("CRAM-MD5", string(resp[:i]), "", Secret{})
	id, err := checkDigest(ctx, x.table, at, string(resp[i+1:]), func(pw Secret) string { return cramMD5(x.challenge, pw) })
	x.id = id
	return nil, err == nil, err
}

// checkDigest compares a digest with that of the password in the table. An unknown user costs the same.
func checkDigest(ctx context.Context, a Authenticator, at *Attempt, digest string, compute func(Secret) string) (Identity, error) {
	if err := CheckNames(at); err != nil {
		return Identity{}, err
	}
	source, ok := a.(PasswordSource)
	if !ok {
		return Identity{}, Unavailable(errNotAsked)
	}
	pw, id, err := source.Password(ctx, at)
	if err != nil && !Denied(err) {
		return Identity{}, err
	}
	right := hmac.Equal([]byte(compute(pw)), []byte(strings.ToLower(digest)))
	if err == nil && (!right || pw.Empty()) {
		err = refuse("digest is wrong")
	}
	Observe(ctx, a, at, err)
	if err != nil {
		return Identity{}, err
	}
	if id.User == "" {
		id.User = at.User
	}
	return id, nil
}

// cramMD5 is HMAC-MD5 of the challenge in hex (RFC 2195 §2).
func cramMD5(challenge string, password Secret) string {
	m := hmac.New(md5.New, []byte(password.Reveal()))
	m.Write([]byte(challenge))
	return hex.EncodeToString(m.Sum(nil))
}

// NewChallenge returns a challenge for CRAM-MD5 and the greeting of a POP3 server with APOP: a
// message-id that was never used before (RFC 1939 §7, RFC 2195 §2).
func NewChallenge(host string) string {
	if host == "" || strings.ContainsAny(host, "<>@ \r\n") {
		host = "localhost"
	}
	random := make([]byte, 16)
	_, _ = rand.Read(random)
	return fmt.Sprintf("<%x.%d@%s>", random, time.Now().Unix(), host)
}

// APOP decides on POP3's command APOP (RFC 1939 §7): challenge is the one of the greeting. Answers(a, "APOP")
// tells whether a server should greet with one. Off by default in servers, as MD5 of challenge and
// password is easily guessed from.
func APOP(ctx context.Context, c *Conn, a Authenticator, challenge, user, digest string) (Identity, error) {
	at := c.NewAttempt("APOP", user, "", Secret{})
	return checkDigest(ctx, a, at, digest, func(pw Secret) string { return APOPDigest(challenge, pw) })
}

// APOPDigest returns the digest that a client sends with APOP.
func APOPDigest(challenge string, password Secret) string {
	sum := md5.Sum([]byte(challenge + password.Reveal()))
	return hex.EncodeToString(sum[:])
}

// CRAMMD5Client is the mechanism CRAM-MD5 (RFC 2195) of a client.
type CRAMMD5Client struct {
	User     string
	Password Secret
}

// Name returns "CRAM-MD5".
func (CRAMMD5Client) Name() string { return "CRAM-MD5" }

// Permit allows every connection: the password itself is not sent.
func (CRAMMD5Client) Permit(*Conn) error { return nil }

// Start sends no initial response.
func (m CRAMMD5Client) Start(*Conn) (ClientExchange, []byte, error) {
	if strings.ContainsAny(m.User, "\x00\r\n") {
		return nil, nil, errNUL
	}
	return &cramClient{m: m}, nil, nil
}

type cramClient struct {
	m    CRAMMD5Client
	done bool
}

func (x *cramClient) Next(challenge []byte) ([]byte, error) {
	if x.done {
		return nil, errors.New("auth: CRAM-MD5: second challenge")
	}
	x.done = true
	return []byte(x.m.User + " " + cramMD5(string(challenge), x.m.Password)), nil
}

func (x *cramClient) Done() error {
	if !x.done {
		return errors.New("auth: CRAM-MD5: success without a challenge")
	}
	return nil
}
