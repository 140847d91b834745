package mailboxtest

import (
	"errors"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

var accountScenarios = []scenario{
	{"Inbox", 0, testInbox},
	{"Users", LacksAppend, testUsers},
	{"HostileUsers", LacksAppend, testHostileUsers},
	{"CreateDelete", LacksFolders, testCreateDelete},
	{"DeleteKeepsChildren", LacksFolders | LacksAppend, testDeleteKeepsChildren},
	{"NewFolderNewValidity", LacksFolders, testNewFolderNewValidity},
	{"DeletedHandle", LacksFolders | LacksAppend, testDeletedHandle},
	{"I08_Names", LacksFolders, testNames},
	{"I08_BadNames", LacksFolders, testBadNames},
	{"Rename", LacksFolders | LacksAppend, testRename},
	{"RenameRefused", LacksFolders, testRenameRefused},
	{"Reopen", LacksAppend, testReopen},
}

func testInbox(f *fixture) {
	require.Contains(f, f.names(), "INBOX")
	want := f.inbox().state()
	for _, name := range []string{"inbox", "Inbox", "iNBOX"} {
		got := f.open(mailbox.CanonicalName(name)).state()
		require.Equal(f, want.UIDValidity, got.UIDValidity, name)
	}
	require.ErrorIs(f, f.acc.Delete(f.ctx, "INBOX"), mailbox.ErrCannot)
	_, err := f.acc.Open(f.ctx, "no such folder")
	require.ErrorIs(f, err, mailbox.ErrNotFound)
}

func testUsers(f *fixture) {
	f.inbox().fill(2)
	bob := *f
	bob.acc = f.account("bob@example.org")
	require.Empty(f, bob.inbox().uids())
	bob.inbox().fill(1)
	require.Len(f, f.inbox().uids(), 2)
}

// testHostileUsers opens accounts by names that try to leave their place. Each is refused, or is an
// account of its own.
func testHostileUsers(f *fixture) {
	f.inbox().add("Subject: secret\r\n\r\n", mailbox.AppendOptions{})
	user := f.suite.User
	for _, name := range []string{
		"", ".", "..", "../" + user, user + "/", "/" + user, "./" + user, user + "/.", user + "\x00", "x/../" + user,
		user + "\n", strings.Repeat("x", 5000),
	} {
		a, err := f.store.Account(f.ctx, name)
		if err != nil {
			continue
		}
		m, err := a.Open(f.ctx, "INBOX")
		if err == nil {
			ch, err := m.Changes(f.ctx, 0)
			require.True(f, err != nil || ch.State.Messages == 0, "%.40q sees another's mail", name)
			m.Close()
		}
		a.Close()
	}
}

func testCreateDelete(f *fixture) {
	before := f.names()
	require.NoError(f, f.acc.Create(f.ctx, "Work", mailbox.CreateOptions{}))
	require.Equal(f, len(before)+1, len(f.names()))
	require.Contains(f, f.names(), "Work")
	require.ErrorIs(f, f.acc.Create(f.ctx, "Work", mailbox.CreateOptions{}), mailbox.ErrExists)
	require.ErrorIs(f, f.acc.Create(f.ctx, "INBOX", mailbox.CreateOptions{}), mailbox.ErrExists)
	require.ErrorIs(f, f.acc.Create(f.ctx, "inbox", mailbox.CreateOptions{}), mailbox.ErrExists)
	require.Empty(f, f.open("Work").uids())
	require.NoError(f, f.acc.Delete(f.ctx, "Work"))
	require.Equal(f, before, f.names())
	require.ErrorIs(f, f.acc.Delete(f.ctx, "Work"), mailbox.ErrNotFound)
	_, err := f.acc.Open(f.ctx, "Work")
	require.ErrorIs(f, err, mailbox.ErrNotFound)
	_, err = f.acc.Open(f.ctx, "../"+f.suite.User)
	require.Error(f, err)
}

func testDeleteKeepsChildren(f *fixture) {
	f.folder("a").fill(1)
	f.folder("a/b").fill(2)
	f.folder("ab").fill(1)
	require.NoError(f, f.acc.Delete(f.ctx, "a"))
	require.Len(f, f.open("a/b").uids(), 2)
	require.Len(f, f.open("ab").uids(), 1)
	// What is left of "a", if anything, only has children.
	for info, err := range f.acc.Mailboxes(f.ctx) {
		require.NoError(f, err)
		require.True(f, info.Name != "a" || info.NoSelect)
	}
}

func testNewFolderNewValidity(f *fixture) {
	first := f.folder("again").state()
	require.NoError(f, f.acc.Delete(f.ctx, "again"))
	second := f.folder("again").state()
	require.Greater(f, second.UIDValidity, first.UIDValidity)
	require.True(f, first.ID == "" || first.ID != second.ID, "another folder has another ID")
}

func testDeletedHandle(f *fixture) {
	b := f.folder("gone")
	b.fill(1)
	require.NoError(f, f.acc.Delete(f.ctx, "gone"))
	_, err := b.Append(f.ctx, strings.NewReader("\r\n"), mailbox.AppendOptions{})
	require.ErrorIs(f, err, mailbox.ErrNotFound, "an append that nobody can find again must not be acknowledged")
	if _, err = b.Changes(f.ctx, 0); err != nil {
		require.ErrorIs(f, err, mailbox.ErrNotFound)
	}
	// Made again, the old handle must not write into the new folder under old UIDs.
	again := f.folder("gone")
	require.Empty(f, again.uids())
}

// testNames makes folders with unusual names. A store refuses with ErrName, or gives back the name
// as it was.
func testNames(f *fixture) {
	for _, name := range []string{
		"a", "A b", "Gesendete Objekte", "żółw", "日本語/下書き", "a.b", ".hidden", "a..b", "dot.", "~user", "per%cent", "star*",
		"amp&ersand", "&AC8-", "back\\slash", `quo"te`, "semi;colon", "col:on", "cur", "new", "tmp", "INBOXes", "x/INBOX",
		"INBOX/child", "-dash", "#hash", "emoji 📬", "a/b/c/d/e/f/g", "con", "trailing ", " leading", "con/aux",
		strings.Repeat("l", 200),
	} {
		err := f.acc.Create(f.ctx, name, mailbox.CreateOptions{})
		if err != nil {
			require.ErrorIs(f, err, mailbox.ErrName, name)
			continue
		}
		require.Contains(f, f.names(), name)
		b := f.open(name)
		if !f.lacks(LacksAppend) {
			b.fill(1)
		}
		if f.lacks(LacksFolders) {
			continue
		}
		require.NoError(f, f.acc.Delete(f.ctx, name), name)
		require.False(f, f.selectable(name), name)
	}
	require.Equal(f, 0, f.inbox().state().Messages, "no name is INBOX's")
}

// selectable reports whether the listing has a folder that can be opened.
func (f *fixture) selectable(name string) bool {
	for info, err := range f.acc.Mailboxes(f.ctx) {
		require.NoError(f, err)
		if info.Name == name && !info.NoSelect {
			return true
		}
	}
	return false
}

func testBadNames(f *fixture) {
	before := f.names()
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../x", "a/../../b", "a/./b", "a\x00b", "a\r\nb", "tab\tname", "\xff\xfe", "bad\x80utf8",
		"del\x7f", strings.Repeat("x", mailbox.MaxNameBytes+1),
	} {
		require.ErrorIs(f, f.acc.Create(f.ctx, name, mailbox.CreateOptions{}), mailbox.ErrName, "%q", name)
		_, err := f.acc.Open(f.ctx, name)
		require.True(f, errors.Is(err, mailbox.ErrNotFound) || errors.Is(err, mailbox.ErrName), "%q: %v", name, err)
		err = f.acc.Delete(f.ctx, name)
		require.True(f, errors.Is(err, mailbox.ErrNotFound) || errors.Is(err, mailbox.ErrName), "%q: %v", name, err)
	}
	require.NoError(f, f.acc.Create(f.ctx, "good", mailbox.CreateOptions{}))
	require.ErrorIs(f, f.acc.Rename(f.ctx, "good", "../bad"), mailbox.ErrName)
	require.Equal(f, len(before)+1, len(f.names()))
}

func testRename(f *fixture) {
	top, child := f.folder("old"), f.folder("old/child/deep")
	topUIDs, childUIDs := top.fill(3), child.fill(1)
	f.folder("older")
	topState, childState := top.state(), child.state()
	require.NoError(f, f.acc.Rename(f.ctx, "old", "new/name"))
	names := f.names()
	for _, gone := range []string{"old", "old/child/deep"} {
		require.NotContains(f, names, gone)
		_, err := f.acc.Open(f.ctx, gone)
		require.ErrorIs(f, err, mailbox.ErrNotFound)
	}
	require.Contains(f, names, "older")
	for name, want := range map[string]struct {
		mailbox.State
		uids []mailbox.UID
	}{"new/name": {topState, topUIDs}, "new/name/child/deep": {childState, childUIDs}} {
		b := f.open(name)
		got := b.state()
		require.Equal(f, want.UIDValidity, got.UIDValidity)
		require.Equal(f, want.UIDNext, got.UIDNext)
		require.Equal(f, want.ID, got.ID)
		require.Equal(f, want.uids, b.uids())
	}
	require.Equal(f, numbered(2), f.open("new/name").read(topUIDs[2]))
	again := f.folder("old")
	require.Empty(f, again.uids())
	require.Greater(f, again.state().UIDValidity, topState.UIDValidity, "a new folder under an old name")
}

func testRenameRefused(f *fixture) {
	f.folder("a")
	f.folder("b")
	before := f.names()
	require.ErrorIs(f, f.acc.Rename(f.ctx, "a", "b"), mailbox.ErrExists)
	require.ErrorIs(f, f.acc.Rename(f.ctx, "a", "INBOX"), mailbox.ErrExists)
	require.ErrorIs(f, f.acc.Rename(f.ctx, "absent", "c"), mailbox.ErrNotFound)
	require.ErrorIs(f, f.acc.Rename(f.ctx, "INBOX", "c"), mailbox.ErrCannot)
	require.Error(f, f.acc.Rename(f.ctx, "a", "a/b"), "a folder can not become its own child")
	require.Equal(f, before, f.names())
}

// testReopen closes the store and opens it again: everything is as it was.
func testReopen(f *fixture) {
	if f.suite.Reopen == nil {
		f.Skip("the store does not survive a restart")
	}
	b := f.inbox()
	uids := b.fill(5)
	if !f.lacks(LacksFlags) {
		b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Seen | mailbox.Flagged}, uids[1])
	}
	if !f.lacks(LacksKeywords | LacksFlags) {
		b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{Keywords: []string{"$Label1"}}, uids[2])
	}
	if !f.lacks(LacksExpunge) {
		_, err := b.Expunge(f.ctx, mailbox.UIDs(uids[4]))
		require.NoError(f, err)
		uids = uids[:4]
	}
	wantState, wantMetas := b.changes(0)
	names := f.names()
	b.Close()
	f.acc.Close()
	f.base = f.suite.Reopen(f.T, f.base)
	f.store = f.base
	f.acc = f.account(f.suite.User)

	require.Equal(f, names, f.names())
	b = f.inbox()
	gotState, gotMetas := b.changes(0)
	require.Equal(f, wantState.State.UIDValidity, gotState.State.UIDValidity)
	require.Equal(f, wantState.State.UIDNext, gotState.State.UIDNext)
	require.GreaterOrEqual(f, gotState.State.ModSeq, wantState.State.ModSeq, "mod-sequences never go down")
	require.Equal(f, len(wantMetas), len(gotMetas))
	for i, want := range wantMetas {
		got := gotMetas[i]
		require.Equal(f, want.UID, got.UID)
		require.Equal(f, want.Flags.List(wantState.State.Keywords), got.Flags.List(gotState.State.Keywords))
		require.Equal(f, want.Date, got.Date)
		require.GreaterOrEqual(f, got.ModSeq, want.ModSeq)
	}
	require.Equal(f, numbered(0), b.read(uids[0]))
	next := b.add(numbered(9), mailbox.AppendOptions{})
	require.GreaterOrEqual(f, next.UID, gotState.State.UIDNext)
	require.False(f, slices.Contains(uids, next.UID))
}
