package dovecot

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"github.com/goniec-mail/goniec/auth"
)

// Mechanisms returns the mechanisms, out of those that the caller wants, that Dovecot offers now, as values
// for a server: their exchanges are relayed, each on a connection of its own. The server's Authenticator
// is not asked; an auth.Guard around it does not see these exchanges, which Dovecot's own penalties
// slow down.
//
// Mechanisms that show the password need TLS as in package auth. EXTERNAL and the -PLUS forms can not
// be relayed.
func (c *Client) Mechanisms(ctx context.Context, want ...string) ([]auth.ServerMechanism, error) {
	var offered []string
	err := c.with(ctx, func(conn *conn) error {
		offered = conn.mechs
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []auth.ServerMechanism
	for _, name := range want {
		if slices.Contains(offered, name) {
			out = append(out, relay{c, name})
		}
	}
	return out, nil
}

type relay struct {
	client *Client
	name   string
}

func (m relay) Name() string { return m.name }

func (m relay) Permit(c *auth.Conn, _ auth.Authenticator) error {
	switch m.name {
	case "SCRAM-SHA-1", "SCRAM-SHA-256", "CRAM-MD5", "DIGEST-MD5": // show no password
		return nil
	}
	if !c.AcceptsPasswords() {
		return auth.ErrEncryptionRequired
	}
	return nil
}

func (m relay) Start(c *auth.Conn, _ auth.Authenticator) auth.Exchange {
	return &relayExchange{m: m, facts: c.NewAttempt(m.name, "", "", auth.Secret{})}
}

type relayExchange struct {
	m     relay
	facts *auth.Attempt
	conn  *conn
	id    auth.Identity
}

func (x *relayExchange) Identity() auth.Identity { return x.id }

// Close ends an exchange that was abandoned; auth.Run calls it.
func (x *relayExchange) Close() error {
	if x.conn == nil {
		return nil
	}
	conn := x.conn
	x.conn = nil
	return conn.Close()
}

// Next passes a response on.
func (x *relayExchange) Next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	challenge, done, err := x.next(ctx, resp)
	if done || err != nil {
		_ = x.Close()
	}
	return challenge, done, unavailable(ctx, err)
}

func (x *relayExchange) next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	c := x.m.client
	if x.conn == nil {
		conn, err := c.dialAuth(ctx)
		if err != nil {
			return nil, false, err
		}
		x.conn = conn
		if err := conn.begin(x.m.name, c.facts(x.facts), resp); err != nil {
			return nil, false, err
		}
	} else if err := x.conn.send("CONT", strconv.FormatUint(uint64(x.conn.id), 10), base64.StdEncoding.EncodeToString(resp)); err != nil {
		return nil, false, err
	}
	defer x.conn.watch(ctx, c.timeout())()
	reply, err := x.conn.reply()
	if err != nil {
		return nil, false, err
	}
	if reply[0] == "CONT" {
		challenge, err := base64.StdEncoding.DecodeString(params(reply).at(2))
		if err != nil {
			return nil, false, fmt.Errorf("%w: challenge is not base64", ErrProtocol)
		}
		return challenge, false, nil
	}
	return nil, true, x.end(ctx, reply)
}

func (x *relayExchange) end(ctx context.Context, reply []string) error {
	if user, ok := params(reply[2:]).get("user"); ok {
		x.facts = x.facts.WithUser(user)
	}
	id, err := verdict(reply, x.facts)
	if err == nil {
		id, err = x.m.client.complete(ctx, id, x.facts)
	}
	if err == nil {
		x.id = id
	}
	return err
}

// at returns the nth field, "" if there is none.
func (p params) at(n int) string {
	if n >= len(p) {
		return ""
	}
	return p[n]
}
