package maildir_test

import (
	"fmt"
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

// failingOnce makes one call of a file system fail: the n-th from arm on.
type failingOnce struct {
	*faultfs.Fault
	left atomic.Int64 // counted down; the call that makes it 0 fails
	full atomic.Bool  // files can not be made
}

func newFailingOnce() *failingOnce {
	f := &failingOnce{Fault: faultfs.NewFault(faultfs.NewCrash(1))}
	f.Inject = func(c faultfs.Call) error {
		if f.full.Load() && c.Op == faultfs.OpCreate {
			return syscall.ENOSPC
		}
		if f.left.Load() > 0 && f.left.Add(-1) == 0 {
			return syscall.EIO
		}
		return nil
	}
	return f
}

// arm makes the n-th call from now fail; disarm says whether there was one.
func (f *failingOnce) arm(n int)    { f.left.Store(int64(n)) }
func (f *failingOnce) disarm() bool { return f.left.Swap(0) == 0 }

// F04, F05: mail that waits for room on the disk still waits when the look at it fails, whichever call that is, in this process and
// the next.
func TestF04_WaitingOutlastsErrors(t *testing.T) {
	for n, failed := 1, true; failed; n++ {
		for _, restart := range []bool{false, true} {
			fsys, ahead := newFailingOnce(), time.Duration(0)
			s := &maildir.Store{Root: "/mail", FS: fsys, Now: func() time.Time { return time.Now().Add(ahead) }}
			_, m := open(t, s, "u", "INBOX")
			_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
			require.NoError(t, err)
			require.NoError(t, s.Deliver(t.Context(), "u", "", strings.NewReader("new\r\n"), mailbox.AppendOptions{}))
			fsys.full.Store(true)
			ahead = time.Hour // what is listed now is settled
			for range 3 {
				metas, _ := list(t, m)
				require.Len(t, metas, 1)
				time.Sleep(15 * time.Millisecond)
			}
			fsys.full.Store(false)
			fsys.arm(n)
			_, _ = m.Changes(t.Context(), 0)
			failed = fsys.disarm()
			if restart {
				require.NoError(t, m.Close())
				require.NoError(t, s.Close())
				s = &maildir.Store{Root: "/mail", FS: fsys, Now: s.Now}
				_, m = open(t, s, "u", "INBOX")
			}
			metas, _ := list(t, m)
			require.Len(t, metas, 2, "call %d, restart %t", n, restart)
			require.NoError(t, m.Close())
			require.NoError(t, s.Close())
		}
	}
}

// F10: a uidlist that contradicts what clients know brings a new UIDVALIDITY, also where a call fails or the power goes while that is
// done: no UID means another message under the UIDVALIDITY it was told with.
func TestF10_NewUIDsOutlastErrors(t *testing.T) {
	for _, change := range []func(header string, lines []string) string{
		func(h string, l []string) string { // older numbers: other names
			return h + fmt.Sprintf("1 %s2 %s3 %s", l[2][2:], l[0][2:], l[1][2:])
		},
		func(h string, l []string) string { // another program's list
			v := strings.Fields(h)
			return strings.Replace(h, v[1], "V4000000123", 1) + fmt.Sprintf("1 %s2 %s", l[1][2:], l[2][2:])
		},
		func(h string, l []string) string { // an older one
			v := strings.Fields(h)
			return strings.Replace(h, v[1], "V7", 1) + fmt.Sprintf("1 %s2 %s", l[1][2:], l[2][2:])
		},
		func(string, []string) string { return "garbage\n" },
	} {
		for n, failed := 1, true; failed; n++ {
			for _, restart := range []bool{false, true} {
				failed = newUIDsAmidError(t, change, n, restart)
			}
		}
	}
}

func newUIDsAmidError(t *testing.T, change func(string, []string) string, n int, restart bool) (failed bool) {
	fsys := newFailingOnce()
	s := &maildir.Store{Root: "/mail", FS: fsys}
	_, m := open(t, s, "u", "INBOX")
	for i := range 3 {
		_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprint(i, "\r\n")), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	told := make(map[string]string) // what each UID means, under each UIDVALIDITY
	tell := func() error {
		ch, err := m.Changes(t.Context(), 0)
		if err != nil {
			return err
		}
		for meta := range ch.Messages {
			for msg, err := range m.Read(t.Context(), mailbox.UIDs(meta.UID)) {
				if err != nil {
					return err
				}
				text := make([]byte, 1)
				_, err = msg.Content.ReadAt(text, 0)
				require.NoError(t, err)
				key := fmt.Sprint(ch.State.UIDValidity, " ", meta.UID)
				if was, ok := told[key]; ok {
					require.Equal(t, was, string(text), "call %d, restart %t: %s", n, restart, key)
				}
				told[key] = string(text)
			}
		}
		return nil
	}
	require.NoError(t, tell())
	dir, err := fsys.OpenDir("/mail/u")
	require.NoError(t, err)
	defer dir.Close()
	text, err := faultfs.ReadFile(dir, "dovecot-uidlist", 1<<20)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	require.NoError(t, faultfs.WriteFile(dir, "dovecot-uidlist", []byte(change(lines[0], lines[1:])), 0o600))
	fsys.arm(n)
	_ = tell()
	failed = fsys.disarm()
	if restart {
		require.NoError(t, m.Close())
		require.NoError(t, s.Close())
		s = &maildir.Store{Root: "/mail", FS: fsys}
		_, m = open(t, s, "u", "INBOX")
	}
	require.NoError(t, tell())
	require.NoError(t, tell())
	require.NoError(t, m.Close())
	require.NoError(t, s.Close())
	return failed
}
