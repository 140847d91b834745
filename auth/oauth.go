package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// OAuthBearer is the mechanism OAUTHBEARER (RFC 7628) of a server. It needs TLS, or loopback and
// AllowInsecureAuth, and a TokenVerifier.
type OAuthBearer struct {
	// Scope and OpenIDConfiguration tell a client whose token was refused where to get another one
	// (RFC 7628 §3.2.2). Both may be empty.
	Scope, OpenIDConfiguration string
}

// Name returns "OAUTHBEARER".
func (OAuthBearer) Name() string { return "OAUTHBEARER" }

// Permit refuses connections in clear text and tables that verify no tokens.
func (OAuthBearer) Permit(c *Conn, a Authenticator) error { return permitToken(c, a, "OAUTHBEARER") }

// Start begins an exchange.
func (m OAuthBearer) Start(c *Conn, a Authenticator) Exchange {
	return &tokenExchange{conn: c, table: a, name: "OAUTHBEARER", parse: parseOAuthBearer, failure: oauthFailure{
		Status: "invalid_token", Scope: m.Scope, OpenIDConfiguration: m.OpenIDConfiguration,
	}}
}

// XOAuth2 is Google's and Microsoft's mechanism XOAUTH2 of a server, older than OAUTHBEARER and
// still what most clients speak. It needs what OAuthBearer needs.
type XOAuth2 struct {
	Scope string // told to a client whose token was refused; may be empty
}

// Name returns "XOAUTH2".
func (XOAuth2) Name() string { return "XOAUTH2" }

// Permit refuses connections in clear text and tables that verify no tokens.
func (XOAuth2) Permit(c *Conn, a Authenticator) error { return permitToken(c, a, "XOAUTH2") }

// Start begins an exchange.
func (m XOAuth2) Start(c *Conn, a Authenticator) Exchange {
	return &tokenExchange{conn: c, table: a, name: "XOAUTH2", parse: parseXOAuth2, failure: oauthFailure{
		Status: "401", Schemes: "bearer", Scope: m.Scope,
	}}
}

func permitToken(c *Conn, a Authenticator, name string) error {
	if !Answers(a, name) {
		return ErrUnknownMechanism
	}
	return permitPassword(c)
}

// oauthFailure is the JSON of a refusal (RFC 7628 §3.2.2).
type oauthFailure struct {
	Status              string `json:"status"`
	Schemes             string `json:"schemes,omitempty"`
	Scope               string `json:"scope,omitempty"`
	OpenIDConfiguration string `json:"openid-configuration,omitempty"`
}

type tokenExchange struct {
	conn    *Conn
	table   Authenticator
	name    string
	parse   func(msg string) (claim, token string, err error)
	failure oauthFailure
	denied  error // what the exchange ends with, once the client has read the failure
	id      Identity
}

func (x *tokenExchange) Identity() Identity { return x.id }

func (x *tokenExchange) Next(ctx context.Context, resp []byte) ([]byte, bool, error) {
	if x.denied != nil { // whatever the client says now: RFC 7628 wants %x01, others send nothing
		return nil, false, x.denied
	}
	if resp == nil {
		return nil, false, nil
	}
	claim, token, err := x.parse(string(resp))
	if err != nil {
		return nil, false, err
	}
	id, err := x.verify(ctx, x.conn.NewAttempt(x.name, claim, claim, NewSecret(token)))
	if err == nil {
		x.id = id
		return nil, true, nil
	}
	if !Denied(err) {
		return nil, false, err
	}
	x.denied = err
	challenge, jerr := json.Marshal(x.failure)
	if jerr != nil {
		return nil, false, errors.Join(err, jerr)
	}
	return challenge, false, nil
}

// verify asks about a token. What the client claims is whom it wants to act as: the token tells who it is.
func (x *tokenExchange) verify(ctx context.Context, at *Attempt) (Identity, error) {
	v, ok := x.table.(TokenVerifier)
	switch {
	case !ok:
		return Identity{}, Unavailable(errNotAsked)
	case !plausible(at.User):
		return Identity{}, refuse("claimed user name can be no account's")
	case at.Secret.Empty():
		return Identity{}, refuse("token is empty")
	}
	id, err := v.VerifyToken(ctx, at)
	if err != nil {
		return Identity{}, err
	}
	if id.User == "" {
		return Identity{}, Unavailable(errors.New("auth: TokenVerifier did not tell whose token it is"))
	}
	claim, err1 := FoldName(at.User)
	user, err2 := FoldName(id.User)
	if err1 == nil && err2 == nil && claim == user {
		return id, nil
	}
	return authorize(ctx, x.table, id, at.WithUser(id.User))
}

// parseOAuthBearer reads client_resp of RFC 7628 §3.1: gs2-header %x01 *(key "=" value %x01) %x01.
func parseOAuthBearer(msg string) (claim, token string, err error) {
	flag, rest, ok1 := strings.Cut(msg, ",")
	name, rest, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 || flag != "n" && flag != "y" {
		return "", "", malformed("OAUTHBEARER: bad gs2 header")
	}
	if name != "" {
		a, found := strings.CutPrefix(name, "a=")
		if claim, err = saslName(a); !found || err != nil || claim == "" {
			return "", "", malformed("OAUTHBEARER: bad authorization identity")
		}
	}
	rest, ok := strings.CutPrefix(rest, "\x01")
	if !ok {
		return "", "", malformed("OAUTHBEARER: no key-value pairs")
	}
	token, err = bearer(rest, "OAUTHBEARER")
	return claim, token, err
}

// parseXOAuth2 reads "user=" name %x01 "auth=Bearer " token %x01 %x01.
func parseXOAuth2(msg string) (claim, token string, err error) {
	user, rest, ok := strings.Cut(msg, "\x01")
	claim, found := strings.CutPrefix(user, "user=")
	if !ok || !found || claim == "" {
		return "", "", malformed("XOAUTH2: no user")
	}
	token, err = bearer(rest, "XOAUTH2")
	return claim, token, err
}

// bearer finds the token among key-value pairs, each of which ends with %x01, as does the list.
func bearer(pairs, mechanism string) (token string, err error) {
	pairs, ok := strings.CutSuffix(pairs, "\x01\x01")
	if !ok {
		return "", malformed("%s: message does not end with %%x01 %%x01", mechanism)
	}
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(pairs, "\x01") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || seen[key] {
			return "", malformed("%s: bad or repeated key", mechanism)
		}
		seen[key] = true
		if key == "auth" {
			scheme, t, _ := strings.Cut(value, " ")
			if !strings.EqualFold(scheme, "Bearer") || strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				return "", malformed("%s: not a bearer token", mechanism)
			}
			token = t
		}
	}
	if !seen["auth"] {
		return "", malformed("%s: no token", mechanism)
	}
	return token, nil
}

// saslName decodes a saslname of RFC 5801 §4: "=2C" is a comma, "=3D" an equals sign.
func saslName(s string) (string, error) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, "=")
		b.WriteString(plain)
		switch {
		case !found:
			return b.String(), nil
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", errors.New("bad escape")
		}
		s = rest[2:]
	}
}

// OAuthBearerClient is the mechanism OAUTHBEARER (RFC 7628) of a client.
type OAuthBearerClient struct {
	User  string // the account to open; "": the token's
	Token Secret
}

// Name returns "OAUTHBEARER".
func (OAuthBearerClient) Name() string { return "OAUTHBEARER" }

// Permit refuses connections in clear text.
func (OAuthBearerClient) Permit(c *Conn) error { return permitSending(c, "OAUTHBEARER") }

// Start returns the whole message as the initial response.
func (m OAuthBearerClient) Start(c *Conn) (ClientExchange, []byte, error) {
	if err := checkOAuth(m.User, m.Token); err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	b.WriteString("n,")
	if m.User != "" {
		b.WriteString("a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(m.User))
	}
	b.WriteString(",\x01")
	if c.Host != "" {
		b.WriteString("host=" + c.Host + "\x01")
	}
	if port := c.Remote.Port(); port != 0 {
		b.WriteString("port=" + strconv.Itoa(int(port)) + "\x01")
	}
	b.WriteString("auth=Bearer " + m.Token.Reveal() + "\x01\x01")
	return oauthClient{}, b.Bytes(), nil
}

// XOAuth2Client is the mechanism XOAUTH2 of a client.
type XOAuth2Client struct {
	User  string
	Token Secret
}

// Name returns "XOAUTH2".
func (XOAuth2Client) Name() string { return "XOAUTH2" }

// Permit refuses connections in clear text.
func (XOAuth2Client) Permit(c *Conn) error { return permitSending(c, "XOAUTH2") }

// Start returns the whole message as the initial response.
func (m XOAuth2Client) Start(*Conn) (ClientExchange, []byte, error) {
	if err := checkOAuth(m.User, m.Token); err != nil {
		return nil, nil, err
	}
	return oauthClient{}, []byte("user=" + m.User + "\x01auth=Bearer " + m.Token.Reveal() + "\x01\x01"), nil
}

func checkOAuth(user string, token Secret) error {
	control := func(r rune) bool { return r < ' ' }
	if token.Empty() || strings.ContainsFunc(user, control) || strings.ContainsFunc(token.Reveal(), control) {
		return errors.New("auth: token is empty, or user name or token contains a control character")
	}
	return nil
}

// OAuthError is what a server says about a token that it refuses.
type OAuthError struct {
	Status              string // "invalid_token", "insufficient_scope", or an HTTP status
	Scope               string
	OpenIDConfiguration string
}

// Error tells the server's status.
func (e *OAuthError) Error() string {
	return fmt.Sprintf("auth: server refused the token: %.100q", e.Status)
}

type oauthClient struct{}

// Next returns an *OAuthError: the only challenge there is tells why the token was refused.
func (oauthClient) Next(challenge []byte) ([]byte, error) {
	var f oauthFailure
	if err := json.Unmarshal(challenge, &f); err != nil {
		return nil, fmt.Errorf("auth: server's challenge is not JSON: %w", err)
	}
	return nil, &OAuthError{f.Status, f.Scope, f.OpenIDConfiguration}
}

func (oauthClient) Done() error { return nil }
