package cache_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/cache"
	"github.com/goniec-mail/goniec/auth/passwd"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

var ctx = context.Background()

// counter is a table of one password that counts.
type counter struct {
	mu      sync.Mutex
	calls   int
	pass    string
	err     error
	version uint64
	during  func()
}

func (c *counter) Authenticate(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.during != nil {
		c.during()
	}
	if c.err != nil {
		return auth.Identity{}, c.err
	}
	if at.Secret.Reveal() != c.pass {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: strings.ToLower(at.User), Attributes: map[string]string{"home": "/h"}}, nil
}

func (c *counter) Version() uint64 { return c.version }

func (c *counter) VerifyToken(context.Context, *auth.Attempt) (auth.Identity, error) {
	return auth.Identity{User: "token"}, nil
}

func attempt(user, password string) *auth.Attempt {
	return &auth.Attempt{Mechanism: "PLAIN", Protocol: "imap", User: user, Secret: auth.NewSecret(password), Remote: netip.MustParseAddrPort("192.0.2.1:5")}
}

func TestCache(t *testing.T) {
	now := time.Now()
	table := &counter{pass: "p"}
	c := &cache.Cache{TTL: time.Minute, Now: func() time.Time { return now }}
	a := c.Wrap(table)
	ask := func(at *auth.Attempt) int {
		before := table.calls
		id, err := a.Authenticate(ctx, at)
		if at.Secret.Reveal() == "p" {
			require.NoError(t, err)
			require.Equal(t, "/h", id.Attributes["home"])
		} else {
			require.ErrorIs(t, err, auth.ErrCredentials)
			require.Empty(t, id)
		}
		return table.calls - before
	}
	require.Equal(t, 1, ask(attempt("u", "p")))
	require.Equal(t, 0, ask(attempt("u", "p")))
	port := attempt("u", "p")
	port.Remote = netip.MustParseAddrPort("192.0.2.1:6")
	require.Equal(t, 0, ask(port))
	for range 3 {
		require.Equal(t, 1, ask(attempt("u", "wrong")), "failures are not remembered")
	}
	for _, change := range []func(*auth.Attempt){
		func(at *auth.Attempt) { at.User = "v" }, func(at *auth.Attempt) { at.Protocol = "smtp" }, func(at *auth.Attempt) { at.AuthzID = "x" },
		func(at *auth.Attempt) { at.Remote = netip.MustParseAddrPort("192.0.2.2:5") }, func(at *auth.Attempt) { at.Local = netip.MustParseAddrPort("192.0.2.2:5") },
		func(at *auth.Attempt) { at.TLS = &tls.ConnectionState{} },
	} {
		at := attempt("u", "p")
		change(at)
		require.Equal(t, 1, ask(at))
		require.Equal(t, 0, ask(at))
	}
	now = now.Add(time.Minute)
	require.Equal(t, 1, ask(attempt("u", "p")), "after TTL")
	table.version++
	require.Equal(t, 1, ask(attempt("u", "p")), "the table has changed")
	require.Equal(t, 0, ask(attempt("u", "p")))
	c.Forget("someone else")
	require.Equal(t, 0, ask(attempt("u", "p")))
	c.Forget("U")
	require.Equal(t, 1, ask(attempt("u", "p")))
	require.Equal(t, 1, ask(attempt("Robert", "p")))
	c.Forget("robert")
	require.Equal(t, 1, ask(attempt("Robert", "p")))
	c.ForgetAll()
	require.Equal(t, 1, ask(attempt("u", "p")))
	hits, misses := c.Stats()
	require.NotZero(t, hits)
	require.EqualValues(t, table.calls, misses)

	table.err = errors.New("down")
	_, err := a.Authenticate(ctx, attempt("u", "p"))
	require.NoError(t, err, "remembered although the table is down")
	_, err = a.Authenticate(ctx, attempt("w", "p"))
	require.ErrorIs(t, err, table.err)
	require.True(t, auth.Answers(a, "OAUTHBEARER"))
	id, err := a.(auth.TokenVerifier).VerifyToken(ctx, attempt("u", "t"))
	require.NoError(t, err)
	require.Equal(t, "token", id.User)
}

// An answer that was on its way when the password changed is not remembered.
func TestForgetDuringQuestion(t *testing.T) {
	c := &cache.Cache{}
	table := &counter{pass: "p"}
	table.during = func() { c.Forget("u") }
	a := c.Wrap(table)
	for range 2 {
		_, err := a.Authenticate(ctx, attempt("u", "p"))
		require.NoError(t, err)
	}
	require.Equal(t, 2, table.calls)
}

func TestBounded(t *testing.T) {
	c := &cache.Cache{MaxEntries: 100}
	table := &counter{pass: "p"}
	a := c.Wrap(table)
	for i := range 2000 {
		_, err := a.Authenticate(ctx, attempt(fmt.Sprint(i), "p"))
		require.NoError(t, err)
	}
	before := table.calls
	for i := range 2000 {
		_, err := a.Authenticate(ctx, attempt(fmt.Sprint(i), "p"))
		require.NoError(t, err)
	}
	require.Greater(t, table.calls-before, 1800)
}

// A password that is changed in the file counts at once.
func TestWithPasswdFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(path, []byte("u:{PLAIN}old\n"), 0o600))
	f := &passwd.File{Path: path, Hasher: &passwd.Hasher{Scheme: "SSHA512"}}
	a := (&cache.Cache{}).Wrap(f)
	for range 2 {
		_, err := a.Authenticate(ctx, attempt("u", "old"))
		require.NoError(t, err)
	}
	require.NoError(t, f.SetPassword(ctx, "u", auth.NewSecret("new")))
	_, err := a.Authenticate(ctx, attempt("u", "old"))
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = a.Authenticate(ctx, attempt("u", "new"))
	require.NoError(t, err)
}

func BenchmarkHit(b *testing.B) {
	a := (&cache.Cache{}).Wrap(&counter{pass: "p"})
	at := attempt("user@example.org", "p")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(ctx, at); err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	table := &counter{pass: "secret"} // any auth.Authenticator
	c := &cache.Cache{TTL: time.Minute}
	a := (&auth.Guard{}).Wrap(c.Wrap(table)) // the guard is outside, and counts every failure
	for range 3 {
		id, err := a.Authenticate(context.Background(), &auth.Attempt{User: "alice", Secret: auth.NewSecret("secret")})
		fmt.Println(id.User, err)
	}
	c.Forget("alice") // when her password changes
	fmt.Println("asked:", table.calls)
	// Output:
	// alice <nil>
	// alice <nil>
	// alice <nil>
	// asked: 1
}
