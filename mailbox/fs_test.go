package mailbox_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/goniec-mail/goniec/mbox"
)

// fillForFS makes folders with messages, one among the levels of others without.
func fillForFS(t *testing.T, a mailbox.Account) {
	for _, name := range []string{"INBOX", "Work/Old", "Work/Old/Older", "empty"} {
		if name != "INBOX" {
			require.NoError(t, a.Create(t.Context(), name, mailbox.CreateOptions{}))
		}
		if name == "empty" {
			continue
		}
		m, err := a.Open(t.Context(), name)
		require.NoError(t, err)
		for i := range 12 {
			text := fmt.Sprintf("Subject: %s %d\r\n\r\n%s", name, i, strings.Repeat("line\r\n", i*i*100))
			_, err := m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{Date: time.Unix(int64(1e9+i), 0)})
			require.NoError(t, err)
		}
		_, err = m.Expunge(t.Context(), mailbox.UIDs(3))
		require.NoError(t, err)
		require.NoError(t, m.Close())
	}
}

func TestFS(t *testing.T) {
	for name, s := range map[string]mailbox.Store{
		"memory":  mailbox.NewMemory(),
		"maildir": &maildir.Store{Root: t.TempDir()},
		"mbox":    &mbox.Store{Root: t.TempDir() + "/{user}"},
		"sizes":   mailbox.InterceptStore(mailbox.NewMemory(), passOn),
	} {
		t.Run(name, func(t *testing.T) {
			a := convertAccount(t, s)
			defer a.Close()
			fillForFS(t, a)
			if name == "sizes" {
				a = sizeless{a}
			}
			f := mailbox.FS(t.Context(), a)
			require.NoError(t, fstest.TestFS(f, "INBOX/0000000001.eml", "Work/Old/0000000012.eml", "Work/Old/Older/0000000002.eml", "empty"))
			b, err := fs.ReadFile(f, "Work/Old/0000000002.eml")
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(b), "Subject: Work/Old 1\r\n"))
			info, err := fs.Stat(f, "INBOX/0000000005.eml")
			require.NoError(t, err)
			require.Equal(t, time.Unix(1e9+4, 0).Unix(), info.ModTime().Unix())
			require.Equal(t, mailbox.UID(5), info.Sys().(mailbox.Meta).UID)
			for _, absent := range []string{
				"INBOX/0000000003.eml", "INBOX/5.eml", "INBOX/0000000000.eml", "INBOX/00000000005.eml", "Work/0000000001.eml",
				"nothing", "inbox", "INBOX/0000000001.eml/x", "INBOX/0000000001", "0000000001.eml", "INBOX/9999999999.eml",
			} {
				_, err := f.Open(absent)
				require.ErrorIs(t, err, fs.ErrNotExist, absent)
				_, err = fs.Stat(f, absent)
				require.ErrorIs(t, err, fs.ErrNotExist, absent)
			}
			for _, bad := range []string{"", "/", "../x", "INBOX/", "/INBOX"} {
				_, err := f.Open(bad)
				require.ErrorIs(t, err, fs.ErrInvalid, bad)
			}
			_, err = fs.ReadDir(f, "INBOX/0000000001.eml")
			require.ErrorContains(t, err, "not a directory")
			m, err := a.Open(t.Context(), "INBOX")
			require.NoError(t, err)
			defer m.Close()
			require.NoError(t, fstest.TestFS(mailbox.MailboxFS(t.Context(), m), "0000000001.eml", "0000000012.eml"))
		})
	}
}

// sizeless shows no sizes until a message is read.
type sizeless struct{ mailbox.Account }

func (a sizeless) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	return sizelessMailbox{m}, err
}

type sizelessMailbox struct{ mailbox.Mailbox }

func (m sizelessMailbox) Changes(ctx context.Context, since mailbox.ModSeq) (*mailbox.Changes, error) {
	ch, err := m.Mailbox.Changes(ctx, since)
	if err != nil {
		return nil, err
	}
	all := ch.Messages
	ch.Messages = func(yield func(mailbox.Meta) bool) {
		for meta := range all {
			meta.Size = -1
			if !yield(meta) {
				return
			}
		}
	}
	return ch, nil
}

// TestFSNames: folders whose names are no paths do not show, and one that is called like a message hides it.
func TestFSNames(t *testing.T) {
	a := convertAccount(t, mailbox.NewMemory())
	fillForFS(t, a)
	require.NoError(t, a.Create(t.Context(), "INBOX/0000000001.eml", mailbox.CreateOptions{}))
	f := mailbox.FS(t.Context(), strangeNames{a})
	require.NoError(t, fstest.TestFS(f, "INBOX/0000000001.eml", "INBOX/0000000002.eml"))
	info, err := fs.Stat(f, "INBOX/0000000001.eml")
	require.NoError(t, err)
	require.True(t, info.IsDir())
	require.NoError(t, fs.WalkDir(f, ".", func(name string, _ fs.DirEntry, err error) error {
		require.NotContains(t, strings.Split(name, "/")[0], "a")
		return err
	}))
}

// strangeNames has folders whose names are no paths.
type strangeNames struct{ mailbox.Account }

func (a strangeNames) Mailboxes(ctx context.Context) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) {
		for _, name := range []string{"a/../b", "./a", "a//b", ".", "", "/a", "a\xff"} {
			if !yield(mailbox.Info{Name: name}, nil) {
				return
			}
		}
		a.Account.Mailboxes(ctx)(yield)
	}
}

// TestFSFile: an open message can be read at any place until it is closed, also one that was expunged meanwhile.
func TestFSFile(t *testing.T) {
	a := convertAccount(t, mailbox.NewMemory())
	fillForFS(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	f := mailbox.FS(ctx, a)
	file, err := f.Open(path.Join("INBOX", "0000000012.eml"))
	require.NoError(t, err)
	m, err := a.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	_, err = m.Expunge(t.Context(), mailbox.UIDs(12))
	require.NoError(t, err)
	b := make([]byte, 7)
	_, err = file.(io.ReaderAt).ReadAt(b, 2)
	require.NoError(t, err)
	require.Equal(t, "bject: ", string(b))
	_, err = file.(io.Seeker).Seek(-6, io.SeekEnd)
	require.NoError(t, err)
	rest, err := io.ReadAll(file)
	require.NoError(t, err)
	require.Equal(t, "line\r\n", string(rest))
	require.NoError(t, file.Close())
	require.ErrorIs(t, file.Close(), fs.ErrClosed)
	_, err = file.Read(b)
	require.ErrorIs(t, err, fs.ErrClosed)
	cancel()
	_, err = fs.ReadDir(f, "INBOX")
	require.ErrorIs(t, err, context.Canceled)
}
