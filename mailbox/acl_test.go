package mailbox_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
)

// rights reads letters.
func rights(t require.TestingT, letters string) mailbox.Rights {
	r, err := mailbox.ParseRights(letters)
	require.NoError(t, err)
	return r
}

// All sets of rights survive being written, with and without the letters for old clients.
func TestRightsRoundTrip(t *testing.T) {
	for r := range mailbox.AllRights + 1 {
		require.Equal(t, r, rights(t, r.String()))
		c := r.Compatible()
		require.Equal(t, r&(mailbox.RightCreate|mailbox.RightDelete) != 0, strings.Contains(c, "c"))
		require.Equal(t, r&(mailbox.RightDeleted|mailbox.RightExpunge) != 0, strings.Contains(c, "d"))
		require.Equal(t, r.String(), strings.TrimRight(c, "cd"))
	}
	require.Equal(t, "lrswipkxtea", mailbox.AllRights.String())
}

func TestParseRights(t *testing.T) {
	require.Equal(t, mailbox.RightCreate|mailbox.RightDelete, rights(t, "c"))
	require.Equal(t, mailbox.RightDeleted|mailbox.RightExpunge, rights(t, "d"))
	require.Equal(t, rights(t, "lrs"), rights(t, "srlsrl"), "in any order, any number of times")
	require.Zero(t, rights(t, ""))
	for _, bad := range []string{"L", "lrq", "0", "l r", "+l", "é", "\xff", "l\x00"} {
		_, err := mailbox.ParseRights(bad)
		require.ErrorIs(t, err, mailbox.ErrRights, "%q", bad)
	}
}

// list reads "bob lr, -$team w".
func list(t require.TestingT, text string) (l mailbox.ACL) {
	for item := range strings.SplitSeq(text, ",") {
		id, letters, _ := strings.Cut(strings.TrimSpace(item), " ")
		if id == "" {
			continue
		}
		name, negative := strings.CutPrefix(id, "-")
		l = append(l, mailbox.ACLEntry{ID: mailbox.Identifier(name), Negative: negative, Rights: rights(t, letters)})
	}
	return l
}

// Each line was also put to Dovecot 2.3 (see TestDovecotRights of package maildir).
func TestEffectiveRights(t *testing.T) {
	bob := mailbox.Subject{User: "bob", Groups: []string{"team", "all"}}
	for _, c := range []struct {
		who  mailbox.Subject
		list string
		want string
	}{
		{bob, "", ""},
		{bob, "carol lr", ""},
		{bob, "bob lr", "lr"},
		{bob, "Bob lr", ""}, // names are compared octet by octet
		{bob, "anyone lr", "lr"},
		{bob, "authenticated lr", "lr"},
		{bob, "$team lr", "lr"},
		{bob, "$other lr", ""},
		{bob, "owner lrswipkxtea", ""},
		// The most specific one counts alone.
		{bob, "anyone lr, bob w", "w"},
		{bob, "bob w, anyone lr", "w"},
		{bob, "anyone lrw, authenticated l", "l"},
		{bob, "authenticated lrw, $team r", "r"},
		{bob, "$team lr, bob ", ""},
		{bob, "anyone lr, bob ", ""},
		{bob, "bob lrswi, !$team l", "l"},
		{bob, "!$team , bob lr", ""},
		// Groups are added up.
		{bob, "$team lr, $all w, $other a", "lrw"},
		{bob, "!$team lr, !$all w", "lrw"},
		// What is negative is taken away, whoever gave it.
		{bob, "anyone lr, -bob r", "l"},
		{bob, "bob lr, -anyone r", "l"},
		{bob, "bob lr, -bob r", "l"},
		{bob, "bob lrw, -$team r, -$all w", "l"},
		{bob, "bob lr, -carol r, -$other l, -owner r", "lr"},
		{bob, "-bob r", ""},
		// Nobody in particular.
		{mailbox.Subject{}, "anyone lr, authenticated w, bob i", "lr"},
		{mailbox.Subject{}, "authenticated lr", ""},
		{mailbox.Subject{User: "carol"}, "bob lr, $team w", ""},
		// Users with the names of identifiers are not reached by these.
		{mailbox.Subject{User: "owner"}, "owner lr", ""},
		{mailbox.Subject{User: "$team"}, "$team lr", ""},
		{mailbox.Subject{User: "!$team"}, "!$team lr", ""},
		{mailbox.Subject{User: "x", Groups: []string{""}}, "$x lr", ""},
		// Owners have everything.
		{mailbox.Subject{User: "joe", Owner: true}, "joe l, -joe r, -anyone lrswipkxtea", "lrswipkxtea"},
	} {
		require.Equal(t, c.want, list(t, c.list).Rights(c.who).String(), "%+v in %q", c.who, c.list)
	}
}

func TestACLApply(t *testing.T) {
	change := func(op mailbox.ACLOp, text string) mailbox.ACLChange {
		return mailbox.ACLChange{Op: op, Entry: list(t, text)[0]}
	}
	for _, c := range []struct {
		before string
		op     mailbox.ACLOp
		change string
		after  string
	}{
		{"", mailbox.ACLReplace, "bob lr", "bob lr"},
		{"bob lr", mailbox.ACLReplace, "bob w", "bob w"},
		{"bob lr", mailbox.ACLReplace, "bob ", "bob "},
		{"bob lr", mailbox.ACLReplace, "-bob w", "bob lr, -bob w"},
		{"", mailbox.ACLAdd, "bob lr", "bob lr"},
		{"bob lr, carol i", mailbox.ACLAdd, "bob w", "bob lrw, carol i"},
		{"bob lr", mailbox.ACLRemove, "bob rw", "bob l"},
		{"bob lr", mailbox.ACLRemove, "bob lr", "bob "},
		{"bob lr", mailbox.ACLRemove, "carol l", "bob lr"},
		{"bob lr, -bob w", mailbox.ACLDelete, "bob ", "-bob w"},
		{"bob lr, -bob w", mailbox.ACLDelete, "-bob ", "bob lr"},
		{"bob lr", mailbox.ACLDelete, "carol ", "bob lr"},
	} {
		before := list(t, c.before)
		after, err := before.Apply(change(c.op, c.change))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(list(t, c.after)), fmt.Sprint(after), "%+v", c)
		require.Equal(t, list(t, c.before), before, "the old list is as it was")
	}
}

// Limits: at the limit and one more.
func TestACLLimits(t *testing.T) {
	var l mailbox.ACL
	for i := range mailbox.MaxACLEntries {
		l = append(l, mailbox.ACLEntry{ID: mailbox.Identifier(fmt.Sprint("u", i))})
	}
	_, err := l.Apply(mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: l[0]})
	require.NoError(t, err)
	_, err = l.Apply(mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: mailbox.ACLEntry{ID: "more"}})
	require.ErrorIs(t, err, mailbox.ErrACLLimit)

	long := mailbox.Identifier(strings.Repeat("x", mailbox.MaxIdentifierBytes))
	require.NoError(t, long.Check())
	require.ErrorIs(t, (long + "x").Check(), mailbox.ErrIdentifier)
}

// Without the optional interfaces everything is allowed and nothing is kept.
func TestACLFallbacks(t *testing.T) {
	a, err := mailboxtest.Core(mailbox.NewMemory()).Account(t.Context(), "alice")
	require.NoError(t, err)
	_, err = mailbox.GetACL(t.Context(), a, "INBOX")
	require.ErrorIs(t, err, mailbox.ErrCannot)
	require.ErrorIs(t, mailbox.ChangeACL(t.Context(), a, "INBOX"), mailbox.ErrCannot)
	r, err := mailbox.MyRights(t.Context(), a, "INBOX")
	require.NoError(t, err)
	require.Equal(t, mailbox.AllRights, r)
	require.Equal(t, mailbox.Namespaces{}, mailbox.NamespacesOf(a))
	require.True(t, mailbox.Namespaces{}.Personal("Other Users/x"))
}

func FuzzParseRights(f *testing.F) {
	for _, s := range []string{"", "lrswipkxtea", "cd", "lrq", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := mailbox.ParseRights(s)
		if err != nil {
			require.ErrorIs(t, err, mailbox.ErrRights)
			return
		}
		require.Equal(t, r, rights(t, r.String()))
		require.Equal(t, r, r&mailbox.AllRights)
	})
}
