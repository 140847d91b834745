package maildir_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

func TestFolderDirs(t *testing.T) {
	for name, dir := range map[string]string{
		"INBOX": "", "inbox": "", "Sent": ".Sent", "Lists/Go": ".Lists.Go", "INBOX/Sub": ".INBOX.Sub",
		"inbox/Sub": ".INBOX.Sub", "Entwürfe": ".Entw&APw-rfe", "A & B": ".A &- B", "~x": ".~x", "cur": ".cur",
	} {
		got, err := maildir.FolderDir(name)
		require.NoError(t, err, name)
		require.Equal(t, dir, got)
		if dir != "" {
			back, ok := maildir.FolderName(dir)
			require.True(t, ok)
			require.Equal(t, mailbox.CanonicalName(name), back)
		}
	}
}

var hostileNames = []string{
	"../x", "a/../../b", ".", "..", "", "/", "a//b", "/a", "a/", "a\r\nb", "a\x00b", strings.Repeat("x", 300), "a.b", ".hidden",
	"a%b", "a*", "\xff", "a/./b", "a/../b", "\u2028", "\x7f", "tmp/../../..", strings.Repeat("ü", 120),
}

// I08: names that could lead anywhere else are refused by every call, and nothing is made.
func TestI08_HostileFolderNames(t *testing.T) {
	outer := t.TempDir()
	s := &maildir.Store{Root: filepath.Join(outer, "mail")}
	a, _ := open(t, s, "u", "INBOX")
	require.NoError(t, a.Create(t.Context(), "good", mailbox.CreateOptions{}))
	before := tree(t, outer)
	for _, name := range hostileNames {
		require.ErrorIs(t, a.Create(t.Context(), name, mailbox.CreateOptions{}), mailbox.ErrName, "%q", name)
		require.ErrorIs(t, a.Rename(t.Context(), "good", name), mailbox.ErrName, "%q", name)
		require.ErrorIs(t, a.Delete(t.Context(), name), mailbox.ErrName, "%q", name)
		_, err := a.Open(t.Context(), name)
		require.ErrorIs(t, err, mailbox.ErrName, "%q", name)
		require.Error(t, mailbox.Subscribe(t.Context(), a, name, true))
		if name != "" { // which is INBOX here
			require.ErrorIs(t, s.Deliver(t.Context(), "u", name, strings.NewReader("x"), mailbox.AppendOptions{}), mailbox.ErrName)
		}
	}
	require.Equal(t, before, tree(t, outer))
}

// I08: directories that are no canonical names do not show, and can not be reached.
func TestI08_ForeignDirectories(t *testing.T) {
	root := t.TempDir()
	s := &maildir.Store{Root: root}
	a, _ := open(t, s, "u", "INBOX")
	for _, dir := range []string{".&AC4ALg-", ".&AC8-", ".&AAA-", ".&2AA-", ".a..b", "..a", ".&AGE-", ".INBOX", ".ok"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, "u", dir, "cur"), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "u", ".file"), nil, 0o600))
	require.NoError(t, os.Symlink("/", filepath.Join(root, "u", ".link")))
	var names []string
	for info, err := range a.Mailboxes(t.Context()) {
		require.NoError(t, err)
		names = append(names, info.Name)
	}
	slices.Sort(names)
	require.Equal(t, []string{"INBOX", "ok"}, names)
	_, err := a.Open(t.Context(), "link")
	require.Error(t, err)
}

func FuzzI08_FolderDir(f *testing.F) {
	for _, n := range hostileNames {
		f.Add(n)
	}
	f.Add("Entwürfe/ä&b")
	f.Fuzz(func(t *testing.T, name string) {
		dir, err := maildir.FolderDir(name)
		if err != nil {
			require.ErrorIs(t, err, mailbox.ErrName)
			return
		}
		if dir == "" {
			require.Equal(t, "INBOX", mailbox.CanonicalName(name))
			return
		}
		require.Equal(t, byte('.'), dir[0])
		require.NotContains(t, dir, "/")
		require.NotContains(t, dir, "..")
		require.LessOrEqual(t, len(dir), 255)
		back, ok := maildir.FolderName(dir)
		require.True(t, ok)
		require.Equal(t, mailbox.CanonicalName(name), back)
	})
}

func FuzzAccountPath(f *testing.F) {
	for _, u := range []string{"a@b", "", "@", "../../x@y", "a/b@c/d", ".x@.y", "a\x00b@c", "{domain}@x", "%2F@x", "ü@x"} {
		f.Add(u, "c@d")
	}
	f.Fuzz(func(t *testing.T, user, other string) {
		const pattern = "/mail/{domain}/x{local}x/Maildir"
		path, err := maildir.AccountPath(pattern, user)
		if err != nil {
			require.ErrorIs(t, err, mailbox.ErrNotFound)
			return
		}
		require.Equal(t, path, filepath.Clean(path))
		require.True(t, strings.HasPrefix(path, "/mail/"))
		require.Equal(t, 4, strings.Count(path, "/"))
		if p, err := maildir.AccountPath(pattern, other); err == nil && other != user {
			require.NotEqual(t, path, p, "two users, one place")
		}
	})
}

func TestAccountPaths(t *testing.T) {
	for _, c := range [][3]string{
		{"/m/{domain}/{local}/Maildir", "a@b.test", "/m/b.test/a/Maildir"},
		{"/m", "a@b.test", "/m/a@b.test"},
		{"/m/{local}", "x@y@b", "/m/x@y"},
		{"/m/{user}", "../etc", "/m/%2E.%2Fetc"},
		{"/m/{local}", ".forward@b", "/m/%2Eforward"},
	} {
		got, err := maildir.AccountPath(c[0], c[1])
		require.NoError(t, err)
		require.Equal(t, c[2], got)
	}
	for _, c := range [][2]string{{"/m/{domain}/{local}", "nodomain"}, {"/m", ""}, {"/m", "a\x00"}, {"/m", "a\nb"}, {"/m", "\xff"}, {"/m", strings.Repeat("x", 256)}} {
		_, err := maildir.AccountPath(c[0], c[1])
		require.ErrorIs(t, err, mailbox.ErrNotFound, "%q", c)
	}
	_, err := maildir.AccountPath("/m/{nobody}", "a")
	require.Error(t, err)
}

// tree lists everything below a directory.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return all
}
