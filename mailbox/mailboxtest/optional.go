package mailboxtest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing/iotest"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// optionalScenarios skip by name when the store has not the interface.
var optionalScenarios = []scenario{
	{"Derived", LacksExpunge, testDerived},
	{"Watcher", LacksFlags | LacksExpunge | LacksAppend, testWatcher},
	{"AccountWatcher", LacksAppend | LacksFlags, testAccountWatcher},
	{"AccountWatcherFolders", LacksFolders | LacksAppend, testAccountWatcherFolders},
	{"AccountWatcherMany", LacksAppend, testAccountWatcherMany},
	{"Metadata", 0, testMetadata},
	{"MetadataFollowsFolder", LacksFolders, testMetadataFollows},
	{"MetadataLimit", 0, testMetadataLimit},
	{"MetadataReopened", 0, testMetadataReopened},
	{"AccountMetadata", 0, testAccountMetadata},
	{"QuotaKeeper", LacksAppend | LacksExpunge, testQuota},
	{"I15_QuotaAll", LacksAppend, testQuotaAll},
	{"UIDAppender", LacksAppend, testUIDAppender},
	{"SpecialUse", LacksFolders, testSpecialUse},
	{"ACLKeeper", LacksFolders, testACLKeeper},
	{"I15_MultiAppenderFails", LacksAppend, testMultiAppenderFails},
}

// need finds an optional interface or skips the test.
func need[T any](f *fixture, v any) T {
	f.Helper()
	t, ok := mailbox.As[T](v)
	if !ok {
		f.Skipf("the store is no %s", mailbox.CapabilityOf[T]())
	}
	return t
}

func testDerived(f *fixture) {
	b := f.inbox()
	d := need[mailbox.Derived](f, b.Mailbox)
	uids := b.fill(3)
	set := func(kind string, values map[mailbox.UID][]byte) {
		require.NoError(f, d.SetDerived(f.ctx, kind, maps.All(values)))
	}
	get := func(kind string, of mailbox.UIDSet) map[mailbox.UID]string {
		got, last := make(map[mailbox.UID]string), mailbox.UID(0)
		for u, v := range d.Derived(f.ctx, kind, of) {
			require.Greater(f, u, last)
			last, got[u] = u, string(v)
		}
		return got
	}
	require.Empty(f, get("test/1", mailbox.AllUIDs()))
	buffer := []byte("first")
	set("test/1", map[mailbox.UID][]byte{uids[0]: buffer, uids[2]: []byte("third\x00\r\n")})
	copy(buffer, "XXXXX") // the store keeps a copy
	set("test/2", map[mailbox.UID][]byte{uids[1]: []byte("other kind"), uids[2] + 100: []byte("no message")})
	got := get("test/1", mailbox.AllUIDs())
	// It is a cache: what is there must be right, what is not there is no failure.
	for u, v := range got {
		require.Equal(f, map[mailbox.UID]string{uids[0]: "first", uids[2]: "third\x00\r\n"}[u], v)
	}
	for u, v := range get("test/2", mailbox.AllUIDs()) {
		require.Equal(f, uids[1], u)
		require.Equal(f, "other kind", v)
	}
	require.NotContains(f, get("test/1", mailbox.UIDs(uids[2])), uids[0])
	set("test/1", map[mailbox.UID][]byte{uids[0]: []byte("again")})
	require.NotEqual(f, "first", get("test/1", mailbox.AllUIDs())[uids[0]])
	_, err := b.Expunge(f.ctx, mailbox.UIDs(uids[0]))
	require.NoError(f, err)
	require.NotContains(f, get("test/1", mailbox.AllUIDs()), uids[0])
}

// noticeLimit is how long a store may need to see a change: it may look for them now and then, on a slow machine.
const noticeLimit = time.Minute

// wakes waits for one call of notify.
func wakes(f *fixture, wake chan string, why string) string {
	f.Helper()
	select {
	case name := <-wake:
		return name
	case <-time.After(noticeLimit):
		f.Fatalf("no notification after %s", why)
		return ""
	}
}

func drain(wake chan string) {
	for {
		select {
		case <-wake:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

func testWatcher(f *fixture) {
	b, other := f.inbox(), f.inbox()
	w := need[mailbox.Watcher](f, b.Mailbox)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	wake := make(chan string, 100)
	notify := func() {
		select {
		case wake <- "":
		default:
		}
	}
	require.NoError(f, w.Watch(ctx, notify))
	uid := other.add(numbered(1), mailbox.AppendOptions{}).UID
	wakes(f, wake, "Append")
	drain(wake)
	other.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Seen}, uid)
	wakes(f, wake, "SetFlags")
	drain(wake)
	_, err := other.Expunge(f.ctx, mailbox.UIDs(uid))
	require.NoError(f, err)
	wakes(f, wake, "Expunge")
	cancel()
	silent(f, wake, func() { other.fill(1) })
}

// silent waits, after the context of a watch has ended, until changes are told no more: what was under way may still come.
func silent(f *fixture, wake chan string, change func()) {
	f.Helper()
	for deadline := time.Now().Add(noticeLimit); ; {
		drain(wake)
		change()
		select {
		case <-wake:
			require.True(f, time.Now().Before(deadline), "notifications after the context ended")
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

func testQuota(f *fixture) {
	q := need[mailbox.QuotaKeeper](f, f.acc)
	b := f.inbox()
	uids := b.fill(2)
	each := int64(len(numbered(0)))
	use, err := mailbox.Quota(f.ctx, f.acc)
	require.NoError(f, err)
	require.EqualValues(f, 2, use.Messages)
	require.EqualValues(f, 2*each, use.Octets)
	// Octets: one message more fits exactly, then not another octet.
	require.NoError(f, q.SetQuota(f.ctx, 3*each, 0))
	b.fill(1)
	_, err = b.Append(f.ctx, strings.NewReader("x"), mailbox.AppendOptions{})
	require.ErrorIs(f, err, mailbox.ErrOverQuota)
	_, err = mailbox.Copy(f.ctx, f.acc, "INBOX", 0, mailbox.UIDs(uids[0]), "INBOX")
	require.ErrorIs(f, err, mailbox.ErrOverQuota)
	require.Len(f, b.uids(), 3)
	_, err = b.Expunge(f.ctx, mailbox.UIDs(uids[0]))
	require.NoError(f, err, "deleting works over quota")
	b.fill(1)
	// Messages.
	require.NoError(f, q.SetQuota(f.ctx, 0, 4))
	b.fill(1)
	_, err = b.Append(f.ctx, strings.NewReader("x"), mailbox.AppendOptions{})
	require.ErrorIs(f, err, mailbox.ErrOverQuota)
	for _, err := range mailbox.DeliverAll(f.ctx, f.store, []mailbox.Target{{User: f.suite.User}}, strings.NewReader("x"), mailbox.AppendOptions{}) {
		require.ErrorIs(f, err, mailbox.ErrOverQuota)
	}
	use, err = q.Quota(f.ctx)
	require.NoError(f, err)
	require.Equal(f, mailbox.QuotaUse{Octets: 4 * each, Messages: 4, MessageLimit: 4}, use)
	require.NoError(f, q.SetQuota(f.ctx, 0, 0))
	b.fill(3)
}

// testQuotaAll: several messages of which only some would fit: none is stored (I15).
func testQuotaAll(f *fixture) {
	q := need[mailbox.QuotaKeeper](f, f.acc)
	b := f.inbox()
	b.fill(2)
	require.NoError(f, q.SetQuota(f.ctx, 0, 3))
	_, err := mailbox.AppendAll(f.ctx, b.Mailbox, newMessages(
		mailbox.NewMessage{Msg: strings.NewReader("a")}, mailbox.NewMessage{Msg: strings.NewReader("b")}))
	require.ErrorIs(f, err, mailbox.ErrOverQuota)
	_, err = mailbox.Copy(f.ctx, f.acc, "INBOX", 0, mailbox.AllUIDs(), "INBOX")
	require.ErrorIs(f, err, mailbox.ErrOverQuota)
	require.Len(f, b.uids(), 2)
}

func testSpecialUse(f *fixture) {
	err := f.acc.Create(f.ctx, "Sent", mailbox.CreateOptions{SpecialUse: mailbox.UseSent})
	if errors.Is(err, mailbox.ErrCannot) {
		require.NotContains(f, f.names(), "Sent", "refused as a whole")
		require.False(f, hasSpecialUser(f))
		f.Skip("the store keeps no special use")
	}
	require.NoError(f, err)
	name, err := mailbox.WithUse(f.ctx, f.acc, mailbox.UseSent)
	require.NoError(f, err)
	require.Equal(f, "Sent", name)
	_, err = mailbox.WithUse(f.ctx, f.acc, mailbox.UseJunk)
	require.ErrorIs(f, err, mailbox.ErrNotFound)
	require.ErrorIs(f, f.acc.Create(f.ctx, "Sent2", mailbox.CreateOptions{SpecialUse: mailbox.UseSent}), mailbox.ErrCannot)
	require.NotContains(f, f.names(), "Sent2")
	if !hasSpecialUser(f) {
		return
	}
	f.folder("Other")
	require.ErrorIs(f, mailbox.SetSpecialUse(f.ctx, f.acc, "Other", mailbox.UseSent), mailbox.ErrCannot)
	require.ErrorIs(f, mailbox.SetSpecialUse(f.ctx, f.acc, "absent", mailbox.UseJunk), mailbox.ErrNotFound)
	require.NoError(f, mailbox.SetSpecialUse(f.ctx, f.acc, "Sent", ""))
	require.NoError(f, mailbox.SetSpecialUse(f.ctx, f.acc, "Other", mailbox.UseSent))
	require.NoError(f, mailbox.SetSpecialUse(f.ctx, f.acc, "Other", mailbox.UseSent))
	name, err = mailbox.WithUse(f.ctx, f.acc, mailbox.UseSent)
	require.NoError(f, err)
	require.Equal(f, "Other", name)
}

func hasSpecialUser(f *fixture) bool {
	_, ok := mailbox.As[mailbox.SpecialUser](f.acc)
	return ok
}

// testMultiAppenderFails: a MultiAppender shows none of the messages before all are stored.
func testMultiAppenderFails(f *fixture) {
	b := f.inbox()
	m := need[mailbox.MultiAppender](f, b.Mailbox)
	before := b.state()
	cut := errors.New("cut")
	for _, last := range []iter.Seq2[mailbox.NewMessage, error]{
		newMessages(mailbox.NewMessage{Msg: iotest.ErrReader(cut)}),
		func(yield func(mailbox.NewMessage, error) bool) { yield(mailbox.NewMessage{}, cut) },
	} {
		_, err := m.AppendAll(f.ctx, func(yield func(mailbox.NewMessage, error) bool) {
			for i := range 3 {
				if !yield(mailbox.NewMessage{Msg: strings.NewReader(numbered(i))}, nil) {
					return
				}
				require.Equal(f, before.Messages, b.state().Messages, "nothing shows yet")
			}
			last(yield)
		})
		require.ErrorIs(f, err, cut)
		require.Equal(f, before.Messages, b.state().Messages)
		ch, metas := b.changes(before.ModSeq)
		require.Empty(f, metas)
		require.LessOrEqual(f, ch.Expunged.Len(), 0, "nothing was ever seen")
	}
	metas, err := m.AppendAll(f.ctx, newMessages(mailbox.NewMessage{Msg: strings.NewReader(numbered(1))}))
	require.NoError(f, err)
	require.Len(f, metas, 1)
	require.True(f, slices.Contains(b.uids(), metas[0].UID))
}
