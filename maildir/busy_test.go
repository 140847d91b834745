package maildir_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// slowSync is the system's file system whose syncs of directories called cur wait for leave, while held.
type slowSync struct {
	faultfs.FS
	held    atomic.Bool
	waiting chan struct{} // gets a value when a sync waits
	leave   chan struct{}
}

type slowDir struct {
	faultfs.Dir
	of *slowSync
}

func (s *slowSync) OpenDir(path string) (faultfs.Dir, error) {
	d, err := s.FS.OpenDir(path)
	return &slowDir{d, s}, err
}

func (d *slowDir) OpenDir(name string) (faultfs.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &slowDir{sub, d.of}, nil
}

func (d *slowDir) Rename(name string, to faultfs.Dir, newName string) error {
	return d.Dir.Rename(name, to.(*slowDir).Dir, newName)
}

func (d *slowDir) Link(name string, to faultfs.Dir, newName string) error {
	return d.Dir.Link(name, to.(*slowDir).Dir, newName)
}

func (d *slowDir) Sync() error {
	if d.of.held.Load() && filepath.Base(d.Name()) == "cur" {
		d.of.waiting <- struct{}{}
		<-d.of.leave
	}
	return d.Dir.Sync()
}

// While appends are made durable, the state from before them can be had at once, what is delivered meanwhile is waited
// for, and after them they show.
func TestChangesDuringAppend(t *testing.T) {
	slow := &slowSync{FS: faultfs.OS{}, waiting: make(chan struct{}), leave: make(chan struct{})}
	end := sync.OnceFunc(func() { close(slow.leave) })
	s := &maildir.Store{Root: t.TempDir(), FS: slow}
	defer s.Close()
	_, m := open(t, s, user, "INBOX")
	defer end()
	first, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
	require.NoError(t, err)
	time.Sleep(200 * time.Millisecond) // the time of new/ has settled: it tells whether something was delivered
	before, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)

	begin := func() (done chan error) {
		done = make(chan error, 1)
		slow.held.Store(true)
		go func() {
			_, err := m.Append(context.Background(), strings.NewReader(hello), mailbox.AppendOptions{})
			done <- err
		}()
		<-slow.waiting
		slow.held.Store(false)
		return done
	}
	done := begin()
	for _, since := range []mailbox.ModSeq{mailbox.Latest, before.State.ModSeq} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ch, err := m.Changes(ctx, since)
		require.NoError(t, err)
		require.Equal(t, before.State, ch.State)
		require.True(t, ch.Known)
		require.Empty(t, ch.Expunged)
		for range ch.Messages {
			t.Fatal("nothing is newer")
		}
	}
	// What it can not tell it does not tell: it waits.
	waits := func(since mailbox.ModSeq) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := m.Changes(ctx, since)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	waits(0)
	waits(first.ModSeq - 1)
	require.NoError(t, s.Deliver(t.Context(), user, "", strings.NewReader(hello), mailbox.AppendOptions{}))
	waits(mailbox.Latest)

	end()
	require.NoError(t, <-done)
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	require.Equal(t, 3, ch.State.Messages, "the appended and the delivered one")
	require.Equal(t, 3*int64(len(hello)), ch.State.Size)
	require.Equal(t, 3, ch.State.Unseen)
}

// I11: what the append finds that another program has done got a mod-sequence that a power cut could still take back: it is not
// told before it is durable. Nor is the UIDNEXT of a UID that the caller has chosen.
func TestI11_ChangesDuringAppendAreDurable(t *testing.T) {
	slow := &slowSync{FS: faultfs.OS{}, waiting: make(chan struct{}), leave: make(chan struct{})}
	root := t.TempDir()
	s := &maildir.Store{Root: root, FS: slow}
	defer s.Close()
	_, m := open(t, s, user, "INBOX")
	for range 2 {
		_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	time.Sleep(200 * time.Millisecond)
	_, state := list(t, m)
	for _, what := range []string{"foreign", "chosen UID", ""} {
		if what == "foreign" {
			names, err := filepath.Glob(filepath.Join(root, user, "cur", "*"))
			require.NoError(t, err)
			require.NoError(t, os.Rename(names[0], names[0]+"S"))
		}
		slow.held.Store(true)
		done := make(chan error, 1)
		go func() {
			var err error
			if what == "chosen UID" {
				to, _ := mailbox.As[mailbox.UIDAppender](m)
				_, err = to.AppendUID(context.Background(), state.UIDValidity, 1000, strings.NewReader(hello), mailbox.AppendOptions{})
			} else {
				_, err = m.Append(context.Background(), strings.NewReader(hello), mailbox.AppendOptions{})
			}
			done <- err
		}()
		<-slow.waiting
		require.Equal(t, what == "", maildir.AnswersWithoutLock(m.(*maildir.Mailbox)))
		slow.held.Store(false)
		slow.leave <- struct{}{}
		require.NoError(t, <-done)
		time.Sleep(200 * time.Millisecond)
		list(t, m)
	}
}

// I14: whoever is told of an append sees it when he asks: the state from before is withdrawn by then. Also where one batch
// is told of in several parts.
func TestI14_ToldOfAppendsSeesThem(t *testing.T) {
	s := &maildir.Store{Root: t.TempDir()}
	defer s.Close()
	_, m := open(t, s, user, "INBOX")
	box := m.(*maildir.Mailbox)
	var told, stale atomic.Int64
	maildir.OnChange(box, func() {
		told.Add(1)
		if maildir.AnswersWithoutLock(box) {
			stale.Add(1)
		}
	})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
				assert.NoError(t, err)
				_, err = mailbox.AppendAll(t.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
					for range 2 {
						if !yield(mailbox.NewMessage{Msg: strings.NewReader(hello)}, nil) {
							return
						}
					}
				})
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	require.Positive(t, told.Load())
	require.Zero(t, stale.Load())
}

// The lock file of a folder in use stays in tmp/, is the lock's own while it is held, and goes with the folder.
func TestSpareLockFile(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, user)
	s := &maildir.Store{Root: root, IdleFolders: -1}
	maildir.SpareLocks(s)
	a, m := open(t, s, user, "INBOX")
	appendOne := func() {
		_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
		require.NoFileExists(t, filepath.Join(dir, "dovecot-uidlist.lock"))
	}
	spares := func() []os.DirEntry {
		files, err := os.ReadDir(filepath.Join(dir, "tmp"))
		require.NoError(t, err)
		return files
	}
	appendOne()
	appendOne()
	files := spares()
	require.Len(t, files, 1)
	spare := filepath.Join(dir, "tmp", files[0].Name())
	text, err := os.ReadFile(spare)
	require.NoError(t, err)
	require.Regexp(t, fmt.Sprintf("^%d:.", os.Getpid()), string(text))

	// Its time is that of the last lock, or another host would take it for stale.
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(spare, old, old))
	appendOne()
	info, err := os.Stat(spare)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), info.ModTime(), time.Minute)

	// Somebody else's lock is respected.
	lock := filepath.Join(dir, "dovecot-uidlist.lock")
	require.NoError(t, os.WriteFile(lock, []byte("1:elsewhere"), 0o600))
	done := make(chan error, 1)
	go func() {
		_, err := m.Append(context.Background(), strings.NewReader(hello), mailbox.AppendOptions{})
		done <- err
	}()
	select {
	case <-done:
		t.Fatal("appended under another's lock")
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, os.Remove(lock))
	require.NoError(t, <-done)

	require.NoError(t, os.Remove(spare)) // a clean-up of another program
	appendOne()
	for range 3 {
		appendOne()
	}
	require.Len(t, spares(), 1)
	require.NoError(t, m.Close())
	require.Empty(t, spares())
	require.NoError(t, a.Close())
	require.NoError(t, s.Close())
}

// Deliveries side by side sync new/ by handles of their own; where these can not be had, by the main one, one
// at a time; and all are closed with the folder.
func TestSyncsSideBySide(t *testing.T) {
	for _, fail := range []bool{false, true} {
		t.Run(fmt.Sprint("fail=", fail), func(t *testing.T) {
			c := &countFS{FS: faultfs.OS{}}
			s := &maildir.Store{Root: t.TempDir(), FS: c, IdleFolders: -1}
			a, m := open(t, s, user, "INBOX")
			opened := c.open.Load()
			c.fail.Store(fail)
			const each = 50
			var wg sync.WaitGroup
			for range maildir.SyncsAtOnce {
				wg.Go(func() {
					for range each {
						if err := s.Deliver(t.Context(), user, "", strings.NewReader(hello), mailbox.AppendOptions{}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			c.fail.Store(false)
			require.LessOrEqual(t, c.open.Load(), opened+maildir.SyncsAtOnce-1)
			if !fail {
				require.Greater(t, c.open.Load(), opened)
			}
			require.False(t, c.twice.Load(), "a handle was synced twice at a time")
			ch, err := m.Changes(t.Context(), mailbox.Latest)
			require.NoError(t, err)
			require.Equal(t, maildir.SyncsAtOnce*each, ch.State.Messages)
			require.NoError(t, m.Close())
			require.NoError(t, a.Close())
			require.NoError(t, s.Close())
			require.Zero(t, c.open.Load(), "handles left open")
		})
	}
}

// countFS counts open directories, refuses to open "new" while fail is set, and notices two syncs of one handle at a time.
type countFS struct {
	faultfs.FS
	open        atomic.Int64
	fail, twice atomic.Bool
}

type countDir struct {
	faultfs.Dir
	of   *countFS
	busy atomic.Bool
}

func (c *countFS) OpenDir(path string) (faultfs.Dir, error) { return c.wrap(c.FS.OpenDir(path)) }

func (c *countFS) wrap(d faultfs.Dir, err error) (faultfs.Dir, error) {
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countDir{Dir: d, of: c}, nil
}

func (d *countDir) OpenDir(name string) (faultfs.Dir, error) {
	if name == "new" && d.of.fail.Load() {
		return nil, &fs.PathError{Op: "opendir", Path: name, Err: fs.ErrInvalid}
	}
	return d.of.wrap(d.Dir.OpenDir(name))
}

func (d *countDir) Rename(name string, to faultfs.Dir, newName string) error {
	return d.Dir.Rename(name, to.(*countDir).Dir, newName)
}

func (d *countDir) Link(name string, to faultfs.Dir, newName string) error {
	return d.Dir.Link(name, to.(*countDir).Dir, newName)
}

func (d *countDir) Sync() error {
	if d.busy.Swap(true) {
		d.of.twice.Store(true)
	}
	defer d.busy.Store(false)
	time.Sleep(time.Millisecond) // long enough for others to come
	return d.Dir.Sync()
}

func (d *countDir) Close() error {
	d.of.open.Add(-1)
	return d.Dir.Close()
}
