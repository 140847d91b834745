package pop3_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/dialogue"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/pop3"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

// users is an Authenticator in memory.
type users map[string]string

func (u users) Authenticate(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
	if pass, ok := u[a.User]; !ok || pass != a.Secret.Reveal() {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: a.User}, nil
}

func certificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// fixture is a server over a memory store whose operations can be made to fail.
type fixture struct {
	*pop3.Server
	users users
	store *mailbox.Memory
	fail  atomic.Pointer[string]
	log   lockedBuffer
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{users: users{}, store: mailbox.NewMemory()}
	store := mailbox.InterceptStore(f.store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		switch kind := f.fail.Load(); {
		case kind == nil:
		case *kind == string(op.Kind):
			return errors.New("disk on fire at /var/mail")
		case *kind == "panic" && op.Kind == mailbox.OpRead:
			panic("store lost its mind")
		}
		return next(ctx)
	})
	f.Server = &pop3.Server{Store: store, Auth: f.users, AllowInsecureAuth: true, Hostname: "mx.test", Logger: slog.New(slog.NewTextHandler(&f.log, nil))}
	return f
}

func (f *fixture) start(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.ErrorIs(t, <-done, pop3.ErrServerClosed)
	})
	return l.Addr().String()
}

func (f *fixture) deliver(t testing.TB, user, msg string) {
	for _, err := range mailbox.DeliverAll(t.Context(), f.store, []mailbox.Target{{User: user}}, strings.NewReader(msg), mailbox.AppendOptions{}) {
		require.NoError(t, err)
	}
}

// setting applies one "% key value" line of a dialogue.
func (f *fixture) setting(t *testing.T, key, value string) {
	name, rest, _ := strings.Cut(value, " ")
	switch key {
	case "user":
		f.users[name] = rest
	case "mail":
		text, err := strconv.Unquote(`"` + rest + `"`)
		require.NoError(t, err)
		f.deliver(t, name, text)
	case "tls":
		f.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	case "insecure":
		f.AllowInsecureAuth = value == "yes"
	case "maxerrors":
		f.MaxErrors, _ = strconv.Atoi(value)
	case "maxjunk":
		f.MaxJunk, _ = strconv.Atoi(value)
	default:
		t.Fatalf("unknown setting %q", key)
	}
}

func TestDialogues(t *testing.T) {
	dialogue.Run(t, "testdata/*.txt", func(t *testing.T, settings map[string]string) dialogue.Target {
		f := newFixture(t)
		for _, key := range slices.Sorted(maps.Keys(settings)) {
			f.setting(t, strings.TrimRight(key, "0123456789"), settings[key])
		}
		addr := f.start(t)
		return dialogue.Target{
			Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) },
			Hooks: map[string]func(args ...string) error{
				"fail": func(args ...string) error { f.fail.Store(&args[0]); return nil },
				"free": func(...string) error {
					for range 12_000 {
						if f.Stats().Conns <= 1 {
							return nil
						}
						time.Sleep(5 * time.Millisecond)
					}
					return errors.New("the closed session still has its lock")
				},
			},
		}
	})
}

// lockedBuffer collects log records.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// login opens a session without the dialogue runner.
func login(t testing.TB, addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, "USER alice\r\nPASS secret\r\n")
	require.NoError(t, err)
	return c
}

// Secrets and paths never reach log or client (L01).
func TestL01_NothingLeaks(t *testing.T) {
	f := newFixture(t)
	f.users["alice"] = "secret"
	f.deliver(t, "alice", "Subject: x\r\n\r\nx\r\n")
	kind := "Read"
	f.fail.Store(&kind)
	c := login(t, f.start(t))
	_, err := io.WriteString(c, "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nRETR 1\r\nPASS secret\r\nXX \x1b[2J\u202e\r\nQUIT\r\n")
	require.NoError(t, err)
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.NotContains(t, string(got), "/var/mail")
	require.NotContains(t, string(got), "\x1b")
	require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "session") }, time.Minute, 5*time.Millisecond)
	log := f.log.String()
	require.Contains(t, log, "disk on fire")
	require.NotContains(t, log, "secret")
	require.NotContains(t, log, "AGFsaWNl")
	require.NotContains(t, log, "\x1b")
	require.Contains(t, log, "user=alice")
}

// R04: Shutdown tells idle clients goodbye at once and keeps marked messages.
func TestShutdown(t *testing.T) {
	f := newFixture(t)
	f.users["alice"] = "secret"
	f.deliver(t, "alice", "Subject: x\r\n\r\nx\r\n")
	c := login(t, f.start(t))
	_, err := io.WriteString(c, "DELE 1\r\n")
	require.NoError(t, err)
	buf := make([]byte, 4096)
	for n := 0; !bytes.Contains(buf[:n], []byte("marked")); {
		m, err := c.Read(buf[n:])
		require.NoError(t, err)
		n += m
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, f.Shutdown(ctx))
	rest, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "-ERR [SYS/TEMP] server is shutting down\r\n", string(rest))
	a, err := f.store.Account(t.Context(), "alice")
	require.NoError(t, err)
	m, err := a.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	require.Equal(t, 1, ch.State.Messages)
}

func TestShutdownBeforeServe(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Shutdown(t.Context()))
	require.ErrorIs(t, f.ListenAndServe(), pop3.ErrServerClosed)
}

func TestMisconfigured(t *testing.T) {
	require.ErrorContains(t, (&pop3.Server{Addr: "127.0.0.1:0"}).ListenAndServe(), "Store or Server.Auth is nil")
	require.ErrorContains(t, (&pop3.Server{Addr: "127.0.0.1:0"}).ListenAndServeTLS(), "Store or Server.Auth is nil")
}

// RFC 1939 §3: a client that says nothing for too long is left without a word, and nothing is removed.
func TestAutologoutIsSilent(t *testing.T) {
	f := newFixture(t)
	f.users["alice"] = "secret"
	f.deliver(t, "alice", "Subject: x\r\n\r\nx\r\n")
	f.IdleTimeout, f.LoginTimeout = 2*time.Second, 2*time.Second
	addr := f.start(t)
	var all sync.WaitGroup // at the same time, as that much is needed by a slow machine to say what comes before the silence
	for input, want := range map[string]string{
		"":               "",
		"AUTH PLAIN\r\n": "+ \r\n",
		"USER alice\r\nPASS secret\r\nDELE 1\r\n": "+OK send PASS\r\n+OK 1 messages (17 octets)\r\n+OK message 1 marked\r\n",
	} {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, input)
		require.NoError(t, err)
		all.Go(func() {
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			_, rest, _ := strings.Cut(string(got), "\r\n") // the greeting
			assert.Equal(t, want, rest)
		})
	}
	all.Wait()
	c := login(t, addr)
	_, err := io.WriteString(c, "QUIT\r\n")
	require.NoError(t, err)
	got, _ := io.ReadAll(c)
	require.Contains(t, string(got), "+OK 1 messages")
}

// slowUnlock is a folder whose lock takes time to free.
type slowUnlock struct {
	mailbox.Store
}

type slowAccount struct{ mailbox.Account }

type slowBox struct{ mailbox.Mailbox }

func (s slowUnlock) Account(ctx context.Context, user string) (mailbox.Account, error) {
	a, err := s.Store.Account(ctx, user)
	return slowAccount{a}, err
}

func (s slowAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := s.Account.Open(ctx, name)
	return slowBox{m}, err
}

func (s slowBox) Lock(ctx context.Context) (func(), error) {
	unlock, err := s.Mailbox.(mailbox.Locker).Lock(ctx)
	return func() { time.Sleep(50 * time.Millisecond); unlock() }, err
}

// RFC 1939 §6: a client that comes back as soon as it has the reply to QUIT finds the lock free.
func TestBackAtOnce(t *testing.T) {
	f := newFixture(t)
	f.users["alice"] = "secret"
	f.Store = slowUnlock{f.store}
	addr := f.start(t)
	for range 5 {
		c := login(t, addr)
		_, err := io.WriteString(c, "QUIT\r\n")
		require.NoError(t, err)
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			require.NotContains(t, line, "IN-USE")
			if line == "+OK goodbye\r\n" {
				break // at once, before the connection is closed
			}
		}
	}
}

// unsized is a folder whose store does not know sizes, and loses a message while they are measured.
type unsized struct {
	mailbox.Source
	gone, broken string
}

func (u unsized) Folders(context.Context, string) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) { yield(mailbox.Info{Name: "INBOX"}, nil) }
}

func (u unsized) List(context.Context, string, string) iter.Seq2[mailbox.Item, error] {
	return func(yield func(mailbox.Item, error) bool) {
		for _, key := range []string{"a", "b", "c"} {
			if !yield(mailbox.Item{Key: key, Size: -1}, nil) {
				return
			}
		}
	}
}

func (u unsized) Read(_ context.Context, _, _, key string) (goniec.Content, error) {
	if key == u.gone {
		return nil, mailbox.ErrNotFound
	}
	if key == u.broken {
		return nil, errors.New("disk on fire")
	}
	return strings.NewReader("Subject: " + key + "\r\n\r\n"), nil
}

func (u unsized) Notify(context.Context, string) <-chan struct{} { return nil }

// What is gone before a session has its numbers has none, and RSET does not bring it back.
func TestGoneWhileMeasured(t *testing.T) {
	for gone, want := range map[string]string{"a": "bc", "b": "ac", "c": "ab", "": "abc"} {
		f := newFixture(t)
		f.users["alice"] = "secret"
		f.Store = mailbox.FromSource(unsized{gone: gone})
		c := login(t, f.start(t))
		_, err := io.WriteString(c, "STAT\r\nRSET\r\nSTAT\r\nRETR 1\r\nRETR 2\r\nQUIT\r\n")
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		stat := fmt.Sprintf("+OK %d %d\r\n", len(want), 14*len(want))
		require.Equal(t, 2, strings.Count(string(got), stat), "%s", got)
		require.Contains(t, string(got), "Subject: "+want[:1])
		require.Contains(t, string(got), "Subject: "+want[1:2])
	}
}

// One message that can not be read does not lock its owner out of the others.
func TestUnreadableMessage(t *testing.T) {
	for _, broken := range []string{"a", "b", "c"} {
		f := newFixture(t)
		f.users["alice"] = "secret"
		f.Store = mailbox.FromSource(unsized{broken: broken})
		c := login(t, f.start(t))
		_, err := io.WriteString(c, "STAT\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nQUIT\r\n")
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Contains(t, string(got), "+OK 3 28\r\n")
		require.Equal(t, 2, strings.Count(string(got), "Subject: "))
		require.Equal(t, 1, strings.Count(string(got), "-ERR [SYS/TEMP] RETR failed, try again later\r\n"))
		require.Contains(t, string(got), "+OK goodbye")
	}
}

// Messages of every form come out in wire form, and TOP at every cut gives the right lines.
func TestTopAndRetrForms(t *testing.T) {
	f := newFixture(t)
	f.users["alice"] = "secret"
	var want strings.Builder
	messages := []string{"", "\r\n", "A: 1\r\n", "A: 1\r\n\r\n", "A: 1\r\n\r\n.\r\n..\r\n\r\n.x", "A: 1\r\n\r\nno end", "\r\nbody only\r\n", "A: 1\r\n \r\n\r\nb\r\n", strings.Repeat("H: "+strings.Repeat("x", 70)+"\r\n", 3000) + "\r\n1\r\n2\r\n"}
	for _, m := range messages {
		f.deliver(t, "alice", m)
	}
	c := login(t, f.start(t))
	go func() {
		for i := range messages {
			fmt.Fprintf(c, "RETR %d\r\nTOP %d 0\r\nTOP %d 1\r\n", i+1, i+1, i+1)
		}
		io.WriteString(c, "QUIT\r\n")
	}()
	for _, m := range messages {
		for _, text := range []string{m, top(m, 0), top(m, 1)} {
			fmt.Fprintf(&want, "+OK %d octets\r\n%s.\r\n", len(m), stuff(text))
		}
	}
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(got), "octets)\r\n")
	require.Equal(t, want.String(), strings.TrimSuffix(rest, "+OK goodbye\r\n"))
}

// top and stuff are the oracle: slow and plain.
func top(m string, n int) string {
	lines := strings.SplitAfter(m, "\r\n")
	for i, l := range lines {
		if l == "\r\n" {
			return strings.Join(lines[:min(i+1+n, len(lines))], "")
		}
	}
	return m
}

func stuff(m string) string {
	var b strings.Builder
	for _, l := range strings.SplitAfter(m, "\r\n") {
		if strings.HasPrefix(l, ".") {
			b.WriteByte('.')
		}
		b.WriteString(l)
	}
	if m != "" && !strings.HasSuffix(m, "\r\n") {
		b.WriteString("\r\n")
	}
	return b.String()
}

func ExampleServer() {
	store := mailbox.NewMemory()
	server := &pop3.Server{
		Addr:  "127.0.0.1:0",
		Store: store,
		Auth: auth.AuthenticatorFunc(func(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
			if a.User != "alice" || a.Secret.Reveal() != "secret" {
				return auth.Identity{}, auth.ErrCredentials
			}
			return auth.Identity{User: "alice"}, nil
		}),
		AllowInsecureAuth: true,
	}
	done := make(chan error)
	go func() { done <- server.ListenAndServe() }()
	<-server.Ready()
	// server.ListenAddr() tells the port.
	fmt.Println(server.Shutdown(context.Background()), <-done)
	// Output: <nil> server closed
}
