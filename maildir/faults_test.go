//go:build unix

package maildir_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// F06: a link or a FIFO in place of new, cur, tmp or a file of ours is refused as a temporary error, and nothing
// is written through it.
func TestF06_LinksInTheTree(t *testing.T) {
	for _, name := range []string{"new", "cur", "tmp", "dovecot-uidlist", "dovecot-keywords", "goniec-index", "goniec-lock", "goniec-floor"} {
		for _, kind := range []string{"link", "fifo"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				root, outside := t.TempDir(), t.TempDir()
				s := &maildir.Store{Root: root}
				dir := filepath.Join(root, "u")
				require.NoError(t, os.MkdirAll(dir, 0o700))
				target := filepath.Join(outside, "target")
				require.NoError(t, os.Mkdir(target, 0o700))
				if kind == "link" {
					require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
				} else {
					require.NoError(t, syscall.Mkfifo(filepath.Join(dir, name), 0o600))
				}
				ctx := t.Context()
				err := s.Deliver(ctx, "u", "", strings.NewReader(hello), mailbox.AppendOptions{})
				a, accErr := s.Account(ctx, "u")
				require.NoError(t, accErr)
				defer a.Close()
				m, openErr := a.Open(ctx, "INBOX")
				if len(name) == 3 {
					require.Error(t, err)
					require.True(t, goniec.Temporary(err))
					require.True(t, goniec.Temporary(openErr))
				} else if openErr == nil {
					_, appendErr := m.Append(ctx, strings.NewReader(hello), mailbox.AppendOptions{})
					if appendErr != nil {
						require.True(t, goniec.Temporary(appendErr))
					}
					m.Close()
				}
				require.Equal(t, []string{outside, target}, tree(t, outside))
			})
		}
	}
}

// F06: no file of ours is followed where it leads elsewhere, nor waited for; what needs it fails, and the rest goes on.
func TestF06_LinksInPlaceOfSideFiles(t *testing.T) {
	for _, name := range []string{
		"dovecot-acl", "dovecot-acl-list", "goniec-metadata", "goniec-account-metadata", "subscriptions", "maildirsize",
		"goniec-intent", "goniec-derived", "goniec-special-use", "goniec-uidvalidity", "goniec-floor", "goniec-pop3-lock",
		"goniec-move-lock", "goniec-rename", "maildirfolder", "courierimapuiddb", "courierimapkeywords", "courierimapsubscribed",
		"dovecot-keywords", ".Sub", "cur/1600000000.M1P1.h:2,S", "new/1600000001.M1P1.h",
	} {
		for _, kind := range []string{"link", "dangling", "fifo", "folder"} {
			t.Run(strings.ReplaceAll(name, "/", "_")+"/"+kind, func(t *testing.T) {
				t.Parallel()
				root, outside := fastDir(t), fastDir(t)
				dir := filepath.Join(root, "u")
				for _, sub := range []string{"new", "cur", "tmp"} {
					require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
				}
				target := filepath.Join(outside, "target")
				require.NoError(t, os.WriteFile(target, []byte("user=bob lrs\n/private/comment 1\n"), 0o600))
				path := filepath.Join(dir, name)
				switch kind {
				case "link":
					require.NoError(t, os.Symlink(target, path))
				case "dangling":
					require.NoError(t, os.Symlink(target+".made", path))
				case "fifo":
					require.NoError(t, syscall.Mkfifo(path, 0o600))
				case "folder":
					require.NoError(t, os.Mkdir(path, 0o700))
				}
				useEverything(t, root)
				require.Equal(t, []string{outside, target}, tree(t, outside))
				text, err := os.ReadFile(target)
				require.NoError(t, err)
				require.Equal(t, "user=bob lrs\n/private/comment 1\n", string(text))
			})
		}
	}
}

// useEverything does all that an account can do. It may fail, but not stand still.
func useEverything(t *testing.T, root string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := maildir.Impatient(&maildir.Store{Root: root})
	defer s.Close()
	_ = s.Deliver(ctx, "u", "", strings.NewReader(hello), mailbox.AppendOptions{})
	acc, err := s.Account(ctx, "u")
	if err != nil { // in place of goniec-rename
		require.True(t, goniec.Temporary(err))
		require.NoError(t, ctx.Err())
		return
	}
	defer acc.Close()
	a := acc.(*maildir.Account)
	for _, err := range a.Mailboxes(ctx) {
		if err != nil {
			require.True(t, goniec.Temporary(err))
		}
	}
	_ = a.Create(ctx, "Made", mailbox.CreateOptions{SpecialUse: mailbox.UseSent})
	_ = a.SetSpecialUse(ctx, "INBOX", mailbox.UseJunk)
	_ = a.Subscribe(ctx, "Made", true)
	_, _ = a.Subscribed(ctx)
	_, _ = a.ACL(ctx, "INBOX")
	_ = a.ChangeACL(ctx, "INBOX", mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: mailbox.ACLEntry{ID: "bob", Rights: mailbox.AllRights}})
	_ = a.SetAnnotation(ctx, "/private/comment", []byte("x"))
	_, _ = a.Annotations(ctx)
	if m, err := a.Open(ctx, "INBOX"); err == nil {
		_, _ = m.Append(ctx, strings.NewReader(hello), mailbox.AppendOptions{Flags: mailbox.FlagList{Keywords: []string{"k"}}})
		for msg, err := range m.Read(ctx, mailbox.AllUIDs()) {
			if err == nil {
				_, _ = io.ReadAll(goniec.NewReader(msg.Content))
			}
		}
		_ = mailbox.SetAnnotation(ctx, m, "/private/comment", []byte("y"))
		_, _ = mailbox.Annotations(ctx, m)
		_, _ = a.Copy(ctx, "INBOX", 0, mailbox.AllUIDs(), "Made")
		_, _ = m.SetFlags(ctx, mailbox.AllUIDs(), mailbox.FlagChange{Flags: mailbox.FlagList{System: mailbox.Seen}})
		_, _ = a.Move(ctx, "INBOX", 0, mailbox.UIDs(1, 2), "Made")
		_, _ = m.Expunge(ctx, mailbox.AllUIDs())
		require.NoError(t, m.Close())
	}
	_ = a.Rename(ctx, "Made", "Renamed")
	_ = a.Delete(ctx, "Renamed")
	require.NoError(t, ctx.Err(), "something was waited for")
}

// F06: new/ is swapped for a link while deliveries run: each is refused or lies inside.
func TestF06_SwappedWhileDelivering(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	s := &maildir.Store{Root: root}
	a, _ := open(t, s, "u", "INBOX")
	_ = a
	dir := filepath.Join(root, "u")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(dir+"/new", dir+"/aside")
			_ = os.Symlink(outside, dir+"/new")
			time.Sleep(100 * time.Microsecond)
			_ = os.Remove(dir + "/new")
			_ = os.Rename(dir+"/aside", dir+"/new")
		}
	})
	acked := 0
	for range 200 {
		if s.Deliver(t.Context(), "u", "", strings.NewReader(hello), mailbox.AppendOptions{}) == nil {
			acked++
		}
	}
	close(stop)
	wg.Wait()
	require.Equal(t, []string{outside}, tree(t, outside))
	inside, _ := os.ReadDir(dir + "/new")
	aside, _ := os.ReadDir(dir + "/aside")
	require.GreaterOrEqual(t, len(inside)+len(aside), acked)
}

// F09: many processes (here Stores, each with its own letters) on one folder, with a clock that is set
// back: no two names are the same, nothing is overwritten.
func TestF09_NamesNeverCollide(t *testing.T) {
	const processes = 8
	each := 100
	if long {
		each = 100_000 / processes
	}
	root := fastDir(t)
	var wg sync.WaitGroup
	for p := range processes {
		var clock sync.Mutex
		now := time.Unix(1_700_000_000, 0)
		s := &maildir.Store{Root: root, Host: "same", Now: func() time.Time {
			clock.Lock()
			defer clock.Unlock()
			now = now.Add(time.Microsecond)
			if now.UnixMicro()%50 == 0 {
				now = now.Add(-time.Hour) // set back
			}
			return now
		}}
		wg.Go(func() {
			for i := range each {
				text := fmt.Sprintf("message %d of %d\r\n", i, p)
				if err := s.Deliver(t.Context(), "u", "", strings.NewReader(text), mailbox.AppendOptions{}); err != nil {
					t.Error(err)
				}
			}
			s.Close()
		})
	}
	wg.Wait()
	names, err := os.ReadDir(filepath.Join(root, "u", "new"))
	require.NoError(t, err)
	require.Len(t, names, processes*each)
	seen := make(map[string]bool)
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(root, "u", "new", n.Name()))
		require.NoError(t, err)
		require.False(t, seen[string(b)])
		seen[string(b)] = true
	}
}

// F11: while another program renames files all the time, no message is reported as expunged, and
// each keeps its UID.
func TestF11_ReaddirRacesWithRename(t *testing.T) {
	files := 3000
	if long {
		files = 50_000
	}
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	t.Cleanup(func() { s.Close() })
	cur := filepath.Join(root, "u", "cur")
	require.NoError(t, os.MkdirAll(cur, 0o700))
	names := make([]string, files)
	for i := range names {
		names[i] = filepath.Join(cur, fmt.Sprintf("%d.M%dP1.host,S=3,W=3", 1_600_000_000+i, i))
		require.NoError(t, os.WriteFile(names[i]+":2,", []byte("xyz"), 0o600))
	}
	_, m := open(t, s, "u", "INBOX")
	first, state := list(t, m)
	require.Len(t, first, files)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for round := 0; ; round++ {
			from, to := ":2,", ":2,S"
			if round%2 == 1 {
				from, to = to, from
			}
			for i := range names {
				select {
				case <-stop:
					return
				default:
				}
				if err := os.Rename(names[i]+from, names[i]+to); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	since := state.ModSeq
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		ch, err := m.Changes(t.Context(), since)
		require.NoError(t, err)
		require.True(t, ch.Known)
		require.Empty(t, ch.Expunged)
		require.Equal(t, files, ch.State.Messages)
		since = ch.State.ModSeq
	}
	for msg, err := range m.Read(t.Context(), mailbox.UIDSet{{First: 1, Last: 50}}) {
		require.NoError(t, err)
		require.EqualValues(t, 3, msg.Content.Size())
	}
	close(stop)
	wg.Wait()
	after, _ := list(t, m)
	for i := range first {
		require.Equal(t, first[i].UID, after[i].UID)
	}
}

// F10: a uidlist cut at any octet, with and without the index: the mailbox opens, each UID means what it meant or
// UIDVALIDITY is higher, and no UID is used again.
func TestF10_TruncatedList(t *testing.T) {
	for _, index := range []bool{true, false} {
		t.Run("index="+strconv.FormatBool(index), func(t *testing.T) { truncatedList(t, index) })
	}
}

func truncatedList(t *testing.T, index bool) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	a, m := open(t, s, "u", "INBOX")
	for i := range 4 {
		_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprintf("message %d\r\n", i)), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	_, err := m.Expunge(t.Context(), mailbox.UIDs(2))
	require.NoError(t, err)
	was, err := lookFolder(t.Context(), a, "INBOX")
	require.NoError(t, err)
	m.Close()
	s.Close()
	dir := filepath.Join(root, "u")
	whole, err := os.ReadFile(dir + "/dovecot-uidlist")
	require.NoError(t, err)
	save := copyFiles(t, dir)

	for cut := range len(whole) {
		save.restore(t, dir)
		require.NoError(t, os.WriteFile(dir+"/dovecot-uidlist", whole[:cut], 0o600))
		if !index {
			require.NoError(t, os.Remove(dir+"/goniec-index"))
		}
		checkDamaged(t, root, was, fmt.Sprintf("cut at %d", cut))
	}
}

// F10: garbage, duplicate UIDs, lines out of order, an older copy, another UIDVALIDITY.
func TestF10_DamagedList(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	a, m := open(t, s, "u", "INBOX")
	add := func(i int) {
		_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprintf("message %d\r\n", i)), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	add(0)
	add(1)
	dir := filepath.Join(root, "u")
	older, err := os.ReadFile(dir + "/dovecot-uidlist")
	require.NoError(t, err)
	add(2)
	add(3)
	was, err := lookFolder(t.Context(), a, "INBOX")
	require.NoError(t, err)
	m.Close()
	s.Close()
	whole, err := os.ReadFile(dir + "/dovecot-uidlist")
	require.NoError(t, err)
	save := copyFiles(t, dir)
	lines := strings.SplitAfter(string(whole), "\n")
	for name, text := range map[string]string{
		"garbage":      "\x00\xff garbage\n",
		"garbage line": lines[0] + lines[1] + "xyz\n" + lines[2],
		"swapped":      lines[0] + lines[2] + lines[1],
		"twice":        lines[0] + lines[1] + lines[1] + lines[2],
		"older":        string(older),
		"other names":  lines[0] + "1 :a\n2 :b\n3 :c\n",
		"renumbered":   lines[0] + strings.Replace(lines[1], "1 ", "3 ", 1) + strings.Replace(lines[2], "2 ", "4 ", 1),
		"lower V":      strings.Replace(string(whole), "3 V", "3 V1 X", 1),
		"uid overflow": lines[0] + strings.Replace(lines[1], "1 ", "4294967296 ", 1),
		"next zero":    "3 V1 N0 Gabc\n",
		"version 9":    "9 V1 N1\n",
		"empty":        "",
	} {
		for _, index := range []bool{true, false} {
			save.restore(t, dir)
			require.NoError(t, os.WriteFile(dir+"/dovecot-uidlist", []byte(text), 0o600))
			if !index {
				if name == "renumbered" {
					continue // a list in good order: only the index can know better
				}
				require.NoError(t, os.Remove(dir+"/goniec-index"))
			}
			checkDamaged(t, root, was, fmt.Sprintf("%s, index=%v", name, index))
		}
	}
}

func checkDamaged(t *testing.T, root string, was folderView, what string) {
	t.Helper()
	s := &maildir.Store{Root: root}
	defer s.Close()
	a, err := s.Account(t.Context(), "u")
	require.NoError(t, err, what)
	defer a.Close()
	now, err := lookFolder(t.Context(), a, "INBOX")
	require.NoError(t, err, what)
	require.Equal(t, was.texts(), now.texts(), what)
	require.GreaterOrEqual(t, now.validity, was.validity, what)
	m, err := a.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	meta, err := m.Append(t.Context(), strings.NewReader("new\r\n"), mailbox.AppendOptions{})
	m.Close()
	require.NoError(t, err, what)
	if now.validity > was.validity {
		return
	}
	require.GreaterOrEqual(t, now.next, was.next, what)
	require.GreaterOrEqual(t, meta.UID, was.next, what)
	for uid, text := range now.mails {
		if uid < was.next {
			require.Equal(t, was.mails[uid], text, what)
		}
	}
}

// savedFiles is the content of a directory tree.
type savedFiles map[string]string

func copyFiles(t *testing.T, dir string) savedFiles {
	t.Helper()
	save := make(savedFiles)
	for _, path := range tree(t, dir) {
		if b, err := os.ReadFile(path); err == nil {
			save[strings.TrimPrefix(path, dir)] = string(b)
		}
	}
	return save
}

func (s savedFiles) restore(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(dir))
	for _, sub := range []string{"cur", "new", "tmp"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	for name, text := range s {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
}
