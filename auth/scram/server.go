package scram

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/xdg-go/scram"

	"github.com/goniec-mail/goniec/auth"
)

// Mechanism is one of the family, as a server offers it. It is an auth.ServerMechanism.
type Mechanism string

// The mechanisms.
const (
	SHA1       Mechanism = "SCRAM-SHA-1"
	SHA1Plus   Mechanism = "SCRAM-SHA-1-PLUS"
	SHA256     Mechanism = "SCRAM-SHA-256"
	SHA256Plus Mechanism = "SCRAM-SHA-256-PLUS"
	SHA512     Mechanism = "SCRAM-SHA-512"
	SHA512Plus Mechanism = "SCRAM-SHA-512-PLUS"
)

const plus = "-PLUS"

// Mechanisms returns those that a server should offer: SHA-256 and SHA-1, each with its -PLUS
// form first. Which of them are offered follows from the connection and the user table.
func Mechanisms() []auth.ServerMechanism {
	return []auth.ServerMechanism{SHA256Plus, SHA256, SHA1Plus, SHA1}
}

// Name returns the registered name.
func (m Mechanism) Name() string { return string(m) }

// Permit refuses tables without keys, and the -PLUS forms on connections without a channel binding.
func (m Mechanism) Permit(c *auth.Conn, a auth.Authenticator) error {
	switch {
	case !auth.Answers(a, string(m)) || m.hash() == nil:
		return auth.ErrUnknownMechanism
	case !m.plus():
		return nil
	case !c.Encrypted():
		return auth.ErrEncryptionRequired
	case len(serverBindings(c)) == 0:
		return auth.ErrUnknownMechanism
	}
	return nil
}

// Start begins an exchange.
func (m Mechanism) Start(c *auth.Conn, a auth.Authenticator) auth.Exchange {
	return &exchange{mech: m, conn: c, table: a}
}

func (m Mechanism) plus() bool { return strings.HasSuffix(string(m), plus) }

// hash returns the hash of the mechanism, nil if there is no such mechanism.
func (m Mechanism) hash() scram.HashGeneratorFcn {
	switch strings.TrimSuffix(string(m), plus) {
	case "SCRAM-SHA-1":
		return scram.SHA1
	case "SCRAM-SHA-256":
		return scram.SHA256
	case "SCRAM-SHA-512":
		return scram.SHA512
	}
	return nil
}

// exchange is the server's side:
//
//	first  client-first → server-first
//	final  client-final → server-final ("v="), as one more challenge
//	last   an empty response → done
type exchange struct {
	mech  Mechanism
	conn  *auth.Conn
	table auth.Authenticator
	nonce scram.NonceGeneratorFcn // tests set it

	step    func(context.Context, []byte) ([]byte, bool, error)
	conv    *scram.ServerConversation
	attempt *auth.Attempt
	keys    auth.SCRAMKeys
	denied  error // the verdict that waits at the end, although the exchange goes on
	id      auth.Identity
}

func (x *exchange) Identity() auth.Identity { return x.id }

func (x *exchange) Next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	if resp == nil {
		return nil, false, nil
	}
	if x.step == nil {
		x.step = x.first
	}
	return x.step(ctx, resp)
}

func (x *exchange) first(ctx context.Context, resp []byte) ([]byte, bool, error) {
	if err := x.judgeFlag(string(resp)); err != nil {
		return nil, false, err
	}
	var trouble error // of the look-up, which xdg-go/scram calls from inside
	server, err := x.mech.hash().NewServer(func(user string) (_ scram.StoredCredentials, err error) {
		var stored scram.StoredCredentials
		stored, trouble = x.lookup(ctx, user)
		return stored, trouble
	})
	if err != nil {
		return nil, false, auth.Unavailable(err)
	}
	if x.nonce != nil {
		server.WithNonceGenerator(x.nonce)
	}
	x.conv = server.NewConversation()
	if x.mech.plus() {
		x.conv = server.NewConversationWithChannelBindingRequired(x.binding(string(resp)))
	}
	challenge, err := x.conv.Step(string(resp))
	switch {
	case trouble != nil:
		return nil, false, trouble
	case err != nil:
		return nil, false, fmt.Errorf("%w: %w", auth.ErrMalformed, err)
	}
	x.step = x.final
	return []byte(challenge), false, nil
}

// judgeFlag judges the gs2 flag of the client's first message (RFC 5802 §6).
func (x *exchange) judgeFlag(msg string) error {
	flag, rest, _ := strings.Cut(msg, ",")
	bare := strings.Split(rest, ",")
	if len(bare) < 3 || !strings.HasPrefix(bare[2], "r=") || len(bare[2]) == 2 {
		return fmt.Errorf("%w: client nonce is missing or empty", auth.ErrMalformed)
	}
	offeredPlus := false
	for _, name := range x.conn.Offered {
		offeredPlus = offeredPlus || strings.HasPrefix(name, "SCRAM-") && strings.HasSuffix(name, plus)
	}
	switch {
	case strings.HasPrefix(flag, "p=") != x.mech.plus():
		return fmt.Errorf("%w: gs2 flag %.32q does not belong to %s", auth.ErrMalformed, flag, x.mech)
	case flag == "y" && offeredPlus:
		return refuse("client was not shown that the server offers channel binding: somebody altered the list")
	}
	return nil
}

// binding returns the binding that the client asks for, or another one, which fails.
func (x *exchange) binding(msg string) scram.ChannelBinding {
	flag, _, _ := strings.Cut(msg, ",")
	var other scram.ChannelBinding
	for _, b := range serverBindings(x.conn) {
		if "p="+string(b.Type) == flag {
			return b
		}
		other = b
	}
	return other
}

// lookup asks the user table. A user whom it does not know gets made-up keys.
func (x *exchange) lookup(ctx context.Context, user string) (scram.StoredCredentials, error) {
	x.attempt = x.conn.NewAttempt(string(x.mech), user, x.conv.AuthzID(), auth.Secret{})
	if err := auth.CheckNames(x.attempt); err != nil {
		return scram.StoredCredentials{}, err
	}
	keyer, ok := x.table.(auth.SCRAMKeyer)
	if !ok {
		return scram.StoredCredentials{}, auth.Unavailable(errNoKeys)
	}
	keys, err := keyer.SCRAMKeys(ctx, x.attempt)
	if err != nil {
		if !auth.Denied(err) {
			return scram.StoredCredentials{}, err
		}
		x.denied = err
		keys = decoy(keys, user, x.mech.hash()().Size())
	}
	size := x.mech.hash()().Size()
	if len(keys.StoredKey) != size || len(keys.ServerKey) != size || len(keys.Salt) == 0 || keys.Iterations < 1 {
		return scram.StoredCredentials{}, auth.Unavailable(errNoKeys)
	}
	x.keys = keys
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(keys.Salt), Iters: keys.Iterations},
		StoredKey:  keys.StoredKey, ServerKey: keys.ServerKey,
	}, nil
}

var errNoKeys = errors.New("scram: user table has no usable keys")

func (x *exchange) final(ctx context.Context, resp []byte) ([]byte, bool, error) {
	challenge, err := x.conv.Step(string(resp))
	switch {
	case x.denied != nil:
		err = x.denied
	case err != nil || !x.conv.Valid():
		err = refuse("%w", orInvalid(err))
	}
	auth.Observe(ctx, x.table, x.attempt, err)
	if err != nil {
		return nil, false, err
	}
	id := x.keys.Identity
	if id.User == "" {
		id.User = x.attempt.User
	}
	if x.id, err = auth.Authorize(ctx, x.table, id, x.attempt); err != nil {
		return nil, false, err
	}
	x.step = x.last
	return []byte(challenge), false, nil
}

// last takes the empty response to the server's proof: mail protocols have no room for it beside success.
func (x *exchange) last(_ context.Context, resp []byte) ([]byte, bool, error) {
	if len(resp) != 0 {
		return nil, false, fmt.Errorf("%w: response after the end of the exchange", auth.ErrMalformed)
	}
	return nil, true, nil
}

func orInvalid(err error) error {
	if err == nil {
		return errors.New("scram: proof is wrong")
	}
	return err
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", auth.ErrCredentials, fmt.Errorf(format, args...))
}

// decoyIterations is what an unknown user's keys show if the table made none up.
const decoyIterations = 10_000

// decoyKey makes the salts of unknown users the same each time they are asked for, while the process lives.
var decoyKey = sync.OnceValue(func() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
})

// decoy completes the keys of a user who has none. No proof fits them.
func decoy(keys auth.SCRAMKeys, user string, size int) auth.SCRAMKeys {
	if len(keys.Salt) == 0 || keys.Iterations < 1 {
		m := hmac.New(sha256.New, decoyKey())
		m.Write([]byte(user))
		keys.Salt, keys.Iterations = m.Sum(nil)[:16], decoyIterations
	}
	random := make([]byte, 2*size)
	_, _ = rand.Read(random)
	keys.StoredKey, keys.ServerKey = random[:size], random[size:]
	return keys
}
