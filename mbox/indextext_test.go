package mbox

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// someIndex is the state of a folder with n messages, which uses the extremes of every number.
func someIndex(n int) *index {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	x := &index{
		validity: math.MaxUint32, keywords: []string{"$Later", "k2"}, next: mailbox.MaxUID, modSeq: math.MaxInt64, horizon: 7,
		at: position{math.MaxInt64, -1, math.MaxUint64, math.MaxUint32},
	}
	at := int64(0)
	for i := range n {
		e := entry{
			uid: mailbox.UID(3*i + 1), modSeq: mailbox.ModSeq(1_700_000_000_000_000 + rnd.Int64N(1e12)), offset: at, start: at + 40, end: at + 4000, next: at + 4001,
			size: 4100, date: 1_700_000_000 + int64(i), saved: 1_700_000_000, sum: rnd.Uint32(), flags: mailbox.Flags(rnd.Uint64()), own: i%2 == 0,
		}
		if i == 0 {
			e.size, e.date, e.saved = -1, math.MinInt64+1, 0
		}
		at = e.next
		x.entries = append(x.entries, e)
	}
	x.expunges = []expunge{{5, mailbox.UIDs(2)}, {6, mailbox.UIDs(3, 5, 6)}}
	return x
}

func TestIndexText(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		x := someIndex(n)
		text := x.text()
		got, good := parseIndex(text)
		require.Equal(t, len(text), good)
		require.Equal(t, append([]entry{}, x.entries...), got.entries)
		x.entries, got.entries = nil, nil
		require.Equal(t, x, got)
	}
}

// TestIndexTextFaults: a line that is not exactly right is refused with its change, even under a right checksum.
func TestIndexTextFaults(t *testing.T) {
	x := &index{validity: 9, next: 3, modSeq: 4, entries: []entry{{uid: 1, modSeq: 2, start: 1, end: 2, next: 3}}}
	head := x.text()
	const m = "M 2 3 3 4 5 6 7 8 9 10 11 12 "
	for line, good := range map[string]bool{
		m + "true": true, m + "false": true, m + "True": false, m: false, m + "true ": false, m + "true x": false,
		"M 2 3 3 4 5 6 7 8 9 10 11 true":                      false,
		"M  2 3 3 4 5 6 7 8 9 10 11 12 true":                  false,
		"M 0 3 3 4 5 6 7 8 9 10 11 12 true":                   false,
		"M 4294967295 3 3 4 5 6 7 8 9 10 11 12 true":          true,
		"M 4294967296 3 3 4 5 6 7 8 9 10 11 12 true":          false,
		"M 2 9223372036854775808 3 4 5 6 7 8 9 10 11 12 true": false,
		"M 2 3 -1 4 5 6 7 8 9 10 11 12 true":                  false,
		"M 2 3 5 4 5 6 7 8 9 10 11 12 true":                   false, // begins before its From_ line
		"M 2 3 3 5 4 6 7 8 9 10 11 12 true":                   false,
		"M 2 3 3 4 6 5 7 8 9 10 11 12 true":                   false,
		"M 2 3 3 4 5 6 -1 -8 9 10 11 12 true":                 true,
		"M 2 3 3 4 5 6 -2 -8 9 10 11 12 true":                 false,
		"M 2 3 3 4 5 6 7 8 9 4294967296 11 12 true":           false,
		"M 2 3 3 4 5 6 7 8 9 10 18446744073709551615 12 true": true,
		"M 2 3 3 4 5 6 7 8 9 10 18446744073709551616 12 true": false,
		"M 2 3 3 4 5 6 7 8 9 10 +1 12 true":                   false,
		"F 1 5 8":                                             true,
		"F 77 5 8":                                            true, // of a message that is gone
		"F 1 5":                                               false,
		"F 1 5 8 9":                                           false,
		"F 1 -5 8":                                            false,
		"S 1 18446744073709551615":                            true,
		"S 1":                                                 false,
		"S 1 -1":                                              false,
		"K word":                                              true,
		"K two words":                                         false,
		"K ":                                                  false,
		"X 3 1":                                               true,
		"X 3 1,":                                              false,
		"X 3 0":                                               false,
		"P 1 -2 3 4 5 6 7":                                    true,
		"P 1 2 3 4 0 6 7":                                     false,
		"P -1 2 3 4 5 6 7":                                    false,
		"P 1 2 3 4 5 6":                                       false,
		"goniec-mbox-index 1 12":                              true,
		"goniec-mbox-index 2 12":                              false,
		"goniec-mbox-index 1 0":                               false,
		"Q":                                                   false,
		"":                                                    false,
		"Z 1":                                                 false,
		strings.Repeat("K k\n", 56) + "K k":                   false,
		strings.Repeat("K k\n", 55) + "K k":                   true, // MaxKeywords
		"M 2 3 3 4 5 6 7 8 9 10 11 12 true\r":                 false,
	} {
		text := append(bytes.Clone(head), sealed([]byte(line+"\n"))...)
		_, got := parseIndex(text)
		require.Equal(t, good, got == len(text), "%q", line)
		require.True(t, got == len(text) || got == len(head), line)
	}
	for _, seal := range []string{"C", "C ", "C x", "C 123456789", "C -1", "Cx00000000", "C 00000000 "} {
		_, got := parseIndex(append(bytes.Clone(head), seal+"\n"...))
		require.Equal(t, len(head), got, seal)
	}
}

// FuzzIndex: nothing panics, and what is read is written so that it reads the same.
func FuzzIndex(f *testing.F) {
	f.Add(someIndex(3).text())
	f.Add([]byte("K k\nM 2 3 3 4 5 6 7 8 9 10 11 12 true\nF 2 3 4\nX 3 1:2\nP 1 2 3 4 5 6 7\n"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		text := sealed(append([]byte("goniec-mbox-index 1 12\n"), lines...))
		x, good := parseIndex(text)
		if x == nil {
			return
		}
		require.LessOrEqual(t, good, len(text))
		again, n := parseIndex(x.text())
		require.Equal(t, len(x.text()), n)
		require.Equal(t, x.text(), again.text())
	})
}

// FuzzStore: any file is read by Store as by Reader, but for the fields that belong to the file.
func FuzzStore(f *testing.F) {
	for _, d := range testDialects {
		f.Add([]byte(written(f, d, hostile...)), uint8(d))
	}
	f.Add([]byte("From a@b Sat Jan  3 01:05:34 1996 remote from goniec-sc\nContent-Length: 0\n\nFrom a@b Sat Jan  3 01:05:34 1996\n\n"), uint8(2))
	f.Fuzz(func(t *testing.T, file []byte, n uint8) {
		d := testDialects[int(n)%len(testDialects)]
		want, wantErr := tryAll(NewReader(bytes.NewReader(file), d))
		disk := faultfs.NewCrash(1)
		dir, err := disk.OpenDir("/")
		require.NoError(t, err)
		defer dir.Close()
		require.NoError(t, faultfs.WriteFile(dir, "ann", file, 0o600))
		m, err := openInbox(t.Context(), &Store{Inbox: "/{user}", FS: disk, Dialect: d})
		require.NoError(t, err)
		defer m.Close()
		ch, err := m.Changes(t.Context(), mailbox.Latest)
		require.Equal(t, wantErr == nil, err == nil, "%v %v", wantErr, err)
		if err != nil {
			return
		}
		require.Equal(t, len(want), ch.State.Messages)
		i := 0
		for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
			if err == nil && !strings.Contains(strings.ToLower(want[i]), "status") && !strings.Contains(strings.ToLower(want[i]), "x-") &&
				!strings.Contains(strings.ToLower(want[i]), "content-length") {
				b := make([]byte, msg.Content.Size())
				_, _ = msg.Content.ReadAt(b, 0)
				require.Equal(t, want[i], string(b))
			}
			i++
		}
		require.Equal(t, len(want), i)
	})
}

// BenchmarkIndexOpen reads the index of 100,000 messages, as the first Open of a folder does.
func BenchmarkIndexOpen(b *testing.B) {
	text := someIndex(100_000).text()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if x, good := parseIndex(text); len(x.entries) != 100_000 || good != len(text) {
			b.Fatal(good)
		}
	}
}

// BenchmarkIndexHistory reads an index with as many expunges as are remembered.
func BenchmarkIndexHistory(b *testing.B) {
	x := someIndex(100_000)
	x.expunges = nil
	for i := range maxHistory {
		x.expunges = append(x.expunges, expunge{mailbox.ModSeq(i + 1), mailbox.UIDs(mailbox.UID(3*i + 2))})
	}
	text := x.text()
	b.ReportAllocs()
	for b.Loop() {
		if x, good := parseIndex(text); len(x.entries) != 100_000 || good != len(text) {
			b.Fatal(good)
		}
	}
}

func memoryStore(fsys faultfs.FS) *Store { return &Store{Inbox: "/{user}", FS: fsys} }

func openInbox(ctx context.Context, s *Store) (mailbox.Mailbox, error) {
	a, err := s.Account(ctx, "ann")
	if err != nil {
		return nil, err
	}
	return a.Open(ctx, "INBOX")
}

// TestIndexShortened: flags that change again and again do not make the index grow for ever, and an error while it is made
// anew loses nothing (F04).
func TestIndexShortened(t *testing.T) {
	disk := faultfs.NewCrash(1)
	messages := 500
	var file strings.Builder
	for i := range messages {
		fmt.Fprintf(&file, "From a@b Sat Jan  3 01:05:34 1996\nSubject: %d\n\n\n", i)
	}
	dir, err := disk.OpenDir("/")
	require.NoError(t, err)
	defer dir.Close()
	require.NoError(t, faultfs.WriteFile(dir, "ann", []byte(file.String()), 0o600))
	toggle := func(m mailbox.Mailbox, i int) error {
		op := []mailbox.FlagOp{mailbox.FlagsAdd, mailbox.FlagsRemove}[i%2]
		_, err := m.SetFlags(t.Context(), mailbox.AllUIDs(), mailbox.FlagChange{Op: op, Flags: mailbox.FlagList{System: mailbox.Seen}})
		return err
	}
	s := memoryStore(disk)
	m, err := openInbox(t.Context(), s)
	require.NoError(t, err)
	largest, before := int64(0), int64(0)
	for i := 0; ; i++ {
		require.NoError(t, toggle(m, i))
		info, err := dir.Lstat(indexName("ann"))
		require.NoError(t, err)
		if info.Size < before {
			break
		}
		before, largest = info.Size, max(largest, info.Size)
		require.Less(t, i, 200)
	}
	require.Less(t, largest, int64(indexSlack+2*maxMessageLine*messages))
	require.Greater(t, largest, int64(indexSlack))
	require.NoError(t, m.Close())
	require.NoError(t, s.Close())
	// Another process reads the same.
	m, err = openInbox(t.Context(), memoryStore(disk))
	require.NoError(t, err)
	ch, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, messages, ch.State.Messages)
	require.NoError(t, m.Close())
}

// TestIndexShortenFaults lets each call fail while the index is made anew: the change is acknowledged or not, and the next
// process sees it so.
func TestIndexShortenFaults(t *testing.T) {
	change := func(m mailbox.Mailbox, flags mailbox.Flags) error {
		_, err := m.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsReplace, Flags: mailbox.FlagList{System: flags}})
		return err
	}
	t.Parallel()
	var errs []error // all
	if os.Getenv("GONIEC_LONG") != "1" {
		errs = []error{syscall.EIO, syscall.EMFILE, faultfs.Half{Err: syscall.ENOSPC}}
	}
	report, err := faultfs.EachFault(faultfs.FaultPlan{
		Errors: errs,
		Setup: func(fsys faultfs.FS) (err error) {
			dir, err := fsys.OpenDir("/")
			if err != nil {
				return err
			}
			defer dir.Close()
			if err := faultfs.WriteFile(dir, "ann", []byte("From a@b Sat Jan  3 01:05:34 1996\nSubject: x\n\n\n"), 0o600); err != nil {
				return err
			}
			m, err := openInbox(t.Context(), memoryStore(fsys))
			if err != nil {
				return err
			}
			defer m.Close()
			if err := change(m, mailbox.Seen); err != nil {
				return err
			}
			// As if it had grown: lines that are overtaken.
			f := m.(*handle).f
			line := fmt.Sprintf("F %020d %020d %020d\n", 1, 1, 0)
			return f.commit(bytes.Repeat([]byte(line), indexSlack/len(line)-1), f.x)
		},
		Op: func(fsys faultfs.FS) error {
			m, err := openInbox(t.Context(), memoryStore(fsys))
			if err != nil {
				return err
			}
			defer m.Close()
			return change(m, mailbox.Draft)
		},
		Check: func(run faultfs.FaultRun) error {
			again, err := openInbox(t.Context(), memoryStore(run.FS))
			if err != nil {
				return err
			}
			defer again.Close()
			ch, err := again.Changes(t.Context(), 0)
			if err != nil {
				return err
			}
			for meta := range ch.Messages {
				if run.Err == nil && meta.Flags != mailbox.Draft {
					return fmt.Errorf("acknowledged and lost: flags %d", meta.Flags)
				}
			}
			if ch.State.Messages != 1 {
				return fmt.Errorf("%d messages", ch.State.Messages)
			}
			_, err = again.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Deleted}})
			return err
		},
	})
	require.NoError(t, err)
	require.Greater(t, report.Runs, 30)
}

// TestManyMessages works on a file with 100,000 messages (10,000 in the short form) of another program.
func TestManyMessages(t *testing.T) {
	n := 10_000
	if os.Getenv("GONIEC_LONG") == "1" || !raceEnabled {
		n = 100_000
	}
	path := filepath.Join(fastDir(t), "ann")
	f, err := os.Create(path)
	require.NoError(t, err)
	w := NewWriter(f, MboxRD)
	var b bytes.Buffer
	w.w = &b
	for i := range n {
		_, err := w.Write(t.Context(), FromLine{Sender: "a@b", Date: testDate}, strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\nFrom %d\r\n", i, i)))
		require.NoError(t, err)
	}
	_, err = f.Write(b.Bytes())
	require.NoError(t, err)
	require.NoError(t, f.Close())
	begin := time.Now()
	step := func(what string) {
		t.Logf("%-22s %v", what, time.Since(begin).Round(time.Millisecond))
		begin = time.Now()
	}
	s := &Store{Inbox: filepath.Join(filepath.Dir(path), "{user}")}
	m, err := openInbox(t.Context(), s)
	require.NoError(t, err)
	state := func() mailbox.State {
		ch, err := m.Changes(t.Context(), mailbox.Latest)
		require.NoError(t, err)
		return ch.State
	}
	first := state()
	step("without an index")
	require.Equal(t, n, first.Messages)
	require.NoError(t, m.Close())
	require.NoError(t, s.Close())
	if m, err = openInbox(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	require.Equal(t, first, state())
	step("with an index")
	res, err := m.SetFlags(t.Context(), mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
	require.NoError(t, err)
	require.Equal(t, n, res.Changed.Len())
	step("all flags changed")
	meta, err := m.Append(t.Context(), strings.NewReader("last\r\n"), mailbox.AppendOptions{})
	require.NoError(t, err)
	require.EqualValues(t, n+1, meta.UID)
	step("one appended")
	gone, err := m.Expunge(t.Context(), mailbox.UIDSet{{First: 2, Last: mailbox.UID(n / 2)}})
	require.NoError(t, err)
	require.Equal(t, n/2-1, gone.Len())
	step("half expunged")
	read := 0
	for msg, err := range m.Read(t.Context(), mailbox.UIDs(1).Union(mailbox.UIDSet{{First: mailbox.UID(n - 500), Last: mailbox.MaxUID}})) {
		require.NoError(t, err)
		want := fmt.Sprintf("Subject: %d\r\n\r\nFrom %d\r\n", msg.UID-1, msg.UID-1)
		if msg.UID == meta.UID {
			want = "last\r\n"
		}
		b := make([]byte, msg.Content.Size())
		_, err := msg.Content.ReadAt(b, 0)
		require.True(t, err == nil || len(b) == len(want))
		require.Equal(t, want, string(b))
		read++
	}
	require.Equal(t, 503, read)
	step("502 messages read")
	require.NoError(t, m.Close())
}
