package mailboxtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// aclOperations adds a call of each operation on access control lists.
func aclOperations(f *fixture, all map[mailbox.OpKind]func() error) {
	if o, ok := mailbox.As[mailbox.ACLKeeper](f.acc); ok {
		all[mailbox.OpACL] = func() error { _, err := o.ACL(f.ctx, "INBOX"); return err }
		all[mailbox.OpChangeACL] = func() error {
			return o.ChangeACL(f.ctx, "INBOX", mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: mailbox.ACLEntry{ID: "x", Rights: mailbox.AllRights}})
		}
	}
	if o, ok := mailbox.As[mailbox.AccessControl](f.acc); ok {
		all[mailbox.OpMyRights] = func() error { _, err := o.MyRights(f.ctx, "INBOX"); return err }
		all[mailbox.OpGrantable] = func() error { _, _, err := o.Grantable(f.ctx, "INBOX", "x"); return err }
	}
}

// entry makes an entry as a client writes it.
func entry(id string, rights string) mailbox.ACLEntry {
	e := mailbox.ACLEntry{ID: mailbox.Identifier(id)}
	if e.Negative = id[0] == '-'; e.Negative {
		e.ID = e.ID[1:]
	}
	var err error
	if e.Rights, err = mailbox.ParseRights(rights); err != nil {
		panic(err)
	}
	return e
}

// testACLKeeper: lists are kept, change entry by entry, go with their folders and end with them.
func testACLKeeper(f *fixture) {
	k := need[mailbox.ACLKeeper](f, f.acc)
	_, controlled := mailbox.As[mailbox.AccessControl](f.acc)
	list := func(name string) mailbox.ACL {
		l, err := mailbox.GetACL(f.ctx, f.acc, name)
		require.NoError(f, err)
		if controlled { // the owner comes first
			require.Equal(f, mailbox.ACLEntry{ID: mailbox.Identifier(f.suite.User), Rights: mailbox.AllRights}, l[0])
			l = l[1:]
		}
		return append(mailbox.ACL{}, l...)
	}
	change := func(name string, op mailbox.ACLOp, e mailbox.ACLEntry) {
		f.Helper()
		require.NoError(f, mailbox.ChangeACL(f.ctx, f.acc, name, mailbox.ACLChange{Op: op, Entry: e}))
	}
	f.folder("Work")
	require.Empty(f, list("Work"))
	change("Work", mailbox.ACLReplace, entry("bob", "lrs"))
	change("Work", mailbox.ACLAdd, entry("bob", "wi"))
	change("Work", mailbox.ACLRemove, entry("bob", "s"))
	change("Work", mailbox.ACLReplace, entry("-bob", "w"))
	change("Work", mailbox.ACLAdd, entry("carol smith@example.org", "lr"))
	change("Work", mailbox.ACLAdd, entry("$team", "l"))
	change("Work", mailbox.ACLAdd, entry("!$team", "k"))
	change("Work", mailbox.ACLRemove, entry("nobody", "l"))
	change("Work", mailbox.ACLDelete, entry("nobody", ""))
	change("Work", mailbox.ACLReplace, entry("жук \"quoted\\", "x"))
	want := mailbox.ACL{
		entry("bob", "lrwi"), entry("-bob", "w"), entry("carol smith@example.org", "lr"), entry("$team", "l"), entry("!$team", "k"),
		entry("жук \"quoted\\", "x"),
	}
	require.ElementsMatch(f, want, list("Work"))
	require.Empty(f, list("INBOX"), "each folder has its own")
	require.NoError(f, f.acc.Rename(f.ctx, "Work", "Job"))
	require.ElementsMatch(f, want, list("Job"), "it goes with the folder")
	change("Job", mailbox.ACLDelete, entry("-bob", ""))
	require.NotContains(f, list("Job"), entry("-bob", "w"))
	require.NoError(f, f.acc.Delete(f.ctx, "Job"))
	f.folder("Job")
	require.Empty(f, list("Job"), "RFC 4314 §4: it is gone with the folder")
	change("INBOX", mailbox.ACLReplace, entry("bob", "p"))
	require.Equal(f, mailbox.ACL{entry("bob", "p")}, list("inbox"))

	_, err := k.ACL(f.ctx, "absent")
	require.ErrorIs(f, err, mailbox.ErrNotFound)
	for _, id := range []string{"", "-x", "$", "tab\there", "line\nbreak", "\xff"} {
		c := mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: mailbox.ACLEntry{ID: mailbox.Identifier(id), Rights: mailbox.AllRights}}
		require.ErrorIs(f, k.ChangeACL(f.ctx, "INBOX", c), mailbox.ErrIdentifier, "%q", id)
		require.ErrorIs(f, k.ChangeACL(f.ctx, "absent", mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: entry("a", "l")}), mailbox.ErrNotFound)
	}
	testACLLimit(f, k)
	testACLConcurrent(f, k)
}

func testACLLimit(f *fixture, k mailbox.ACLKeeper) {
	f.folder("Full")
	var all []mailbox.ACLChange
	for i := range mailbox.MaxACLEntries {
		all = append(all, mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: entry(fmt.Sprintf("u%d", i), "l")})
	}
	require.NoError(f, k.ChangeACL(f.ctx, "Full", all...))
	more := mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: entry("one-more", "l")}
	require.ErrorIs(f, k.ChangeACL(f.ctx, "Full", more), mailbox.ErrACLLimit)
	less := mailbox.ACLChange{Op: mailbox.ACLDelete, Entry: entry("u0", "")}
	require.NoError(f, k.ChangeACL(f.ctx, "Full", less, more))
}

// testACLConcurrent: changes do not undo each other.
func testACLConcurrent(f *fixture, k mailbox.ACLKeeper) {
	f.folder("Busy")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			errs[i] = k.ChangeACL(context.WithoutCancel(f.ctx), "Busy", mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: entry(fmt.Sprintf("u%d", i), "l")})
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(f, err)
	}
	l, err := k.ACL(f.ctx, "Busy")
	require.NoError(f, err)
	for i := range errs {
		require.Contains(f, l, entry(fmt.Sprintf("u%d", i), "l"))
	}
}
