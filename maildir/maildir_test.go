package maildir_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

const hello = "Subject: hello\r\n\r\nHello, world.\r\n"

func open(t *testing.T, s *maildir.Store, user, name string) (mailbox.Account, mailbox.Mailbox) {
	t.Helper()
	a, err := s.Account(t.Context(), user)
	require.NoError(t, err)
	m, err := a.Open(t.Context(), name)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close(); a.Close() })
	return a, m
}

func list(t *testing.T, m mailbox.Mailbox) ([]mailbox.Meta, mailbox.State) {
	t.Helper()
	c, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	var metas []mailbox.Meta
	for meta := range c.Messages {
		metas = append(metas, meta)
	}
	return metas, c.State
}

func content(t *testing.T, m mailbox.Mailbox, uid mailbox.UID) string {
	t.Helper()
	for msg, err := range m.Read(t.Context(), mailbox.UIDs(uid)) {
		require.NoError(t, err)
		b, err := io.ReadAll(goniec.NewReader(msg.Content))
		require.NoError(t, err)
		require.Equal(t, msg.Content.Size(), int64(len(b)))
		return string(b)
	}
	t.Fatalf("no message %d", uid)
	return ""
}

func TestDeliverAndRead(t *testing.T) {
	root := t.TempDir()
	s := &maildir.Store{Root: root + "/{domain}/{local}/Maildir"}
	require.NoError(t, s.Deliver(t.Context(), "a@b.test", "", strings.NewReader(hello), mailbox.AppendOptions{}))
	dir := filepath.Join(root, "b.test", "a", "Maildir")
	names, err := os.ReadDir(filepath.Join(dir, "new"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	require.Contains(t, names[0].Name(), ",S=30,W=33")
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)

	_, m := open(t, s, "a@b.test", "INBOX")
	metas, state := list(t, m)
	require.Len(t, metas, 1)
	require.Equal(t, mailbox.UID(1), metas[0].UID)
	require.Equal(t, int64(33), metas[0].Size)
	require.Equal(t, hello, content(t, m, 1))
	require.Equal(t, mailbox.UID(2), state.UIDNext)

	meta, err := m.Append(t.Context(), strings.NewReader("mixed\nends\r\n"), mailbox.AppendOptions{
		Flags: mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"$Work"}},
	})
	require.NoError(t, err)
	require.Equal(t, mailbox.UID(2), meta.UID)
	require.Equal(t, "mixed\nends\r\n", content(t, m, 2))
	metas, state = list(t, m)
	require.Equal(t, []string{"$Work"}, metas[1].Flags.List(state.Keywords).Keywords)

	res, err := m.SetFlags(t.Context(), mailbox.UIDs(1, 2), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
	require.NoError(t, err)
	require.Equal(t, "1", res.Changed.String())
	gone, err := m.Expunge(t.Context(), mailbox.UIDs(1))
	require.NoError(t, err)
	require.Equal(t, "1", gone.String())
	c, err := m.Changes(context.Background(), state.ModSeq)
	require.NoError(t, err)
	require.True(t, c.Known)
	require.Equal(t, "1", c.Expunged.String())

	// A second Store, as after a restart.
	_, m2 := open(t, &maildir.Store{Root: root + "/{domain}/{local}/Maildir"}, "a@b.test", "INBOX")
	metas2, state2 := list(t, m2)
	require.Len(t, metas2, 1)
	require.Equal(t, metas[1].UID, metas2[0].UID)
	require.Equal(t, metas[1].Flags, metas2[0].Flags)
	require.Equal(t, state.UIDValidity, state2.UIDValidity)
	require.Equal(t, mailbox.UID(3), state2.UIDNext)
}
