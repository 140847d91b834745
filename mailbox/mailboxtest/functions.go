package mailboxtest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing/iotest"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// functionScenarios test the package functions of mailbox, over a store with and without its
// optional interfaces: users of either see the same.
var functionScenarios = []scenario{
	{"AppendAll", LacksAppend | LacksKeywords, testAppendAll},
	{"I15_AppendAllFails", LacksAppend | LacksExpunge, testAppendAllFails},
	{"Copy", LacksAppend | LacksFolders | LacksDates | LacksKeywords, testCopy},
	{"CopyToSelf", LacksAppend, testCopyToSelf},
	{"CopyAbsent", LacksAppend | LacksFolders, testCopyAbsent},
	{"TransferElsewhere", LacksAppend | LacksFolders | LacksExpunge, testTransferElsewhere},
	{"Move", LacksAppend | LacksFolders | LacksExpunge, testMove},
	{"MoveToSelf", LacksAppend | LacksExpunge, testMoveToSelf},
	{"RenameInbox", LacksAppend | LacksFolders | LacksExpunge, testRenameInbox},
	{"Count", LacksFlags, testCount},
	{"List", 0, testList},
	{"UniqueIDs", LacksExpunge, testUniqueIDs},
	{"Lock", 0, testLock},
	{"DeliverAll", LacksAppend | LacksFolders, testDeliverAll},
	{"Subscriptions", LacksFolders, testSubscriptions},
}

func newMessages(msgs ...mailbox.NewMessage) iter.Seq2[mailbox.NewMessage, error] {
	return func(yield func(mailbox.NewMessage, error) bool) {
		for _, m := range msgs {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func testAppendAll(f *fixture) {
	b := f.inbox()
	b.fill(1)
	flags := mailbox.FlagList{System: mailbox.Flagged, Keywords: []string{"both"}}
	metas, err := mailbox.AppendAll(f.ctx, b.Mailbox, newMessages(
		mailbox.NewMessage{Msg: strings.NewReader(numbered(1))},
		mailbox.NewMessage{Msg: strings.NewReader(numbered(2)), Options: mailbox.AppendOptions{Flags: flags}},
	))
	require.NoError(f, err)
	require.Len(f, metas, 2)
	require.Less(f, metas[0].UID, metas[1].UID)
	require.Equal(f, []string{numbered(0), numbered(1), numbered(2)}, b.texts(mailbox.AllUIDs()))
	require.Equal(f, flags, b.flags(metas[1].UID))
	metas, err = mailbox.AppendAll(f.ctx, b.Mailbox, newMessages())
	require.NoError(f, err)
	require.Empty(f, metas)
}

// testAppendAllFails: the second or third message fails in each way; nothing stays (I15).
func testAppendAllFails(f *fixture) {
	cut := errors.New("cut")
	good := mailbox.NewMessage{Msg: strings.NewReader(numbered(1))}
	broken := mailbox.NewMessage{Msg: iotest.ErrReader(cut)}
	b := f.inbox()
	b.fill(1)
	next := b.state().UIDNext
	_, err := mailbox.AppendAll(f.ctx, b.Mailbox, newMessages(good, broken))
	require.ErrorIs(f, err, cut)
	require.Len(f, b.uids(), 1)
	_, err = mailbox.AppendAll(f.ctx, b.Mailbox, func(yield func(mailbox.NewMessage, error) bool) {
		_ = yield(mailbox.NewMessage{Msg: strings.NewReader(numbered(1))}, nil) &&
			yield(mailbox.NewMessage{Msg: strings.NewReader(numbered(2))}, nil) &&
			yield(mailbox.NewMessage{}, cut)
	})
	require.ErrorIs(f, err, cut)
	require.Len(f, b.uids(), 1)
	require.GreaterOrEqual(f, b.add(numbered(3), mailbox.AppendOptions{}).UID, next)
}

func testCopy(f *fixture) {
	src, dst := f.inbox(), f.folder("Archive/2026")
	date := time.Unix(946684799, 0)
	flags := mailbox.FlagList{System: mailbox.Seen | mailbox.Answered, Keywords: []string{"$Label1", "other"}}
	src.fill(2)
	uid := src.add(numbered(2), mailbox.AppendOptions{Flags: flags, Date: date}).UID
	dst.add(numbered(8), mailbox.AppendOptions{Flags: mailbox.FlagList{Keywords: []string{"first", "OTHER"}}})
	all := src.uids()
	res, err := mailbox.Copy(f.ctx, f.acc, "INBOX", 0, mailbox.UIDs(all[0], uid, uid+50), "Archive/2026")
	require.NoError(f, err)
	require.Equal(f, []mailbox.UID{all[0], uid}, res.Source)
	require.Len(f, res.Dest, 2)
	require.Equal(f, dst.state().UIDValidity, res.UIDValidity)
	require.Equal(f, numbered(0), dst.read(res.Dest[0]))
	require.Equal(f, numbered(2), dst.read(res.Dest[1]))
	got := dst.flags(res.Dest[1])
	require.Equal(f, flags.System, got.System)
	require.ElementsMatch(f, []string{"$Label1", "OTHER"}, got.Keywords, "the destination's spelling stays")
	require.EqualValues(f, date.Unix(), dst.meta(res.Dest[1]).Date)
	require.Equal(f, all, src.uids())
	require.Equal(f, flags, src.flags(uid))
	// The copies are messages of their own.
	dst.setFlags(mailbox.FlagsReplace, mailbox.FlagList{}, res.Dest...)
	require.Equal(f, flags, src.flags(uid))
}

// testCopyToSelf copies all of a folder into itself: that ends.
func testCopyToSelf(f *fixture) {
	b := f.inbox()
	uids := b.fill(3)
	res, err := mailbox.Copy(f.ctx, f.acc, "INBOX", 0, mailbox.AllUIDs(), "INBOX")
	require.NoError(f, err)
	require.Equal(f, uids, res.Source)
	require.Len(f, b.uids(), 6)
	require.Equal(f, numbered(1), b.read(res.Dest[1]))
}

func testCopyAbsent(f *fixture) {
	b := f.inbox()
	uids := b.fill(1)
	_, err := mailbox.Copy(f.ctx, f.acc, "INBOX", 0, mailbox.UIDs(uids...), "absent")
	require.ErrorIs(f, err, mailbox.ErrNotFound)
	_, err = mailbox.Move(f.ctx, f.acc, "INBOX", 0, mailbox.UIDs(uids...), "absent")
	require.ErrorIs(f, err, mailbox.ErrNotFound)
	_, err = mailbox.Copy(f.ctx, f.acc, "absent", 0, mailbox.UIDs(uids...), "INBOX")
	require.ErrorIs(f, err, mailbox.ErrNotFound)
	require.Equal(f, uids, b.uids())
	res, err := mailbox.Copy(f.ctx, f.acc, "INBOX", 0, mailbox.UIDs(uids[0]+9), "INBOX")
	require.NoError(f, err, "no message is no error")
	require.Empty(f, res.Source)
	require.Empty(f, res.Dest)
}

// testTransferElsewhere: the folder under the name of the source is another than the one that the UIDs are of.
func testTransferElsewhere(f *fixture) {
	src, dst := f.folder("Work"), f.folder("Done")
	uids := src.fill(2)
	validity := src.state().UIDValidity
	for _, transfer := range []transferFunc{mailbox.Copy, mailbox.Move} {
		for _, wrong := range []uint32{validity + 1, validity - 1, 1<<32 - 1} {
			_, err := transfer(f.ctx, f.acc, "Work", wrong, mailbox.UIDs(uids...), "Done")
			require.ErrorIs(f, err, mailbox.ErrUIDValidity)
		}
		require.Empty(f, dst.uids())
		require.Equal(f, uids, f.open("Work").uids())
	}
	require.NoError(f, mailbox.Rename(f.ctx, f.acc, "Work", "Play"))
	other := f.folder("Work").fill(2)
	require.Equal(f, uids, other, "the new folder has the same UIDs")
	for _, transfer := range []transferFunc{mailbox.Copy, mailbox.Move} {
		_, err := transfer(f.ctx, f.acc, "Work", validity, mailbox.UIDs(uids...), "Done")
		require.ErrorIs(f, err, mailbox.ErrUIDValidity)
		require.NotErrorIs(f, err, mailbox.ErrNotFound, "both folders are there")
		require.Empty(f, dst.uids())
		require.Equal(f, other, f.open("Work").uids())
		res, err := transfer(f.ctx, f.acc, "Play", validity, mailbox.UIDs(uids[0]), "Done")
		require.NoError(f, err)
		require.Equal(f, []mailbox.UID{uids[0]}, res.Source)
		dst.expungeAll()
	}
	// Deleted and made anew at once.
	require.NoError(f, f.acc.Delete(f.ctx, "Work"))
	f.folder("Work").fill(2)
	_, err := mailbox.Move(f.ctx, f.acc, "Work", validity, mailbox.UIDs(uids...), "Done")
	require.ErrorIs(f, err, mailbox.ErrUIDValidity)
	// What is moved out of INBOX by its renaming does not change what it is.
	validity = f.inbox().state().UIDValidity
	f.inbox().fill(1)
	require.NoError(f, mailbox.Rename(f.ctx, f.acc, "INBOX", "Old"))
	_, err = mailbox.Copy(f.ctx, f.acc, "INBOX", validity, mailbox.AllUIDs(), "Done")
	require.NoError(f, err)
	_, err = mailbox.Copy(f.ctx, f.acc, "Old", validity, mailbox.AllUIDs(), "Done")
	require.ErrorIs(f, err, mailbox.ErrUIDValidity)
}

type transferFunc = func(ctx context.Context, a mailbox.Account, from string, validity uint32, uids mailbox.UIDSet, to string) (mailbox.CopyResult, error)

// expungeAll empties a folder.
func (b *box) expungeAll() {
	b.f.Helper()
	_, err := b.Expunge(b.f.ctx, mailbox.AllUIDs())
	require.NoError(b.f, err)
}

func testMove(f *fixture) {
	src, dst := f.inbox(), f.folder("Done")
	uids := src.fill(4)
	if !f.lacks(LacksFlags) {
		src.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Flagged}, uids[2])
	}
	before := src.state()
	res, err := mailbox.Move(f.ctx, f.acc, "INBOX", 0, mailbox.UIDs(uids[1], uids[2]), "Done")
	require.NoError(f, err)
	require.Equal(f, []mailbox.UID{uids[1], uids[2]}, res.Source)
	require.Equal(f, []mailbox.UID{uids[0], uids[3]}, src.uids())
	require.Equal(f, res.Dest, dst.uids())
	require.Equal(f, []string{numbered(1), numbered(2)}, dst.texts(mailbox.AllUIDs()))
	if !f.lacks(LacksFlags) {
		require.Equal(f, mailbox.Flagged, dst.flags(res.Dest[1]).System)
	}
	ch, _ := src.changes(before.ModSeq)
	require.Greater(f, ch.State.ModSeq, before.ModSeq)
	require.True(f, !ch.Known || ch.Expunged.Contains(uids[1]))
	// Back again: new UIDs.
	res, err = mailbox.Move(f.ctx, f.acc, "Done", 0, mailbox.AllUIDs(), "INBOX")
	require.NoError(f, err)
	require.Greater(f, res.Dest[0], uids[3])
	require.Empty(f, dst.uids())
}

// testMoveToSelf: the messages get new UIDs, and are not lost.
func testMoveToSelf(f *fixture) {
	b := f.inbox()
	uids := b.fill(3)
	res, err := mailbox.Move(f.ctx, f.acc, "INBOX", 0, mailbox.AllUIDs(), "INBOX")
	require.NoError(f, err)
	require.Equal(f, uids, res.Source)
	require.Equal(f, res.Dest, b.uids())
	require.Equal(f, []string{numbered(0), numbered(1), numbered(2)}, b.texts(mailbox.AllUIDs()))
}

func testRenameInbox(f *fixture) {
	f.inbox().fill(3)
	f.folder("INBOX/child").fill(1)
	require.NoError(f, mailbox.Rename(f.ctx, f.acc, "inbox", "old-mail"))
	require.Empty(f, f.inbox().uids())
	require.Len(f, f.open("old-mail").uids(), 3)
	require.Len(f, f.open("INBOX/child").uids(), 1, "children of INBOX stay")
	require.ErrorIs(f, mailbox.Rename(f.ctx, f.acc, "INBOX", "old-mail"), mailbox.ErrExists)
	require.NoError(f, mailbox.Rename(f.ctx, f.acc, "old-mail", "older-mail"))
	require.Len(f, f.open("older-mail").uids(), 3)
}

func testCount(f *fixture) {
	b := f.inbox()
	uids := b.fill(4)
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Seen}, uids[0], uids[1], uids[2])
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Deleted}, uids[1])
	s := b.state()
	s.Unseen, s.Deleted, s.Size = -1, -1, -1
	s, err := mailbox.Count(f.ctx, b.Mailbox, s)
	require.NoError(f, err)
	require.Equal(f, 1, s.Unseen)
	require.Equal(f, 1, s.Deleted)
	require.EqualValues(f, 4*len(numbered(0)), s.Size)
	require.Equal(f, 4, s.Messages)
}

// List is Changes, of some messages.
func testList(f *fixture) {
	b := f.inbox()
	uids := b.fill(5)
	all, err := b.Changes(f.ctx, 0)
	require.NoError(f, err)
	for _, set := range []mailbox.UIDSet{
		nil, mailbox.UIDs(uids[0]), mailbox.UIDs(uids[1], uids[3]), mailbox.AllUIDs(), mailbox.UIDs(uids[4], uids[4]+1000), mailbox.UIDs(uids[4] + 7),
	} {
		some, err := mailbox.List(f.ctx, b.Mailbox, set)
		require.NoError(f, err)
		require.Equal(f, all.State, some.State)
		require.Equal(f, all.Known, some.Known)
		require.Equal(f, all.Expunged, some.Expunged)
		var want []mailbox.Meta
		for m := range all.Messages {
			if set.Contains(m.UID) {
				want = append(want, m)
			}
		}
		for range 2 { // any number of times
			require.Equal(f, want, slices.Collect(some.Messages))
		}
	}
}

func testUniqueIDs(f *fixture) {
	b := f.inbox()
	uids := b.fill(4)
	read := func(set mailbox.UIDSet) map[mailbox.UID]string {
		ids, err := mailbox.UniqueIDs(f.ctx, b.Mailbox, set)
		require.NoError(f, err)
		all, last := make(map[mailbox.UID]string), mailbox.UID(0)
		for u, id := range ids {
			require.Greater(f, u, last)
			last, all[u] = u, id
		}
		return all
	}
	first := read(mailbox.AllUIDs())
	require.Len(f, first, 4)
	different := make(map[string]bool)
	for _, id := range first {
		require.True(f, len(id) >= 1 && len(id) <= 70, "RFC 1939 §7: %q", id)
		require.False(f, strings.ContainsFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7E }), "%q", id)
		different[id] = true
	}
	require.Len(f, different, 4)
	require.Equal(f, map[mailbox.UID]string{uids[1]: first[uids[1]]}, read(mailbox.UIDs(uids[1])))
	_, err := b.Expunge(f.ctx, mailbox.UIDs(uids[0]))
	require.NoError(f, err)
	uid := b.add(numbered(0), mailbox.AppendOptions{}).UID
	second := read(mailbox.AllUIDs())
	require.Equal(f, first[uids[3]], second[uids[3]], "the same in every session")
	require.False(f, different[second[uid]], "an identity is not used again")
}

func testLock(f *fixture) {
	b, other := f.inbox(), f.inbox()
	var table mailbox.Locks
	unlock, err := table.Lock(f.ctx, b.Mailbox, "INBOX")
	require.NoError(f, err)
	_, err = table.Lock(f.ctx, other.Mailbox, "INBOX")
	require.ErrorIs(f, err, mailbox.ErrInUse)
	require.NotPanics(f, func() { other.uids() }, "a lock excludes locks, not work")
	other.add(numbered(1), mailbox.AppendOptions{})
	unlock()
	unlock()
	again, err := table.Lock(f.ctx, other.Mailbox, "INBOX")
	require.NoError(f, err)
	unlock() // the old one does not free the new
	_, err = table.Lock(f.ctx, b.Mailbox, "INBOX")
	require.ErrorIs(f, err, mailbox.ErrInUse)
	again()
}

func testDeliverAll(f *fixture) {
	other := "bob@example.org"
	f.folder("Lists/go")
	bob := *f
	bob.acc = f.account(other)
	targets := []mailbox.Target{
		{User: f.suite.User}, {User: f.suite.User, Name: "Lists/go"}, {User: other, Name: "absent"}, {User: other, Name: "inbox"},
	}
	date := time.Unix(1700000000, 0)
	errs := mailbox.DeliverAll(f.ctx, f.store, targets, strings.NewReader(numbered(5)), mailbox.AppendOptions{Date: date})
	require.Len(f, errs, 4)
	require.NoError(f, errs[0])
	require.NoError(f, errs[1])
	require.ErrorIs(f, errs[2], mailbox.ErrNotFound)
	require.NoError(f, errs[3])
	for _, b := range []*box{f.inbox(), f.open("Lists/go"), bob.inbox()} {
		require.Equal(f, []string{numbered(5)}, b.texts(mailbox.AllUIDs()), b.name)
		if !f.lacks(LacksDates) {
			require.EqualValues(f, date.Unix(), b.meta(b.uids()[0]).Date)
		}
	}
	// Each is a message of its own.
	if !f.lacks(LacksExpunge) {
		_, err := f.inbox().Expunge(f.ctx, mailbox.AllUIDs())
		require.NoError(f, err)
	}
	require.Equal(f, []string{numbered(5)}, bob.inbox().texts(mailbox.AllUIDs()))
	cut := errors.New("cut")
	for _, err := range mailbox.DeliverAll(f.ctx, f.store, targets, iotest.ErrReader(cut), mailbox.AppendOptions{}) {
		require.Error(f, err)
	}
	require.Len(f, bob.inbox().uids(), 1)
	require.Empty(f, mailbox.DeliverAll(f.ctx, f.store, nil, strings.NewReader(""), mailbox.AppendOptions{}))
}

func testSubscriptions(f *fixture) {
	f.folder("a")
	err := mailbox.Subscribe(f.ctx, f.acc, "gone/before", true)
	if errors.Is(err, mailbox.ErrCannot) {
		names, err := mailbox.Subscribed(f.ctx, f.acc)
		require.NoError(f, err)
		require.Equal(f, f.names(), names, "where there is no list, all are subscribed")
		return
	}
	require.NoError(f, err, "names need not exist")
	require.NoError(f, mailbox.Subscribe(f.ctx, f.acc, "żółw", true))
	require.NoError(f, mailbox.Subscribe(f.ctx, f.acc, "inbox", true))
	require.NoError(f, mailbox.Subscribe(f.ctx, f.acc, "inbox", true))
	names := subscribed(f)
	require.Subset(f, names, []string{"gone/before", "żółw", "INBOX"})
	require.True(f, slices.IsSorted(names))
	require.NoError(f, mailbox.Subscribe(f.ctx, f.acc, "żółw", false))
	require.NoError(f, mailbox.Subscribe(f.ctx, f.acc, "never was", false))
	require.NotContains(f, subscribed(f), "żółw")
	require.Error(f, mailbox.Subscribe(f.ctx, f.acc, "a\r\nb", true))
	require.NoError(f, f.acc.Create(f.ctx, "gone/before", mailbox.CreateOptions{}))
	require.NoError(f, f.acc.Delete(f.ctx, "gone/before"))
	require.Contains(f, subscribed(f), "gone/before", "RFC 9051 §6.3.4: DELETE does not unsubscribe")
}

func subscribed(f *fixture) []string {
	f.Helper()
	names, err := mailbox.Subscribed(f.ctx, f.acc)
	require.NoError(f, err)
	return names
}
