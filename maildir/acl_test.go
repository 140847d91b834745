package maildir

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

func aclEntry(id mailbox.Identifier, negative bool, letters string) mailbox.ACLEntry {
	r, err := mailbox.ParseRights(letters)
	if err != nil {
		panic(err)
	}
	return mailbox.ACLEntry{ID: id, Negative: negative, Rights: r}
}

func TestParseACL(t *testing.T) {
	for text, want := range map[string]mailbox.ACL{
		"":                                    nil,
		"\n# user=bob lr\n\n":                 nil,
		"anyone lr\n":                         {aclEntry("anyone", false, "lr")},
		"anonymous lr":                        {aclEntry("anyone", false, "lr")},
		"authenticated l":                     {aclEntry("authenticated", false, "l")},
		"owner lrwstipekxa":                   {aclEntry("owner", false, "lrwstipekxa")},
		"user=bob":                            {aclEntry("bob", false, "")},
		"user=bob ":                           {aclEntry("bob", false, "")},
		"user=bob lr\n-user=bob r\n":          {aclEntry("bob", false, "lr"), aclEntry("bob", true, "r")},
		"group=team k":                        {aclEntry("$team", false, "k")},
		"group-override=team x":               {aclEntry("!$team", false, "x")},
		"-anyone w":                           {aclEntry("anyone", true, "w")},
		`"user=bob smith" lr`:                 {aclEntry("bob smith", false, "lr")},
		`"-user=bob smith" lr`:                {aclEntry("bob smith", true, "lr")},
		`"user=q\"uo\\te d" i`:                {aclEntry(`q"uo\te d`, false, "i")},
		`user=q"uote i`:                       {aclEntry(`q"uote`, false, "i")},
		"user=bob lr :read write-deleted x-a": {aclEntry("bob", false, "lrt")},
		"user=bob :lookup, insert":            {aclEntry("bob", false, "li")},
		"-user=bob :read":                     {aclEntry("bob", true, "r")},
		"user=bob lr\nuser=bob w\n":           {aclEntry("bob", false, "lrw")},
	} {
		lines, err := parseACL([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, entriesOf(lines), "%q", text)
	}
}

// A line that is not understood may have taken rights away: nothing of the file counts.
func TestParseACLDamaged(t *testing.T) {
	for _, text := range []string{
		"bogus lr", "user=bob lr\nbogus lr\n", "user= lr", "group= lr", "user=bob lrq", "user=bob LR", "user=bob lrc", "user=bob lrd",
		`"user=bob lr`, `"user=bob\`, "user=bob\tlr", "user=anyone lr", "user=owner lr", "user=$team lr", "user=-x lr", "group=\x01 lr",
		"user=\xff lr", "user=bob lr\r\n", "--user=bob lr", "user=bob lr 1",
	} {
		_, err := parseACL([]byte(text))
		require.ErrorIs(t, err, errACL, "%q", text)
	}
}

// What Dovecot has written stays as it is, but for the line that changes.
func TestChangeACLKeepsOtherLines(t *testing.T) {
	const before = "# by hand\nuser=bob lr :x-own\n\n\"user=a b\" lrw :read\nuser=eve l\nuser=eve r\n-group=team w\n"
	for _, c := range []struct {
		change mailbox.ACLChange
		after  string
	}{
		{mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: aclEntry("bob", false, "w")}, strings.Replace(before, "user=bob lr :x-own", "user=bob lrw :x-own", 1)},
		{mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: aclEntry("bob", false, "r")}, before},
		{mailbox.ACLChange{Op: mailbox.ACLDelete, Entry: aclEntry("$team", true, "")}, strings.Replace(before, "-group=team w\n", "", 1)},
		{mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: aclEntry("eve", false, "i")}, strings.Replace(before, "user=eve l\nuser=eve r\n", "user=eve i\n", 1)},
		{mailbox.ACLChange{Op: mailbox.ACLDelete, Entry: aclEntry("eve", false, "")}, strings.Replace(before, "user=eve l\nuser=eve r\n", "", 1)},
		{mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: aclEntry("c d", true, "ka")}, before + "\"-user=c d\" ka\n"},
		{mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: aclEntry("!$x", false, "")}, before + "group-override=x \n"},
	} {
		dir := t.TempDir()
		s := &Store{Root: filepath.Join(dir, "{user}")}
		t.Cleanup(func() { s.Close() })
		a, err := s.Account(t.Context(), "joe")
		require.NoError(t, err)
		file := filepath.Join(dir, "joe", "dovecot-acl")
		require.NoError(t, os.WriteFile(file, []byte(before), 0o600))
		cache := filepath.Join(dir, "joe", "dovecot-acl-list")
		require.NoError(t, os.WriteFile(cache, []byte("old"), 0o600))
		require.NoError(t, mailbox.ChangeACL(t.Context(), a, "INBOX", c.change))
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, c.after, string(got), "%+v", c.change)
		require.NoFileExists(t, cache, "Dovecot looks again")
		require.NoFileExists(t, file+".lock")
		require.NoError(t, a.Close())
	}
}

// A file that is changed behind our back counts at the next question; a damaged one is never overwritten; one that is
// too long is refused.
func TestACLReload(t *testing.T) {
	dir := t.TempDir()
	s := &Store{Root: filepath.Join(dir, "{user}")}
	t.Cleanup(func() { s.Close() })
	a, err := s.Account(t.Context(), "joe")
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	require.NoError(t, a.Create(t.Context(), "Work/Sub", mailbox.CreateOptions{}))
	file := filepath.Join(dir, "joe", ".Work.Sub", "dovecot-acl")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("user=bob lr\n")
	l, err := mailbox.GetACL(t.Context(), a, "Work/Sub")
	require.NoError(t, err)
	require.Equal(t, mailbox.ACL{aclEntry("bob", false, "lr")}, l)
	write("user=bob lw\n") // the same size, in the same second
	l, err = mailbox.GetACL(t.Context(), a, "Work/Sub")
	require.NoError(t, err)
	require.Equal(t, mailbox.ACL{aclEntry("bob", false, "lw")}, l)

	write("bogus\n")
	_, err = mailbox.GetACL(t.Context(), a, "Work/Sub")
	require.ErrorIs(t, err, errACL)
	require.ErrorIs(t, mailbox.ChangeACL(t.Context(), a, "Work/Sub", mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: aclEntry("bob", false, "l")}), errACL)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "bogus\n", string(text))

	write(strings.Repeat("#", aclLimit-1) + "\n")
	_, err = mailbox.GetACL(t.Context(), a, "Work/Sub")
	require.NoError(t, err)
	require.ErrorIs(t, mailbox.ChangeACL(t.Context(), a, "Work/Sub", mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: aclEntry("bob", false, "l")}), mailbox.ErrACLLimit)
	write(strings.Repeat("#", aclLimit) + "\n")
	_, err = mailbox.GetACL(t.Context(), a, "Work/Sub")
	require.Error(t, err)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Symlink("/etc/passwd", file))
	_, err = mailbox.GetACL(t.Context(), a, "Work/Sub")
	require.ErrorIs(t, err, faultfs.ErrNotRegular, "F06")
}

// F02: an access control list is the old one or the new one after a power cut, and the new one once it is acknowledged.
func TestF02_ACLCrash(t *testing.T) {
	ctx := context.Background()
	with := func(fsys faultfs.FS, do func(a mailbox.Account) error) error {
		s := &Store{Root: "/mail", FS: fsys}
		defer s.Close()
		a, err := s.Account(ctx, "joe")
		if err != nil {
			return err
		}
		defer a.Close()
		return do(a)
	}
	set := func(letters string) func(a mailbox.Account) error {
		return func(a mailbox.Account) error {
			return mailbox.ChangeACL(ctx, a, "INBOX", mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: aclEntry("bob", false, letters)})
		}
	}
	_, err := faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Limit: 100,
		Setup: func(c *faultfs.Crash) error { return with(c, set("lr")) },
		Op:    func(c *faultfs.Crash) error { return with(c, set("lrw")) },
		Check: func(s *faultfs.CrashState) error {
			return with(s.FS, func(a mailbox.Account) error {
				l, err := mailbox.GetACL(ctx, a, "INBOX")
				if err == nil && (len(l) != 1 || l[0] != aclEntry("bob", false, "lrw") && (s.Done || l[0] != aclEntry("bob", false, "lr"))) {
					t.Errorf("list %v, acknowledged %t", l, s.Done)
				}
				return err
			})
		},
	})
	require.NoError(t, err)
}

// Whatever is in the file: what is read of it and written again says the same.
func FuzzACLFile(f *testing.F) {
	for _, s := range []string{"user=bob lr\n", "\"-user=a b\" lr :x y\n# c\n\nanyone \n", "group-override=x kxa", "\"a\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseACL([]byte(text))
		if err != nil {
			return
		}
		l := entriesOf(lines)
		again, err := parseACL([]byte(mergeACL(lines, l, l)))
		require.NoError(t, err)
		require.Equal(t, l, entriesOf(again), "%q", text)
		var b strings.Builder
		for _, e := range l {
			b.WriteString(formatACLLine(e, "") + "\n")
		}
		again, err = parseACL([]byte(b.String()))
		require.NoError(t, err)
		require.Equal(t, l, entriesOf(again), "%q", text)
	})
}
