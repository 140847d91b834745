package passwd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

var ctx = context.Background()

func users(t testing.TB, lines ...string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return &File{Path: path}
}

func attempt(user, password string) *auth.Attempt {
	return &auth.Attempt{Mechanism: "PLAIN", User: user, Secret: auth.NewSecret(password), Remote: netip.MustParseAddrPort("192.0.2.7:1")}
}

func TestAuthenticate(t *testing.T) {
	f := users(t,
		"Alice@Example.org:"+foreign["SSHA256"]+":1000:100::/srv/alice::userdb_quota_rule=*:storage=1G userdb_flag",
		"bob:{PLAIN}b::::::user=robert@example.org",
	)
	id, err := f.Authenticate(ctx, attempt("ALICE@example.ORG", "secret"))
	require.NoError(t, err)
	require.Equal(t, auth.Identity{User: "alice@example.org", Attributes: map[string]string{
		"uid": "1000", "gid": "100", "home": "/srv/alice", "quota_rule": "*:storage=1G", "flag": "yes",
	}}, id)
	id, err = f.Authenticate(ctx, attempt("bob", "b"))
	require.NoError(t, err)
	require.Equal(t, "robert@example.org", id.User)
	for _, at := range []*auth.Attempt{attempt("bob", "B"), attempt("alice", "secret"), attempt("bob", "")} {
		id, err = f.Authenticate(ctx, at)
		require.ErrorIs(t, err, auth.ErrCredentials)
		require.Empty(t, id)
	}
	f.ExactNames = true // too late for this File
	exact := &File{Path: f.Path, ExactNames: true}
	_, err = exact.Authenticate(ctx, attempt("ALICE@example.ORG", "secret"))
	require.ErrorIs(t, err, auth.ErrCredentials)
}

// A01: unknown user, wrong password, disabled user, foreign network, locked hash: one error, one text,
// and the same number of hash computations of the same scheme.
func TestA01_SameAnswerSameWork(t *testing.T) {
	hash := foreign["SHA512-CRYPT"]
	for name, at := range map[string]*auth.Attempt{
		"unknown":  attempt("nobody", "secret"),
		"wrong":    attempt("alice", "guess"),
		"disabled": attempt("carol", "secret"),
		"network":  attempt("dave", "secret"),
		"locked":   attempt("erin", "secret"),
		"empty":    attempt("frank", "secret"),
	} {
		t.Run(name, func(t *testing.T) {
			f := users(t, "alice:"+hash, "carol:"+hash+"::::::nologin", "dave:"+hash+"::::::allow_nets=10.0.0.0/8", "erin:!"+hash, "frank:")
			var work []string
			f.Hasher = &Hasher{work: func(scheme string) { work = append(work, scheme) }}
			_, err := f.Authenticate(ctx, at)
			require.ErrorIs(t, err, auth.ErrCredentials)
			require.Equal(t, "535 5.7.8 authentication credentials invalid", auth.StatusOf(err).Reply())
			require.Equal(t, []string{"SHA512-CRYPT"}, work)
		})
	}
	// A file without any password still costs one hash, of the scheme of new ones.
	var work []string
	f := users(t, "alice:!")
	f.Hasher = &Hasher{work: func(scheme string) { work = append(work, scheme) }, Scheme: "SSHA512"}
	_, err := f.Authenticate(ctx, attempt("nobody", "secret"))
	require.ErrorIs(t, err, auth.ErrCredentials)
	require.Equal(t, []string{"SSHA512"}, work)
}

// A06: names that are code somewhere are names here.
func TestA06_HostileNames(t *testing.T) {
	names := []string{"*)(uid=*", "'or'1=1--", "%u", "%s%n", "../x", "$(id)", "a\\b"}
	var lines []string
	for _, n := range names {
		lines = append(lines, n+":{PLAIN}"+n)
	}
	f := users(t, lines...)
	for _, n := range names {
		id, err := f.Authenticate(ctx, attempt(n, n))
		require.NoError(t, err, n)
		require.Equal(t, n, id.User)
		_, err = f.Authenticate(ctx, attempt(n+"x", n))
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	for _, n := range []string{"a:{PLAIN}x", "\n", "#", "", strings.Repeat("x", 64<<10)} {
		_, err := f.Authenticate(ctx, attempt(n, "x"))
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
}

func TestTemporaryTrouble(t *testing.T) {
	f := &File{Path: filepath.Join(t.TempDir(), "absent")}
	_, err := f.Authenticate(ctx, attempt("a", "b"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, auth.Denied(err))
	require.Equal(t, "454 4.7.0 temporary authentication failure", auth.StatusOf(err).Reply())
	_, err = f.SCRAMKeys(ctx, &auth.Attempt{Mechanism: "SCRAM-SHA-256", User: "a"})
	require.ErrorIs(t, err, auth.ErrUnavailable)
	_, _, err = f.Password(ctx, attempt("a", ""))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.False(t, f.Answers("SCRAM-SHA-256"))

	f = users(t, "a:{PLAIN}b")
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = f.Authenticate(canceled, attempt("a", "b"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
}

func TestAllowNets(t *testing.T) {
	f := users(t, "u:{PLAIN}p::::::allow_nets=192.0.2.0/24,2001:db8::/32,203.0.113.9")
	for addr, ok := range map[string]bool{
		"192.0.2.255:1": true, "192.0.3.0:1": false, "[::ffff:192.0.2.1]:1": true, "[2001:db8:1::1%eth0]:1": true, "[2001:db9::1]:1": false, "203.0.113.9:1": true, "203.0.113.10:1": false,
	} {
		at := attempt("u", "p")
		at.Remote = netip.MustParseAddrPort(addr)
		_, err := f.Authenticate(ctx, at)
		require.Equal(t, ok, err == nil, addr)
	}
	at := attempt("u", "p")
	at.Remote = netip.AddrPort{}
	_, err := f.Authenticate(ctx, at)
	require.ErrorIs(t, err, auth.ErrCredentials, "an unknown address is not allowed")
}

// Bad lines are reported with file and line, and without the hash.
func TestErrors(t *testing.T) {
	var log bytes.Buffer
	f := users(t, "ok:{PLAIN}SECRET", "a:{CRAM-MD5}SECRET", "b:{ARGON2ID}SECRET", "c:$7$SECRET", "d:{PLAIN", "e:{PLAIN}x::::::allow_nets=SECRET", "f:"+strings.Replace(foreign["ARGON2ID"], "m=65536", "m=9999999", 1))
	f.Logger = slog.New(slog.NewTextHandler(&log, nil))
	require.NoError(t, f.Load())
	var got []string
	for _, err := range f.Errors() {
		got = append(got, strings.TrimPrefix(err.Error(), f.Path))
	}
	require.Equal(t, []string{
		`:2: unknown password scheme {"CRAM-MD5"}`,
		`:3: {ARGON2ID}: malformed password hash`,
		`:4: {CRYPT}: unknown password scheme: crypt method is not $1$ $2$ $5$ $6$ $y$ $argon2id$ or DES`,
		`:5: malformed password hash: no scheme name in braces`,
		`:6: allow_nets has something that is no address or network`,
		`:7: {ARGON2ID}: password hash costs more than the limits allow`,
	}, got)
	require.NotContains(t, log.String(), "SECRET")
	require.Equal(t, 1, f.Len())
}

func TestUpgradeOnLogin(t *testing.T) {
	f := users(t, "# mine", "old:"+foreign["PLAIN-MD5"]+":1:2::/h", "good:"+foreign["SHA512-CRYPT"], "clear:{PLAIN}secret")
	f.Hasher = &Hasher{Scheme: "SCRAM-SHA-256"}
	var upgraded []string
	f.Upgrade = func(ctx context.Context, user, oldHash, newHash string) error {
		upgraded = append(upgraded, user)
		return f.ReplaceHash(ctx, user, oldHash, newHash)
	}
	for range 2 {
		for _, name := range []string{"old", "good", "clear"} {
			_, err := f.Authenticate(ctx, attempt(name, "secret"))
			require.NoError(t, err)
			_, err = f.Authenticate(ctx, attempt(name, "guess"))
			require.ErrorIs(t, err, auth.ErrCredentials)
		}
	}
	require.Equal(t, []string{"old"}, upgraded)
	b, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	require.Contains(t, string(b), "# mine\nold:{SCRAM-SHA-256}10000,")
	require.Contains(t, string(b), ":1:2::/h\n")

	require.ErrorIs(t, f.ReplaceHash(ctx, "old", "x", "{PLAIN}y"), ErrChanged)
	require.ErrorIs(t, f.ReplaceHash(ctx, "nobody", "x", "{PLAIN}y"), ErrUnknown)

	// An upgrade that fails does not harm the login.
	var log bytes.Buffer
	f = users(t, "old:"+foreign["SSHA"])
	f.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f.Upgrade = func(context.Context, string, string, string) error { return os.ErrPermission }
	_, err = f.Authenticate(ctx, attempt("old", "secret"))
	require.NoError(t, err)
	require.Contains(t, log.String(), "not upgraded")
	require.NotContains(t, log.String(), "secret")
}

func TestEdits(t *testing.T) {
	f := &File{Path: filepath.Join(t.TempDir(), "users"), Hasher: &Hasher{Scheme: "SSHA512"}}
	require.NoError(t, f.Add(ctx, User{Name: "Alice", Home: "/a", Extra: map[string]string{"userdb_quota_rule": "*:storage=1G"}}, auth.NewSecret("one")))
	id, err := f.Authenticate(ctx, attempt("alice", "one"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"home": "/a", "quota_rule": "*:storage=1G"}, id.Attributes)
	require.ErrorIs(t, f.Add(ctx, User{Name: "ALICE"}, auth.NewSecret("two")), ErrExists)
	require.NoError(t, f.SetPassword(ctx, "alice", auth.NewSecret("two")))
	_, err = f.Authenticate(ctx, attempt("alice", "one"))
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = f.Authenticate(ctx, attempt("alice", "two"))
	require.NoError(t, err)
	require.NoError(t, f.Delete(ctx, "Alice"))
	require.Zero(t, f.Len())
	require.ErrorIs(t, f.Delete(ctx, "alice"), ErrUnknown)
	require.ErrorIs(t, f.SetPassword(ctx, "alice", auth.NewSecret("x")), ErrUnknown)
	require.Error(t, f.SetPassword(ctx, "alice", auth.NewSecret("")))
	for _, u := range []User{{Name: "a:b"}, {Name: "a b"}, {}, {Name: "a", Extra: map[string]string{"k": "a b"}}, {Name: "a", Extra: map[string]string{"a=b": ""}}, {Name: "a", Home: "x\ny"}} {
		require.Error(t, f.Add(ctx, u, auth.NewSecret("x")), "%+v", u)
	}
	require.Error(t, f.Add(ctx, User{Name: "a"}, auth.NewSecret("")))
}

func TestAnswers(t *testing.T) {
	scram256, scram1 := foreign["SCRAM-SHA-256"], foreign["SCRAM-SHA-1"]
	for name, c := range map[string]struct {
		lines   []string
		answers string
	}{
		"hashes":    {[]string{"a:" + foreign["SSHA"]}, "PLAIN LOGIN"},
		"scram 256": {[]string{"a:" + scram256, "b:!"}, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"},
		"scram 1":   {[]string{"a:" + scram1}, "PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-1-PLUS"},
		"mixed":     {[]string{"a:" + scram1, "b:" + scram256}, "PLAIN LOGIN"},
		"one hash":  {[]string{"a:" + foreign["SSHA"], "b:" + scram256}, "PLAIN LOGIN"},
		"clear":     {[]string{"a:{PLAIN}x"}, "PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-256-PLUS CRAM-MD5 APOP"},
		"both":      {[]string{"a:{PLAIN}x", "b:" + scram256}, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"},
		"empty":     {nil, "PLAIN LOGIN"},
	} {
		t.Run(name, func(t *testing.T) {
			f := users(t, c.lines...)
			var got []string
			for _, m := range strings.Fields("PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-256-PLUS SCRAM-SHA-512 CRAM-MD5 APOP OAUTHBEARER XOAUTH2 EXTERNAL") {
				if auth.Answers(f, m) {
					got = append(got, m)
				}
			}
			require.Equal(t, c.answers, strings.Join(got, " "))
		})
	}
	f := users(t, "a:"+foreign["SSHA"])
	f.Offer = []string{"scram-sha-256"}
	require.True(t, f.Answers("SCRAM-SHA-256"))
}

// Users without keys get some that look like those of others, the same ones each time.
func TestSCRAMKeys(t *testing.T) {
	ask := func(f *File, user string) (auth.SCRAMKeys, error) {
		return f.SCRAMKeys(ctx, &auth.Attempt{Mechanism: "SCRAM-SHA-256-PLUS", User: user})
	}
	f := users(t, "a:"+foreign["SCRAM-SHA-256"]+"::::/a", "off:"+foreign["SCRAM-SHA-256"]+"::::::nologin")
	keys, err := ask(f, "A")
	require.NoError(t, err)
	require.Equal(t, 4096, keys.Iterations)
	require.Equal(t, auth.Identity{User: "a", Attributes: map[string]string{"home": "/a"}}, keys.Identity)
	for _, name := range []string{"nobody", "off"} {
		k1, err := ask(f, name)
		require.ErrorIs(t, err, auth.ErrCredentials)
		k2, _ := ask(f, strings.ToUpper(name))
		require.Equal(t, 4096, k1.Iterations)
		require.Equal(t, k1.Salt, k2.Salt)
		require.Len(t, k1.Salt, len(keys.Salt))
		require.NotEqual(t, k1.Salt, keys.Salt)
		require.NotEqual(t, k1.StoredKey, keys.StoredKey)
		require.NotEqual(t, k1.StoredKey, k2.StoredKey)
		require.Empty(t, k1.Identity)
		other, _ := ask(f, name+"x")
		require.NotEqual(t, k1.Salt, other.Salt)
	}
	clear := users(t, "a:{PLAIN}secret")
	keys, err = ask(clear, "a")
	require.NoError(t, err)
	require.Equal(t, scramIterations, keys.Iterations)
	unknown, err := ask(clear, "b")
	require.ErrorIs(t, err, auth.ErrCredentials)
	require.Equal(t, scramIterations, unknown.Iterations)
	require.Len(t, unknown.Salt, len(keys.Salt))

	hashed, err := ask(users(t, "a:"+foreign["SSHA"]), "a")
	require.ErrorIs(t, err, auth.ErrCredentials)
	require.NotEmpty(t, hashed.Salt)
	_, err = f.SCRAMKeys(ctx, &auth.Attempt{Mechanism: "SCRAM-SHA-512", User: "a"})
	require.ErrorIs(t, err, auth.ErrUnavailable)
}

func TestPassword(t *testing.T) {
	f := users(t, "a:{PLAIN}secret", "b:"+foreign["SSHA"])
	pw, id, err := f.Password(ctx, attempt("a", ""))
	require.NoError(t, err)
	require.Equal(t, "secret", pw.Reveal())
	require.Equal(t, "a", id.User)
	for _, name := range []string{"b", "c"} {
		pw, id, err = f.Password(ctx, attempt(name, ""))
		require.ErrorIs(t, err, auth.ErrCredentials)
		require.True(t, pw.Empty())
		require.Empty(t, id)
	}
}

// At most Parallel hashes are computed at once; the others wait, with their context.
func TestParallelIsBounded(t *testing.T) {
	var now, most atomic.Int32
	f := users(t, "a:{PLAIN}x")
	hold := make(chan struct{})
	f.Hasher = &Hasher{Parallel: 3, work: func(string) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-hold
		now.Add(-1)
	}}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _ = f.Authenticate(ctx, attempt("a", "x")) })
	}
	require.Eventually(t, func() bool { return now.Load() == 3 }, time.Minute, time.Millisecond)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err := f.Authenticate(short, attempt("a", "x"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, auth.ErrUnavailable)
	close(hold)
	wg.Wait()
	require.EqualValues(t, 3, most.Load())
}

func ExampleFile() {
	dir, _ := os.MkdirTemp("", "goniec")
	defer os.RemoveAll(dir)
	f := &File{Path: filepath.Join(dir, "users"), Hasher: &Hasher{Parallel: 2}}
	f.Upgrade = f.ReplaceHash // outdated hashes are replaced when their users log in

	_ = f.Add(context.Background(), User{Name: "alice@example.org", Home: "/srv/mail/alice"}, auth.NewSecret("correct horse"))
	id, err := f.Authenticate(context.Background(), &auth.Attempt{User: "Alice@Example.ORG", Secret: auth.NewSecret("correct horse")})
	fmt.Println(id.User, id.Attributes["home"], err)
	_, err = f.Authenticate(context.Background(), &auth.Attempt{User: "alice@example.org", Secret: auth.NewSecret("battery staple")})
	fmt.Println(auth.StatusOf(err).Reply())
	// Output:
	// alice@example.org /srv/mail/alice <nil>
	// 535 5.7.8 authentication credentials invalid
}
