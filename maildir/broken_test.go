package maildir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// failing is a file system where one call of a kind fails: the first one after arm, on a path that ends so.
type failing struct {
	*faultfs.Fault
	armed atomic.Bool
}

func newFailing(op faultfs.Op, suffix string) *failing {
	f := &failing{Fault: faultfs.NewFault(faultfs.OS{})}
	f.Inject = func(c faultfs.Call) error {
		if c.Op == op && (strings.HasSuffix(c.Path, suffix) || strings.Contains(c.To, suffix)) && f.armed.CompareAndSwap(true, false) {
			return syscall.EIO
		}
		return nil
	}
	return f
}

// late are messages of which the last one comes only when proceed is closed.
func late(n int, started, proceed chan struct{}) iter.Seq2[mailbox.NewMessage, error] {
	return func(yield func(mailbox.NewMessage, error) bool) {
		for i := range n {
			if i == n-1 {
				close(started)
				<-proceed
			}
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(fmt.Sprintf("Subject: late %d of %d\r\n\r\n", i, n))}, nil) {
				return
			}
		}
	}
}

// I15: a call fails in an append while others are under way in the same folder. What they are told holds: no UID is
// given twice, UIDVALIDITY stays, what was acknowledged is there, what was not is not.
func TestI15_AppendsBesideAFailedOne(t *testing.T) {
	for _, fault := range []struct {
		op     faultfs.Op
		suffix string
	}{
		{faultfs.OpSyncDir, "/cur"},
		{faultfs.OpSync, "/dovecot-uidlist"},
		{faultfs.OpWrite, "/dovecot-uidlist"},
		{faultfs.OpRename, "/cur"},
		{faultfs.OpSync, "/goniec-index"},
		{faultfs.OpWrite, "/goniec-index"},
		{faultfs.OpRename, "/goniec-intent"},
	} {
		for _, jobs := range [][]int{{1, 1, 1}, {1, 2, 1}, {2, 2, 2}, {3, 1, 2, 1}} {
			t.Run(fmt.Sprintf("%s%s/%v", fault.op, fault.suffix, jobs), func(t *testing.T) {
				t.Parallel()
				appendsBesideAFailedOne(t, newFailing(fault.op, fault.suffix), jobs)
			})
		}
	}
}

func appendsBesideAFailedOne(t *testing.T, fsys *failing, jobs []int) {
	root := fastDir(t)
	s := &maildir.Store{Root: root, FS: fsys}
	_, m := open(t, s, "u", "INBOX")
	_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
	require.NoError(t, err)
	_, before := list(t, m)

	proceed, metas, wg := make(chan struct{}), make([][]mailbox.Meta, len(jobs)), sync.WaitGroup{}
	for i, n := range jobs {
		started := make(chan struct{})
		wg.Go(func() {
			metas[i], _ = m.(mailbox.MultiAppender).AppendAll(t.Context(), late(n, started, proceed))
		})
		<-started
	}
	fsys.armed.Store(true)
	_, _ = m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
	fsys.armed.Store(true) // and once more, in the batch of those who waited
	close(proceed)
	wg.Wait()
	fsys.armed.Store(false)
	last, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
	require.NoError(t, err, "the folder can be used again")

	for _, again := range []mailbox.Mailbox{m, second(t, root)} {
		have, state := list(t, again)
		require.Equal(t, before.UIDValidity, state.UIDValidity)
		var uids []mailbox.UID
		for _, meta := range have {
			uids = append(uids, meta.UID)
		}
		require.Contains(t, uids, last.UID)
		told := []mailbox.UID{1, last.UID}
		for i, done := range metas {
			require.Contains(t, []int{0, jobs[i]}, len(done))
			for _, meta := range done {
				require.Contains(t, uids, meta.UID)
				require.Contains(t, content(t, again, meta.UID), "Subject: late")
				told = append(told, meta.UID)
			}
		}
		slices.Sort(told)
		require.Equal(t, len(told), len(slices.Compact(told)), "a UID was given twice: %v", told)
	}
}

// second opens the folder as another process does.
func second(t *testing.T, root string) mailbox.Mailbox {
	s := &maildir.Store{Root: root}
	t.Cleanup(func() { s.Close() })
	_, m := open(t, s, "u", "INBOX")
	return m
}

// A folder that breaks while others wait for its lock is opened anew for them: they do not go on with what failed.
func TestI15_WaitersOfABrokenFolder(t *testing.T) {
	fsys := newFailing(faultfs.OpSyncDir, "/cur")
	root := fastDir(t)
	a, m := open(t, &maildir.Store{Root: root, FS: fsys, IdleFolders: -1}, "u", "INBOX")
	for range 4 {
		_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	for round := range 20 {
		fsys.armed.Store(true)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { // some with handles that are closed while others are at work
				m := m
				if i%2 == 1 {
					var err error
					if m, err = a.Open(context.Background(), "INBOX"); err != nil {
						t.Error(err)
						return
					}
					defer m.Close()
				}
				flags := mailbox.FlagList{Keywords: []string{fmt.Sprintf("k%d", i)}}
				op := mailbox.FlagsAdd
				if round%2 == 1 {
					op = mailbox.FlagsRemove
				}
				_, err := m.SetFlags(context.Background(), mailbox.UIDs(1, 2, 3, 4), mailbox.FlagChange{Op: op, Flags: flags})
				if err != nil && !errors.Is(err, syscall.EIO) {
					t.Errorf("%d: %v", i, err)
				}
				if _, err = m.Changes(context.Background(), 0); err != nil {
					t.Errorf("changes: %v", err)
				}
			})
		}
		wg.Wait()
		fsys.armed.Store(false)
	}
	metas, state := list(t, m)
	other, otherState := list(t, second(t, root))
	require.Len(t, metas, 4)
	require.Equal(t, state.UIDValidity, otherState.UIDValidity)
	for i := range metas {
		require.Equal(t, metas[i].Flags.List(state.Keywords), other[i].Flags.List(otherState.Keywords))
	}
	_, err := os.Stat(filepath.Join(root, "u", "goniec-intent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A handle that is closed while an operation of it is under way: the operation succeeds or fails, and nothing is touched after
// it was closed.
func TestClosedWhileAtWork(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root, IdleFolders: -1}
	a, err := s.Account(t.Context(), "u")
	require.NoError(t, err)
	defer a.Close()
	acked := 0
	for round := range 60 {
		m, err := a.Open(t.Context(), "INBOX")
		require.NoError(t, err)
		var wg sync.WaitGroup
		var n atomic.Int64
		for range 2 {
			wg.Go(func() {
				if _, err := m.Append(context.Background(), strings.NewReader(hello), mailbox.AppendOptions{}); err == nil {
					n.Add(1)
				}
			})
		}
		wg.Go(func() { _, _ = m.Changes(context.Background(), 0) })
		wg.Go(func() {
			for msg, err := range m.Read(context.Background(), mailbox.AllUIDs()) {
				if err == nil {
					require.LessOrEqual(t, msg.Content.Size(), int64(len(hello)))
				}
			}
		})
		if round%3 > 0 {
			time.Sleep(time.Duration(round) * 10 * time.Microsecond)
		}
		require.NoError(t, m.Close())
		wg.Wait()
		acked += int(n.Load())
	}
	metas, _ := list(t, second(t, root))
	require.GreaterOrEqual(t, len(metas), acked)
}
