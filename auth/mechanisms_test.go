package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

// rich is a table that has every optional interface.
type rich struct {
	*table
	outcomes []error
}

func newRich(userPassword ...string) *rich { return &rich{table: newTable(userPassword...)} }

func (r *rich) Password(_ context.Context, at *auth.Attempt) (auth.Secret, auth.Identity, error) {
	if r.err != nil {
		return auth.Secret{}, auth.Identity{}, r.err
	}
	pw, ok := r.users[at.User]
	if !ok {
		return auth.Secret{}, auth.Identity{}, auth.ErrCredentials
	}
	return auth.NewSecret(pw), auth.Identity{}, nil
}

// VerifyToken takes "token-NAME" for a token of NAME.
func (r *rich) VerifyToken(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
	if r.err != nil {
		return auth.Identity{}, r.err
	}
	name, ok := strings.CutPrefix(at.Secret.Reveal(), "token-")
	if !ok {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: name}, nil
}

func (r *rich) VerifyCertificate(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
	if r.err != nil {
		return auth.Identity{}, r.err
	}
	return auth.Identity{User: at.TLS.VerifiedChains[0][0].Subject.CommonName}, nil
}

func (r *rich) SCRAMKeys(context.Context, *auth.Attempt) (auth.SCRAMKeys, error) {
	return auth.SCRAMKeys{Iterations: 1}, r.err
}

func (r *rich) Authorize(_ context.Context, id auth.Identity, at *auth.Attempt) (auth.Identity, error) {
	if id.User != "boss" {
		return auth.Identity{}, auth.ErrCredentials
	}
	id.AuthzID = at.AuthzID
	return id, nil
}

func (r *rich) Observe(_ context.Context, _ *auth.Attempt, err error) {
	r.outcomes = append(r.outcomes, err)
}

// RFC 4616 §4.
func TestRFC4616(t *testing.T) {
	id, _, err := converse(auth.Plain{}.Start(tlsConn(), newTable("tim", "tanstaaftanstaaf")), []byte("\x00tim\x00tanstaaftanstaaf"))
	require.NoError(t, err)
	require.Equal(t, "tim", id.User)
	_, _, err = converse(auth.Plain{}.Start(tlsConn(), newTable("Kurt", "xipj3plmq")), []byte("Ursel\x00Kurt\x00xipj3plmq"))
	require.ErrorIs(t, err, auth.ErrCredentials, "Kurt is not authorised to act as Ursel")
}

// RFC 2195 §2 and RFC 1939 §7.
func TestDigestVectors(t *testing.T) {
	x, _, err := auth.CRAMMD5Client{User: "tim", Password: auth.NewSecret("tanstaaftanstaaf")}.Start(tlsConn())
	require.NoError(t, err)
	resp, err := x.Next([]byte("<1896.697170952@postoffice.reston.mci.net>"))
	require.NoError(t, err)
	require.Equal(t, "tim b913a602c7eda7a495b4e6e7334d3890", string(resp))
	require.Equal(t, "c4c9334bac560ecc979e58001b3e22fb", auth.APOPDigest("<1896.697170952@dbc.mtview.ca.us>", auth.NewSecret("tanstaaf")))

	ctx, table := context.Background(), newRich("mrose", "tanstaaf")
	id, err := auth.APOP(ctx, tlsConn(), table, "<1896.697170952@dbc.mtview.ca.us>", "mrose", "C4C9334BAC560ECC979E58001B3E22FB")
	require.NoError(t, err)
	require.Equal(t, "mrose", id.User)
	for _, c := range [][3]string{
		{"<1896.697170952@dbc.mtview.ca.us>", "mrose", "c4c9334bac560ecc979e58001b3e22fc"},
		{"<other>", "mrose", "c4c9334bac560ecc979e58001b3e22fb"},
		{"<1896.697170952@dbc.mtview.ca.us>", "nobody", "c4c9334bac560ecc979e58001b3e22fb"},
		{"<1896.697170952@dbc.mtview.ca.us>", "", "c4c9334bac560ecc979e58001b3e22fb"},
		{"<1896.697170952@dbc.mtview.ca.us>", "nobody", auth.APOPDigest("<1896.697170952@dbc.mtview.ca.us>", auth.Secret{})},
		{"<1896.697170952@dbc.mtview.ca.us>", "mrose", ""},
	} {
		_, err := auth.APOP(ctx, tlsConn(), table, c[0], c[1], c[2])
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	_, err = auth.APOP(ctx, tlsConn(), newTable(), "<x>", "u", "y")
	require.ErrorIs(t, err, auth.ErrUnavailable)
}

// A07: a challenge is used once, and no two are the same.
func TestA07_CRAMMD5(t *testing.T) {
	table := newRich("tim", "secret words", "two words", "x")
	require.ErrorIs(t, auth.CRAMMD5{}.Permit(tlsConn(), newTable()), auth.ErrUnknownMechanism)
	require.NoError(t, auth.CRAMMD5{}.Permit(&auth.Conn{}, table))
	id, err := play(t, auth.CRAMMD5Client{User: "tim", Password: auth.NewSecret("secret words")}, auth.CRAMMD5{}, table, false)
	require.NoError(t, err)
	require.Equal(t, "tim", id.User)
	_, err = play(t, auth.CRAMMD5Client{User: "two words", Password: auth.NewSecret("x")}, auth.CRAMMD5{}, table, false)
	require.NoError(t, err)
	for _, bad := range []auth.CRAMMD5Client{{User: "tim", Password: auth.NewSecret("x")}, {User: "nobody"}, {User: ""}} {
		_, err = play(t, bad, auth.CRAMMD5{}, table, false)
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	require.Len(t, table.outcomes, 4, "an empty name is not even counted")

	ctx := context.Background()
	first := auth.CRAMMD5{}.Start(tlsConn(), table)
	c1, _, err := first.Next(ctx, nil)
	require.NoError(t, err)
	client, _, _ := auth.CRAMMD5Client{User: "tim", Password: auth.NewSecret("secret words")}.Start(tlsConn())
	resp, err := client.Next(c1)
	require.NoError(t, err)
	second := auth.CRAMMD5{}.Start(tlsConn(), table)
	c2, _, err := second.Next(ctx, nil)
	require.NoError(t, err)
	require.NotEqual(t, c1, c2)
	_, _, err = second.Next(ctx, resp)
	require.ErrorIs(t, err, auth.ErrCredentials, "replay")
	for _, msg := range []string{"", "nospace"} {
		x := auth.CRAMMD5{}.Start(tlsConn(), table)
		_, _, _ = x.Next(ctx, nil)
		_, _, err = x.Next(ctx, []byte(msg))
		require.ErrorIs(t, err, auth.ErrMalformed)
	}
	_, _, err = auth.CRAMMD5{}.Start(tlsConn(), table).Next(ctx, []byte("initial"))
	require.ErrorIs(t, err, auth.ErrMalformed)
	table.err = errors.New("down")
	_, err = play(t, auth.CRAMMD5Client{User: "tim", Password: auth.NewSecret("x")}, auth.CRAMMD5{}, table, false)
	require.ErrorIs(t, err, table.err)

	_, err = client.Next(c2)
	require.Error(t, err, "a second challenge")
	fresh, _, _ := auth.CRAMMD5Client{User: "u"}.Start(tlsConn())
	require.Error(t, fresh.Done())
	_, _, err = auth.CRAMMD5Client{User: "u\r\n"}.Start(tlsConn())
	require.Error(t, err)
	require.Regexp(t, `^<[0-9a-f]{32}\.\d+@localhost>$`, auth.NewChallenge("a b"))
	require.Regexp(t, `@mail\.test>$`, auth.NewChallenge("mail.test"))
}

// RFC 7628 §4.1 and §4.3.
func TestRFC7628(t *testing.T) {
	const msg = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
	x, initial, err := auth.OAuthBearerClient{User: "user@example.com", Token: auth.NewSecret("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")}.Start(&auth.Conn{
		Host: "server.example.com", Remote: netip.MustParseAddrPort("192.0.2.1:143"),
	})
	require.NoError(t, err)
	require.Equal(t, msg, string(initial))
	require.NoError(t, x.Done())

	const failure = `{"status":"invalid_token","scope":"example_scope","openid-configuration":"https://example.com/.well-known/openid-configuration"}`
	server := auth.OAuthBearer{Scope: "example_scope", OpenIDConfiguration: "https://example.com/.well-known/openid-configuration"}.Start(tlsConn(), newRich())
	_, challenges, err := converse(server, []byte(msg), []byte{1})
	require.ErrorIs(t, err, auth.ErrCredentials)
	require.Equal(t, failure, string(challenges[0]))
	_, err = x.Next([]byte(failure))
	var oe *auth.OAuthError
	require.ErrorAs(t, err, &oe)
	require.Equal(t, auth.OAuthError{Status: "invalid_token", Scope: "example_scope", OpenIDConfiguration: "https://example.com/.well-known/openid-configuration"}, *oe)
	require.ErrorContains(t, err, "invalid_token")
	_, err = x.Next([]byte("not json"))
	require.Error(t, err)
}

func TestOAuth(t *testing.T) {
	servers := map[string]auth.ServerMechanism{"OAUTHBEARER": auth.OAuthBearer{}, "XOAUTH2": auth.XOAuth2{}}
	client := func(name, user, token string) auth.ClientMechanism {
		if name == "XOAUTH2" {
			return auth.XOAuth2Client{User: user, Token: auth.NewSecret(token)}
		}
		return auth.OAuthBearerClient{User: user, Token: auth.NewSecret(token)}
	}
	for name, server := range servers {
		require.Equal(t, name, server.Name())
		require.ErrorIs(t, server.Permit(tlsConn(), newTable()), auth.ErrUnknownMechanism)
		require.ErrorIs(t, server.Permit(&auth.Conn{}, newRich()), auth.ErrEncryptionRequired)
		require.NoError(t, server.Permit(tlsConn(), newRich()))
		require.ErrorIs(t, client(name, "u", "x").Permit(&auth.Conn{}), auth.ErrInsecure)
		for _, c := range []struct {
			user, token, account string
			err                  error
		}{
			{"alice@x", "token-alice@x", "alice@x", nil},
			{"ALICE@x", "token-alice@x", "alice@x", nil},
			{"a,b=c", "token-a,b=c", "a,b=c", nil},
			{"shared@x", "token-boss", "shared@x", nil},
			{"bob@x", "token-alice@x", "", auth.ErrCredentials}, // a token of somebody else
			{"alice@x", "expired", "", auth.ErrCredentials},
			{"alice@x", "token-", "", auth.ErrUnavailable}, // a verifier that forgot to tell
			{strings.Repeat("x", 256), "token-x", "", auth.ErrCredentials},
		} {
			id, err := play(t, client(name, c.user, c.token), server, newRich(), false)
			if c.err != nil {
				var oe *auth.OAuthError // the client has read the failure and cancels
				if !errors.As(err, &oe) {
					require.ErrorIs(t, err, c.err)
				}
				continue
			}
			require.NoError(t, err)
			require.Equal(t, c.account, id.Account())
		}
		down := newRich()
		down.err = errors.New("introspection endpoint is down")
		_, err := play(t, client(name, "u", "token-u"), server, down, false)
		require.ErrorIs(t, err, down.err)
		for _, bad := range []auth.ClientMechanism{client(name, "u", ""), client(name, "u\x01", "x"), client(name, "u", "x\x01")} {
			_, _, err := bad.Start(tlsConn())
			require.Error(t, err)
		}
	}
	// Without a claim the token alone decides; go-sasl's client is understood.
	id, err := play(t, client("OAUTHBEARER", "", "token-carol"), servers["OAUTHBEARER"], newRich(), true)
	require.NoError(t, err)
	require.Equal(t, "carol", id.User)
	theirs := auth.SASLClient{Mechanism: "OAUTHBEARER", New: func() sasl.Client {
		return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: "dave", Token: "token-dave", Host: "h", Port: 1})
	}}
	id, err = play(t, theirs, servers["OAUTHBEARER"], newRich(), false)
	require.NoError(t, err)
	require.Equal(t, "dave", id.User)
}

// A03, A07: messages that are not what the grammar says, and a client that goes on after a refusal.
func TestA03_OAuthMalformed(t *testing.T) {
	ctx := context.Background()
	for _, msg := range []string{
		"", "n", "n,", "n,,", "p=tls-exporter,,\x01auth=Bearer x\x01\x01", "n,u=x,\x01auth=Bearer x\x01\x01", "n,a=,\x01auth=Bearer x\x01\x01", "n,a=a=b,\x01auth=Bearer x\x01\x01",
		"n,,auth=Bearer x\x01\x01", "n,,\x01auth=Bearer x\x01", "n,,\x01auth=Bearer x", "n,,\x01\x01", "n,,\x01host=h\x01\x01", "n,,\x01auth=Basic x\x01\x01",
		"n,,\x01auth=Bearer x y\x01\x01", "n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01", "n,,\x01=x\x01auth=Bearer x\x01\x01", "n,,\x01junk\x01auth=Bearer x\x01\x01",
	} {
		_, done, err := auth.OAuthBearer{}.Start(tlsConn(), newRich()).Next(ctx, []byte(msg))
		require.False(t, done)
		require.ErrorIs(t, err, auth.ErrMalformed, "%q", msg)
	}
	for _, msg := range []string{"", "user=", "user=u", "user=\x01auth=Bearer x\x01\x01", "u\x01auth=Bearer x\x01\x01", "user=u\x01auth=Bearer x\x01", "user=u\x01\x01\x01"} {
		_, _, err := auth.XOAuth2{}.Start(tlsConn(), newRich()).Next(ctx, []byte(msg))
		require.ErrorIs(t, err, auth.ErrMalformed, "%q", msg)
	}
	x := auth.XOAuth2{}.Start(tlsConn(), newRich())
	challenge, _, err := x.Next(ctx, []byte("user=u\x01auth=Bearer bad\x01\x01"))
	require.NoError(t, err)
	require.JSONEq(t, `{"status":"401","schemes":"bearer"}`, string(challenge))
	for range 2 { // a good token now does not help
		_, done, err := x.Next(ctx, []byte("user=u\x01auth=Bearer token-u\x01\x01"))
		require.False(t, done)
		require.ErrorIs(t, err, auth.ErrCredentials)
		require.Empty(t, x.Identity())
	}
	empty := auth.XOAuth2{}.Start(tlsConn(), newRich())
	_, _, err = empty.Next(ctx, []byte("user=u\x01auth=Bearer \x01\x01"))
	require.NoError(t, err)
	_, _, err = empty.Next(ctx, nil)
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, _, err = auth.XOAuth2{}.Start(tlsConn(), newTable()).Next(ctx, []byte("user=u\x01auth=Bearer x\x01\x01"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
}

func certConn(name string) *auth.Conn {
	c := tlsConn()
	cert := &x509.Certificate{}
	cert.Subject.CommonName = name
	c.TLS = &tls.ConnectionState{HandshakeComplete: true, VerifiedChains: [][]*x509.Certificate{{cert}}}
	return c
}

func TestExternal(t *testing.T) {
	require.ErrorIs(t, auth.External{}.Permit(&auth.Conn{}, newRich()), auth.ErrEncryptionRequired)
	require.ErrorIs(t, auth.External{}.Permit(tlsConn(), newRich()), auth.ErrUnknownMechanism, "no certificate")
	require.ErrorIs(t, auth.External{}.Permit(certConn("u"), newTable()), auth.ErrUnknownMechanism)
	require.NoError(t, auth.External{}.Permit(certConn("u"), newRich()))
	require.Error(t, auth.ExternalClient{}.Permit(&auth.Conn{}))
	require.NoError(t, auth.ExternalClient{}.Permit(certConn("u")))
	for _, c := range []struct {
		cert, authz, account string
		err                  error
	}{
		{"u", "", "u", nil},
		{"u", "u", "u", nil},
		{"boss", "u", "u", nil},
		{"u", "boss", "", auth.ErrCredentials},
		{"u", "a\x00b", "", auth.ErrCredentials},
		{"", "", "", auth.ErrUnavailable},
	} {
		x, initial, err := auth.ExternalClient{AuthzID: c.authz}.Start(certConn(c.cert))
		require.NoError(t, err)
		require.NotNil(t, initial)
		id, _, err := converse(auth.External{}.Start(certConn(c.cert), newRich()), nil, initial)
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.account, id.Account())
		require.NoError(t, x.Done())
	}
	_, _, err := converse(auth.External{}.Start(certConn("u"), newTable()), []byte{})
	require.ErrorIs(t, err, auth.ErrUnavailable)
}

func TestAnonymous(t *testing.T) {
	require.ErrorIs(t, auth.Anonymous{}.Permit(tlsConn(), newTable()), auth.ErrUnknownMechanism)
	m := auth.Anonymous{User: "guest"}
	require.NoError(t, m.Permit(&auth.Conn{}, newTable()))
	require.NoError(t, auth.AnonymousClient{}.Permit(&auth.Conn{}))
	for _, trace := range []string{"", "sirhc@example.org", strings.Repeat("x", 255)} { // RFC 4505 §4
		id, err := play(t, auth.AnonymousClient{Trace: trace}, m, newTable(), true)
		require.NoError(t, err)
		require.Equal(t, auth.Identity{User: "guest", Attributes: map[string]string{"trace": trace}}, id)
	}
	for _, trace := range []string{"a\nb", "\xff", strings.Repeat("x", 256)} {
		_, _, err := converse(m.Start(tlsConn(), newTable()), []byte(trace))
		require.ErrorIs(t, err, auth.ErrMalformed)
	}
}

// The light mechanisms are offered where connection and table permit, the others never by themselves.
func TestMechanisms(t *testing.T) {
	require.Equal(t, []string{"OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"}, auth.Offer(auth.Mechanisms(), tlsConn(), newRich()))
	require.Equal(t, []string{"EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"}, auth.Offer(auth.Mechanisms(), certConn("u"), newRich()))
	require.Equal(t, []string{"PLAIN", "LOGIN"}, auth.Offer(auth.Mechanisms(), certConn("u"), newTable()))
	require.Empty(t, auth.Offer(auth.Mechanisms(), &auth.Conn{Remote: faraway}, newRich()))
}

// FuzzExchange: whatever a client says to any mechanism, nobody gets in without a credential, and nothing panics.
func FuzzExchange(f *testing.F) {
	f.Add(byte(0), []byte("\x00u\x00p"), []byte("x"))
	f.Add(byte(1), []byte("u"), []byte("p"))
	f.Add(byte(2), []byte("n,a=u,\x01auth=Bearer x\x01\x01"), []byte("\x01"))
	f.Add(byte(3), []byte("user=u\x01auth=Bearer x\x01\x01"), []byte(""))
	f.Add(byte(4), []byte("u"), []byte("u"))
	f.Add(byte(5), []byte("u 0123"), []byte("u 0123"))
	mechs := []auth.ServerMechanism{auth.Plain{}, auth.Login{}, auth.OAuthBearer{}, auth.XOAuth2{}, auth.External{}, auth.CRAMMD5{}}
	f.Fuzz(func(t *testing.T, which byte, first, second []byte) {
		m := mechs[int(which)%len(mechs)]
		x := m.Start(certConn("certificate"), newRich("user", "a password that nobody guesses"))
		for _, resp := range [][]byte{nil, first, second} {
			_, done, err := x.Next(context.Background(), resp)
			if err != nil {
				return
			}
			if done && m.Name() != "EXTERNAL" && !strings.Contains(string(first)+string(second), "token-") {
				t.Fatalf("%s let %q %q in as %+v", m.Name(), first, second, x.Identity())
			}
			if done {
				return
			}
		}
	})
}

// FuzzDecode: what decodes encodes to the same line.
func FuzzDecode(f *testing.F) {
	f.Add("AGFsaWNlAHNlY3JldA==")
	f.Add("=")
	f.Add("*")
	f.Fuzz(func(t *testing.T, line string) {
		b, err := auth.DecodeResponse(line)
		if err == nil && auth.EncodeChallenge(b) != line {
			t.Fatalf("%q decodes to %q", line, b)
		}
	})
}
