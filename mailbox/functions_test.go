package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/stretchr/testify/require"
)

func TestCanonicalName(t *testing.T) {
	for name, want := range map[string]string{
		"INBOX": "INBOX", "inbox": "INBOX", "Inbox/sub": "INBOX/sub", "inbox/INBOX": "INBOX/INBOX", "inboxes": "inboxes", "a/inbox": "a/inbox",
		"": "", "inbo": "inbo", "inbox.sub": "inbox.sub",
	} {
		require.Equal(t, want, mailbox.CanonicalName(name))
	}
}

func TestCheckNames(t *testing.T) {
	for _, good := range []string{"a", "a/b", "żółw", strings.Repeat("x", mailbox.MaxNameBytes), "...", "a b", "&AC8-"} {
		require.NoError(t, mailbox.CheckName(good), good)
	}
	for _, bad := range []string{"", "/", "a//b", "a/", "/a", ".", "a/..", "a\x00", "a\u0085", "\xff", strings.Repeat("x", mailbox.MaxNameBytes+1)} {
		require.ErrorIs(t, mailbox.CheckName(bad), mailbox.ErrName, "%q", bad)
	}
	require.NoError(t, mailbox.CheckKeywords([]string{"$Forwarded", "a.b-c_d", strings.Repeat("k", mailbox.MaxKeywordBytes)}))
	require.ErrorIs(t, mailbox.CheckKeywords([]string{"fine", "not fine"}), mailbox.ErrKeyword)
}

func TestFlags(t *testing.T) {
	keywords := []string{"$Junk", "Later"}
	f, known, err := mailbox.AssignKeywords(keywords, 3, mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"LATER", "new"}})
	require.NoError(t, err)
	require.Equal(t, []string{"$Junk", "Later", "new"}, known)
	require.Equal(t, mailbox.Seen|mailbox.KeywordBit(1)|mailbox.KeywordBit(2), f)
	require.Equal(t, mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"Later", "new"}}, f.List(known))
	require.Len(t, keywords, 2)
	_, _, err = mailbox.AssignKeywords(known, 3, mailbox.FlagList{Keywords: []string{"fourth"}})
	require.ErrorIs(t, err, mailbox.ErrKeywordLimit)
	require.Zero(t, mailbox.KeywordBit(-1))
	require.Zero(t, mailbox.KeywordBit(mailbox.MaxKeywords))
	require.NotZero(t, mailbox.KeywordBit(mailbox.MaxKeywords-1))
	require.Zero(t, mailbox.SystemFlags&mailbox.KeywordBit(0))
	require.Equal(t, mailbox.Seen, mailbox.KnownFlags(keywords, mailbox.FlagList{System: mailbox.Seen | 1<<7, Keywords: []string{"unknown"}}))
	require.Equal(t, mailbox.Seen, mailbox.FlagOp(0).Apply(mailbox.Seen, mailbox.Draft), "an unknown operation changes nothing")
}

func TestDate(t *testing.T) {
	require.Zero(t, mailbox.DateOf(time.Time{}))
	require.True(t, mailbox.Date(0).Time().IsZero())
	now := time.Now()
	require.Equal(t, now.Unix(), mailbox.DateOf(now).Time().Unix())
	require.Equal(t, mailbox.Date(-1), mailbox.DateOf(time.Unix(-1, 0)))
}

func TestMetaSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(mailbox.Meta{}), uintptr(48))
}

// wrapper is an access check: it has every core method and lets some optional interfaces pass.
type wrapper struct {
	mailbox.Mailbox
	passes []mailbox.Capability
}

func (w wrapper) Unwrap() any                      { return w.Mailbox }
func (w wrapper) Passes(c mailbox.Capability) bool { return slices.Contains(w.passes, c) }
func has[T any](v any) bool                        { _, ok := mailbox.As[T](v); return ok }
func intercept(m mailbox.Mailbox) mailbox.Mailbox  { return mailbox.Intercept(m, passOn) }
func passOn(ctx context.Context, _ mailbox.Op, next func(context.Context) error) error {
	return next(ctx)
}

func TestAs(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	require.True(t, has[mailbox.Watcher](m))
	require.False(t, has[mailbox.Watcher](wrapper{Mailbox: m}), "nothing passes by default")
	some := wrapper{m, []mailbox.Capability{mailbox.CapabilityOf[mailbox.Watcher]()}}
	require.Equal(t, mailbox.Capability("mailbox.Watcher"), mailbox.CapabilityOf[mailbox.Watcher]())
	require.True(t, has[mailbox.Watcher](some))
	require.False(t, has[mailbox.Locker](some))
	require.False(t, has[mailbox.Locker](wrapper{some, some.passes}), "the innermost refusal counts")
	require.True(t, has[mailbox.Watcher](intercept(some)))
	require.False(t, has[mailbox.Locker](intercept(some)))
	require.False(t, has[mailbox.Locker](intercept(intercept(wrapper{Mailbox: m}))))
	require.True(t, has[mailbox.Locker](intercept(intercept(m))))
	require.False(t, has[interface{ Secret() }](intercept(m)), "unknown interfaces do not pass")
	require.False(t, has[mailbox.Watcher](nil))
	// Who asserts the type without As gets an error.
	_, err := intercept(wrapper{Mailbox: m}).(mailbox.Locker).Lock(t.Context())
	require.ErrorIs(t, err, errors.ErrUnsupported)
	for _, v := range []mailbox.Mailbox{m, intercept(m)} {
		_, err := mailbox.Lock(t.Context(), v)
		require.True(t, err == nil || errors.Is(err, mailbox.ErrInUse))
	}
	_, err = mailbox.Lock(t.Context(), wrapper{Mailbox: m})
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// TestInterceptRefusal: an interceptor that neither calls next nor returns an error has refused.
func TestInterceptRefusal(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 1)
	refuse := mailbox.Intercept(m, func(context.Context, mailbox.Op, func(context.Context) error) error { return nil })
	_, err := refuse.Expunge(t.Context(), mailbox.AllUIDs())
	require.ErrorIs(t, err, mailbox.ErrForbidden)
	for _, err := range refuse.Read(t.Context(), mailbox.AllUIDs()) {
		require.ErrorIs(t, err, mailbox.ErrForbidden)
	}
	late := errors.New("too late")
	after := mailbox.Intercept(m, func(ctx context.Context, _ mailbox.Op, next func(context.Context) error) error {
		return errors.Join(next(ctx), late)
	})
	meta, err := after.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{})
	require.ErrorIs(t, err, late)
	require.Zero(t, meta)
	_, err = after.(mailbox.Locker).Lock(t.Context())
	require.ErrorIs(t, err, late)
	_, err = m.(mailbox.Locker).Lock(t.Context())
	require.NoError(t, err, "a lock that the caller did not get is free again")
}

// TestInterceptOps: what an interceptor is told.
func TestInterceptOps(t *testing.T) {
	var ops []mailbox.Op
	s := mailbox.InterceptStore(mailbox.NewMemory(), func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		ops = append(ops, op)
		return next(ctx)
	})
	ctx := t.Context()
	a, err := s.Account(ctx, "alice")
	require.NoError(t, err)
	m, err := a.Open(ctx, "inbox")
	require.NoError(t, err)
	_, err = m.Append(ctx, strings.NewReader("12345"), mailbox.AppendOptions{})
	require.NoError(t, err)
	_, err = m.Append(ctx, io.LimitReader(strings.NewReader("12345"), 9), mailbox.AppendOptions{})
	require.NoError(t, err)
	_, err = m.SetFlags(ctx, mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsAdd})
	require.NoError(t, err)
	_, err = mailbox.AppendAll(ctx, m, func(yield func(mailbox.NewMessage, error) bool) {
		yield(mailbox.NewMessage{Msg: strings.NewReader("123")}, nil)
	})
	require.NoError(t, err)
	_, err = mailbox.Copy(ctx, a, "inbox", 0, mailbox.UIDs(1), "Inbox")
	require.NoError(t, err)
	type short struct {
		kind           mailbox.OpKind
		user, name, to string
		size           int64
		writes         bool
	}
	var got []short
	for _, op := range ops {
		got = append(got, short{op.Kind, op.User, op.Name, op.To, op.Size, op.Writes()})
	}
	require.Equal(t, []short{
		{mailbox.OpAccount, "alice", "", "", 0, false},
		{mailbox.OpOpen, "alice", "INBOX", "", 0, false},
		{mailbox.OpAppend, "alice", "INBOX", "", 5, true},
		{mailbox.OpAppend, "alice", "INBOX", "", -1, true},
		{mailbox.OpSetFlags, "alice", "INBOX", "", 0, true},
		{mailbox.OpAppendAll, "alice", "INBOX", "", 0, true},
		{mailbox.OpAppend, "alice", "INBOX", "", 3, true},
		{mailbox.OpCopy, "alice", "INBOX", "INBOX", 0, true},
	}, got)
}

// TestInterceptQuota: a quota written for Append alone holds for AppendAll too, all or none.
func TestInterceptQuota(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	left := int64(10)
	q := mailbox.Intercept(m, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if op.Kind == mailbox.OpAppend {
			if left -= op.Size; left < 0 {
				return mailbox.ErrOverQuota
			}
		}
		return next(ctx)
	})
	three := func(yield func(mailbox.NewMessage, error) bool) {
		for range 3 {
			if !yield(mailbox.NewMessage{Msg: strings.NewReader("1234")}, nil) {
				return
			}
		}
	}
	_, err := mailbox.AppendAll(t.Context(), q, three)
	require.ErrorIs(t, err, mailbox.ErrOverQuota)
	ch, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	require.Zero(t, ch.State.Messages)
	left = 12
	_, err = mailbox.AppendAll(t.Context(), q, three)
	require.NoError(t, err)
}

// flaky is a Mailbox without options whose calls can be made to fail, and that knows no sizes.
type flaky struct {
	mailbox.Mailbox
	appends, failAppend int
	failExpunge         error
	failChanges         atomic.Value
	sizes               bool
}

func (f *flaky) Append(ctx context.Context, msg io.Reader, o mailbox.AppendOptions) (mailbox.Meta, error) {
	if f.appends++; f.appends == f.failAppend {
		return mailbox.Meta{}, errDisk
	}
	return f.Mailbox.Append(ctx, msg, o)
}

func (f *flaky) Expunge(ctx context.Context, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	if f.failExpunge != nil {
		return nil, f.failExpunge
	}
	return f.Mailbox.Expunge(ctx, uids)
}

func (f *flaky) Changes(ctx context.Context, since mailbox.ModSeq) (*mailbox.Changes, error) {
	if err, _ := f.failChanges.Load().(failure); err.error != nil {
		return nil, err
	}
	ch, err := f.Mailbox.Changes(ctx, since)
	if err != nil || f.sizes {
		return ch, err
	}
	ch.State.Unseen, ch.State.Deleted, ch.State.Size = -1, -1, -1
	all := ch.Messages
	ch.Messages = func(yield func(mailbox.Meta) bool) {
		for m := range all {
			m.Size = -1
			if !yield(m) {
				return
			}
		}
	}
	return ch, nil
}

var errDisk = errors.New("disk failed")

type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// flakyAccount opens folders as flaky ones.
type flakyAccount struct {
	mailbox.Account
	boxes map[string]*flaky
}

func (a *flakyAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	if a.boxes[name] == nil {
		a.boxes[name] = &flaky{}
	}
	a.boxes[name].Mailbox = m
	return a.boxes[name], nil
}

// TestI15_FallbackFailures: when a part fails in the middle, what was stored is taken back.
func TestI15_FallbackFailures(t *testing.T) {
	ctx := t.Context()
	mem := mailbox.NewMemory()
	acc, err := mem.Account(ctx, "alice")
	require.NoError(t, err)
	require.NoError(t, acc.Create(ctx, "to", mailbox.CreateOptions{}))
	a := &flakyAccount{acc, map[string]*flaky{"INBOX": {}, "to": {}}}
	from, err := a.Open(ctx, "INBOX")
	require.NoError(t, err)
	to, err := a.Open(ctx, "to")
	require.NoError(t, err)
	appendN(t, from, 5)
	count := func(m mailbox.Mailbox) int {
		ch, err := m.Changes(ctx, mailbox.Latest)
		require.NoError(t, err)
		return ch.State.Messages
	}
	a.boxes["to"].failAppend = 3
	_, err = mailbox.Copy(ctx, a, "INBOX", 0, mailbox.AllUIDs(), "to")
	require.ErrorIs(t, err, errDisk)
	require.Zero(t, count(to))
	a.boxes["INBOX"].failExpunge = mailbox.ErrForbidden
	_, err = mailbox.Move(ctx, a, "INBOX", 0, mailbox.AllUIDs(), "to")
	require.ErrorIs(t, err, mailbox.ErrForbidden)
	require.Zero(t, count(to), "a move that can not end is no copy")
	require.Equal(t, 5, count(from))
	a.boxes["to"].failExpunge, a.boxes["to"].failAppend, a.boxes["to"].appends = mailbox.ErrReadOnly, 2, 0
	_, err = mailbox.Copy(ctx, a, "INBOX", 0, mailbox.AllUIDs(), "to")
	require.ErrorIs(t, err, errDisk)
	require.ErrorIs(t, err, mailbox.ErrReadOnly, "what could not be taken back is told")
	// A context that ends in the middle must not keep the copies there.
	a.boxes["to"].failExpunge, a.boxes["to"].failAppend = nil, 0
	require.Equal(t, 1, count(to))
	ended, cancel := context.WithCancel(ctx)
	_, err = mailbox.AppendAll(ended, to, func(yield func(mailbox.NewMessage, error) bool) {
		if yield(mailbox.NewMessage{Msg: strings.NewReader("x")}, nil) {
			cancel()
			yield(mailbox.NewMessage{Msg: strings.NewReader("y")}, nil)
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, count(to))
}

// TestCopyKeywords: keywords that the destination has no place for are left out.
func TestCopyKeywords(t *testing.T) {
	for name, wrap := range map[string]func(mailbox.Store) mailbox.Store{
		"memory": func(s mailbox.Store) mailbox.Store { return s }, "fall-back": mailboxtest.Core,
	} {
		t.Run(name, func(t *testing.T) {
			mem := &mailbox.Memory{KeywordLimit: 2}
			a, m := openInbox(t, wrap(mem))
			require.NoError(t, a.Create(t.Context(), "to", mailbox.CreateOptions{}))
			to, err := a.Open(t.Context(), "to")
			require.NoError(t, err)
			_, err = to.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{Flags: mailbox.FlagList{Keywords: []string{"other"}}})
			require.NoError(t, err)
			_, err = m.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{Flags: mailbox.FlagList{Keywords: []string{"a", "b"}}})
			require.NoError(t, err)
			_, err = mailbox.Copy(t.Context(), a, "INBOX", 0, mailbox.AllUIDs(), "to")
			require.NoError(t, err)
			ch, err := to.Changes(t.Context(), 0)
			require.NoError(t, err)
			metas := slices.Collect(ch.Messages)
			require.Equal(t, []string{"a"}, metas[1].Flags.List(ch.State.Keywords).Keywords)
		})
	}
}

func TestCountUnknown(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 3)
	flag(t, m, "2", mailbox.Seen|mailbox.Deleted)
	f := &flaky{Mailbox: m}
	ch, err := f.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	s, err := mailbox.Count(t.Context(), f, ch.State)
	require.NoError(t, err)
	require.Equal(t, 2, s.Unseen)
	require.Equal(t, 1, s.Deleted)
	require.EqualValues(t, 3*len("Subject: 0\r\n\r\n"), s.Size)
	f.failChanges.Store(failure{errDisk})
	_, err = mailbox.Count(t.Context(), f, ch.State)
	require.ErrorIs(t, err, errDisk)
	known, err := mailbox.Count(t.Context(), f, mailbox.State{Unseen: 7})
	require.NoError(t, err, "what is known is not asked for")
	require.Equal(t, 7, known.Unseen)
}

// TestWatchPolls: without Watcher the state is asked for, and an error is told once.
func TestWatchPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := openInbox(t, mailbox.NewMemory())
		f := &flaky{Mailbox: m}
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		require.NoError(t, mailbox.Watch(ctx, f, 10*time.Second, func() { n++ }))
		wait := func(want int, why string) {
			time.Sleep(11 * time.Second)
			synctest.Wait()
			require.Equal(t, want, n, why)
		}
		wait(0, "nothing happened")
		appendN(t, m, 3)
		wait(1, "one call for three changes")
		f.failChanges.Store(failure{errDisk})
		wait(2, "an error is told")
		wait(2, "once")
		f.failChanges.Store(failure{})
		wait(2, "nothing happened")
		flag(t, m, "1", mailbox.Seen)
		wait(3, "flags")
		cancel()
		synctest.Wait()
		appendN(t, m, 1)
		wait(3, "the context has ended")
		f.failChanges.Store(failure{errDisk})
		require.ErrorIs(t, mailbox.Watch(t.Context(), f, 0, func() {}), errDisk)
	})
}

// wrongStore is a MultiDeliverer that forgets a target.
type wrongStore struct{ mailbox.Store }

func (wrongStore) DeliverAll(context.Context, []mailbox.Target, io.Reader, mailbox.AppendOptions) []error {
	return []error{nil}
}

func TestDeliverAllWrongLength(t *testing.T) {
	errs := mailbox.DeliverAll(t.Context(), wrongStore{}, make([]mailbox.Target, 2), strings.NewReader(""), mailbox.AppendOptions{})
	require.Len(t, errs, 2)
	for _, err := range errs {
		require.Error(t, err)
		require.True(t, goniec.Temporary(err))
	}
}

func TestMemoryLimits(t *testing.T) {
	_, m := openInbox(t, &mailbox.Memory{MaxMessageBytes: 10})
	_, err := m.Append(t.Context(), strings.NewReader(strings.Repeat("x", 10)), mailbox.AppendOptions{})
	require.NoError(t, err)
	_, err = m.Append(t.Context(), strings.NewReader(strings.Repeat("x", 11)), mailbox.AppendOptions{})
	require.ErrorIs(t, err, mailbox.ErrTooLarge)
	_, m = openInbox(t, &mailbox.Memory{KeywordLimit: -1, OctetLimit: 3, MaxMessageBytes: -1})
	_, err = m.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{Flags: mailbox.FlagList{Keywords: []string{"k"}}})
	require.ErrorIs(t, err, mailbox.ErrKeywordLimit)
	_, err = m.Append(t.Context(), strings.NewReader("1234"), mailbox.AppendOptions{})
	require.ErrorIs(t, err, mailbox.ErrOverQuota)
}

func ExampleIntercept() {
	store := mailbox.NewMemory()
	readOnly := mailbox.InterceptStore(store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if op.Writes() {
			return mailbox.ErrForbidden
		}
		return next(ctx)
	})
	ctx := context.Background()
	account, _ := readOnly.Account(ctx, "alice")
	err := mailbox.Rename(ctx, account, "INBOX", "old")
	fmt.Println(err)
	// Output: permission denied
}

// raced is a Mailbox in which somebody else expunges UID 2 just before we expunge.
type raced struct{ mailbox.Mailbox }

func (r raced) Expunge(ctx context.Context, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	if _, err := r.Mailbox.Expunge(ctx, mailbox.UIDs(2)); err != nil {
		return nil, err
	}
	return r.Mailbox.Expunge(ctx, uids)
}

type racedAccount struct{ mailbox.Account }

func (a racedAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	if err == nil && name == "INBOX" {
		m = raced{m}
	}
	return m, err
}

// TestI11_MoveRaced: a message that somebody else takes during a Move by copying is not doubled.
func TestI11_MoveRaced(t *testing.T) {
	acc, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 3)
	require.NoError(t, acc.Create(t.Context(), "to", mailbox.CreateOptions{}))
	res, err := mailbox.Move(t.Context(), racedAccount{acc}, "INBOX", 0, mailbox.AllUIDs(), "to")
	require.NoError(t, err)
	require.Equal(t, []mailbox.UID{1, 3}, res.Source)
	to, err := acc.Open(t.Context(), "to")
	require.NoError(t, err)
	require.Equal(t, mailbox.UIDs(res.Dest...), openView(t, to).UIDSet())
	require.Len(t, res.Dest, 2)
}

// doubtful is a Mailbox whose Expunge fails, after it has done its work on some messages.
type doubtful struct {
	mailbox.Mailbox
	does mailbox.UIDSet
	err  error
}

func (d doubtful) Expunge(ctx context.Context, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	_, err := d.Mailbox.Expunge(ctx, uids.Intersect(d.does))
	return nil, errors.Join(d.err, err)
}

type doubtfulAccount struct {
	mailbox.Account
	does mailbox.UIDSet
	err  error
}

func (a doubtfulAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	if err == nil && name == "INBOX" {
		m = doubtful{m, a.does, a.err}
	}
	return m, err
}

// TestI15_MoveInDoubt: an expunge that failed, and may have happened nevertheless, takes no message with it.
func TestI15_MoveInDoubt(t *testing.T) {
	lost := errors.New("connection reset")
	for name, c := range map[string]struct {
		does   mailbox.UIDSet
		err    error
		copies int
	}{
		"it happened":              {mailbox.AllUIDs(), lost, 3},
		"it happened in part":      {mailbox.UIDs(2), lost, 3},
		"it did not, as far seen":  {nil, lost, 3},
		"context":                  {mailbox.AllUIDs(), context.DeadlineExceeded, 3},
		"refused":                  {nil, mailbox.ErrForbidden, 0},
		"refused, but part is off": {mailbox.UIDs(2), mailbox.ErrReadOnly, 1},
	} {
		t.Run(name, func(t *testing.T) {
			acc, m := openInbox(t, mailbox.NewMemory())
			appendN(t, m, 3)
			require.NoError(t, acc.Create(t.Context(), "to", mailbox.CreateOptions{}))
			_, err := mailbox.Move(t.Context(), doubtfulAccount{acc, c.does, c.err}, "INBOX", 0, mailbox.AllUIDs(), "to")
			require.ErrorIs(t, err, c.err)
			to, err := acc.Open(t.Context(), "to")
			require.NoError(t, err)
			require.Equal(t, c.copies, openView(t, to).Len())
			texts := make(map[string]bool)
			for _, box := range []mailbox.Mailbox{m, to} {
				for msg, err := range box.Read(t.Context(), mailbox.AllUIDs()) {
					require.NoError(t, err)
					text, err := io.ReadAll(goniec.NewReader(msg.Content))
					require.NoError(t, err)
					texts[string(text)] = true
				}
			}
			require.Len(t, texts, 3, "each message is in one of the folders")
		})
	}
}

// cancelling ends a context when a message was copied.
type cancelling struct {
	mailbox.Mailbox
	cancel context.CancelFunc
}

func (c cancelling) Append(ctx context.Context, msg io.Reader, o mailbox.AppendOptions) (mailbox.Meta, error) {
	defer c.cancel()
	return c.Mailbox.Append(ctx, msg, o)
}

type cancellingAccount struct {
	mailbox.Account
	cancel context.CancelFunc
}

func (a cancellingAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	if err == nil && name == "to" {
		m = cancelling{m, a.cancel}
	}
	return m, err
}

// TestI15_MoveCancelled: what ends before the expunge was asked for is no copy.
func TestI15_MoveCancelled(t *testing.T) {
	acc, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 1)
	require.NoError(t, acc.Create(t.Context(), "to", mailbox.CreateOptions{}))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := mailbox.Move(ctx, cancellingAccount{acc, cancel}, "INBOX", 0, mailbox.AllUIDs(), "to")
	require.ErrorIs(t, err, context.Canceled)
	to, err := acc.Open(t.Context(), "to")
	require.NoError(t, err)
	require.Zero(t, openView(t, to).Len())
	require.Equal(t, 1, openView(t, m).Len())
}
