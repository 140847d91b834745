package mbox_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/goniec-mail/goniec/mbox"
)

// TestConformance runs over the file system in memory: the suite syncs thousands of times.
func TestConformance(t *testing.T) {
	for _, d := range []mbox.Dialect{mbox.MboxRD, mbox.MboxCL2} {
		if d != mbox.MboxRD && os.Getenv("GONIEC_LONG") == "" {
			continue
		}
		t.Run(d.String(), func(t *testing.T) {
			mailboxtest.Suite{
				Open: func(*testing.T) mailbox.Store {
					return &mbox.Store{Root: "/mail/{user}", FS: faultfs.NewCrash(1), Dialect: d}
				},
				Reopen: func(_ *testing.T, s mailbox.Store) mailbox.Store {
					old := s.(*mbox.Store)
					old.Close()
					return &mbox.Store{Root: old.Root, FS: old.FS, Dialect: d}
				},
			}.Run(t)
		})
	}
}

// TestConformanceOneFile: one file for each user, and no other folders.
func TestConformanceOneFile(t *testing.T) {
	mailboxtest.Suite{
		Lacks: mailboxtest.LacksFolders,
		Open: func(t *testing.T) mailbox.Store {
			return &mbox.Store{Inbox: "/var/mail/{user}", FS: faultfs.NewCrash(1), Dialect: mbox.Auto}
		},
		Reopen: func(_ *testing.T, s mailbox.Store) mailbox.Store {
			old := s.(*mbox.Store)
			return &mbox.Store{Inbox: old.Inbox, FS: old.FS}
		},
	}.Run(t)
}

func TestF08_StoreTwoProcesses(t *testing.T) {
	mailboxtest.TestTwoProcesses(t, func(_ *testing.T, place string) mailbox.Store {
		return &mbox.Store{Root: filepath.Join(place, "{user}")}
	})
}

func openBox(t *testing.T, s mailbox.Store, name string) mailbox.Mailbox {
	t.Helper()
	a, err := s.Account(t.Context(), "ann")
	require.NoError(t, err)
	m, err := a.Open(t.Context(), name)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close(); a.Close() })
	return m
}

type listed struct {
	uid   mailbox.UID
	flags mailbox.FlagList
	text  string
}

func listBox(t *testing.T, m mailbox.Mailbox) (all []listed) {
	t.Helper()
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		text, err := io.ReadAll(goniec.NewReader(msg.Content))
		require.NoError(t, err)
		all = append(all, listed{msg.UID, msg.Flags.List(ch.State.Keywords), string(text)})
	}
	return all
}

const from = "From x@y Sat Jan  3 01:05:34 1998\n"

// TestForeign lets another program work on the file: messages keep their UIDs, and their flags follow.
func TestForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ann")
	s := &mbox.Store{Inbox: filepath.Join(filepath.Dir(path), "{user}")}
	one := from + "Status: RO\nX-Keywords: Later\nSubject: one\n\none\n\n"
	two := from + "Subject: two\nX-Status: F\n\n>From two\n\n"
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(one + two)
	m := openBox(t, s, "INBOX")
	first := listed{1, mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"Later"}}, "Subject: one\r\n\r\none\r\n"}
	second := listed{2, mailbox.FlagList{System: mailbox.Flagged}, "Subject: two\r\n\r\nFrom two\r\n"}
	require.Equal(t, []listed{first, second}, listBox(t, m))

	// Another message in front, the first one deleted, the second one read.
	three := from + "Subject: three\n\n\n"
	write(three + strings.ReplaceAll(two, "X-Status: F", "Status: RO\nX-Status: AF"))
	second.flags.System = mailbox.Seen | mailbox.Answered | mailbox.Flagged
	third := listed{3, mailbox.FlagList{}, "Subject: three\r\n\r\n"}
	require.Equal(t, []listed{second, third}, listBox(t, m))

	// Our own message shows its flags to others, also when they change.
	meta, err := m.Append(t.Context(), strings.NewReader("Status: RO\r\n\r\nfour"), mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Seen}})
	require.NoError(t, err)
	require.Equal(t, mailbox.UID(4), meta.UID)
	_, err = m.SetFlags(t.Context(), mailbox.UIDs(4), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Deleted, Keywords: []string{"$Junk"}}})
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), "Status: RO\nX-Status: D   \nX-Keywords: $Junk ")
	fourth := listed{4, mailbox.FlagList{System: mailbox.Seen | mailbox.Deleted, Keywords: []string{"$Junk"}}, "Status: RO\r\n\r\nfour"}
	require.Equal(t, []listed{second, third, fourth}, listBox(t, m))

	// A lost index: new UIDs under a higher UIDVALIDITY, the flags are in the file.
	before, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(path), ".ann.goniec-mbox")))
	m = openBox(t, s, "INBOX")
	after, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	require.Greater(t, after.State.UIDValidity, before.State.UIDValidity)
	fourth.uid = 3
	require.Equal(t, fourth, listBox(t, m)[2])
}

// TestForeignStatus lets another program change the status fields of our own messages, in place and not: what it has changed
// counts, and what the fields have no room for stays.
func TestForeignStatus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ann")
	s := &mbox.Store{Inbox: filepath.Join(filepath.Dir(path), "{user}")}
	m := openBox(t, s, "INBOX")
	long := []string{strings.Repeat("a", 40), strings.Repeat("b", 40)} // one of them fits
	given := mailbox.FlagList{System: mailbox.Flagged, Keywords: long}
	meta, err := m.Append(t.Context(), strings.NewReader("Subject: x\r\n\r\nx\r\n"), mailbox.AppendOptions{Flags: given})
	require.NoError(t, err)
	modSeq := meta.ModSeq
	for _, step := range []struct {
		old, new string
		system   mailbox.Flags
		keywords []string
	}{
		{"Status: O ", "Status: RO", mailbox.Seen | mailbox.Flagged, long},
		{"X-Status: F ", "X-Status: A ", mailbox.Seen | mailbox.Answered, long},
		{"X-Keywords: " + long[0], "X-Keywords: " + strings.Repeat(" ", 40), mailbox.Seen | mailbox.Answered, long[1:]},
		{"Status: RO\nX-Status: A   \n", "X-Status: AD\nStatus: O\n", mailbox.Answered | mailbox.Deleted, long[1:]}, // no block of ours any more
		{"Status: O\n", "", mailbox.Answered | mailbox.Deleted, long[1:]},
		{"X-Status: AD\n", "Status: R\n", mailbox.Seen, long[1:]},
	} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), step.old)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), step.old, step.new, 1)), 0o600))
		require.Equal(t, []listed{{1, mailbox.FlagList{System: step.system, Keywords: step.keywords}, "Subject: x\r\n\r\nx\r\n"}}, listBox(t, m), step.new)
		ch, err := m.Changes(t.Context(), modSeq)
		require.NoError(t, err)
		require.Equal(t, step.new == "", ch.State.ModSeq == modSeq, "a change of the flags has a higher mod-sequence")
		modSeq = ch.State.ModSeq
	}
}

// TestTornIndex cuts the index at every octet, and changes every octet: it is read up to the last change that is whole, or made anew with a
// higher UIDVALIDITY; the messages are all there (F10).
func TestTornIndex(t *testing.T) {
	dir := t.TempDir()
	s := &mbox.Store{Inbox: filepath.Join(dir, "{user}")}
	m := openBox(t, s, "INBOX")
	for _, text := range []string{"one\r\n", "two\r\n"} {
		_, err := m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	want := listBox(t, m)
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	m.Close()
	path := filepath.Join(dir, ".ann.goniec-mbox")
	index, err := os.ReadFile(path)
	require.NoError(t, err)
	for n := 0; n < len(index); n += 23 {
		for _, broken := range [][]byte{index[:n], append(append(bytes.Clone(index[:n]), index[n]^1), index[n+1:]...)} {
			require.NoError(t, os.WriteFile(path, broken, 0o600))
			m := openBox(t, s, "INBOX")
			got := listBox(t, m)
			now, err := m.Changes(t.Context(), mailbox.Latest)
			require.NoError(t, err)
			require.Len(t, got, 2)
			for i := range got {
				require.Equal(t, want[i].text, got[i].text)
				require.True(t, got[i].uid == want[i].uid || now.State.UIDValidity > ch.State.UIDValidity)
			}
			m.Close()
		}
	}
}

// TestReadOnly reads a tree of another program and leaves no trace.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/Lists", 0o700))
	require.NoError(t, os.MkdirAll(dir+"/Work.sbd", 0o700))
	for _, name := range []string{"INBOX", "Work", "Lists/Go", "Work.sbd/Old"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(from+"Subject: "+name+"\n\n\n"), 0o600))
	}
	require.NoError(t, os.WriteFile(dir+"/notes", []byte("no mail"), 0o600))
	s := &mbox.Store{Root: dir, ReadOnly: true, Dialect: mbox.Auto}
	mailboxes, err := s.Account(t.Context(), "ann")
	require.NoError(t, err)
	var names []string
	for info, err := range mailboxes.Mailboxes(t.Context()) {
		require.NoError(t, err)
		names = append(names, info.Name)
	}
	require.ElementsMatch(t, []string{"INBOX", "Work", "Lists/Go", "Work/Old"}, names)
	m := openBox(t, s, "Work/Old")
	require.Equal(t, []listed{{1, mailbox.FlagList{}, "Subject: Work.sbd/Old\r\n\r\n"}}, listBox(t, m))
	_, err = m.Append(t.Context(), strings.NewReader(""), mailbox.AppendOptions{})
	require.ErrorIs(t, err, mailbox.ErrReadOnly)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 5)
}

// TestStoreCrash runs the crash suite (F02, F04). A dotlock that a power cut has left is honoured for ten minutes: the clock of
// each Store runs an hour ahead of the one before.
func TestStoreCrash(t *testing.T) {
	t.Parallel()
	hours, limit := 0, 4
	if os.Getenv("GONIEC_LONG") != "" {
		limit = 200
	}
	suite := mailboxtest.CrashSuite{
		Limit: limit,
		Open: func(fsys faultfs.FS) (mailbox.Store, error) {
			hours++
			ahead := time.Duration(hours) * time.Hour
			return &mbox.Store{
				Root: "/mail/{user}", FS: fsys, LockTimeout: 200 * time.Millisecond,
				Now: func() time.Time { return time.Now().Add(ahead) },
			}, nil
		},
	}
	suite.Crashes(t)
	if os.Getenv("GONIEC_LONG") == "" {
		suite.Lacks = mailboxtest.LacksFolders // the faults of copies and moves take most of the time
	}
	suite.Faults(t)
}

// TestAppendUID: an empty folder takes over UIDVALIDITY and UIDs; what does not fit is refused.
func TestAppendUID(t *testing.T) {
	m := openBox(t, &mbox.Store{Inbox: filepath.Join(t.TempDir(), "{user}")}, "INBOX")
	a, ok := mailbox.As[mailbox.UIDAppender](m)
	require.True(t, ok)
	add := func(validity uint32, uid mailbox.UID) error {
		meta, err := a.AppendUID(t.Context(), validity, uid, strings.NewReader("x\r\n"), mailbox.AppendOptions{})
		require.True(t, err != nil || meta.UID == uid)
		return err
	}
	require.NoError(t, add(77, 5))
	require.NoError(t, add(77, 9))
	require.ErrorIs(t, add(77, 9), mailbox.ErrCannot)
	require.ErrorIs(t, add(78, 10), mailbox.ErrCannot)
	require.ErrorIs(t, add(0, 10), mailbox.ErrCannot)
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	require.EqualValues(t, 77, ch.State.UIDValidity)
	require.EqualValues(t, 10, ch.State.UIDNext)
	require.Len(t, listBox(t, m), 2)
}
