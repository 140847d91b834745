package mailbox_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

func folderNames(t *testing.T, a mailbox.Account) map[string]mailbox.SpecialUse {
	got := map[string]mailbox.SpecialUse{}
	for info, err := range a.Mailboxes(t.Context()) {
		require.NoError(t, err)
		got[info.Name] = info.SpecialUse
	}
	return got
}

func TestWithFolders(t *testing.T) {
	inner := mailbox.NewMemory()
	s := mailbox.WithFolders(inner, mailbox.UsualFolders()...)
	for _, err := range mailbox.DeliverAll(t.Context(), s, []mailbox.Target{{User: "alice"}}, strings.NewReader("x\r\n"), mailbox.AppendOptions{}) {
		require.NoError(t, err)
	}
	_, ok := mailbox.As[mailbox.MultiDeliverer](s)
	require.True(t, ok, "the store's options are not hidden")
	var wg sync.WaitGroup
	for range 8 { // first logins of a client with many connections
		wg.Go(func() {
			_, err := s.Account(context.Background(), "alice")
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	a, err := s.Account(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, map[string]mailbox.SpecialUse{
		"INBOX": "", "Drafts": `\Drafts`, "Sent": `\Sent`, "Archive": `\Archive`, "Junk": `\Junk`, "Trash": `\Trash`,
	}, folderNames(t, a))
	names, err := mailbox.Subscribed(t.Context(), a)
	require.NoError(t, err)
	require.Contains(t, names, "Sent")

	require.NoError(t, a.Delete(t.Context(), "Archive"))
	again := mailbox.WithFolders(inner, mailbox.UsualFolders()...) // a new process
	a, err = again.Account(t.Context(), "alice")
	require.NoError(t, err)
	require.NotContains(t, folderNames(t, a), "Archive", "who deletes one does not get it back")
}

func TestWithFoldersFails(t *testing.T) {
	boom := errors.New("disk full")
	inner := mailbox.InterceptStore(mailbox.NewMemory(), func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if op.Kind == mailbox.OpCreate {
			return boom
		}
		return next(ctx)
	})
	_, err := mailbox.WithFolders(inner, mailbox.UsualFolders()...).Account(t.Context(), "alice")
	require.ErrorIs(t, err, boom)
	_, err = mailbox.WithFolders(inner).Account(t.Context(), "alice")
	require.NoError(t, err)
}
