package mailboxtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// Lack is a set of things that a store can not do.
type Lack uint

// What a store may lack. Tests that need it are left out.
const (
	LacksFolders  Lack = 1 << iota // Create, Delete, Rename
	LacksAppend                    // Append; then Suite.Seed is needed
	LacksFlags                     // SetFlags
	LacksKeywords                  // keywords
	LacksExpunge                   // Expunge
	LacksDates                     // INTERNALDATE given to Append is not kept
)

// Suite is a conformance test of a store with settings.
type Suite struct {
	// Open returns a new, empty store; it may use t.TempDir and t.Cleanup.
	Open func(t *testing.T) mailbox.Store
	// Reopen closes a store, as far as it can be, and returns another one over the same data, as a
	// restarted program does. nil: the store does not survive a restart, and it is not tested.
	Reopen func(t *testing.T, s mailbox.Store) mailbox.Store
	// User is the account that is used; "" means "alice@example.org". Another one is "bob@example.org".
	User string
	// Lacks names what the store can not do. Zero is a whole store.
	Lacks Lack
	// Seed puts a message into a folder behind the store's back. It is needed with LacksAppend.
	Seed func(t *testing.T, s mailbox.Store, user, folder, msg string)
}

// TestStore tests a store that can do everything. Each subtest opens a new store.
func TestStore(t *testing.T, open func(t *testing.T) mailbox.Store) {
	t.Helper()
	Suite{Open: open}.Run(t)
}

// scenario is one subtest: what it needs of a store, and what it does.
type scenario struct {
	name  string
	needs Lack
	run   func(f *fixture)
}

// Run runs the suite.
func (s Suite) Run(t *testing.T) {
	t.Helper()
	if s.User == "" {
		s.User = "alice@example.org"
	}
	for _, group := range []struct {
		name      string
		scenarios []scenario
	}{
		{"Account", accountScenarios},
		{"Mailbox", mailboxScenarios},
		{"Optional", optionalScenarios},
		{"Functions", functionScenarios},
		{"Concurrent", slices.Concat(concurrentScenarios, renameScenarios)},
	} {
		t.Run(group.name, func(t *testing.T) { s.runAll(t, group.scenarios, nil) })
	}
	// The same again with the optional interfaces hidden: the functions must fall back.
	t.Run("Fallback", func(t *testing.T) { s.runAll(t, slices.Concat(functionScenarios, renameScenarios), Core) })
	t.Run("Wrapped", func(t *testing.T) { s.runWrapped(t) })
}

func (s Suite) runAll(t *testing.T, all []scenario, wrap func(mailbox.Store) mailbox.Store) {
	for _, sc := range all {
		t.Run(sc.name, func(t *testing.T) {
			if sc.needs&s.Lacks != 0 {
				t.Skip("the store can not do this")
			}
			sc.run(s.fixture(t, wrap))
		})
	}
}

// fixture is a fresh store with the user's account open.
type fixture struct {
	*testing.T
	suite Suite
	ctx   context.Context
	base  mailbox.Store // as the suite opened it
	store mailbox.Store // as the test uses it
	acc   mailbox.Account
}

func (s Suite) fixture(t *testing.T, wrap func(mailbox.Store) mailbox.Store) *fixture {
	base := s.Open(t)
	f := &fixture{T: t, suite: s, ctx: t.Context(), base: base, store: base}
	if wrap != nil {
		f.store = wrap(base)
	}
	f.acc = f.account(s.User)
	return f
}

func (f *fixture) account(user string) mailbox.Account {
	f.Helper()
	a, err := f.store.Account(f.ctx, user)
	require.NoError(f, err)
	f.Cleanup(func() { a.Close() })
	return a
}

func (f *fixture) open(name string) *box {
	f.Helper()
	m, err := f.acc.Open(f.ctx, name)
	require.NoError(f, err, name)
	f.Cleanup(func() { m.Close() })
	return &box{m, f, name}
}

// inbox opens INBOX.
func (f *fixture) inbox() *box { f.Helper(); return f.open("INBOX") }

// folder makes a folder and opens it.
func (f *fixture) folder(name string) *box {
	f.Helper()
	require.NoError(f, f.acc.Create(f.ctx, name, mailbox.CreateOptions{}), name)
	return f.open(name)
}

func (f *fixture) lacks(l Lack) bool { return f.suite.Lacks&l != 0 }

// names returns the listed folders, sorted; it checks that each comes once.
func (f *fixture) names() []string {
	f.Helper()
	var names []string
	for info, err := range f.acc.Mailboxes(f.ctx) {
		require.NoError(f, err)
		names = append(names, info.Name)
	}
	slices.Sort(names)
	require.Equal(f, slices.Compact(slices.Clone(names)), names, "each name once")
	return names
}

// box is a folder under test.
type box struct {
	mailbox.Mailbox
	f    *fixture
	name string
}

// add appends a message, or seeds it where the store can not append.
func (b *box) add(msg string, o mailbox.AppendOptions) mailbox.Meta {
	b.f.Helper()
	if !b.f.lacks(LacksAppend) {
		meta, err := b.Append(b.f.ctx, bytes.NewReader([]byte(msg)), o)
		require.NoError(b.f, err)
		require.NotZero(b.f, meta.UID)
		return meta
	}
	before := b.state()
	b.f.suite.Seed(b.f.T, b.f.base, b.f.suite.User, b.name, msg)
	_, metas := b.changes(before.ModSeq)
	require.Len(b.f, metas, 1, "one new message after Seed")
	return metas[0]
}

// fill adds n short messages and returns their UIDs.
func (b *box) fill(n int) []mailbox.UID {
	b.f.Helper()
	var uids []mailbox.UID
	for i := range n {
		uids = append(uids, b.add(numbered(i), mailbox.AppendOptions{}).UID)
	}
	return uids
}

// numbered is a short message that tells its number.
func numbered(i int) string {
	return fmt.Sprintf("From: a@example.org\r\nSubject: message %d\r\n\r\nThis is message %d.\r\n", i, i)
}

// changes asks for Changes and checks everything that holds for each answer.
func (b *box) changes(since mailbox.ModSeq) (*mailbox.Changes, []mailbox.Meta) {
	b.f.Helper()
	ch, err := b.Changes(b.f.ctx, since)
	require.NoError(b.f, err)
	metas := slices.Collect(ch.Messages)
	checkChanges(b.f, ch, metas, since)
	return ch, metas
}

// checkChanges checks what holds for the answer of any Changes.
func checkChanges(t require.TestingT, ch *mailbox.Changes, metas []mailbox.Meta, since mailbox.ModSeq) {
	s := ch.State
	require.NotZero(t, s.UIDValidity, "UIDVALIDITY is never 0")
	require.NotZero(t, s.UIDNext, "UIDNEXT is never 0")
	require.NotZero(t, s.ModSeq, "HIGHESTMODSEQ is never 0")
	require.LessOrEqual(t, s.KeywordLimit, mailbox.MaxKeywords)
	require.LessOrEqual(t, len(s.Keywords), mailbox.MaxKeywords)
	require.Equal(t, since >= s.Horizon, ch.Known, "Known: since %d, horizon %d", since, s.Horizon)
	if !ch.Known {
		require.Empty(t, ch.Expunged, "nothing is said when not all can be")
	}
	var last mailbox.UID
	for _, m := range metas {
		require.Greater(t, m.UID, last, "ascending UIDs")
		last = m.UID
		require.Less(t, m.UID, s.UIDNext)
		require.Greater(t, m.ModSeq, since)
		require.LessOrEqual(t, m.ModSeq, s.ModSeq)
		require.False(t, ch.Expunged.Contains(m.UID), "UID %d is there and expunged", m.UID)
		known := mailbox.KnownFlags(s.Keywords, m.Flags.List(s.Keywords))
		require.Equal(t, known, m.Flags, "no bit without a name")
	}
	if since == 0 {
		checkCounts(t, s, metas)
	}
	require.LessOrEqual(t, len(metas), s.Messages)
}

// checkCounts compares the counters of a State with the whole list.
func checkCounts(t require.TestingT, s mailbox.State, metas []mailbox.Meta) {
	var unseen, deleted int
	var size int64
	for _, m := range metas {
		if m.Flags&mailbox.Seen == 0 {
			unseen++
		}
		if m.Flags&mailbox.Deleted != 0 {
			deleted++
		}
		if size += m.Size; m.Size < 0 {
			size = -1 << 62
		}
	}
	require.Equal(t, len(metas), s.Messages)
	require.Contains(t, []int{-1, unseen}, s.Unseen)
	require.Contains(t, []int{-1, deleted}, s.Deleted)
	if size >= 0 {
		require.Contains(t, []int64{-1, size}, s.Size)
	}
}

// state asks for the State alone.
func (b *box) state() mailbox.State {
	b.f.Helper()
	ch, metas := b.changes(mailbox.Latest)
	require.Empty(b.f, metas, "nothing is newer than Latest")
	return ch.State
}

// uids lists the folder.
func (b *box) uids() []mailbox.UID {
	b.f.Helper()
	var uids []mailbox.UID
	_, metas := b.changes(0)
	for _, m := range metas {
		uids = append(uids, m.UID)
	}
	return uids
}

// meta returns the Meta of one message.
func (b *box) meta(u mailbox.UID) mailbox.Meta {
	b.f.Helper()
	_, metas := b.changes(0)
	i := slices.IndexFunc(metas, func(m mailbox.Meta) bool { return m.UID == u })
	require.GreaterOrEqual(b.f, i, 0, "UID %d", u)
	return metas[i]
}

// flags returns the flags of one message by name.
func (b *box) flags(u mailbox.UID) mailbox.FlagList {
	b.f.Helper()
	ch, metas := b.changes(0)
	for _, m := range metas {
		if m.UID == u {
			return m.Flags.List(ch.State.Keywords)
		}
	}
	b.f.Fatalf("no UID %d", u)
	return mailbox.FlagList{}
}

// read returns the octets of one message.
func (b *box) read(u mailbox.UID) string {
	b.f.Helper()
	texts := b.texts(mailbox.UIDs(u))
	require.Len(b.f, texts, 1, "UID %d", u)
	return texts[0]
}

// texts reads messages and checks their Meta and Content against each other.
func (b *box) texts(uids mailbox.UIDSet) []string {
	b.f.Helper()
	var texts []string
	var last mailbox.UID
	for msg, err := range b.Read(b.f.ctx, uids) {
		require.NoError(b.f, err)
		require.Greater(b.f, msg.UID, last, "ascending UIDs")
		last = msg.UID
		text, err := io.ReadAll(io.NewSectionReader(msg.Content, 0, msg.Content.Size()))
		require.NoError(b.f, err)
		require.EqualValues(b.f, msg.Content.Size(), len(text), "Content.Size")
		require.Contains(b.f, []int64{-1, int64(len(text))}, msg.Size, "Meta.Size")
		texts = append(texts, string(text))
	}
	return texts
}

func (b *box) setFlags(op mailbox.FlagOp, l mailbox.FlagList, uids ...mailbox.UID) mailbox.FlagResult {
	b.f.Helper()
	res, err := b.SetFlags(b.f.ctx, mailbox.UIDs(uids...), mailbox.FlagChange{Op: op, Flags: l})
	require.NoError(b.f, err)
	return res
}
