package maildir_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// fillable is a file system that is full when told so: in general, or for some calls only.
func fillable() (faultfs.FS, *atomic.Bool, *[]faultfs.Op) {
	fault, full := faultfs.NewFault(faultfs.NewCrash(1)), new(atomic.Bool)
	ops := []faultfs.Op{faultfs.OpCreate, faultfs.OpMkdir, faultfs.OpLink, faultfs.OpWrite}
	fault.Inject = func(call faultfs.Call) error {
		if full.Load() && slices.Contains(ops, call.Op) {
			return syscall.ENOSPC
		}
		return nil
	}
	return fault, full, &ops
}

// F05: new mail for which the disk had no room is looked for by the next process, although nothing has touched the directories
// for long. There may be room for the index and none for a lock file, as where there are no inodes.
func TestF05_NewMailWaitsForTheNextProcess(t *testing.T) {
	for _, ops := range [][]faultfs.Op{{faultfs.OpCreate}, {faultfs.OpLink}} {
		fs, full, full4 := fillable()
		*full4 = ops
		later := time.Now
		visit := func(do func(s *maildir.Store, m mailbox.Mailbox)) {
			s := &maildir.Store{Root: "/mail", FS: fs, Now: func() time.Time { return later() }}
			_, m := open(t, s, "u", "INBOX")
			do(s, m)
			require.NoError(t, m.Close())
			require.NoError(t, s.Close())
		}
		visit(func(s *maildir.Store, m mailbox.Mailbox) {
			_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
			require.NoError(t, err)
			require.NoError(t, s.Deliver(t.Context(), "u", "", strings.NewReader("new\r\n"), mailbox.AppendOptions{}))
		})
		later = func() time.Time { return time.Now().Add(time.Hour) }
		full.Store(true)
		visit(func(_ *maildir.Store, m mailbox.Mailbox) {
			for range 2 {
				metas, _ := list(t, m)
				require.Len(t, metas, 1)
				time.Sleep(50 * time.Millisecond) // longer than a directory is taken for busy
			}
		})
		full.Store(false)
		visit(func(_ *maildir.Store, m mailbox.Mailbox) {
			metas, _ := list(t, m)
			require.Len(t, metas, 2)
		})
	}
}

// F05: a folder with new mail opens on a full disk: what is known can be read, marked and deleted, several at once too, and
// what is new shows, once, when there is room. So it is wherever the room ends: at the link into cur/, or
// only at the list.
func TestF05_NewMailWaits(t *testing.T) {
	for _, ops := range [][]faultfs.Op{
		{faultfs.OpCreate, faultfs.OpMkdir, faultfs.OpLink, faultfs.OpWrite},
		{faultfs.OpCreate, faultfs.OpMkdir, faultfs.OpWrite},
		{faultfs.OpWrite},
	} {
		for _, reopen := range []bool{false, true} {
			fs, full, full4 := fillable()
			*full4 = ops
			s := &maildir.Store{Root: "/mail", FS: fs, IdleFolders: -1}
			a, m := open(t, s, "u", "INBOX")
			for range 4 {
				_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
				require.NoError(t, err)
			}
			_, before := list(t, m)
			for range 2 {
				require.NoError(t, s.Deliver(t.Context(), "u", "", strings.NewReader("new\r\n"), mailbox.AppendOptions{}))
			}
			full.Store(true)
			if reopen {
				require.NoError(t, m.Close())
				var err error
				m, err = a.Open(t.Context(), "INBOX")
				require.NoError(t, err)
			}
			for range 3 {
				metas, state := list(t, m)
				require.Len(t, metas, 4)
				require.Equal(t, before.UIDNext, state.UIDNext)
			}
			require.Equal(t, hello, content(t, m, 2))
			deleted := mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Deleted}}
			res, err := m.SetFlags(t.Context(), mailbox.UIDs(1, 2, 3), deleted)
			require.NoError(t, err)
			require.Equal(t, "1:3", res.Changed.String())
			gone, err := m.Expunge(t.Context(), mailbox.UIDs(1, 2, 3))
			require.NoError(t, err)
			require.Equal(t, "1:3", gone.String())

			full.Store(false)
			metas, state := list(t, m)
			require.Len(t, metas, 3)
			require.Equal(t, before.UIDValidity, state.UIDValidity)
			require.Equal(t, "new\r\n", content(t, m, metas[1].UID))
			require.Equal(t, "new\r\n", content(t, m, metas[2].UID))
			require.NoError(t, m.Close())
			require.NoError(t, s.Close())
			again, _ := open(t, &maildir.Store{Root: "/mail", FS: fs}, "u", "INBOX")
			problems, err := again.(*maildir.Account).Check(t.Context(), false)
			require.NoError(t, err)
			require.Empty(t, problems)
			v, err := lookFolder(t.Context(), again, "INBOX")
			require.NoError(t, err)
			require.Len(t, v.mails, 3)
		}
	}
}
