package scram

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/goniec-mail/goniec/auth"
)

// The iterations that a server may ask for by default.
const (
	DefaultMinIterations = 4096
	DefaultMaxIterations = 600_000
)

// maxSalt is the longest salt that a client takes, in octets.
const maxSalt = 1024

// Client is one of the family as a client uses it. It is an auth.ClientMechanism.
type Client struct {
	Mechanism Mechanism
	User      string
	Password  auth.Secret
	AuthzID   string // "": act as User

	// MinIterations and MaxIterations bound what the server may ask for. Zero means the defaults;
	// a negative maximum no limit.
	MinIterations, MaxIterations int

	// Binding names the channel binding that a -PLUS form uses ("tls-exporter",
	// "tls-server-end-point", "tls-unique"). Empty: the best that the connection has, in this order:
	// tls-exporter, tls-unique, tls-server-end-point. SASL has no way to ask which ones the server knows.
	Binding string

	nonce scram.NonceGeneratorFcn // tests set it
}

// Clients returns all mechanisms for a user name and a password, those of this package and PLAIN and
// LOGIN; auth.Choose takes the strongest that the server offers.
func Clients(user string, password auth.Secret) []auth.ClientMechanism {
	var out []auth.ClientMechanism
	for _, m := range []Mechanism{SHA512Plus, SHA512, SHA256Plus, SHA256, SHA1Plus, SHA1} {
		out = append(out, Client{Mechanism: m, User: user, Password: password})
	}
	return append(out, auth.PasswordClients(user, password)...)
}

// Name returns the registered name.
func (m Client) Name() string { return string(m.Mechanism) }

// Permit refuses a -PLUS form on a connection that has nothing to bind to. The other forms run without TLS
// too: nobody who listens learns the password, though who listens may guess at it.
func (m Client) Permit(c *auth.Conn) error {
	switch {
	case m.Mechanism.hash() == nil:
		return fmt.Errorf("scram: no mechanism %q", m.Mechanism)
	case m.Mechanism.plus() && !m.binding(c).IsSupported():
		return fmt.Errorf("%s: the connection has no channel binding %s", m.Mechanism, m.Binding)
	}
	return nil
}

// binding returns the binding to use; it is not supported if there is none.
func (m Client) binding(c *auth.Conn) scram.ChannelBinding {
	for _, b := range clientBindings(c) {
		if m.Binding == "" || m.Binding == string(b.Type) {
			return b
		}
	}
	return scram.ChannelBinding{}
}

// Start returns the client's first message as the initial response.
func (m Client) Start(c *auth.Conn) (auth.ClientExchange, []byte, error) {
	if err := m.Permit(c); err != nil {
		return nil, nil, err
	}
	if strings.ContainsAny(m.User+m.AuthzID, "\x00\r\n") {
		return nil, nil, errors.New("scram: user name contains NUL or a line end")
	}
	client, err := m.Mechanism.hash().NewClientUnprepped(prepare(m.User), prepare(m.Password.Reveal()), prepare(m.AuthzID))
	if err != nil {
		return nil, nil, err
	}
	if m.nonce != nil {
		client.WithNonceGenerator(m.nonce)
	}
	client.WithMinIterations(1) // checked here, together with the maximum
	x := &clientExchange{m: m}
	offeredPlus := slices.ContainsFunc(c.Offered, func(name string) bool {
		return strings.HasPrefix(strings.ToUpper(name), "SCRAM-") && strings.HasSuffix(strings.ToUpper(name), plus)
	})
	switch {
	case m.Mechanism.plus():
		x.conv = client.NewConversationWithChannelBinding(m.binding(c))
	case len(c.Offered) > 0 && !offeredPlus && len(clientBindings(c)) > 0:
		// RFC 5802 §6: "y" tells a server that did offer -PLUS that somebody took it off the list.
		x.conv = client.NewConversationAdvertisingChannelBinding()
	default:
		x.conv = client.NewConversation()
	}
	first, err := x.conv.Step("")
	return x, []byte(first), err
}

// prepare is SASLprep, or nothing where that has no answer.
func prepare(s string) string {
	if out, err := stringprep.SASLprep.Prepare(s); err == nil {
		return out
	}
	return s
}

type clientExchange struct {
	m     Client
	conv  *scram.ClientConversation
	steps int
}

// Next answers the server's first message with the proof, and its final one with an empty response.
func (x *clientExchange) Next(challenge []byte) ([]byte, error) {
	x.steps++
	if x.steps == 1 {
		if err := x.check(string(challenge)); err != nil {
			return nil, fmt.Errorf("%s: %w", x.m.Mechanism, err)
		}
	}
	resp, err := x.conv.Step(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.m.Mechanism, err)
	}
	return []byte(resp), nil
}

// check looks at the server's first message before any work is done for it.
func (x *clientExchange) check(msg string) error {
	f := strings.Split(msg, ",")
	if len(f) < 3 || !strings.HasPrefix(f[0], "r=") || !strings.HasPrefix(f[1], "s=") || !strings.HasPrefix(f[2], "i=") {
		return errors.New("server's first message is malformed, or asks for an extension")
	}
	if salt := f[1][2:]; salt == "" || len(salt) > maxSalt/3*4 {
		return errors.New("server's salt is empty or too long")
	}
	n, err := strconv.ParseUint(f[2][2:], 10, 31)
	least, most := x.m.MinIterations, x.m.MaxIterations
	if least == 0 {
		least = DefaultMinIterations
	}
	if most == 0 {
		most = DefaultMaxIterations
	}
	if err != nil || int(n) < least || most > 0 && int(n) > most {
		return fmt.Errorf("server asks for %.12s iterations, not %d to %d", f[2][2:], least, most)
	}
	return nil
}

// Done reports whether the server has proven that it knows the password's keys.
func (x *clientExchange) Done() error {
	if !x.conv.Valid() {
		return fmt.Errorf("%s: server reported success without proving that it knows the password", x.m.Mechanism)
	}
	return nil
}
