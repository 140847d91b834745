package maildir

import (
	"context"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// amid is a Store and a directory where something happens once, just before a call of that kind for the lock file.
func amid(t *testing.T, op faultfs.Op, disk faultfs.FS, do func()) (*Store, faultfs.Dir) {
	fault := faultfs.NewFault(disk)
	fault.Inject = func(c faultfs.Call) error {
		if c.Op == op && path.Base(c.Path) == "list.lock" && do != nil {
			now := do
			do = nil
			now()
		}
		return nil
	}
	s := &Store{spares: -1}
	s.init()
	d, err := fault.OpenDir("/")
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return s, d
}

func soon(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// I11: a lock that its holder is just giving back is not taken for one that was left behind: the holder would then remove
// the lock file of whoever took it.
func TestI11_UnlockKeepsOthersOut(t *testing.T) {
	for _, spares := range []bool{false, true} {
		disk := faultfs.NewCrash(1)
		other, otherDir := amid(t, "", disk, nil)
		var next *dotlock
		s, d := amid(t, faultfs.OpRemove, disk, func() {
			next, _ = other.takeDotlock(soon(t, 20*time.Millisecond), otherDir, "list")
		})
		var spare *spareLock
		if spares {
			spare = &spareLock{dir: d}
		}
		l, err := s.takeDotlockBy(t.Context(), d, "list", spare)
		require.NoError(t, err)
		require.Equal(t, spares, spare != nil && spare.name != "")
		l.unlock()
		require.Nil(t, next, "it was locked")
		next, err = other.takeDotlock(t.Context(), otherDir, "list")
		require.NoError(t, err)
		_, err = d.Lstat("list.lock")
		require.NoError(t, err)
		next.unlock()
	}
}

// I11: who finds a lock stale removes that one only: not the one that its holder, who was asleep, has taken anew meanwhile, also
// when that is the same spare file.
func TestI11_StaleLockTakenAnew(t *testing.T) {
	disk := faultfs.NewCrash(1)
	s, d := amid(t, "", disk, nil)
	spare, ago := &spareLock{dir: d}, 2*lockStale
	s.Now = func() time.Time { return time.Now().Add(-ago) }
	l, err := s.takeDotlockBy(t.Context(), d, "list", spare)
	require.NoError(t, err)
	other, otherDir := amid(t, faultfs.OpRename, disk, func() {
		l.unlock()
		ago = 0
		l, err = s.takeDotlockBy(t.Context(), d, "list", spare)
	})
	other.names.host = "another"
	took, otherErr := other.takeDotlock(soon(t, 50*time.Millisecond), otherDir, "list")
	require.NoError(t, err)
	require.Nil(t, took)
	require.ErrorIs(t, otherErr, context.DeadlineExceeded)
	info, err := d.Lstat("list.lock")
	require.NoError(t, err)
	require.Equal(t, l.id, lockID{info.Device, info.Inode})
	l.unlock()
	took, err = other.takeDotlock(t.Context(), otherDir, "list")
	require.NoError(t, err)
	took.unlock()
}
