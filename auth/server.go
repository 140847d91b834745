package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
)

// MaxLine is the longest line of an exchange in octets, without its CRLF, in base64 form and with
// the command in front of an initial response (RFC 4954 §4: at least 12288).
const MaxLine = 12288

// maxSteps limits the challenges of one exchange. The longest mechanism here has three.
const maxSteps = 8

// ServerMechanism is a SASL mechanism (RFC 4422) as a server offers it: a value without state,
// shared by all connections.
type ServerMechanism interface {
	// Name returns the registered name, in upper case.
	Name() string

	// Permit returns nil if the mechanism may be offered and used on this connection with this
	// user table, ErrEncryptionRequired if it could be after STARTTLS, and else ErrUnknownMechanism.
	Permit(c *Conn, a Authenticator) error

	// Start begins an exchange. It is called only where Permit returned nil.
	Start(c *Conn, a Authenticator) Exchange
}

// Exchange is the server's side of one run of a mechanism. It is used by one goroutine, until done
// or until its first error. One that holds resources is an io.Closer too, which Run closes.
type Exchange interface {
	// Next takes the client's response and returns the next challenge, both before base64. The
	// first response is nil if the client sent no initial response; an empty one is not nil. done
	// means success: there is no further challenge then. The error is for StatusOf.
	Next(ctx context.Context, resp []byte) (challenge []byte, done bool, err error)

	// Identity returns who was authenticated, once Next reported done.
	Identity() Identity
}

// Mechanisms returns the light mechanisms that a server may offer without a thought: PLAIN, LOGIN,
// OAUTHBEARER, XOAUTH2 and EXTERNAL, each only where connection and user table permit it. Package auth/scram
// has more; CRAM-MD5 and ANONYMOUS are added by those who want them.
func Mechanisms() []ServerMechanism {
	return []ServerMechanism{External{}, OAuthBearer{}, XOAuth2{}, Plain{}, Login{}}
}

// Offer returns the names to advertise on a connection, in the order of mechs: those that the
// connection and the user table permit.
func Offer(mechs []ServerMechanism, c *Conn, a Authenticator) []string {
	var names []string
	for _, m := range mechs {
		if a != nil && m.Permit(c, a) == nil {
			names = append(names, m.Name())
		}
	}
	return names
}

// Begin starts an exchange of the mechanism that the client named, in any case. The error is
// ErrUnknownMechanism or ErrEncryptionRequired; nobody's user table has been asked then.
func Begin(name string, mechs []ServerMechanism, c *Conn, a Authenticator) (Exchange, error) {
	for _, m := range mechs {
		if a == nil || !strings.EqualFold(m.Name(), name) {
			continue
		}
		if err := m.Permit(c, a); err != nil {
			return nil, err
		}
		with := *c
		with.Offered = Offer(mechs, c, a)
		return m.Start(&with, a), nil
	}
	return nil, ErrUnknownMechanism
}

// Run leads an exchange to its end. initial is the initial response as it stood in the command
// ("" if there was none, "=" for an empty one). ask sends a challenge, already in base64 and
// possibly empty, in the protocol's way ("334 ", "+ ") and returns the client's line without CRLF.
// An error of ask is returned as it is; every other error is for StatusOf.
func Run(ctx context.Context, x Exchange, initial string, ask func(challenge string) (string, error)) (Identity, error) {
	if c, ok := x.(io.Closer); ok {
		defer c.Close()
	}
	resp, err := DecodeInitial(initial)
	for range maxSteps {
		if err != nil {
			return Identity{}, err
		}
		challenge, done, err1 := x.Next(ctx, resp)
		if err1 != nil {
			return Identity{}, err1
		}
		if done {
			return x.Identity(), nil
		}
		line, err1 := ask(EncodeChallenge(challenge))
		if err1 != nil {
			return Identity{}, err1
		}
		resp, err = DecodeResponse(line)
	}
	return Identity{}, malformed("exchange has more than %d steps", maxSteps)
}

// PasswordLogin is a password command outside SASL (POP3 USER and PASS, IMAP LOGIN), named by command. In
// clear text it fails with ErrEncryptionRequired unless the configuration allows it on loopback.
func PasswordLogin(ctx context.Context, c *Conn, a Authenticator, command, user string, password Secret) (Identity, error) {
	switch {
	case a == nil:
		return Identity{}, ErrUnknownMechanism
	case !c.AcceptsPasswords():
		return Identity{}, ErrEncryptionRequired
	}
	return Authenticate(ctx, a, c.NewAttempt(command, user, "", password))
}

// permitPassword is Permit of the mechanisms that send the password itself.
func permitPassword(c *Conn) error {
	if !c.AcceptsPasswords() {
		return ErrEncryptionRequired
	}
	return nil
}

// DecodeInitial decodes an initial response: "" is nil (there is none), "=" is empty (RFC 4954 §4).
func DecodeInitial(arg string) ([]byte, error) {
	switch arg {
	case "":
		return nil, nil
	case "=":
		return []byte{}, nil
	}
	return decode(arg)
}

// DecodeResponse decodes a line that answers a challenge. The result is never nil without an error.
// "*" is ErrCanceled; what is not base64 is ErrMalformed, what is too long ErrTooLong.
func DecodeResponse(line string) ([]byte, error) {
	if line == "*" {
		return nil, ErrCanceled
	}
	return decode(line)
}

var errBase64 = errors.New("response is not base64")

func decode(line string) ([]byte, error) {
	if len(line) > MaxLine {
		return nil, ErrTooLong
	}
	// Strict and without the line breaks that the decoder would skip: one text, one meaning.
	out, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil || strings.ContainsAny(line, "\r\n") {
		return nil, malformed("%w", errBase64) // the decoder's own error would quote from the line
	}
	return out, nil
}

// EncodeChallenge encodes a challenge, or a client's response, for a line of its own.
func EncodeChallenge(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// EncodeInitial encodes a client's initial response: nil is "", an empty one is "=".
func EncodeInitial(b []byte) string {
	if b != nil && len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}
