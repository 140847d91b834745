package authtest

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goniec-mail/goniec/auth"
)

// Suite says what to test. New, User and Password are required.
type Suite struct {
	// New returns the Authenticator to test. It is called once for each part.
	New func(t *testing.T) auth.Authenticator

	User     string // somebody who may log in, as clients write the name
	Password string // theirs: ASCII

	Account  string // Identity.User that is expected; "": not compared
	Disabled string // somebody who may not log in, whose password is Password too; "": not tested
}

// TestAuthenticator runs the suite.
func TestAuthenticator(t *testing.T, s Suite) {
	for name, part := range map[string]func(*testing.T, Suite){
		"RightPassword": testRight, "WrongAnswersAreAlike": testAlike, "HostileNames": testHostile,
		"Context": testContext, "Concurrency": testConcurrency, "SCRAMKeys": testSCRAM,
		"PasswordSource": testSource, "TokenVerifier": testToken,
	} {
		t.Run(name, func(t *testing.T) { part(t, s) })
	}
}

func attempt(user, password string) *auth.Attempt {
	return &auth.Attempt{
		Mechanism: "PLAIN", User: user, Secret: auth.NewSecret(password), Protocol: "imap",
		Remote: netip.MustParseAddrPort("127.0.0.1:40000"), Local: netip.MustParseAddrPort("127.0.0.1:143"),
	}
}

// ask asks, and checks what holds for every answer.
func ask(t *testing.T, a auth.Authenticator, at *auth.Attempt) (auth.Identity, error) {
	t.Helper()
	before := *at
	id, err := a.Authenticate(context.Background(), at)
	if *at != before {
		t.Errorf("the Attempt was changed")
	}
	if err != nil && (id.User != "" || id.AuthzID != "" || id.Attributes != nil) {
		t.Errorf("an Identity came with the error %v", err)
	}
	if pw := at.Secret.Reveal(); err != nil && len(pw) > 5 && strings.Contains(err.Error(), pw) {
		t.Errorf("the error shows the password")
	}
	return id, err
}

func testRight(t *testing.T, s Suite) {
	a := s.New(t)
	for range 2 {
		id, err := ask(t, a, attempt(s.User, s.Password))
		if err != nil {
			t.Fatalf("right password: %v", err)
		}
		if s.Account != "" && id.User != s.Account {
			t.Errorf("Identity.User is %q, want %q", id.User, s.Account)
		}
		if id.AuthzID != "" {
			t.Errorf("AuthzID is %q without having been asked for", id.AuthzID)
		}
	}
	// What one caller does to their map must not reach the next; tables share it, so it must not change between answers.
	one, _ := ask(t, a, attempt(s.User, s.Password))
	two, _ := ask(t, a, attempt(s.User, s.Password))
	if one.User != two.User || !maps.Equal(one.Attributes, two.Attributes) {
		t.Errorf("two logins gave %v and %v", one, two)
	}
}

// testAlike is A01: nobody learns from an answer whether a user exists.
func testAlike(t *testing.T, s Suite) {
	a := s.New(t)
	wrong := map[string]*auth.Attempt{
		"wrong password":           attempt(s.User, s.Password+"x"),
		"beginning of a password":  attempt(s.User, s.Password[:len(s.Password)-1]),
		"other case":               attempt(s.User, swapCase(s.Password)),
		"unknown user":             attempt("nobody-"+s.User, s.Password),
		"unknown domain":           attempt(s.User+".invalid", s.Password),
		"longest password":         attempt(s.User, strings.Repeat("x", auth.MaxPassword)),
		"password that is a mask":  attempt(s.User, "*"),
		"password that is a lock":  attempt(s.User, "!"),
		"password that is a hash":  attempt(s.User, "{PLAIN}"+s.Password),
		"password beyond ASCII":    attempt(s.User, "pässwörd"),
		"password that is no text": attempt(s.User, "\xff\xfe"),
	}
	if s.Disabled != "" {
		wrong["disabled user"] = attempt(s.Disabled, s.Password)
	}
	for name, at := range wrong {
		if at.Secret.Reveal() == s.Password && at.User == s.User {
			continue // a password without letters has no other case
		}
		_, err := ask(t, a, at)
		if !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("%s: %v, want ErrCredentials", name, err)
			continue
		}
		if got, want := auth.StatusOf(err).Reply(), auth.StatusOf(auth.ErrCredentials).Reply(); got != want {
			t.Errorf("%s: the client sees %q, want %q", name, got, want)
		}
	}
}

func swapCase(s string) string {
	if up := strings.ToUpper(s); up != s {
		return up
	}
	return strings.ToLower(s)
}

// testHostile is A06: names that are code somewhere are only unknown. Those that auth.CheckNames refuses must not do harm either.
func testHostile(t *testing.T, s Suite) {
	a := s.New(t)
	for _, name := range []string{
		"*)(uid=*", "' OR 1=1--", "'; DROP TABLE users;--", "%u", "%s%s%n", "../x", "../../etc/passwd", "$(id)", "`id`", "{{.}}", "*", "?", "\\", "a:b", "#", "-x",
		s.User + "*", s.User + "%", s.User + "\x00", s.User + ":", "\x00", "\r\n", "a\nb", "\t", "\xff", "\u202e" + s.User, strings.Repeat("a", auth.MaxUser), strings.Repeat("a", 64<<10), "",
	} {
		_, err := ask(t, a, attempt(name, s.Password))
		if !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("user %.40q: %v, want ErrCredentials", name, err)
		}
	}
}

// testContext: a question that is given up is no verdict.
func testContext(t *testing.T, s Suite) {
	a := s.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	done := make(chan error, 1)
	go func() {
		_, err := a.Authenticate(ctx, attempt(s.User, s.Password))
		done <- err
	}()
	select {
	case err := <-done:
		if auth.Denied(err) {
			t.Errorf("cancelled: %v says that the password is wrong", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("cancelled: no answer within a minute")
	}
	if _, err := ask(t, a, attempt(s.User, s.Password)); err != nil {
		t.Errorf("after a cancelled question: %v", err)
	}
}

func testConcurrency(t *testing.T, s Suite) {
	a := s.New(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			password := s.Password
			if i%2 == 1 {
				password += fmt.Sprint(i)
			}
			_, err := a.Authenticate(context.Background(), attempt(s.User, password))
			if (err == nil) != (i%2 == 0) {
				t.Errorf("attempt %d of 16 at once: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func testSCRAM(t *testing.T, s Suite) {
	a := s.New(t)
	keyer, ok := a.(auth.SCRAMKeyer)
	tested := false
	for name, newHash := range map[string]func() hash.Hash{"SCRAM-SHA-1": sha1.New, "SCRAM-SHA-256": sha256.New} {
		if !ok || !auth.Answers(a, name) {
			continue
		}
		tested = true
		at := attempt(s.User, "")
		at.Mechanism = name
		keys, err := keyer.SCRAMKeys(context.Background(), at)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkKeys(t, name, keys, s, newHash)
		at.User = "nobody-" + s.User
		decoy, err := keyer.SCRAMKeys(context.Background(), at)
		if !errors.Is(err, auth.ErrCredentials) || decoy.Identity.User != "" {
			t.Errorf("%s: unknown user: %v, want ErrCredentials and no Identity", name, err)
		}
		if len(decoy.Salt) > 0 && decoy.Iterations != keys.Iterations {
			t.Errorf("%s: unknown user has %d iterations, a known one %d: they can be told apart", name, decoy.Iterations, keys.Iterations)
		}
	}
	if !tested {
		t.Skip("the Authenticator does not answer for SCRAM")
	}
}

// checkKeys derives the keys from the password (RFC 5802 §3).
func checkKeys(t *testing.T, name string, keys auth.SCRAMKeys, s Suite, newHash func() hash.Hash) {
	t.Helper()
	salted, err := pbkdf2.Key(newHash, s.Password, keys.Salt, keys.Iterations, newHash().Size())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	mac := func(text string) []byte {
		m := hmac.New(newHash, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := newHash()
	stored.Write(mac("Client Key"))
	if !hmac.Equal(stored.Sum(nil), keys.StoredKey) || !hmac.Equal(mac("Server Key"), keys.ServerKey) {
		t.Errorf("%s: the keys are not those of the password", name)
	}
	if keys.Iterations < 4096 {
		t.Errorf("%s: %d iterations are fewer than RFC 5802's 4096; clients refuse", name, keys.Iterations)
	}
	if s.Account != "" && keys.Identity.User != s.Account {
		t.Errorf("%s: Identity.User is %q, want %q", name, keys.Identity.User, s.Account)
	}
}

func testSource(t *testing.T, s Suite) {
	a := s.New(t)
	source, ok := a.(auth.PasswordSource)
	if !ok || !auth.Answers(a, "CRAM-MD5") {
		t.Skip("the Authenticator has no passwords in clear text")
	}
	at := attempt(s.User, "")
	at.Mechanism = "CRAM-MD5"
	pw, _, err := source.Password(context.Background(), at)
	if err != nil || pw.Reveal() != s.Password {
		t.Errorf("Password is not the password: %v", err)
	}
	at.User = "nobody-" + s.User
	pw, _, err = source.Password(context.Background(), at)
	if !errors.Is(err, auth.ErrCredentials) || !pw.Empty() {
		t.Errorf("unknown user: %v, want ErrCredentials and no password", err)
	}
}

func testToken(t *testing.T, s Suite) {
	a := s.New(t)
	v, ok := a.(auth.TokenVerifier)
	if !ok || !auth.Answers(a, "OAUTHBEARER") {
		t.Skip("the Authenticator verifies no tokens")
	}
	for _, token := range []string{"", "x", s.Password, "e30.e30.", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", strings.Repeat("a", 9000)} {
		at := attempt(s.User, token)
		at.Mechanism = "OAUTHBEARER"
		id, err := v.VerifyToken(context.Background(), at)
		if !errors.Is(err, auth.ErrCredentials) || id.User != "" {
			t.Errorf("junk token %.20q: %v, want ErrCredentials", token, err)
		}
	}
}
