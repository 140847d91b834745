package system_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/authtest"
	"github.com/goniec-mail/goniec/auth/passwd"
	"github.com/goniec-mail/goniec/auth/system"
)

// helper is the argument that makes this test binary a checkpassword program.
const helper = "checkpassword-helper"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helper {
		os.Exit(checkpassword(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// checkpassword is a program that knows alice, whose password is "secret1".
func checkpassword(mode string, then []string) int {
	b, err := io.ReadAll(io.LimitReader(os.NewFile(3, "request"), 513))
	f := strings.Split(string(b), "\x00")
	switch {
	case err != nil || len(b) > 512 || len(f) < 3 || len(os.Environ()) > 0:
		return 2
	case mode == "hang":
		time.Sleep(time.Hour)
	case mode == "temporary":
		return 111
	case mode == "flood":
		fmt.Print(strings.Repeat("x", 10<<20))
		return 0
	case f[0] != "alice" || f[1] != "secret1":
		return 1
	}
	env := []string{"USER=Alice", "HOME=/home/alice", "userdb_quota_rule=*:storage=1G"}
	fmt.Fprintln(os.Stderr, syscall.Exec(then[0], then, env))
	return 111
}

func program(t *testing.T, mode string) *system.Program {
	if runtime.GOOS == "windows" {
		t.Skip("no descriptor 3")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	return &system.Program{Path: exe, Args: []string{helper, mode}}
}

var ctx = context.Background()

func attempt(user, password string) *auth.Attempt {
	return &auth.Attempt{Mechanism: "PLAIN", User: user, Secret: auth.NewSecret(password)}
}

func TestProgram(t *testing.T) {
	p := program(t, "check")
	id, err := p.Authenticate(ctx, attempt("alice", "secret1"))
	require.NoError(t, err)
	require.Equal(t, auth.Identity{User: "Alice", Attributes: map[string]string{"home": "/home/alice", "quota_rule": "*:storage=1G"}}, id)
	_, err = p.Authenticate(ctx, attempt("alice", strings.Repeat("x", 512)))
	require.ErrorIs(t, err, auth.ErrCredentials)
	authtest.TestAuthenticator(t, authtest.Suite{
		New:  func(t *testing.T) auth.Authenticator { return program(t, "check") },
		User: "alice", Password: "secret1", Account: "Alice",
	})
}

func TestProgramTrouble(t *testing.T) {
	_, err := program(t, "temporary").Authenticate(ctx, attempt("alice", "secret1"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	_, err = (&system.Program{Path: "/nonexistent/checkpassword"}).Authenticate(ctx, attempt("alice", "secret1"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	_, err = program(t, "flood").Authenticate(ctx, attempt("alice", "secret1"))
	require.NoError(t, err, "10 MiB of output are dropped")

	hang := program(t, "hang")
	hang.Timeout = 50 * time.Millisecond
	start := time.Now()
	_, err = hang.Authenticate(ctx, attempt("alice", "secret1"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), time.Minute)

	// One runs, the other one waits until its context ends.
	hang = program(t, "hang")
	hang.Parallel, hang.Timeout = 1, 2*time.Second
	go func() { _, _ = hang.Authenticate(ctx, attempt("a", "b")) }()
	time.Sleep(100 * time.Millisecond)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = hang.Authenticate(short, attempt("alice", "secret1"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// accounts are alice, whose password is "secret1", and others who may not log in.
func accounts(t *testing.T) *system.Accounts {
	t.Helper()
	dir := t.TempDir()
	h := &passwd.Hasher{}
	const hash = "$6$rounds=1000$abc$hNLe8DKSuKykRpwTbmWBz2fyvWJCWeUx7TCHbkH8nygP2.caaG7EkrSKeIeIgV0UOolIwIjcCiCqXMC9m5TqV1" // crypt(3) of "secret1"
	today := int(time.Now().Unix() / 86400)
	shadow := fmt.Sprintf("root:%[1]s:19000:0:99999:7:::\ndaemon:%[1]s:19000:0:99999:7:::\nalice:%[1]s:19000:0:99999:7:::\nlocked:!%[1]s:19000:0:99999:7:::\nnone:*:19000::::::\n"+
		"expired:%[1]s:19000:0:99999:7::%[2]d:\nold:%[1]s:%[3]d:0:10:7:5::\nfresh:%[1]s:%[4]d:0:10:7:5:%[5]d:\nchange:%[1]s:0:0:99999:7:::\nshadowonly:%[1]s:19000::::::\nbad:%[1]s:x::::::\n",
		hash, today, today-16, today-15, today+1)
	var users string
	for i, name := range []string{"alice", "locked", "none", "expired", "old", "fresh", "change", "passwdonly", "bad"} {
		users += fmt.Sprintf("%s:x:%d:100:%s,,,:/home/%s:/bin/sh\n", name, 1000+i, name, name)
	}
	users += "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
	a := &system.Accounts{Verifier: h, Passwd: filepath.Join(dir, "passwd"), Shadow: filepath.Join(dir, "shadow")}
	require.NoError(t, os.WriteFile(a.Passwd, []byte(users), 0o600))
	require.NoError(t, os.WriteFile(a.Shadow, []byte(shadow), 0o600))
	return a
}

func TestAccounts(t *testing.T) {
	a := accounts(t)
	id, err := a.Authenticate(ctx, attempt("alice", "secret1"))
	require.NoError(t, err)
	require.Equal(t, auth.Identity{User: "alice", Attributes: map[string]string{"uid": "1000", "gid": "100", "home": "/home/alice"}}, id)
	_, err = a.Authenticate(ctx, attempt("fresh", "secret1"))
	require.NoError(t, err, "the last day of the password and of the account")
	for _, name := range []string{"root", "daemon", "locked", "none", "expired", "old", "change", "shadowonly", "passwdonly", "bad", "Alice"} {
		_, err := a.Authenticate(ctx, attempt(name, "secret1"))
		require.ErrorIs(t, err, auth.ErrCredentials, name)
	}
	a = accounts(t)
	a.MinUID = -1
	_, err = a.Authenticate(ctx, attempt("daemon", "secret1"))
	require.NoError(t, err)
	_, err = a.Authenticate(ctx, attempt("root", "secret1"))
	require.ErrorIs(t, err, auth.ErrCredentials)
	authtest.TestAuthenticator(t, authtest.Suite{
		New:  func(t *testing.T) auth.Authenticator { return accounts(t) },
		User: "alice", Password: "secret1", Account: "alice", Disabled: "expired",
	})
}

// verifier counts.
type verifier struct {
	*passwd.Hasher
	calls *[]string
}

func (v verifier) Verify(ctx context.Context, stored string, password auth.Secret) error {
	*v.calls = append(*v.calls, stored[:3])
	return v.Hasher.Verify(ctx, stored, password)
}

// A01: one hash, whatever the answer.
func TestA01_Accounts(t *testing.T) {
	a := accounts(t)
	var calls []string
	a.Verifier = verifier{&passwd.Hasher{}, &calls}
	names := []string{"alice", "nobody", "root", "locked", "none", "expired", "shadowonly", "passwdonly"}
	for _, name := range names {
		_, err := a.Authenticate(ctx, attempt(name, "wrong"))
		require.ErrorIs(t, err, auth.ErrCredentials)
		require.Equal(t, "535 5.7.8 authentication credentials invalid", auth.StatusOf(err).Reply())
	}
	require.Equal(t, strings.Repeat("$6$ ", len(names)), strings.Join(calls, " ")+" ")

	empty := accounts(t)
	require.NoError(t, os.WriteFile(empty.Shadow, nil, 0o600))
	empty.Verifier = verifier{&passwd.Hasher{}, &calls}
	_, err := empty.Authenticate(ctx, attempt("alice", "secret1"))
	require.ErrorIs(t, err, auth.ErrCredentials)
	require.Len(t, calls, len(names)+1)
}

func TestAccountsTrouble(t *testing.T) {
	a := accounts(t)
	require.NoError(t, os.Remove(a.Shadow))
	_, err := a.Authenticate(ctx, attempt("alice", "secret1"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	a = accounts(t)
	require.NoError(t, os.Remove(a.Passwd))
	_, err = a.Authenticate(ctx, attempt("alice", "secret1"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.NotPanics(t, func() { a.Version() })
}

func ExampleAccounts() {
	table := auth.Chain(
		&passwd.File{Path: "/etc/goniec/users"},             // virtual users first
		&system.Accounts{Verifier: &passwd.Hasher{}},        // then local ones
		&system.Program{Path: "/usr/local/bin/vchkpw-like"}, // then what an old system has
	)
	fmt.Println(auth.Answers(table, "PLAIN"))
	// Output: true
}
