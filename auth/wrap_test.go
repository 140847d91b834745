package auth_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

var allMechanisms = []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "CRAM-MD5", "APOP"}

// ask asks every question there is.
func ask(a auth.Authenticator, at *auth.Attempt) map[string]error {
	ctx, out := context.Background(), map[string]error{}
	_, out["Authenticate"] = a.Authenticate(ctx, at)
	_, out["SCRAMKeys"] = a.(auth.SCRAMKeyer).SCRAMKeys(ctx, at)
	_, out["VerifyToken"] = a.(auth.TokenVerifier).VerifyToken(ctx, at)
	_, out["VerifyCertificate"] = a.(auth.CertificateVerifier).VerifyCertificate(ctx, at)
	_, _, out["Password"] = a.(auth.PasswordSource).Password(ctx, at)
	_, out["Authorize"] = a.(auth.Authorizer).Authorize(ctx, auth.Identity{User: "boss"}, at)
	auth.Observe(ctx, a, at, auth.ErrCredentials)
	return out
}

// Nothing slips past an Interceptor, and a wrapper answers for what the wrapped one answers for.
func TestIntercept(t *testing.T) {
	at := &auth.Attempt{Mechanism: "OAUTHBEARER", User: "u", AuthzID: "other", Secret: auth.NewSecret("token-u"), TLS: certConn("u").TLS}
	var ops []string
	inner := newRich("u", "token-u")
	a := auth.Intercept(inner, func(ctx context.Context, op auth.Op, at *auth.Attempt, next func(context.Context, *auth.Attempt) error) error {
		ops = append(ops, op.String())
		return next(ctx, at)
	})
	for method, err := range ask(a, at) {
		require.NoError(t, err, method)
	}
	require.Equal(t, []string{"Authenticate", "SCRAMKeys", "VerifyToken", "VerifyCertificate", "Password", "Authorize", "Observe"}, ops)
	require.Equal(t, []error{auth.ErrCredentials}, inner.outcomes)
	require.Equal(t, "?", auth.Op(99).String())

	no := errors.New("no")
	closed := auth.Intercept(inner, func(context.Context, auth.Op, *auth.Attempt, func(context.Context, *auth.Attempt) error) error {
		return no
	})
	for method, err := range ask(closed, at) {
		require.Equal(t, no, err, method)
	}
	for _, m := range allMechanisms {
		require.True(t, auth.Answers(a, m), m)
		require.Equal(t, m == "PLAIN" || m == "LOGIN", auth.Answers(auth.Intercept(newTable(), nil), m), m)
		require.False(t, auth.Answers(nil, m))
	}
	open := auth.Intercept(newTable("u", "token-u"), func(ctx context.Context, _ auth.Op, at *auth.Attempt, next func(context.Context, *auth.Attempt) error) error {
		return next(ctx, at)
	})
	for method, err := range ask(open, at) {
		switch method {
		case "Authenticate":
			require.NoError(t, err)
		case "Authorize":
			require.ErrorIs(t, err, auth.ErrCredentials)
		default:
			require.ErrorIs(t, err, auth.ErrUnavailable, method)
		}
	}
	// An error never comes with an Identity.
	lax := auth.Intercept(newTable("u", "token-u"), func(ctx context.Context, _ auth.Op, at *auth.Attempt, next func(context.Context, *auth.Attempt) error) error {
		_ = next(ctx, at)
		return no
	})
	id, err := lax.Authenticate(context.Background(), at)
	require.Equal(t, no, err)
	require.Empty(t, id)
}

func TestChain(t *testing.T) {
	ctx := context.Background()
	one, two := newTable("a", "1", "both", "1"), newTable("b", "2", "both", "2")
	c := auth.Chain(one, two)
	for user, pw := range map[string]string{"a": "1", "b": "2"} {
		id, err := c.Authenticate(ctx, &auth.Attempt{User: user, Secret: auth.NewSecret(pw)})
		require.NoError(t, err)
		require.Equal(t, user, id.User)
	}
	for _, pw := range []string{"1", "2"} {
		_, err := c.Authenticate(ctx, &auth.Attempt{User: "both", Secret: auth.NewSecret(pw)})
		require.NoError(t, err)
	}
	_, err := c.Authenticate(ctx, &auth.Attempt{User: "a", Secret: auth.NewSecret("2")})
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = auth.Chain().Authenticate(ctx, &auth.Attempt{User: "a"})
	require.ErrorIs(t, err, auth.ErrCredentials)

	// Temporary trouble is not a wrong password, wherever it comes.
	one.err = errors.New("down")
	_, err = c.Authenticate(ctx, &auth.Attempt{User: "b", Secret: auth.NewSecret("2")})
	require.ErrorIs(t, err, one.err)
	one.err = nil
	two.err = errors.New("down")
	_, err = c.Authenticate(ctx, &auth.Attempt{User: "nobody", Secret: auth.NewSecret("2")})
	require.ErrorIs(t, err, two.err)

	for _, m := range allMechanisms {
		require.Equal(t, m == "PLAIN" || m == "LOGIN", auth.Answers(c, m))
		require.True(t, auth.Answers(auth.Chain(newRich(), newRich()), m))
		need := m == "PLAIN" || m == "LOGIN" || m == "OAUTHBEARER" || m == "XOAUTH2" || m == "EXTERNAL"
		require.Equal(t, need, auth.Answers(auth.Chain(newTable(), newRich()), m), "one of two has no keys for %s", m)
		require.False(t, auth.Answers(auth.Chain(), m))
	}
	at := &auth.Attempt{Mechanism: "OAUTHBEARER", User: "u", AuthzID: "other", Secret: auth.NewSecret("token-u"), TLS: certConn("u").TLS}
	got := ask(auth.Chain(newTable(), newRich("u", "token-u")), at)
	require.NoError(t, got["VerifyToken"])
	for _, m := range []string{"SCRAM-SHA-256", "EXTERNAL", "APOP"} {
		at.Mechanism = m
		got = ask(auth.Chain(newTable(), newRich("u", "token-u")), at)
		require.NoError(t, got[map[string]string{"SCRAM-SHA-256": "SCRAMKeys", "EXTERNAL": "VerifyCertificate", "APOP": "Password"}[m]])
	}
	for method, err := range ask(auth.Chain(newTable()), at) {
		require.Error(t, err, method)
	}
}

// A04: the "admin" of one table has no power by the rules of another.
func TestA04_ChainAuthorises(t *testing.T) {
	ctx := context.Background()
	trusted := proxyTable{newTable("admin", "good")}
	foreign := newTable("admin", "evil", "u", "x")
	c := auth.Chain(trusted, foreign)
	login := func(pw string) (auth.Identity, error) {
		return auth.Authenticate(ctx, c, &auth.Attempt{Mechanism: "PLAIN", User: "admin", AuthzID: "u", Secret: auth.NewSecret(pw)})
	}
	id, err := login("good")
	require.NoError(t, err)
	require.Equal(t, "u", id.Account())
	_, err = login("evil")
	require.ErrorIs(t, err, auth.ErrCredentials)
	for _, mech := range []string{"SCRAM-SHA-256", "CRAM-MD5", "EXTERNAL", "OAUTHBEARER"} {
		boss, other := newRich("boss", "x"), newRich("u", "x")
		tables := auth.Chain(other, boss)
		at := &auth.Attempt{Mechanism: mech, User: "boss", AuthzID: "u", Secret: auth.NewSecret("token-boss"), TLS: certConn("boss").TLS}
		id, err := tables.(auth.Authorizer).Authorize(ctx, auth.Identity{User: "boss"}, at)
		require.NoError(t, err, mech)
		require.Equal(t, "u", id.Account())
		_, err = tables.(auth.Authorizer).Authorize(ctx, auth.Identity{User: "somebody"}, at)
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	_, err = c.(auth.Authorizer).Authorize(ctx, auth.Identity{User: "admin"}, &auth.Attempt{Mechanism: "PLAIN", User: "admin", AuthzID: "u"})
	require.ErrorIs(t, err, auth.ErrCredentials)
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		names      auth.Names
		name, want string
	}{
		{auth.Names{}, "alice", "alice"},
		{auth.Names{}, "Alice@Example.ORG", "alice@example.org"},
		{auth.Names{}, "JÜRGEN@exämple.org", "jürgen@xn--exmple-cua.org"},
		{auth.Names{}, "ju\u0308rgen", "jürgen"},
		{auth.Names{}, "Ａlice", "alice"}, // full width
		{auth.Names{}, "a@b@c.org", "a@b@c.org"},
		{auth.Names{}, "u!example.org", "u!example.org"},
		{auth.Names{Separators: "!%"}, "u!Example.org", "u@example.org"},
		{auth.Names{Separators: "!%"}, "u%example.org", "u@example.org"},
		{auth.Names{Separators: "!%"}, "u!x@example.org", "u!x@example.org"},
		{auth.Names{Separators: "!%"}, "!x", "!x"},
		{auth.Names{Separators: "!%"}, "x!", "x!"},
		{auth.Names{DefaultDomain: "example.org"}, "Alice", "alice@example.org"},
		{auth.Names{DefaultDomain: "example.org"}, "alice@other.org", "alice@other.org"},
		{auth.Names{DefaultDomain: "example.org", Exact: true}, "Alice", "Alice@example.org"},
	} {
		got, err := c.names.Canonical(c.name)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got)
		again, err := c.names.Canonical(got)
		require.NoError(t, err)
		require.Equal(t, got, again, "a canonical name stays so")
	}
	for _, bad := range []string{"", "a b", "ö @x", "ü@a b", "ü@", "\u202e", "A@\xff", "u\u0000A"} {
		_, err := auth.FoldName(bad)
		require.ErrorIs(t, err, auth.ErrCredentials, "%q", bad)
	}

	spy := newTable("alice@example.org", "p")
	a := auth.Names{DefaultDomain: "example.org"}.Wrap(spy)
	id, _, err := converse(auth.Plain{}.Start(tlsConn(), a), []byte("ALICE\x00Alice\x00p"))
	require.NoError(t, err)
	require.Equal(t, "alice@example.org", id.Account())
	_, _, err = converse(auth.Plain{}.Start(tlsConn(), a), []byte("\x00a b\x00p"))
	require.ErrorIs(t, err, auth.ErrCredentials)
	require.Equal(t, 1, spy.calls())
}

// FuzzFoldName: a folded name is its own folded form.
func FuzzFoldName(f *testing.F) {
	f.Add("Alice@Example.org")
	f.Add("ＪÜ\u0308@ß")
	f.Fuzz(func(t *testing.T, name string) {
		if len(name) > auth.MaxUser {
			return
		}
		once, err := auth.FoldName(name)
		if err != nil {
			return
		}
		twice, err := auth.FoldName(once)
		if err != nil || twice != once {
			t.Fatalf("%q: %q, then %q %v", name, once, twice, err)
		}
	})
}
