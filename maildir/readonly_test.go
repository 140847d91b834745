//go:build unix

package maildir_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// setRights takes the right to write from a whole tree, or gives it back.
func setRights(t *testing.T, root string, write bool) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o400)
		if d.IsDir() {
			mode = 0o500
		}
		if write {
			mode |= 0o200
		}
		return os.Chmod(path, mode)
	}))
}

// A tree without the right to write can be read, and stays as it is.
func TestReadOnlyTree(t *testing.T) {
	if os.Getuid() == 0 && os.Getenv(childEnv) == "" {
		asNobody(t, "^TestReadOnlyTree$") // root may write everywhere
		return
	}
	root := t.TempDir()
	t.Cleanup(func() { setRights(t, root, true) })
	readOnlyTree(t, root, func(yes bool) { setRights(t, root, !yes) })
}

// So can a file system that is mounted read-only.
func TestReadOnlyFileSystem(t *testing.T) {
	disk := peertest.NewDisk(t, 32<<20)
	readOnlyTree(t, disk.Path, disk.ReadOnly)
}

func readOnlyTree(t *testing.T, root string, readOnly func(yes bool)) {
	look := func() (folderView, mailbox.Account, mailbox.Mailbox) {
		s := &maildir.Store{Root: root}
		t.Cleanup(func() { s.Close() })
		a, m := open(t, s, "u", "INBOX")
		v, err := lookFolder(t.Context(), a, "INBOX")
		require.NoError(t, err)
		return v, a, m
	}
	change := func(do func(s *maildir.Store, m mailbox.Mailbox)) {
		readOnly(false)
		s := &maildir.Store{Root: root}
		_, m := open(t, s, "u", "INBOX")
		do(s, m)
		require.NoError(t, m.Close())
		require.NoError(t, s.Close())
		readOnly(true)
	}
	var want folderView
	change(func(s *maildir.Store, m mailbox.Mailbox) {
		a, err := s.Account(t.Context(), "u")
		require.NoError(t, err)
		defer a.Close()
		require.NoError(t, a.Create(t.Context(), "Work/Old", mailbox.CreateOptions{}))
		for _, text := range []string{"one\r\n", "two\r\n", "three\r\n", "four\r\n"} {
			o := mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"Work"}}}
			_, err := m.Append(t.Context(), strings.NewReader(text), o)
			require.NoError(t, err)
		}
		_, err = m.Expunge(t.Context(), mailbox.UIDs(2))
		require.NoError(t, err)
		want, err = lookFolder(t.Context(), a, "INBOX")
		require.NoError(t, err)
	})
	before := tree(t, root)
	got, a, m := look()
	require.Equal(t, want.validity, got.validity)
	require.Equal(t, want.next, got.next)
	require.Equal(t, want.mails, got.mails)
	require.Equal(t, want.id, got.id)
	require.GreaterOrEqual(t, got.modSeq, want.modSeq)
	_, state := list(t, m)
	require.True(t, state.ReadOnly)

	// Nothing can be changed, and the error says so.
	_, err := m.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{})
	require.ErrorIs(t, err, mailbox.ErrReadOnly)
	_, err = under(m, want.validity, 100, "x")
	require.ErrorIs(t, err, mailbox.ErrReadOnly)
	_, err = m.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Deleted}})
	require.ErrorIs(t, err, mailbox.ErrReadOnly)
	_, err = m.Expunge(t.Context(), mailbox.UIDs(1))
	require.ErrorIs(t, err, mailbox.ErrReadOnly)
	require.ErrorIs(t, mailbox.SetAnnotation(t.Context(), m, "/private/comment", []byte("x")), mailbox.ErrReadOnly)
	require.ErrorIs(t, mailbox.SetAccountAnnotation(t.Context(), a, "/private/comment", []byte("x")), mailbox.ErrReadOnly)
	_, err = mailbox.Move(t.Context(), a, "INBOX", 0, mailbox.UIDs(1), "Work/Old")
	require.ErrorIs(t, err, mailbox.ErrReadOnly)
	_, err = mailbox.Copy(t.Context(), a, "INBOX", 0, mailbox.UIDs(1), "Work/Old")
	require.ErrorIs(t, err, mailbox.ErrReadOnly)
	require.Error(t, a.Create(t.Context(), "New", mailbox.CreateOptions{}))
	require.Equal(t, before, tree(t, root))

	// What somebody does who may write shows, in the handle that is open too; new mail does when he has looked at it.
	change(func(_ *maildir.Store, m mailbox.Mailbox) {
		_, err := m.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Flags: mailbox.FlagList{System: mailbox.Flagged}})
		require.NoError(t, err)
		_, err = m.Expunge(t.Context(), mailbox.UIDs(3))
		require.NoError(t, err)
		_, err = m.Append(t.Context(), strings.NewReader("five\r\n"), mailbox.AppendOptions{})
		require.NoError(t, err)
	})
	want = folderView{validity: want.validity, next: 6, mails: map[mailbox.UID]string{1: "8 [] one\r\n", 4: want.mails[4], 5: "0 [] five\r\n"}}
	for _, now := range []func() folderView{
		func() folderView { v, err := lookFolder(t.Context(), a, "INBOX"); require.NoError(t, err); return v },
		func() folderView { v, _, _ := look(); return v },
	} {
		v := now()
		require.Equal(t, want.validity, v.validity)
		require.Equal(t, want.next, v.next)
		for uid, text := range want.mails {
			require.Equal(t, strings.Fields(text)[len(strings.Fields(text))-1], strings.Fields(v.mails[uid])[len(strings.Fields(v.mails[uid]))-1])
		}
		require.Len(t, v.mails, 3)
	}

	// New mail is not left out by who opens the tree now; then UIDVALIDITY is another.
	change(func(s *maildir.Store, _ mailbox.Mailbox) {
		require.NoError(t, s.Deliver(t.Context(), "u", "", strings.NewReader("new\r\n"), mailbox.AppendOptions{}))
	})
	v, err := lookFolder(t.Context(), a, "INBOX")
	require.NoError(t, err)
	require.Len(t, v.mails, 3, "it waits in the handle that is open")
	require.Equal(t, want.validity, v.validity)
	v, fresh, _ := look()
	require.Greater(t, v.validity, want.validity)
	require.Contains(t, v.mails[6], "new")
	require.Len(t, v.mails, 4)

	// A conversion takes all of it.
	to, target := open(t, &maildir.Store{Root: fastDir(t)}, "u", "INBOX")
	_ = target
	reports, err := (&mailbox.Converter{From: fresh, To: to, Verify: true}).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 4, reports[0].Copied)
	require.Equal(t, 4, reports[0].Verified)

	// Without a list, or with one that is of no use, everything shows all the same.
	for _, text := range []string{"", "garbage\n", "3 V77 N3 G000102030405060708090a0b0c0d0e0f\n1 :gone\n2 :to"} {
		readOnly(false)
		path := filepath.Join(root, "u", "dovecot-uidlist")
		_ = os.Remove(path) // of the round before
		if text != "" {
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}
		readOnly(true)
		v, _, _ := look()
		require.Len(t, v.mails, 4, text)
		require.Greater(t, v.validity, want.validity)
	}
	readOnly(false)
}

// hidingFS can not be written, and hides a name of cur/ once, as a list does where the file is renamed while it is read; the
// directory gets no other time by that, as two changes in one tick of the system's clock.
type hidingFS struct {
	faultfs.FS
	armed *bool
}

type hidingDir struct {
	faultfs.Dir
	armed *bool
}

func (h hidingFS) OpenDir(path string) (faultfs.Dir, error) {
	d, err := h.FS.OpenDir(path)
	return hidingDir{d, h.armed}, err
}

func (d hidingDir) OpenDir(name string) (faultfs.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return hidingDir{sub, d.armed}, nil
}

func (d hidingDir) OpenFile(name string, flag int, perm fs.FileMode) (faultfs.File, error) {
	if flag != os.O_RDONLY {
		return nil, fs.ErrPermission
	}
	return d.Dir.OpenFile(name, flag, perm)
}

func (d hidingDir) Names() ([]string, error) {
	names, err := d.Dir.Names()
	if *d.armed && len(names) > 1 {
		*d.armed = false
		names = names[1:]
	}
	return names, err
}

// F11: a message that is renamed while a reader without the right to write lists the directory is not taken for expunged.
func TestF11_ReadOnlyRacesWithRename(t *testing.T) {
	root := t.TempDir()
	s := &maildir.Store{Root: root}
	_, m := open(t, s, "u", "INBOX")
	for range 3 {
		_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, m.Close())
	require.NoError(t, s.Close())
	armed := false
	reader := &maildir.Store{Root: root, FS: hidingFS{faultfs.OS{}, &armed}}
	_, m = open(t, reader, "u", "INBOX")
	metas, state := list(t, m)
	require.Len(t, metas, 3)
	require.True(t, state.ReadOnly)
	cur := filepath.Join(root, "u", "cur")
	now := time.Now()
	require.NoError(t, os.Chtimes(cur, now, now)) // a change just before
	armed = true
	metas, _ = list(t, m)
	require.False(t, armed)
	require.Len(t, metas, 3)
	require.NoError(t, m.Close())
	require.NoError(t, reader.Close())
}
