package auth_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/auth"
)

// A user table is one method.
func ExampleAuthenticator() {
	passwords := map[string]auth.Secret{"alice": auth.NewSecret("secret")}
	table := auth.AuthenticatorFunc(func(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
		if pw, ok := passwords[at.User]; !ok || !pw.Equal(at.Secret) {
			return auth.Identity{}, auth.ErrCredentials
		}
		return auth.Identity{User: at.User}, nil
	})
	id, err := table.Authenticate(context.Background(), &auth.Attempt{User: "alice", Secret: auth.NewSecret("secret")})
	fmt.Println(id.User, err)
	_, err = table.Authenticate(context.Background(), &auth.Attempt{User: "alice", Secret: auth.NewSecret("guess")})
	fmt.Println(auth.StatusOf(err).Reply())
	// Output:
	// alice <nil>
	// 535 5.7.8 authentication credentials invalid
}

// What a protocol server does with AUTH, and what a client does, here without a network between them.
func Example() {
	table := newTable("alice", "secret")
	mechanisms := auth.Mechanisms()
	conn := &auth.Conn{Protocol: "smtp", Remote: netip.MustParseAddrPort("127.0.0.1:1024"), AllowInsecureAuth: true}

	offered := auth.Offer(mechanisms, conn, table) // the server's EHLO says: AUTH PLAIN LOGIN

	mech, conn, err := auth.Choose(offered, conn, auth.PasswordClients("alice", auth.NewSecret("secret")))
	if err != nil {
		fmt.Println(err)
		return
	}
	client, initial, _ := mech.Start(conn) // the client says: AUTH PLAIN AGFsaWNlAHNlY3JldA==

	server, err := auth.Begin(mech.Name(), mechanisms, conn, table)
	if err != nil {
		fmt.Println(auth.StatusOf(err).Reply())
		return
	}
	id, err := auth.Run(context.Background(), server, auth.EncodeInitial(initial), func(challenge string) (string, error) {
		return auth.Answer(client, challenge) // 334 challenge, and the client's answer
	})
	fmt.Println(offered, mech.Name(), id.Account(), err, client.Done())
	// Output: [PLAIN LOGIN] PLAIN alice <nil> <nil>
}

// One guard for all servers of a process; each listener has its own default domain.
func ExampleGuard() {
	table := newTable("alice@example.org", "secret")
	guard := &auth.Guard{Event: func(e auth.GuardEvent) {
		fmt.Printf("refused: %s %q after %d failures\n", e.Prefix, e.User, e.Failures)
	}, Delay: -1, PairLimit: 2}
	submission := auth.Names{DefaultDomain: "example.org"}.Wrap(guard.Wrap(table))

	at := &auth.Attempt{User: "Alice", Remote: netip.MustParseAddrPort("192.0.2.1:1024")}
	for _, password := range []string{"guess", "another", "secret"} {
		at.Secret = auth.NewSecret(password)
		_, err := submission.Authenticate(context.Background(), at)
		fmt.Println(auth.StatusOf(err).Reply())
	}
	// Output:
	// 535 5.7.8 authentication credentials invalid
	// refused: 192.0.2.1/32 "alice@example.org" after 2 failures
	// 535 5.7.8 authentication credentials invalid
	// 421 4.7.0 too many authentication failures, try again later
}

// jwtVerifier verifies JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256. Those of an identity
// provider are signed with RSA or ECDSA: take a library for its keys, and keep the checks.
type jwtVerifier struct {
	auth.Authenticator // for passwords
	key                []byte
	issuer, audience   string
	now                func() time.Time
}

func (v jwtVerifier) VerifyToken(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
	refuse := func(why string) (auth.Identity, error) {
		return auth.Identity{}, fmt.Errorf("%w: token: %w", auth.ErrCredentials, errors.New(why))
	}
	signed, signature, ok := cutLast(at.Secret.Reveal())
	mac := hmac.New(sha256.New, v.key)
	mac.Write([]byte(signed))
	if got, err := base64.RawURLEncoding.DecodeString(signature); !ok || err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return refuse("signature is wrong")
	}
	head, body, _ := strings.Cut(signed, ".")
	var header struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Iss, Aud, Sub string
		Exp           int64
	}
	if decodeJSON(head, &header) != nil || decodeJSON(body, &claims) != nil || header.Alg != "HS256" {
		return refuse("not a JWT, or not signed with HS256") // "none" is what attackers write
	}
	switch {
	case claims.Iss != v.issuer || claims.Aud != v.audience:
		return refuse("token is for somebody else")
	case v.now().Unix() >= claims.Exp:
		return refuse("token has expired")
	}
	// Whose token it is. That it fits what the client claims is the mechanism's business.
	return auth.Identity{User: claims.Sub}, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func decodeJSON(part string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// OAUTHBEARER and XOAUTH2 with tokens that an application issues itself.
func ExampleTokenVerifier() {
	table := jwtVerifier{
		Authenticator: newTable(), key: []byte("a key of 32 octets or more, random"),
		issuer: "https://id.example.org", audience: "mail.example.org", now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	}
	sign := func(claims string) string {
		enc := base64.RawURLEncoding.EncodeToString
		text := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc([]byte(claims))
		mac := hmac.New(sha256.New, table.key)
		mac.Write([]byte(text))
		return text + "." + enc(mac.Sum(nil))
	}
	const head = `{"iss":"https://id.example.org","aud":"mail.example.org","sub":"alice@example.org","exp":`
	for _, token := range []string{sign(head + "1900000000}"), sign(head + "1700000000}"), "e30.e30."} {
		x := auth.XOAuth2{}.Start(tlsConn(), table)
		id, _, err := converse(x, []byte("user=alice@example.org\x01auth=Bearer "+token+"\x01\x01"), []byte{})
		fmt.Println(id.Account(), err)
	}
	// Output:
	// alice@example.org <nil>
	//  authentication credentials invalid: token: token has expired
	//  authentication credentials invalid: token: signature is wrong
}
