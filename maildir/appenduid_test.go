package maildir_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// under appends a message under a UID.
func under(m mailbox.Mailbox, validity uint32, uid mailbox.UID, text string) (mailbox.Meta, error) {
	o := mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Flagged, Keywords: []string{"k"}}}
	return m.(mailbox.UIDAppender).AppendUID(context.Background(), validity, uid, strings.NewReader(text), o)
}

// A folder that never gave a UID takes over UIDVALIDITY, lower or higher; UIDs only rise; what does not fit is refused
// and leaves nothing behind.
func TestAppendUID(t *testing.T) {
	for _, validity := range []uint32{7, 4e9} {
		root := fastDir(t)
		s := &maildir.Store{Root: root}
		a, m := open(t, s, "u", "INBOX")
		_, state := list(t, m) // the folder has been looked at
		require.NotEqual(t, validity, state.UIDValidity)

		meta, err := under(m, validity, 5, "five\r\n")
		require.NoError(t, err)
		require.Equal(t, mailbox.UID(5), meta.UID)
		meta, err = under(m, validity, 1000, "thousand\r\n")
		require.NoError(t, err)
		require.Equal(t, mailbox.UID(1000), meta.UID)
		for _, bad := range []struct {
			validity uint32
			uid      mailbox.UID
		}{{validity, 1000}, {validity, 6}, {validity, 0}, {validity + 1, 2000}, {0, 2000}, {validity, mailbox.MaxUID}, {validity, mailbox.MaxUID - 1}} {
			_, err := under(m, bad.validity, bad.uid, "bad\r\n")
			require.ErrorIs(t, err, mailbox.ErrCannot, "%+v", bad)
		}
		left, err := os.ReadDir(filepath.Join(root, "u", "tmp"))
		require.NoError(t, err)
		require.Empty(t, left)
		next, err := m.Append(t.Context(), strings.NewReader("next\r\n"), mailbox.AppendOptions{})
		require.NoError(t, err)
		require.Equal(t, mailbox.UID(1001), next.UID)

		want, err := lookFolder(t.Context(), a, "INBOX")
		require.NoError(t, err)
		require.Equal(t, validity, want.validity)
		require.Equal(t, mailbox.UID(1002), want.next)
		require.Len(t, want.mails, 3)
		// As another process sees it, and without the index.
		for _, gone := range []string{"", "goniec-index", "goniec-floor"} {
			if gone != "" {
				s.Close()
				require.NoError(t, os.Remove(filepath.Join(root, "u", gone)))
			}
			now := lookAgain(t, root)
			require.Equal(t, want.validity, now.validity, gone)
			require.Equal(t, want.mails, now.mails, gone)
			require.GreaterOrEqual(t, now.next, want.next)
		}
	}
}

func lookAgain(t *testing.T, root string) folderView {
	t.Helper()
	s := &maildir.Store{Root: root}
	defer s.Close()
	a, _ := open(t, s, "u", "INBOX")
	v, err := lookFolder(t.Context(), a, "INBOX")
	require.NoError(t, err)
	return v
}

// Another process that had the empty folder open sees the UIDs that were taken over.
func TestAppendUIDSeenElsewhere(t *testing.T) {
	root := fastDir(t)
	_, m := open(t, &maildir.Store{Root: root}, "u", "INBOX")
	list(t, m)
	other, _ := open(t, &maildir.Store{Root: root}, "u", "INBOX")
	_, err := lookFolder(t.Context(), other, "INBOX")
	require.NoError(t, err)
	_, err = under(m, 7, 5, "five\r\n")
	require.NoError(t, err)
	now, err := lookFolder(t.Context(), other, "INBOX")
	require.NoError(t, err)
	require.EqualValues(t, 7, now.validity)
	require.Contains(t, now.mails, mailbox.UID(5))
	// A folder that gave UIDs and lost all its messages has promised its own UIDVALIDITY.
	_, err = m.Expunge(t.Context(), mailbox.UIDs(5))
	require.NoError(t, err)
	_, err = under(m, 8, 6, "six\r\n")
	require.ErrorIs(t, err, mailbox.ErrCannot)
	_, err = under(m, 7, 6, "six\r\n")
	require.NoError(t, err)
}

// The message of one that does not fit is not even read.
func TestAppendUIDRefusesEarly(t *testing.T) {
	_, m := open(t, &maildir.Store{Root: fastDir(t)}, "u", "INBOX")
	text := strings.NewReader("text")
	_, err := m.(mailbox.UIDAppender).AppendUID(t.Context(), 0, 1, text, mailbox.AppendOptions{})
	require.ErrorIs(t, err, mailbox.ErrCannot)
	require.Equal(t, 4, text.Len())
}

// appendUIDOps: with messages before; into an empty folder, that nobody, or somebody, has opened before.
var appendUIDOps = []crashOp{
	{name: "append uid", setup: func(t *script) { t.under(7, 5) }, run: func(t *script) { t.under(7, 50) }},
	{name: "take over", unopened: true, run: func(t *script) { t.under(7, 5) }},
	{name: "take over lower", unopened: true, setup: func(t *script) { t.visit("INBOX") }, run: func(t *script) { t.under(7, 5) }},
	{name: "take over higher", unopened: true, setup: func(t *script) { t.visit("INBOX") }, run: func(t *script) { t.under(4e9, 5) }},
	{name: "take over and see", unopened: true, setup: func(t *script) { t.visit("INBOX") }, run: func(t *script) { t.under(7, 5); t.see() }},
}

func (t *script) under(validity uint32, uid mailbox.UID) {
	t.in("INBOX", func(m mailbox.Mailbox) error {
		_, err := under(m, validity, uid, fmt.Sprintf("message %d\r\n", uid))
		return err
	})
}

// F02: a message appended under a UID keeps it, with its UIDVALIDITY, through every crash after it was
// acknowledged; before, it is there or not.
func TestF02_AppendUID(t *testing.T) {
	for _, op := range appendUIDOps {
		for model, name := range map[faultfs.Model]string{faultfs.POSIX: "posix", faultfs.Ordered: "ordered"} {
			t.Run(op.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				after := keptUID(t, op)
				op.judge = func(now view, done bool) error {
					if !done {
						return nil
					}
					in := now["INBOX"]
					if in.validity != after.validity || in.mails[after.next-1] != after.mails[after.next-1] {
						return fmt.Errorf("UIDVALIDITY %d, %v", in.validity, in.mails)
					}
					return nil
				}
				crashTest(t, op, model)
			})
		}
	}
}

// keptUID is INBOX after an operation.
func keptUID(t *testing.T, op crashOp) folderView {
	_, after := outcome(t, op)
	return after["INBOX"]
}

// F04 for the same.
func TestF04_AppendUID(t *testing.T) {
	for _, op := range appendUIDOps {
		for _, persist := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persist=%v", op.name, persist), func(t *testing.T) { t.Parallel(); faultTest(t, op, persist) })
		}
	}
}

// TestAppendUIDConversion: a conversion keeps all UIDs, also in folders that it makes, and in INBOX that was looked at.
func TestAppendUIDConversion(t *testing.T) {
	from, m := open(t, &maildir.Store{Root: fastDir(t)}, "u", "INBOX")
	require.NoError(t, from.Create(t.Context(), "Work/Old", mailbox.CreateOptions{}))
	work, err := from.Open(t.Context(), "Work/Old")
	require.NoError(t, err)
	defer work.Close()
	for _, m := range []mailbox.Mailbox{m, work} {
		for i := range 20 {
			_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprintf("message %d\r\n", i)), mailbox.AppendOptions{})
			require.NoError(t, err)
		}
		_, err = m.Expunge(t.Context(), mailbox.UIDs(1, 7, 8))
		require.NoError(t, err)
	}
	want, err := lookAccount(t.Context(), from)
	require.NoError(t, err)
	for name, f := range want { // what is the target's own
		f.id, f.modSeq, f.modSeqs = "", 0, nil
		want[name] = f
	}
	to, target := open(t, &maildir.Store{Root: fastDir(t)}, "u", "INBOX")
	list(t, target)
	reports, err := (&mailbox.Converter{From: from, To: to, KeepUIDs: true}).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 17, reports[0].KeptUIDs)
	require.Equal(t, 17, reports[1].KeptUIDs)
	got, err := lookAccount(t.Context(), to)
	require.NoError(t, err)
	for name, f := range got {
		f.id, f.modSeq, f.modSeqs = "", 0, nil
		got[name] = f
	}
	require.Equal(t, want, got)
}
