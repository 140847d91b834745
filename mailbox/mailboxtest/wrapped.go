package mailboxtest

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// runWrapped runs the conformance test through mailbox.InterceptStore, and then looks that no
// operation passes the wrapper unseen.
func (s Suite) runWrapped(t *testing.T) {
	pass := func(st mailbox.Store) mailbox.Store {
		return mailbox.InterceptStore(st, func(ctx context.Context, _ mailbox.Op, next func(context.Context) error) error {
			return next(ctx)
		})
	}
	t.Run("Mailbox", func(t *testing.T) { s.runAll(t, mailboxScenarios, pass) })
	t.Run("Optional", func(t *testing.T) { s.runAll(t, optionalScenarios, pass) })
	t.Run("Functions", func(t *testing.T) { s.runAll(t, functionScenarios, pass) })
	t.Run("I13_Unseen", func(t *testing.T) { s.testUnseen(t) })
}

// refusal is what the wrapper of testUnseen answers.
var errRefused = errors.New("refused by the wrapper")

// counter is an interceptor that counts operations and refuses them when told.
type counter struct {
	mu     sync.Mutex
	ops    map[mailbox.OpKind]int
	refuse bool
}

func (c *counter) intercept(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
	c.mu.Lock()
	c.ops[op.Kind]++
	refuse := c.refuse
	c.mu.Unlock()
	if refuse {
		return errRefused
	}
	return next(ctx)
}

// testUnseen calls every operation of a store through a wrapper that refuses everything: each is
// seen, each is refused, and nothing has changed.
func (s Suite) testUnseen(t *testing.T) {
	c := &counter{ops: make(map[mailbox.OpKind]int)}
	f := s.fixture(t, func(st mailbox.Store) mailbox.Store { return mailbox.InterceptStore(st, c.intercept) })
	b := f.inbox()
	b.fill(2)
	want := b.state()
	c.refuse = true
	clear(c.ops)
	for kind, call := range operations(f, b.Mailbox) {
		if call == nil {
			continue // an optional interface that the store has not
		}
		before := c.ops[kind]
		require.ErrorIs(t, call(), errRefused, kind)
		require.Equal(t, before+1, c.ops[kind], kind)
	}
	c.refuse = false
	require.Equal(t, want, b.state(), "nothing reached the store")
}

// operations is one call of each operation; nil where the store has not the optional interface.
func operations(f *fixture, m mailbox.Mailbox) map[mailbox.OpKind]func() error {
	all := coreOperations(f, m)
	maps.Copy(all, mailboxOperations(f, m))
	maps.Copy(all, accountOperations(f))
	if d, ok := mailbox.As[mailbox.MultiDeliverer](f.store); ok {
		all[mailbox.OpDeliverAll] = func() error {
			to := []mailbox.Target{{User: f.suite.User}, {User: f.suite.User, Name: "x"}}
			errs := d.DeliverAll(f.ctx, to, strings.NewReader("x"), mailbox.AppendOptions{})
			if len(errs) != 2 || !errors.Is(errs[1], errRefused) {
				return errors.New("a target was not refused")
			}
			return errs[0]
		}
	}
	return all
}

func coreOperations(f *fixture, m mailbox.Mailbox) map[mailbox.OpKind]func() error {
	return map[mailbox.OpKind]func() error{
		mailbox.OpAccount:   func() error { _, err := f.store.Account(f.ctx, f.suite.User); return err },
		mailbox.OpMailboxes: func() error { return lastError(f.acc.Mailboxes(f.ctx)) },
		mailbox.OpOpen:      func() error { _, err := f.acc.Open(f.ctx, "INBOX"); return err },
		mailbox.OpCreate:    func() error { return f.acc.Create(f.ctx, "x", mailbox.CreateOptions{}) },
		mailbox.OpDelete:    func() error { return f.acc.Delete(f.ctx, "x") },
		mailbox.OpRename:    func() error { return f.acc.Rename(f.ctx, "x", "y") },
		mailbox.OpChanges:   func() error { _, err := m.Changes(f.ctx, 0); return err },
		mailbox.OpRead:      func() error { return lastError(m.Read(f.ctx, mailbox.AllUIDs())) },
		mailbox.OpAppend: func() error {
			_, err := m.Append(f.ctx, strings.NewReader("x"), mailbox.AppendOptions{})
			return err
		},
		mailbox.OpSetFlags: func() error {
			_, err := m.SetFlags(f.ctx, mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsReplace})
			return err
		},
		mailbox.OpExpunge: func() error { _, err := m.Expunge(f.ctx, mailbox.AllUIDs()); return err },
	}
}

func lastError[T any](seq iter.Seq2[T, error]) (last error) {
	for _, err := range seq {
		last = err
	}
	return last
}

func mailboxOperations(f *fixture, m mailbox.Mailbox) map[mailbox.OpKind]func() error {
	all := make(map[mailbox.OpKind]func() error)
	if o, ok := mailbox.As[mailbox.MultiAppender](m); ok {
		all[mailbox.OpAppendAll] = func() error {
			_, err := o.AppendAll(f.ctx, newMessages(mailbox.NewMessage{Msg: io.LimitReader(nil, 0)}))
			return err
		}
	}
	if o, ok := mailbox.As[mailbox.Lister](m); ok {
		all[mailbox.OpChanges] = func() error { _, err := o.List(f.ctx, mailbox.AllUIDs()); return err }
	}
	if o, ok := mailbox.As[mailbox.Derived](m); ok {
		all[mailbox.OpSetDerived] = func() error { return o.SetDerived(f.ctx, "k", func(func(mailbox.UID, []byte) bool) {}) }
	}
	if o, ok := mailbox.As[mailbox.Watcher](m); ok {
		all[mailbox.OpWatch] = func() error { return o.Watch(f.ctx, func() {}) }
	}
	if o, ok := mailbox.As[mailbox.Locker](m); ok {
		all[mailbox.OpLock] = func() error { _, err := o.Lock(f.ctx); return err }
	}
	if o, ok := mailbox.As[mailbox.Identified](m); ok {
		all[mailbox.OpUniqueIDs] = func() error { _, err := o.UniqueIDs(f.ctx, mailbox.AllUIDs()); return err }
	}
	if o, ok := mailbox.As[mailbox.Metadata](m); ok {
		all[mailbox.OpAnnotations] = func() error { _, err := o.Annotations(f.ctx); return err }
		all[mailbox.OpSetAnnotation] = func() error { return o.SetAnnotation(f.ctx, "/private/x", []byte("x")) }
	}
	if o, ok := mailbox.As[mailbox.Searcher](m); ok {
		all[mailbox.OpSearch] = func() error { _, err := o.Search(f.ctx, mailbox.Criterion{}); return err }
	}
	return all
}

func accountOperations(f *fixture) map[mailbox.OpKind]func() error {
	all := make(map[mailbox.OpKind]func() error)
	if o, ok := mailbox.As[mailbox.Copier](f.acc); ok {
		all[mailbox.OpCopy] = func() error { _, err := o.Copy(f.ctx, "INBOX", 0, mailbox.AllUIDs(), "INBOX"); return err }
	}
	if o, ok := mailbox.As[mailbox.Mover](f.acc); ok {
		all[mailbox.OpMove] = func() error { _, err := o.Move(f.ctx, "INBOX", 0, mailbox.AllUIDs(), "INBOX"); return err }
	}
	if o, ok := mailbox.As[mailbox.Subscriber](f.acc); ok {
		all[mailbox.OpSubscribed] = func() error { _, err := o.Subscribed(f.ctx); return err }
		all[mailbox.OpSubscribe] = func() error { return o.Subscribe(f.ctx, "x", true) }
	}
	if o, ok := mailbox.As[mailbox.QuotaKeeper](f.acc); ok {
		all[mailbox.OpQuota] = func() error { _, err := o.Quota(f.ctx); return err }
		all[mailbox.OpSetQuota] = func() error { return o.SetQuota(f.ctx, 1, 1) }
	}
	if o, ok := mailbox.As[mailbox.SpecialUser](f.acc); ok {
		all[mailbox.OpSetSpecialUse] = func() error { return o.SetSpecialUse(f.ctx, "INBOX", mailbox.UseAll) }
	}
	aclOperations(f, all)
	if o, ok := mailbox.As[mailbox.AccountWatcher](f.acc); ok {
		all[mailbox.OpWatchAccount] = func() error { return o.WatchAccount(f.ctx, func(string) {}) }
	}
	if o, ok := mailbox.As[mailbox.Metadata](f.acc); ok {
		all[mailbox.OpAccountAnnotations] = func() error { _, err := o.Annotations(f.ctx); return err }
		all[mailbox.OpSetAccountAnnotation] = func() error { return o.SetAnnotation(f.ctx, "/private/x", []byte("x")) }
	}
	return all
}
