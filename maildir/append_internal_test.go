package maildir

import (
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// Whichever call of the disk fails under an append of several messages: what is known of the folder is touched under its lock only.
// Where the lock could not be had, nothing more is done.
func TestAppendFailsUnderLock(t *testing.T) {
	for call := int64(1); ; call++ {
		var f *folder
		var at, unlocked atomic.Int64
		disk := faultfs.NewFault(faultfs.NewCrash(1))
		disk.Inject = func(c faultfs.Call) error {
			if f == nil {
				return nil
			}
			if strings.HasPrefix(path.Base(c.Path), listName) && len(f.lock) == 0 {
				unlocked.Add(1)
			}
			if at.Add(1) == call {
				return syscall.EIO
			}
			return nil
		}
		s := &Store{Root: "/mail", FS: disk}
		a, err := s.Account(t.Context(), "u")
		require.NoError(t, err)
		opened, err := a.Open(t.Context(), "INBOX")
		require.NoError(t, err)
		_, err = opened.Append(t.Context(), strings.NewReader("first\r\n"), mailbox.AppendOptions{})
		require.NoError(t, err)
		f = opened.(*Mailbox).f
		_, err = mailbox.AppendAll(t.Context(), opened, func(yield func(mailbox.NewMessage, error) bool) {
			for i := range 2 {
				if !yield(mailbox.NewMessage{Msg: strings.NewReader(fmt.Sprint(i, "\r\n"))}, nil) {
					return
				}
			}
		})
		done := at.Load() < call
		f = nil
		require.Zero(t, unlocked.Load(), "call %d: %v", call, err)
		require.NoError(t, opened.Close())
		require.NoError(t, a.Close())
		require.NoError(t, s.Close())
		if done {
			require.NoError(t, err)
			require.Greater(t, call, int64(20))
			return
		}
	}
}
