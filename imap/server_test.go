package imap_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/internal/dialogue"
	"github.com/goniec-mail/goniec/internal/selfsigned"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// users is an Authenticator in memory that counts how often it is asked.
type users struct {
	passwords map[string]string
	asked     atomic.Int64
}

func (u *users) Authenticate(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
	u.asked.Add(1)
	if pass, ok := u.passwords[a.User]; !ok || pass != a.Secret.Reveal() {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: a.User}, nil
}

// fixture is a server over a memory store whose operations can be made to fail.
type fixture struct {
	*imap.Server
	users *users
	store *mailbox.Memory // nil over a Maildir
	mail  mailbox.Store   // what is behind the server
	fail  atomic.Pointer[string]
	log   lockedBuffer
	addr  string

	groups map[string][]string
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{users: &users{passwords: map[string]string{"alice": "secret"}}, store: mailbox.NewMemory(), groups: make(map[string][]string)}
	f.store.Now = func() time.Time { return time.Unix(1700000000, 0).UTC() }
	f.mail = f.store
	store := mailbox.InterceptStore(f.store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		switch kind := f.fail.Load(); {
		case kind == nil:
		case *kind == string(op.Kind):
			return errors.New("disk on fire at /var/mail")
		case *kind == "quota" && (op.Kind == mailbox.OpAppend || op.Kind == mailbox.OpCopy):
			return mailbox.ErrOverQuota
		case *kind == "hide "+op.Name, *kind == "hide "+op.To:
			return mailbox.ErrNotFound
		case *kind == "slow":
			for op.Kind == mailbox.OpRead && f.fail.Load() != nil && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		case *kind == "panic" && op.Kind == mailbox.OpRead:
			panic("store lost its mind")
		}
		return next(ctx)
	})
	f.Server = &imap.Server{Store: store, Auth: f.users, AllowInsecureAuth: true, Hostname: "mx.test", Logger: slog.New(slog.NewTextHandler(&f.log, nil))}
	f.ProgressInterval = time.Hour // a slow machine gets no lines more; tests of INPROGRESS set their own
	return f
}

// share lets users share folders. Those of "public" are everybody's.
func (f *fixture) share(options string) {
	f.Store = mailbox.WithSharing(f.Store, mailbox.Sharing{
		PublicUser: "public", AllowAnyone: strings.Contains(options, "anyone"),
		Groups: func(_ context.Context, user string) ([]string, error) { return f.groups[user], nil },
		Exists: func(_ context.Context, user string) (bool, error) {
			_, ok := f.users.passwords[user]
			return ok, nil
		},
	})
}

// newMaildirFixture is a server over a Maildir.
func newMaildirFixture(t testing.TB) (f *fixture, dir string) {
	f = newFixture(t)
	dir = t.TempDir()
	store := &maildir.Store{Root: dir}
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f.store, f.mail, f.Store = nil, store, store
	return f, dir
}

func (f *fixture) start(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.ErrorIs(t, <-done, imap.ErrServerClosed)
	})
	f.addr = l.Addr().String()
	return f.addr
}

func (f *fixture) account(t testing.TB, user string) mailbox.Account {
	a, err := f.mail.Account(context.Background(), user)
	require.NoError(t, err)
	return a
}

// deliver puts a message into a folder of user, making it when needed.
func (f *fixture) deliver(t testing.TB, user, folder, msg string, flags ...string) mailbox.Meta {
	ctx := context.Background()
	a := f.account(t, user)
	if err := a.Create(ctx, folder, mailbox.CreateOptions{}); err != nil {
		require.True(t, errors.Is(err, mailbox.ErrExists) || errors.Is(err, mailbox.ErrCannot), "%v", err)
	}
	m, err := a.Open(ctx, folder)
	require.NoError(t, err)
	o := mailbox.AppendOptions{Flags: flagList(flags)}
	meta, err := m.Append(ctx, strings.NewReader(msg), o)
	require.NoError(t, err)
	return meta
}

func flagList(names []string) (l mailbox.FlagList) {
	for _, n := range names {
		switch n {
		case `\Seen`:
			l.System |= mailbox.Seen
		case `\Deleted`:
			l.System |= mailbox.Deleted
		case `\Flagged`:
			l.System |= mailbox.Flagged
		default:
			l.Keywords = append(l.Keywords, n)
		}
	}
	return l
}

// configure applies the settings of a dialogue: limits before what is delivered under them.
func (f *fixture) configure(t *testing.T, settings map[string]string) {
	for _, mail := range []bool{false, true} {
		for _, key := range slices.Sorted(maps.Keys(settings)) {
			if name := strings.TrimRight(key, "0123456789"); (name == "mail" || name == "folder") == mail {
				f.setting(t, name, settings[key])
			}
		}
	}
}

// setting applies one "% key value" line of a dialogue.
func (f *fixture) setting(t *testing.T, key, value string) {
	name, rest, _ := strings.Cut(value, " ")
	switch key {
	case "user":
		f.users.passwords[name] = rest
	case "mail": // user folder "message"
		folder, rest, _ := strings.Cut(rest, " ")
		f.deliver(t, name, folder, unquote(t, rest))
	case "folder": // user name use
		folder, use, _ := strings.Cut(rest, " ")
		require.NoError(t, f.account(t, name).Create(t.Context(), folder, mailbox.CreateOptions{SpecialUse: mailbox.SpecialUse(use)}))
	case "tls":
		cert, err := selfsigned.Load(filepath.Join(t.TempDir(), "cert.pem"), "localhost")
		require.NoError(t, err)
		f.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	case "insecure":
		f.AllowInsecureAuth = value == "yes"
	case "maxerrors":
		f.MaxErrors, _ = strconv.Atoi(value)
	case "maxjunk":
		f.MaxJunk, _ = strconv.Atoi(value)
	case "maxmessage":
		f.MaxMessageBytes, _ = strconv.ParseInt(value, 10, 64)
	case "maxnotify":
		f.MaxNotify, _ = strconv.Atoi(value)
	case "progress":
		f.ProgressInterval, _ = time.ParseDuration(value)
	case "jmap":
		f.JMAPSession = value
	case "savelimit":
		f.SaveLimit, _ = strconv.Atoi(value)
	case "searchtimeout":
		f.SearchTimeout, _ = time.ParseDuration(value)
	case "sharing": // what else there is: "anyone" lets users share with everybody
		f.share(value)
	case "group": // user group
		f.groups[name] = append(f.groups[name], rest)
	case "keywords":
		f.store.KeywordLimit, _ = strconv.Atoi(value)
	case "quota":
		f.store.OctetLimit, _ = strconv.ParseInt(value, 10, 64)
	case "history":
		f.store.HistoryLimit, _ = strconv.Atoi(value)
	default:
		t.Fatalf("unknown setting %q", key)
	}
}

func unquote(t testing.TB, s string) string {
	text, err := strconv.Unquote(`"` + s + `"`)
	require.NoError(t, err)
	return text
}

// hooks are what dialogues can do behind the server's back.
func (f *fixture) hooks(t *testing.T) map[string]func(args ...string) error {
	open := func(user, folder string) (mailbox.Mailbox, error) {
		return f.account(t, user).Open(context.Background(), folder)
	}
	return map[string]func(args ...string) error{
		"fail":  func(args ...string) error { s := strings.Join(args, " "); f.fail.Store(&s); return nil },
		"works": func(...string) error { f.fail.Store(nil); return nil },
		"deliver": func(args ...string) error {
			f.deliver(t, args[0], args[1], unquote(t, strings.Join(args[2:], " ")))
			return nil
		},
		"expunge": func(args ...string) error {
			m, err := open(args[0], args[1])
			if err != nil {
				return err
			}
			uids, err := mailbox.ParseUIDSet(args[2])
			if err == nil {
				_, err = m.Expunge(context.Background(), uids)
			}
			return err
		},
		"flag": func(args ...string) error { // user folder uids flags...
			m, err := open(args[0], args[1])
			if err != nil {
				return err
			}
			uids, err := mailbox.ParseUIDSet(args[2])
			if err == nil {
				_, err = m.SetFlags(context.Background(), uids, mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: flagList(args[3:])})
			}
			return err
		},
		"remove": func(args ...string) error { return f.account(t, args[0]).Delete(context.Background(), args[1]) },
		"asked": func(args ...string) error {
			if got := strconv.FormatInt(f.users.asked.Load(), 10); got != args[0] {
				return fmt.Errorf("the user table was asked %s times", got)
			}
			return nil
		},
	}
}

func TestDialogues(t *testing.T) {
	dialogue.Run(t, "testdata/*.txt", func(t *testing.T, settings map[string]string) dialogue.Target {
		f := newFixture(t)
		f.configure(t, settings)
		addr := f.start(t)
		return dialogue.Target{
			Dial:  func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) },
			Hooks: f.hooks(t),
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
