package auth

import (
	"context"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"
)

// This file is the edge to github.com/emersion/go-sasl, whose interfaces much Go code speaks.

// SASLClient makes a ClientMechanism of go-sasl clients.
type SASLClient struct {
	Mechanism string             // the name that New's clients return
	New       func() sasl.Client // a fresh client for one exchange

	// ClearText tells that the mechanism shows nothing worth stealing and may run without TLS.
	ClearText bool
}

// Name returns Mechanism in upper case.
func (m SASLClient) Name() string { return strings.ToUpper(m.Mechanism) }

// Permit refuses connections in clear text unless ClearText is set.
func (m SASLClient) Permit(c *Conn) error {
	if m.ClearText {
		return nil
	}
	return permitSending(c, m.Name())
}

// Start starts a new client.
func (m SASLClient) Start(*Conn) (ClientExchange, []byte, error) {
	client := m.New()
	name, initial, err := client.Start()
	if err == nil && !strings.EqualFold(name, m.Mechanism) {
		err = fmt.Errorf("auth: go-sasl client speaks %s, not %s", name, m.Mechanism)
	}
	if err != nil {
		return nil, nil, err
	}
	return saslClientExchange{client}, initial, nil
}

type saslClientExchange struct{ sasl.Client }

// Done believes the server: go-sasl clients have no way to object.
func (saslClientExchange) Done() error { return nil }

// ToSASLClient makes a go-sasl client, for one exchange on c, of a ClientMechanism. go-sasl has no
// place for ClientExchange.Done: a server that reports success too early is not noticed.
func ToSASLClient(m ClientMechanism, c *Conn) sasl.Client { return &toSASLClient{m: m, conn: c} }

type toSASLClient struct {
	m    ClientMechanism
	conn *Conn
	x    ClientExchange
}

func (t *toSASLClient) Start() (string, []byte, error) {
	if err := t.m.Permit(t.conn); err != nil {
		return "", nil, err
	}
	x, initial, err := t.m.Start(t.conn)
	t.x = x
	return t.m.Name(), initial, err
}

func (t *toSASLClient) Next(challenge []byte) ([]byte, error) { return t.x.Next(challenge) }

// SASLServer makes a ServerMechanism of go-sasl servers.
type SASLServer struct {
	Mechanism string

	// New returns a server for one exchange, and a function that tells who was authenticated once
	// the server is done. Permit has said yes.
	New func(c *Conn, a Authenticator) (sasl.Server, func() Identity)

	// ClearText tells that the mechanism shows nothing worth stealing and may run without TLS.
	ClearText bool
}

// Name returns Mechanism in upper case.
func (m SASLServer) Name() string { return strings.ToUpper(m.Mechanism) }

// Permit refuses connections in clear text unless ClearText is set, and tables that can not answer.
func (m SASLServer) Permit(c *Conn, a Authenticator) error {
	if !Answers(a, m.Name()) {
		return ErrUnknownMechanism
	}
	if m.ClearText {
		return nil
	}
	return permitPassword(c)
}

// Start begins an exchange.
func (m SASLServer) Start(c *Conn, a Authenticator) Exchange {
	s, id := m.New(c, a)
	return saslServerExchange{s, id}
}

type saslServerExchange struct {
	server sasl.Server
	id     func() Identity
}

func (x saslServerExchange) Next(_ context.Context, resp []byte) ([]byte, bool, error) {
	return x.server.Next(resp)
}

func (x saslServerExchange) Identity() Identity { return x.id() }

// ToSASLServer makes a go-sasl server of an exchange that Begin returned. ctx bounds the exchange.
func ToSASLServer(ctx context.Context, x Exchange) sasl.Server { return toSASLServer{ctx, x} }

type toSASLServer struct {
	ctx context.Context // go-sasl's interface has none
	x   Exchange
}

func (t toSASLServer) Next(resp []byte) ([]byte, bool, error) {
	challenge, done, err := t.x.Next(t.ctx, resp)
	if err == nil && !done && challenge == nil {
		challenge = []byte{} // go-sasl tells an empty challenge from none
	}
	return challenge, done, err
}
