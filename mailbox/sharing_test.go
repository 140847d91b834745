package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/goniec-mail/goniec/maildir"
)

// shared is a store in which joe has folders and bob wants to see them.
type shared struct {
	*testing.T
	raw      mailbox.Store
	store    *mailbox.SharedStore
	joe, bob mailbox.Account
}

func newShared(t *testing.T, raw mailbox.Store, o mailbox.Sharing) *shared {
	s := &shared{T: t, raw: raw, store: mailbox.WithSharing(raw, o)}
	s.joe, s.bob = s.account("joe"), s.account("bob")
	require.NoError(t, s.joe.Create(t.Context(), "Work", mailbox.CreateOptions{}))
	return s
}

func (s *shared) account(user string) mailbox.Account {
	s.Helper()
	a, err := s.store.Account(s.Context(), user)
	require.NoError(s, err)
	s.Cleanup(func() { a.Close() })
	return a
}

// grant replaces what an identifier may do with a folder of joe's.
func (s *shared) grant(folder, id, letters string) {
	s.Helper()
	require.NoError(s, mailbox.ChangeACL(s.Context(), s.joe, folder, mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: list(s, id+" "+letters)[0]}))
}

func (s *shared) open(a mailbox.Account, name string) mailbox.Mailbox {
	s.Helper()
	m, err := a.Open(s.Context(), name)
	require.NoError(s, err, name)
	s.Cleanup(func() { m.Close() })
	return m
}

func (s *shared) fill(m mailbox.Mailbox, flags ...mailbox.FlagList) {
	s.Helper()
	for _, f := range flags {
		_, err := m.Append(s.Context(), strings.NewReader("Subject: x\r\n\r\nx\r\n"), mailbox.AppendOptions{Flags: f})
		require.NoError(s, err)
	}
}

func names(t *testing.T, a mailbox.Account) (all []string) {
	t.Helper()
	for info, err := range a.Mailboxes(t.Context()) {
		require.NoError(t, err)
		all = append(all, info.Name)
	}
	slices.Sort(all)
	return all
}

// flagsOf returns the flags of all messages.
func flagsOf(t *testing.T, m mailbox.Mailbox) (all []mailbox.FlagList) {
	t.Helper()
	ch, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	for meta := range ch.Messages {
		l := meta.Flags.List(ch.State.Keywords)
		slices.Sort(l.Keywords)
		all = append(all, l)
	}
	return all
}

const work = "Other Users/joe/Work"

// S: flags that may not be changed stay as they are on every message, those that may be are changed (RFC 4314 §4).
func TestSetFlagsChangesWhatMayBeChanged(t *testing.T) {
	flagLists := []mailbox.FlagList{
		{},
		{System: mailbox.Seen},
		{System: mailbox.Deleted, Keywords: []string{"a"}},
		{System: mailbox.Flagged | mailbox.Seen, Keywords: []string{"b"}},
		{System: mailbox.SystemFlags, Keywords: []string{"a", "b"}},
	}
	for _, letters := range []string{"s", "w", "t", "sw", "st", "wt", "swt"} {
		for _, op := range []mailbox.FlagOp{mailbox.FlagsAdd, mailbox.FlagsRemove, mailbox.FlagsReplace} {
			for _, change := range flagLists {
				s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
				own := s.open(s.joe, "Work")
				s.fill(own, flagLists...)
				s.grant("Work", "bob", "lr"+letters)
				may := rights(t, letters)
				before := flagsOf(t, own)
				_, err := s.open(s.bob, work).SetFlags(t.Context(), mailbox.AllUIDs(), mailbox.FlagChange{Op: op, Flags: change})
				after := flagsOf(t, own)
				if err != nil {
					require.ErrorIs(t, err, mailbox.ErrForbidden)
					require.Empty(t, may.Permit(change), "%s %v %v", letters, op, change)
					require.NotEqual(t, mailbox.FlagsReplace, op)
				}
				for i := range before {
					require.Equal(t, expected(may, op, before[i], change), after[i], "%s op %v of %v on %v", letters, op, change, before[i])
				}
			}
		}
	}
}

// expected is what becomes of a message's flags, flag by flag.
func expected(may mailbox.Rights, op mailbox.FlagOp, old, change mailbox.FlagList) (l mailbox.FlagList) {
	one := func(can, has, named bool) bool {
		switch {
		case !can:
			return has
		case op == mailbox.FlagsAdd:
			return has || named
		case op == mailbox.FlagsRemove:
			return has && !named
		}
		return named
	}
	for f := mailbox.Seen; f <= mailbox.Draft; f <<= 1 {
		if one(may.Flags()&f != 0, old.System&f != 0, change.System&f != 0) {
			l.System |= f
		}
	}
	for _, k := range []string{"a", "b"} {
		if one(may.Has(mailbox.RightWrite), slices.Contains(old.Keywords, k), slices.Contains(change.Keywords, k)) {
			l.Keywords = append(l.Keywords, k)
		}
	}
	return l
}

// A conditional replacement by somebody with a part of the rights leaves alone what others have changed.
func TestReplaceSomeUnchangedSince(t *testing.T) {
	s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
	own := s.open(s.joe, "Work")
	s.fill(own, mailbox.FlagList{}, mailbox.FlagList{System: mailbox.Flagged}, mailbox.FlagList{})
	s.grant("Work", "bob", "lrs")
	ch, err := own.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	since := ch.State.ModSeq
	_, err = own.SetFlags(t.Context(), mailbox.UIDs(2), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Draft}})
	require.NoError(t, err)
	res, err := s.open(s.bob, work).SetFlags(t.Context(), mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsReplace, Flags: mailbox.FlagList{System: mailbox.Seen}, UnchangedSince: &since})
	require.NoError(t, err)
	require.Equal(t, mailbox.UIDs(1, 3), res.Changed)
	require.Equal(t, mailbox.UIDs(2), res.Modified)
	require.Equal(t, []mailbox.FlagList{{System: mailbox.Seen}, {System: mailbox.Flagged | mailbox.Draft}, {System: mailbox.Seen}}, flagsOf(t, own))
}

// The example of RFC 4314 §4: flags are lost on the way into a folder, the message is not.
func TestCopyDropsFlags(t *testing.T) {
	source := []mailbox.FlagList{
		{System: mailbox.Draft | mailbox.Deleted}, {System: mailbox.Answered}, {System: mailbox.Seen, Keywords: []string{"$Forwarded"}},
	}
	for letters, want := range map[string][]mailbox.FlagList{
		"lrwis": {{System: mailbox.Draft}, {System: mailbox.Answered}, {System: mailbox.Seen, Keywords: []string{"$Forwarded"}}},
		"lrsti": {{System: mailbox.Deleted}, {}, {System: mailbox.Seen}},
		"lri":   {{}, {}, {}},
	} {
		for _, from := range []string{"INBOX", "Other Users/joe/From"} {
			for how, transfer := range map[string]func(context.Context, mailbox.Account, string, uint32, mailbox.UIDSet, string) (mailbox.CopyResult, error){"copy": mailbox.Copy, "move": mailbox.Move} {
				s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
				require.NoError(t, s.joe.Create(t.Context(), "From", mailbox.CreateOptions{}))
				s.grant("From", "bob", "lrswipkxtea")
				s.grant("Work", "bob", letters)
				s.fill(s.open(s.bob, from), source...)
				res, err := transfer(t.Context(), s.bob, from, 0, mailbox.AllUIDs(), work)
				require.NoError(t, err)
				require.Len(t, res.Dest, 3)
				require.Equal(t, want, flagsOf(t, s.open(s.joe, "Work")), "%s with %s", how, letters)
				left := map[string]int{"copy": 3, "move": 0}[how]
				require.Len(t, flagsOf(t, s.open(s.bob, from)), left)
			}
		}
	}
}

// RFC 4314 §5.2: without any right to change something the folder is read-only.
func TestReadOnlyWithoutRights(t *testing.T) {
	s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
	for _, have := range sets(t) {
		s.grant("Work", "bob", (have | mailbox.RightRead).String())
		ch, err := s.open(s.bob, work).Changes(t.Context(), mailbox.Latest)
		require.NoError(t, err)
		require.Equal(t, !strings.ContainsAny(have.String(), "ieswt"), ch.State.ReadOnly, "%q", have)
	}
}

// Names of users that have a meaning in names of folders, and their folders' own. Each is found under one name, which
// clients can list.
func TestNamesOfOwners(t *testing.T) {
	for _, owner := range []string{
		"joe@example.org", "a/b", "..", ".", "100%", "*", "x=2Fy", "жук@пример.рф", "a b", `q"uote`, "back\\slash", "inbox", "INBOX", "tab\tbed", "Shared",
	} {
		raw := mailbox.NewMemory()
		st := mailbox.WithSharing(raw, mailbox.Sharing{PublicUser: "public"})
		a, err := st.Account(t.Context(), owner)
		require.NoError(t, err)
		require.NoError(t, mailbox.ChangeACL(t.Context(), a, "INBOX", mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: mailbox.ACLEntry{ID: "bob", Rights: mailbox.AllRights}}))
		bob, err := st.Account(t.Context(), "bob")
		require.NoError(t, err)
		all := names(t, bob)
		require.Len(t, all, 2, owner)
		name := all[1]
		require.NoError(t, mailbox.CheckName(name), owner)
		require.NotContains(t, name, "*")
		require.NotContains(t, name, "%")
		require.Equal(t, 2, strings.Count(name, "/"))
		m, err := bob.Open(t.Context(), strings.Replace(name, "INBOX", "inbox", 1))
		if !strings.Contains(owner, "INBOX") {
			require.NoError(t, err, owner)
			require.NoError(t, m.Close())
		}
		_, err = bob.Open(t.Context(), strings.ReplaceAll(name, "=", "=3D"))
		require.Equal(t, strings.Contains(name, "="), errors.Is(err, mailbox.ErrNotFound), "each has one name: %s", owner)
		// Subscriptions too, in stores that do not bear such names.
		require.NoError(t, mailbox.Subscribe(t.Context(), bob, name, true))
		subscribed, err := mailbox.Subscribed(t.Context(), bob)
		require.NoError(t, err)
		require.Equal(t, []string{name}, subscribed)
	}
}

// Nobody's account is made, or looked into, because somebody has named it.
func TestNamingAnAccountDoesNotMakeIt(t *testing.T) {
	made := make(map[string]bool)
	raw := mailbox.InterceptStore(mailbox.NewMemory(), func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if op.Kind == mailbox.OpAccount {
			made[op.User] = true
		}
		return next(ctx)
	})
	s := newShared(t, raw, mailbox.Sharing{})
	for _, name := range []string{"Other Users/ghost/INBOX", "Other Users/ghost", "Other Users//INBOX", "Other Users/", "Other Users/joe/"} {
		_, err := s.bob.Open(t.Context(), name)
		require.ErrorIs(t, err, mailbox.ErrNotFound)
		require.ErrorIs(t, s.bob.Delete(t.Context(), name), mailbox.ErrNotFound)
		err = s.bob.Create(t.Context(), name+"/x", mailbox.CreateOptions{})
		require.True(t, errors.Is(err, mailbox.ErrForbidden) || errors.Is(err, mailbox.ErrName), "%v", err)
		require.ErrorIs(t, mailbox.DeliverAll(t.Context(), s.store, []mailbox.Target{{User: "bob", Name: name}}, strings.NewReader(""), mailbox.AppendOptions{})[0], mailbox.ErrNotFound)
	}
	require.Equal(t, map[string]bool{"joe": true, "bob": true}, made)
}

// Own folders of the names of a namespace are hidden by it.
func TestNamespacesHideOwnFolders(t *testing.T) {
	raw := mailbox.NewMemory()
	own, err := raw.Account(t.Context(), "bob")
	require.NoError(t, err)
	for _, name := range []string{"Other Users", "Other Users/joe/Work", "Shared/x", "Other Usersx"} {
		require.NoError(t, own.Create(t.Context(), name, mailbox.CreateOptions{}))
	}
	s := newShared(t, raw, mailbox.Sharing{PublicUser: "public"})
	require.Equal(t, []string{"INBOX", "Other Usersx"}, names(t, s.bob))
	_, err = s.bob.Open(t.Context(), work)
	require.ErrorIs(t, err, mailbox.ErrNotFound)
}

// Special uses and identities: another's Sent is not mine.
func TestSpecialUseIsTheOwners(t *testing.T) {
	s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
	require.NoError(t, s.joe.Create(t.Context(), "Sent", mailbox.CreateOptions{SpecialUse: mailbox.UseSent}))
	s.grant("Sent", "bob", "lrswipkxtea")
	_, err := mailbox.WithUse(t.Context(), s.bob, mailbox.UseSent)
	require.ErrorIs(t, err, mailbox.ErrNotFound)
	name, err := mailbox.WithUse(t.Context(), s.joe, mailbox.UseSent)
	require.NoError(t, err)
	require.Equal(t, "Sent", name)
}

// The quota that a message counts on is that of the folder's owner.
func TestQuotaIsTheOwners(t *testing.T) {
	s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
	s.grant("Work", "bob", "lri")
	q, ok := mailbox.As[mailbox.QuotaKeeper](s.joe)
	require.True(t, ok)
	require.NoError(t, q.SetQuota(t.Context(), 0, 1))
	m := s.open(s.bob, work)
	s.fill(m, mailbox.FlagList{})
	_, err := m.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{})
	require.ErrorIs(t, err, mailbox.ErrOverQuota)
	use, err := mailbox.Quota(t.Context(), s.bob)
	require.NoError(t, err)
	require.Zero(t, use.Messages)
}

// A list that can not be read opens nothing, and hides nothing from the owner.
func TestBrokenListOpensNothing(t *testing.T) {
	broken := errors.New("disk on fire")
	fail := false
	raw := mailbox.InterceptStore(mailbox.NewMemory(), func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if fail && op.Kind == mailbox.OpACL {
			return broken
		}
		return next(ctx)
	})
	s := newShared(t, raw, mailbox.Sharing{})
	s.grant("Work", "bob", "lr")
	m := s.open(s.bob, work)
	fail = true
	_, err := m.Changes(t.Context(), 0)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, last(m.Read(t.Context(), mailbox.AllUIDs())), broken)
	_, err = s.bob.Open(t.Context(), work)
	require.ErrorIs(t, err, broken)
	s.fill(s.open(s.joe, "Work"), mailbox.FlagList{})
}

// A limit on owners: at the limit and one more; those who share with the user himself come first.
func TestMaxOwners(t *testing.T) {
	st := mailbox.WithSharing(mailbox.NewMemory(), mailbox.Sharing{MaxOwners: 2, AllowAnyone: true})
	for i, id := range []mailbox.Identifier{"anyone", "anyone", "bob"} {
		a, err := st.Account(t.Context(), fmt.Sprint("owner", i))
		require.NoError(t, err)
		require.NoError(t, mailbox.ChangeACL(t.Context(), a, "INBOX", mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: mailbox.ACLEntry{ID: id, Rights: mailbox.AllRights}}))
	}
	bob, err := st.Account(t.Context(), "bob")
	require.NoError(t, err)
	require.Equal(t, []string{"INBOX", "Other Users/owner0/INBOX", "Other Users/owner2/INBOX"}, names(t, bob))
}

// What the policy refuses: everybody, users that do not exist, names without canonical form.
func TestPolicy(t *testing.T) {
	s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{
		Exists: func(_ context.Context, user string) (bool, error) {
			if user == "down" {
				return false, context.DeadlineExceeded
			}
			return user == "bob", nil
		},
		Canonical: func(name string) (string, error) {
			if name == "bad" {
				return "", errors.New("no form")
			}
			return strings.ToLower(name), nil
		},
	})
	try := func(op mailbox.ACLOp, text string) error {
		return mailbox.ChangeACL(t.Context(), s.joe, "Work", mailbox.ACLChange{Op: op, Entry: list(t, text)[0]})
	}
	require.ErrorIs(t, try(mailbox.ACLReplace, "anyone l"), mailbox.ErrForbidden)
	require.ErrorIs(t, try(mailbox.ACLAdd, "authenticated l"), mailbox.ErrForbidden)
	require.ErrorIs(t, try(mailbox.ACLReplace, "carol l"), mailbox.ErrIdentifier)
	require.ErrorIs(t, try(mailbox.ACLReplace, "bad l"), mailbox.ErrIdentifier)
	require.ErrorIs(t, try(mailbox.ACLReplace, "down l"), context.DeadlineExceeded)
	for _, op := range []mailbox.ACLOp{mailbox.ACLReplace, mailbox.ACLAdd, mailbox.ACLRemove} {
		for _, owner := range []string{"joe l", "-joe l", "owner l", "JOE l"} {
			require.ErrorIs(t, try(op, owner), mailbox.ErrCannot, owner)
		}
	}
	require.NoError(t, try(mailbox.ACLDelete, "joe "), "what other programs wrote can be taken out")
	require.NoError(t, try(mailbox.ACLReplace, "BOB lr"))
	require.NoError(t, try(mailbox.ACLReplace, "-anyone w"), "less can always be given")
	require.NoError(t, try(mailbox.ACLDelete, "carol "))
	require.Contains(t, names(t, s.bob), work)
}

// What happens in shared folders is told to those who may see them, and to nobody else.
func TestSharedAccountWatch(t *testing.T) {
	s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
	require.NoError(t, s.joe.Create(t.Context(), "Secret", mailbox.CreateOptions{}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan string, 100)
	require.NoError(t, option[mailbox.AccountWatcher](s, s.bob).WatchAccount(ctx, func(name string) { told <- name }))
	next := func() string {
		select {
		case name := <-told:
			return name
		case <-time.After(time.Minute):
			t.Fatal("nothing was told")
			return ""
		}
	}
	s.grant("Work", "bob", "lr")
	require.Equal(t, "", next(), "the list of folders has changed")
	require.Equal(t, work, next(), "what came before joe's folders were watched is not known")
	s.fill(s.open(s.joe, "Secret"), mailbox.FlagList{})
	s.fill(s.open(s.joe, "Work"), mailbox.FlagList{})
	require.Equal(t, work, next())
	s.fill(s.open(s.bob, "INBOX"), mailbox.FlagList{})
	require.Equal(t, "INBOX", next())
	s.grant("Work", "bob", "")
	require.Equal(t, "", next())
	s.fill(s.open(s.joe, "Work"), mailbox.FlagList{})
	select {
	case name := <-told:
		t.Fatalf("told of %q", name)
	case <-time.After(100 * time.Millisecond):
	}
}

// The conformance suite over a folder of another's, for who has all rights: a shared folder is a folder. What needs an
// account of one's own is left out.
func TestSharedMailboxConforms(t *testing.T) {
	mailboxtest.Suite{
		Open: func(t *testing.T) mailbox.Store {
			return lent{mailbox.WithSharing(&maildir.Store{Root: "/mail", FS: faultfs.NewCrash(1)}, mailbox.Sharing{PublicUser: "public"}), t}
		},
		Lacks: mailboxtest.LacksFolders,
	}.Run(t)
}

// lent shows another's INBOX, with all rights, in the place of everybody's own.
type lent struct {
	*mailbox.SharedStore
	t *testing.T
}

func (l lent) Account(ctx context.Context, user string) (mailbox.Account, error) {
	owner := strings.Replace(user, "@", "-owner@", 1)
	o, err := l.SharedStore.Account(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	err = mailbox.ChangeACL(ctx, o, "INBOX", mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: mailbox.ACLEntry{ID: mailbox.Identifier(user), Rights: mailbox.AllRights}})
	if err != nil {
		return nil, err
	}
	a, err := l.SharedStore.Account(ctx, user)
	return lentAccount{a, "Other Users/" + owner + "/INBOX"}, err
}

// Supports hides DeliverAll: it delivers into own folders.
func (l lent) Supports(mailbox.Capability) bool { return false }

type lentAccount struct {
	mailbox.Account
	inbox string
}

func (a lentAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	if mailbox.CanonicalName(name) == "INBOX" {
		name = a.inbox
	}
	return a.Account.Open(ctx, name)
}
