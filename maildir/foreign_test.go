//go:build unix

package maildir_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// What other programs do to the tree shows in the next Changes: deliveries, renames, deletions.
func TestForeignChanges(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	dir := filepath.Join(root, "u")
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	settle := func() { time.Sleep(25 * time.Millisecond) } // beyond one tick of the file system's clock
	write("new/1600000002.a.host", "two\n")
	write("new/1600000001.b.host", "one\n")
	write("cur/1600000003.c.host:2,FS", "three\r\nmixed\n")
	metas, state := list(t, m)
	require.Len(t, metas, 3)
	require.Equal(t, "one\r\n", content(t, m, 1), "in the order of arrival")
	require.Equal(t, mailbox.Flagged|mailbox.Seen, metas[2].Flags)
	require.Equal(t, "three\r\nmixed\r\n", content(t, m, 3))
	require.Equal(t, mailbox.Date(1600000001), metas[0].Saved)

	settle()
	require.NoError(t, os.Rename(dir+"/cur/1600000001.b.host:2,", dir+"/cur/1600000001.b.host:2,PRSx"))
	require.NoError(t, os.Remove(dir+"/cur/1600000002.a.host:2,"))
	ch, err := m.Changes(t.Context(), state.ModSeq)
	require.NoError(t, err)
	require.Equal(t, "2", ch.Expunged.String())
	var changed []mailbox.Meta
	for meta := range ch.Messages {
		changed = append(changed, meta)
	}
	require.Len(t, changed, 1)
	require.Equal(t, mailbox.UID(1), changed[0].UID)
	require.Equal(t, mailbox.FlagList{System: mailbox.Seen | mailbox.Answered, Keywords: []string{"unknown-23"}}, changed[0].Flags.List(ch.State.Keywords))

	// The letter P is not ours, and stays.
	_, err = m.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsReplace, Flags: mailbox.FlagList{System: mailbox.Deleted | mailbox.Draft}})
	require.NoError(t, err)
	require.FileExists(t, dir+"/cur/1600000001.b.host:2,DPT")

	// A message that comes back after it was seen to go is a new one.
	settle()
	write("cur/1600000002.a.host:2,", "two\n")
	metas, _ = list(t, m)
	require.Equal(t, mailbox.UID(4), metas[len(metas)-1].UID)
}

// Files renamed while a message is being read or changed are found again. Small messages are read ahead.
func TestForeignRenameBetween(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
	require.NoError(t, err)
	large := hello + strings.Repeat("a line of a message that is not read ahead\r\n", 2000)
	_, err = m.Append(t.Context(), strings.NewReader(large), mailbox.AppendOptions{})
	require.NoError(t, err)
	cur := filepath.Join(root, "u", "cur")
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		if msg.UID == 1 {
			names, err := os.ReadDir(cur)
			require.NoError(t, err)
			for _, n := range names {
				require.NoError(t, os.Rename(filepath.Join(cur, n.Name()), filepath.Join(cur, n.Name()+"F")))
			}
		} else {
			require.Equal(t, mailbox.Flagged, msg.Flags)
		}
	}
	require.NoError(t, os.RemoveAll(cur))
	require.NoError(t, os.Mkdir(cur, 0o700))
	for _, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.Error(t, err)
	}
}

// A watcher learns what other programs do.
func TestWatchForeign(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	list(t, m)
	wake := make(chan struct{}, 100)
	w, ok := mailbox.As[mailbox.Watcher](m)
	require.True(t, ok)
	require.NoError(t, w.Watch(t.Context(), func() { wake <- struct{}{} }))
	require.NoError(t, os.WriteFile(filepath.Join(root, "u", "new", "1600000001.x.h"), []byte("x\n"), 0o600))
	select {
	case <-wake:
	case <-time.After(time.Minute):
		t.Fatal("not woken")
	}
}

// The index is a cache: without it every message keeps its UID, flags and date, mod-sequences go on above all that
// were given, and expunges from before are not known.
func TestIndexLost(t *testing.T) {
	for _, how := range []string{"removed", "cut", "flipped", "foreign", "other version"} {
		t.Run(how, func(t *testing.T) {
			root := fastDir(t)
			s := &maildir.Store{Root: root}
			_, m := open(t, s, "u", "INBOX")
			for _, text := range []string{"a\r\n", "b\r\n", "c\r\n"} {
				_, err := m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{Date: time.Unix(1_000_000_000, 0)})
				require.NoError(t, err)
			}
			_, err := m.SetFlags(t.Context(), mailbox.UIDs(3), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{Keywords: []string{"k"}}})
			require.NoError(t, err)
			_, err = m.Expunge(t.Context(), mailbox.UIDs(2))
			require.NoError(t, err)
			metas, state := list(t, m)
			m.Close()
			s.Close()
			file := filepath.Join(root, "u", "goniec-index")
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			switch how {
			case "removed":
				require.NoError(t, os.Remove(file))
			case "cut":
				require.NoError(t, os.WriteFile(file, data[:40], 0o600))
			case "flipped":
				data[60] ^= 1
				require.NoError(t, os.WriteFile(file, data, 0o600))
			case "foreign":
				require.NoError(t, os.WriteFile(file, []byte("hello"), 0o600))
			case "other version":
				require.NoError(t, os.WriteFile(file, append([]byte("goniec-index 9\n"), data[15:]...), 0o600))
			}
			// The clock was set back meanwhile.
			s2 := &maildir.Store{Root: root, Now: func() time.Time { return time.Now().Add(-30 * time.Minute) }}
			defer s2.Close()
			_, m2 := open(t, s2, "u", "INBOX")
			metas2, state2 := list(t, m2)
			require.Equal(t, state.UIDValidity, state2.UIDValidity)
			require.GreaterOrEqual(t, state2.UIDNext, state.UIDNext)
			require.Greater(t, state2.ModSeq, state.ModSeq)
			require.Greater(t, state2.Horizon, state.ModSeq)
			require.Equal(t, state.ID, state2.ID)
			require.Len(t, metas2, len(metas))
			for i := range metas {
				require.Equal(t, metas[i].UID, metas2[i].UID)
				require.Equal(t, metas[i].Flags, metas2[i].Flags)
				require.Equal(t, metas[i].Date, metas2[i].Date)
				require.Equal(t, metas[i].Size, metas2[i].Size)
				require.Greater(t, metas2[i].ModSeq, state.ModSeq)
			}
			ch, err := m2.Changes(t.Context(), state.ModSeq)
			require.NoError(t, err)
			require.False(t, ch.Known)
		})
	}
}

// With the index a restart keeps mod-sequences and the history of expunges.
func TestRestartKeepsHistory(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	_, m := open(t, s, "u", "INBOX")
	for range 3 {
		_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	before, state := list(t, m)
	_, err := m.Expunge(t.Context(), mailbox.UIDs(2))
	require.NoError(t, err)
	s2 := &maildir.Store{Root: root} // while the first is still open: as another process
	defer s2.Close()
	_, m2 := open(t, s2, "u", "INBOX")
	ch, err := m2.Changes(t.Context(), state.ModSeq)
	require.NoError(t, err)
	require.True(t, ch.Known)
	require.Equal(t, "2", ch.Expunged.String())
	after, _ := list(t, m2)
	require.Equal(t, before[0], after[0])
	require.Equal(t, before[2], after[1])

	// What the second does, the first tells with the same mod-sequence.
	_, err = m2.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
	require.NoError(t, err)
	mine, st1 := list(t, m)
	theirs, st2 := list(t, m2)
	require.Equal(t, theirs, mine)
	require.Equal(t, st2.ModSeq, st1.ModSeq)
	m.Close()
	s.Close()
}

// A tree of Courier keeps its UIDs, keywords and subscriptions.
func TestCourierTree(t *testing.T) {
	root := fastDir(t)
	dir := filepath.Join(root, "u")
	for name, text := range map[string]string{
		"cur/1600000001.M1P1.host,S=2:2,S":             "a\n",
		"cur/1600000002.M2P1.host,S=2:2,":              "b\n",
		"cur/1600000003.M3P1.host,S=2:2,F":             "c\n",
		"courierimapuiddb":                             "1 1234567890 12\n7 1600000001.M1P1.host,S=2\n9 1600000002.M2P1.host,S=2\n",
		"courierimapkeywords/:list":                    "$Forwarded\nWork\nbad word\n\n1600000001.M1P1.host,S=2:0 1 2\n",
		"courierimapkeywords/1600000002.M2P1.host,S=2": "Later\n",
		"courierimapsubscribed":                        "INBOX\nINBOX.Sent\nINBOX.Lists.Go\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	s := &maildir.Store{Root: root}
	defer s.Close()
	a, m := open(t, s, "u", "INBOX")
	metas, state := list(t, m)
	require.EqualValues(t, 1234567890, state.UIDValidity)
	require.Len(t, metas, 3)
	require.Equal(t, []mailbox.UID{7, 9, 12}, []mailbox.UID{metas[0].UID, metas[1].UID, metas[2].UID})
	require.ElementsMatch(t, []string{"$Forwarded", "Work"}, metas[0].Flags.List(state.Keywords).Keywords)
	require.Equal(t, mailbox.Seen, metas[0].Flags.List(state.Keywords).System)
	require.Equal(t, []string{"Later"}, metas[1].Flags.List(state.Keywords).Keywords)
	names, err := mailbox.Subscribed(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, []string{"INBOX", "Lists/Go", "Sent"}, names)
	require.FileExists(t, dir+"/dovecot-uidlist")
}

// What Courier 5.0.13 left behind of a session: keywords both in :list and in the update files of the last five minutes, and
// folders named in UTF-8.
func TestCourier5Tree(t *testing.T) {
	root := fastDir(t)
	dir := filepath.Join(root, "u")
	for name, text := range map[string]string{
		"cur/1600000001.M1P1.host:2,S":                             "Subject: m1\n\nbody 1\n",
		"cur/1600000002.M2P1.host:2,":                              "Subject: m2\n\nbody 2\n",
		"cur/1600000003.M3P1.host:2,F":                             "Subject: m3\n\nbody 3\n",
		"cur/1600000004.M4P1.host:2,":                              "Subject: m4\n\nbody 4\n",
		"courierimapuiddb":                                         "1 795322792 5\n1 1600000001.M1P1.host\n2 1600000002.M2P1.host\n3 1600000003.M3P1.host\n4 1600000004.M4P1.host\n",
		"courierimapkeywords/:list":                                "Later\nThird\n$Work\n\n1600000001.M1P1.host:2 0\n1600000002.M2P1.host:2\n1600000003.M3P1.host:1\n1600000004.M4P1.host:0 1\n",
		"courierimapkeywords/.5984410.1600000001.M1P1.host":        "$Work\nLater\n",
		"courierimapkeywords/.5984409.1600000002.M2P1.host":        "Old\n",
		"courierimapkeywords/.5984410.1600000002.M2P1.host":        "Later\n",
		"courierimapkeywords/.5984411.1600000003.M3P1.host":        "Old\n",
		"courierimapkeywords/1600000003.M3P1.host":                 "Third\nNewest\n\nbehind the end\n",
		"courierimapkeywords/.5984410.1600000004.M4P1.host":        "",
		"courierimapkeywords/.tmp.1795322792.1600000001.M1P1.host": "half writ",
		"courierimapsubscribed":                                    "INBOX.Lists.Go\nINBOX.Entw\xc3\xbcrfe\nINBOX\n",
		".Lists.Go/courierimapacl":                                 "owner aceilrstwx\n",
		".Lists.Go/maildirfolder":                                  "",
		".Lists.Go/cur/1795322792.M67P4V0FEI09AE289_0.vm,S=20:2,S": "Subject: m1\n\nbody 1\n",
		".Lists.Go/courierimapkeywords/:list":                      "Later\n$Work\n\n1795322792.M67P4V0FEI09AE289_0.vm,S=20:1 0\n",
		".Lists.Go/courierimapuiddb":                               "1 795322793 2\n1 1795322792.M67P4V0FEI09AE289_0.vm,S=20\n",
		".Entw\xc3\xbcrfe/maildirfolder":                           "",
		".Entw\xc3\xbcrfe/courierimapuiddb":                        "1 795322794 1\n",
		"courierimaphieracl/Lists":                                 "owner aceilrstwx\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	s := &maildir.Store{Root: root}
	defer s.Close()
	a, m := open(t, s, "u", "INBOX")
	keywords := func(m mailbox.Mailbox) (all []string) {
		metas, state := list(t, m)
		for _, meta := range metas {
			l := meta.Flags.List(state.Keywords)
			slices.Sort(l.Keywords)
			all = append(all, fmt.Sprint(meta.UID, " ", l.Keywords))
		}
		return append(all, fmt.Sprint(state.UIDValidity, state.UIDNext))
	}
	require.Equal(t, []string{"1 [$Work Later]", "2 [Later]", "3 [Newest Third]", "4 []", "795322792 5"}, keywords(m))
	lists, err := a.Open(t.Context(), "Lists/Go")
	require.NoError(t, err)
	defer lists.Close()
	require.Equal(t, []string{"1 [$Work Later]", "795322793 2"}, keywords(lists))
	subscribed, err := mailbox.Subscribed(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, []string{"Entwürfe", "INBOX", "Lists/Go"}, subscribed)
	problems, err := a.(*maildir.Account).Check(t.Context(), true)
	require.NoError(t, err)
	require.Equal(t, ".Entwürfe", problems[0].File)
	require.True(t, problems[0].Repaired, problems)
	drafts, err := a.Open(t.Context(), "Entwürfe")
	require.NoError(t, err)
	defer drafts.Close()
	require.Equal(t, []string{"795322794 1"}, keywords(drafts))
}

// Fields that Dovecot keeps in the list, POP3 identities above all, survive when we write it anew.
func TestListFieldsStay(t *testing.T) {
	root := fastDir(t)
	dir := filepath.Join(root, "u")
	require.NoError(t, os.MkdirAll(dir+"/cur", 0o700))
	require.NoError(t, os.WriteFile(dir+"/cur/1600000001.a.h:2,", []byte("a\n"), 0o600))
	require.NoError(t, os.WriteFile(dir+"/dovecot-uidlist", []byte("3 V77 N5 G000102030405060708090a0b0c0d0e0f Xkeep\n3 W3 Pold-identity :1600000001.a.h\n4 :1600000002.gone.h"), 0o600))
	s := &maildir.Store{Root: root}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	metas, state := list(t, m)
	require.Len(t, metas, 1)
	require.EqualValues(t, 3, metas[0].Size, "W3 of the list")
	require.EqualValues(t, 5, state.UIDNext)
	ids, err := mailbox.UniqueIDs(t.Context(), m, mailbox.AllUIDs())
	require.NoError(t, err)
	for _, id := range ids {
		require.Equal(t, "old-identity", id)
	}
	text, err := os.ReadFile(dir + "/dovecot-uidlist")
	require.NoError(t, err)
	require.Equal(t, "3 V77 N5 G000102030405060708090a0b0c0d0e0f Xkeep\n3 W3 Pold-identity :1600000001.a.h\n", string(text))
}

// A message to which another program has given a new UID goes under the old one and comes under the new one: the
// others keep theirs, and UIDVALIDITY stays.
func TestRenumbered(t *testing.T) {
	for _, bothLines := range []bool{false, true} {
		root := fastDir(t)
		s := &maildir.Store{Root: root}
		defer s.Close()
		_, m := open(t, s, "u", "INBOX")
		for i := range 3 {
			o := mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Seen}}
			_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprint(i, "\r\n")), o)
			require.NoError(t, err)
		}
		_, before := list(t, m)
		path := filepath.Join(root, "u", "dovecot-uidlist")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		lines := strings.SplitAfter(string(text), "\n")
		old := lines[2]
		if !bothLines {
			lines[2] = ""
		}
		require.NoError(t, os.WriteFile(path+".new", []byte(strings.Join(lines, "")+"7"+old[1:]), 0o600))
		require.NoError(t, os.Rename(path+".new", path))

		for range 2 {
			ch, err := m.Changes(t.Context(), before.ModSeq)
			require.NoError(t, err)
			require.Equal(t, before.UIDValidity, ch.State.UIDValidity)
			require.EqualValues(t, 8, ch.State.UIDNext)
			require.True(t, ch.Known)
			require.Equal(t, "2", ch.Expunged.String())
			var metas []mailbox.Meta
			for meta := range ch.Messages {
				metas = append(metas, meta)
			}
			require.Len(t, metas, 1)
			require.EqualValues(t, 7, metas[0].UID)
			require.Equal(t, mailbox.Seen, metas[0].Flags)
			require.Equal(t, "1\r\n", content(t, m, 7))
			require.Equal(t, 3, ch.State.Messages)
			// As the next process sees it.
			next := &maildir.Store{Root: root}
			defer next.Close()
			_, m = open(t, next, "u", "INBOX")
		}
	}
}

// When the list has to be written anew because lines of ours are gone from it, the lines of files that we have not seen yet
// stay: their UIDs are known to the clients of the program that wrote them.
func TestForeignLinesStay(t *testing.T) {
	root := fastDir(t)
	dir := filepath.Join(root, "u")
	s := &maildir.Store{Root: root}
	_, m := open(t, s, "u", "INBOX")
	for i := range 3 {
		_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprint(i, "\r\n")), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	// Another program expunges the second message, saves a new one, and writes the list anew.
	text, err := os.ReadFile(dir + "/dovecot-uidlist")
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	_, base, _ := strings.Cut(strings.TrimSpace(lines[2]), ":")
	require.NoError(t, os.Remove(dir+"/cur/"+base+":2,"))
	require.NoError(t, os.WriteFile(dir+"/cur/1600000001.theirs.h:2,S", []byte("theirs\n"), 0o600))
	lines[2] = ""
	require.NoError(t, os.WriteFile(dir+"/new.list", []byte(strings.Join(lines, "")+"9 :1600000001.theirs.h\n"), 0o600))
	require.NoError(t, os.Rename(dir+"/new.list", dir+"/dovecot-uidlist"))

	metas, state := list(t, m)
	require.Len(t, metas, 3)
	require.EqualValues(t, 9, metas[2].UID)
	require.EqualValues(t, 10, state.UIDNext)
	text, err = os.ReadFile(dir + "/dovecot-uidlist")
	require.NoError(t, err)
	require.Contains(t, string(text), "\n9 :1600000001.theirs.h\n")
}

// What a power cut leaves behind the synced end of the index, short or full of zeros, costs nothing: mod-sequences stay.
// Other octets make the index useless: mod-sequences rise, UIDs stay.
func TestIndexEnd(t *testing.T) {
	for name, c := range map[string]struct {
		tail string
		keep bool
	}{
		"short": {"\x05\x00", true}, "cut": {"\xff\x00\x00\x00\x01\x02\x03\x04Mabc", true}, "zeros": {strings.Repeat("\x00", 5000), true},
		"eight": {strings.Repeat("\x00", 9), true}, "garbage": {strings.Repeat("\x01\x00\x00\x00", 100), false},
		"zeros, then more": {strings.Repeat("\x00", 4096) + "more", false},
	} {
		t.Run(name, func(t *testing.T) {
			root := fastDir(t)
			visit := func() ([]mailbox.Meta, mailbox.State) {
				s := &maildir.Store{Root: root}
				defer s.Close()
				a, m := open(t, s, "u", "INBOX")
				defer a.Close()
				defer m.Close()
				if metas, _ := list(t, m); len(metas) == 0 {
					for range 3 {
						_, err := m.Append(t.Context(), strings.NewReader("x\r\n"), mailbox.AppendOptions{})
						require.NoError(t, err)
					}
				}
				return list(t, m)
			}
			want, before := visit()
			f, err := os.OpenFile(filepath.Join(root, "u", "goniec-index"), os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteString(c.tail)
			require.NoError(t, errors.Join(err, f.Close()))
			got, after := visit()
			require.Equal(t, before.UIDValidity, after.UIDValidity)
			require.GreaterOrEqual(t, after.UIDNext, before.UIDNext)
			require.Equal(t, c.keep, before.ModSeq == after.ModSeq)
			require.GreaterOrEqual(t, after.ModSeq, before.ModSeq)
			for i := range want {
				require.Equal(t, want[i].UID, got[i].UID)
				require.Equal(t, c.keep, want[i].ModSeq == got[i].ModSeq)
			}
			_, err = os.Stat(filepath.Join(root, "u", "goniec-index"))
			require.NoError(t, err)
		})
	}
}

// A line whose file comes after we were started anew keeps its UID: whoever wrote it has told it. After a day it is
// forgotten, as nobody came.
func TestForeignLinesOverRestart(t *testing.T) {
	for name, c := range map[string]struct {
		later   time.Duration
		changes bool // the list is changed again before the file comes
		want    mailbox.UID
	}{
		"at once":     {0, false, 50},
		"changed":     {0, true, 50},
		"in an hour":  {time.Hour, false, 50},
		"in two days": {48 * time.Hour, false, 51},
	} {
		t.Run(name, func(t *testing.T) {
			root := fastDir(t)
			dir := filepath.Join(root, "u")
			append := func(line string) {
				f, err := os.OpenFile(dir+"/dovecot-uidlist", os.O_APPEND|os.O_WRONLY, 0)
				require.NoError(t, err)
				_, err = f.WriteString(line)
				require.NoError(t, errors.Join(err, f.Close()))
			}
			var passed time.Duration
			visit := func() (uids []mailbox.UID) {
				s := &maildir.Store{Root: root, Now: func() time.Time { return time.Now().Add(passed) }}
				defer s.Close()
				a, m := open(t, s, "u", "INBOX")
				metas, _ := list(t, m)
				for _, meta := range metas {
					uids = slices.Concat(uids, []mailbox.UID{meta.UID})
				}
				require.NoError(t, errors.Join(m.Close(), a.Close()))
				return uids
			}
			visit()
			require.NoError(t, os.WriteFile(dir+"/cur/1600000001.here.h:2,S", []byte("here\n"), 0o600))
			require.Equal(t, []mailbox.UID{1}, visit())
			append("50 :1600000009.late.h\n")
			require.Equal(t, []mailbox.UID{1}, visit())
			require.Equal(t, []mailbox.UID{1}, visit(), "twice")
			want := []mailbox.UID{1, c.want}
			if c.changes {
				append("51 :1600000010.other.h\n")
				require.NoError(t, os.WriteFile(dir+"/cur/1600000010.other.h:2,S", []byte("other\n"), 0o600))
				want = []mailbox.UID{1, 50, 51}
				require.Equal(t, []mailbox.UID{1, 51}, visit())
			}
			passed = c.later
			require.NoError(t, os.WriteFile(dir+"/cur/1600000009.late.h:2,S", []byte("late\n"), 0o600))
			require.Equal(t, want, visit())
			require.Equal(t, want, visit())
		})
	}
}

// Check finds each kind of damage, and repairs what can be.
func TestCheck(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	defer s.Close()
	acc, m := open(t, s, "u", "INBOX")
	a := acc.(*maildir.Account)
	require.NoError(t, a.SetQuota(t.Context(), 1<<20, 100))
	_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
	require.NoError(t, err)
	found, err := a.Check(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, found)

	dir := filepath.Join(root, "u")
	names, _ := os.ReadDir(dir + "/cur")
	one := names[0].Name()
	require.NoError(t, os.Link(dir+"/cur/"+one, dir+"/cur/"+one+"S"))
	require.NoError(t, os.WriteFile(dir+"/cur/1600000001.x.h,S=99:2,", []byte("x"), 0o600))
	require.NoError(t, os.WriteFile(dir+"/cur/1600000001.x.h,S=99:2,T", []byte("y"), 0o600))
	require.NoError(t, os.Mkdir(dir+"/cur/1600000005.dir:2,", 0o700))
	require.NoError(t, os.Mkdir(dir+"/.&AC8-", 0o700))
	require.NoError(t, os.MkdirAll(dir+"/.half/cur", 0o700))
	index, _ := os.OpenFile(dir+"/goniec-index", os.O_WRONLY, 0)
	_, _ = index.WriteAt([]byte("damage"), 70)
	index.Close()

	found, err = a.Check(t.Context(), false)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(found), 8, "%v", found)
	again, err := a.Check(t.Context(), true)
	require.NoError(t, err, "%v", again)
	left, err := a.Check(t.Context(), true)
	require.NoError(t, err)
	for _, p := range left {
		require.False(t, p.Repaired, p.String())
	}
	require.Len(t, left, 3, "%v", left) // the name, the directory, a wrong size (the other file has a new name)
	metas, _ := list(t, m)
	require.Len(t, metas, 4)
	require.Equal(t, hello, content(t, m, metas[0].UID))
}

// Files in tmp/ go when nobody has touched them for 36 hours; a message with an old date does not count as old.
func TestTmpIsCleaned(t *testing.T) {
	root := fastDir(t)
	tmp := filepath.Join(root, "u", "tmp")
	require.NoError(t, os.MkdirAll(tmp, 0o700))
	require.NoError(t, os.WriteFile(tmp+"/1600000000.old.h", nil, 0o600))
	require.NoError(t, os.Chtimes(tmp+"/1600000000.old.h", time.Unix(1, 0), time.Unix(1, 0)))
	s := &maildir.Store{Root: root}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	list(t, m)
	require.FileExists(t, tmp+"/1600000000.old.h", "its inode was changed just now")
	later := &maildir.Store{Root: root, Now: func() time.Time { return time.Now().Add(37 * time.Hour) }}
	defer later.Close()
	_, m2 := open(t, later, "u", "INBOX")
	list(t, m2)
	require.NoFileExists(t, tmp+"/1600000000.old.h")
}

// Quota by the file: what others added counts, and a wrong sum is counted anew before a message is refused.
func TestQuotaFile(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root, QuotaMessages: 3}
	defer s.Close()
	acc, _ := open(t, s, "u", "INBOX")
	size := filepath.Join(root, "u", "maildirsize")
	deliver := func() error {
		return s.Deliver(t.Context(), "u", "", strings.NewReader(hello), mailbox.AppendOptions{})
	}
	require.NoError(t, deliver())
	text, err := os.ReadFile(size)
	require.NoError(t, err)
	require.Equal(t, "0S,3C\n0 0\n33 1\n", string(text))
	f, _ := os.OpenFile(size, os.O_APPEND|os.O_WRONLY, 0)
	_, _ = f.WriteString("1000 7\n") // another program was wrong
	f.Close()
	require.NoError(t, deliver(), "counted anew")
	require.NoError(t, deliver())
	require.ErrorIs(t, deliver(), mailbox.ErrOverQuota)
	left, _ := os.ReadDir(filepath.Join(root, "u", "tmp"))
	require.Empty(t, left)
	use, err := mailbox.Quota(t.Context(), acc)
	require.NoError(t, err)
	require.Equal(t, mailbox.QuotaUse{Octets: 99, Messages: 3, MessageLimit: 3}, use)
	for range 1000 { // the file stays short
		require.NoError(t, acc.(*maildir.Account).SetQuota(t.Context(), 0, 5))
	}
	info, err := os.Stat(size)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(5200))
}
