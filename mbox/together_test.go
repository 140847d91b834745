//go:build linux

package mbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// appendTogether stores messages through Store in one call.
func appendTogether(fsys faultfs.FS, texts ...string) error {
	m, err := openInbox(context.Background(), &Store{Inbox: "/{user}", FS: fsys, LockTimeout: time.Minute})
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = mailbox.AppendAll(context.Background(), m, func(yield func(mailbox.NewMessage, error) bool) {
		for _, text := range texts {
			o := mailbox.AppendOptions{Date: testDate, Flags: mailbox.FlagList{Keywords: []string{"k" + text[:1]}}}
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(text), Options: o}, nil) {
				return
			}
		}
	})
	return err
}

// storeTexts is what a Store shows.
func storeTexts(fsys faultfs.FS) (all []string, err error) {
	m, err := openInbox(context.Background(), &Store{Inbox: "/{user}", FS: fsys})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	for msg, err := range m.Read(context.Background(), mailbox.AllUIDs()) {
		if err != nil {
			return nil, err
		}
		b := make([]byte, msg.Content.Size())
		if n, err := msg.Content.ReadAt(b, 0); n < len(b) {
			return nil, err
		}
		all = append(all, string(b))
	}
	return all, nil
}

var together = []string{"new\r\n\r\nFrom a\r\n", "mail\r\n\r\n" + strings.Repeat("0123456789abcde\r\n", 40), "", "last"}

// TestF08_CrashTogether cuts the power at every call of an append of several messages (F02, I15): all are there, or none.
func TestF08_CrashTogether(t *testing.T) {
	texts := []string{together[0], together[1], together[3]}
	report, err := faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Limit: 300,
		Setup: func(c *faultfs.Crash) error { return appendTogether(c, "old\r\n") },
		Op: func(c *faultfs.Crash) error {
			err := appendTogether(c, texts...)
			c.Mark("acknowledged")
			return err
		},
		Check: func(st *faultfs.CrashState) error {
			dir, err := st.FS.OpenDir("/")
			if err != nil {
				return err
			}
			defer dir.Close()
			if err := dir.Remove("ann.lock"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			got, err := storeTexts(st.FS)
			if err != nil {
				return err
			}
			whole := fmt.Sprint(got) == fmt.Sprint(append([]string{"old\r\n"}, texts...))
			if !whole && (fmt.Sprint(got) != fmt.Sprint([]string{"old\r\n"}) || st.Marked("acknowledged")) {
				return fmt.Errorf("got %.200q", got)
			}
			return appendTogether(st.FS, "next")
		},
	})
	require.NoError(t, err)
	t.Logf("%+v", report)
}

// TestI15_FaultsTogether makes each call fail: all messages are there or none.
func TestI15_FaultsTogether(t *testing.T) {
	report, err := faultfs.EachFault(faultfs.FaultPlan{
		Setup: func(fsys faultfs.FS) error { return appendTogether(fsys, "old\r\n") },
		Op:    func(fsys faultfs.FS) error { return appendTogether(fsys, together[0], together[1]) },
		Check: func(run faultfs.FaultRun) error {
			if err := appendTogether(run.FS, "next"); err != nil {
				return err
			}
			got, err := storeTexts(run.FS)
			want := []string{"old\r\n", "next"}
			if run.Err == nil {
				want = []string{"old\r\n", together[0], together[1], "next"}
			}
			if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				err = fmt.Errorf("operation gave %v, store has %.200q", run.Err, got)
			}
			return err
		},
	})
	require.NoError(t, err)
	require.Greater(t, report.Runs, 20)
}

// TestF08_EveryByteTogether stops an append of several messages after each octet: all or none; what others append behind it is
// never cut.
func TestF08_EveryByteTogether(t *testing.T) {
	const before = "From a@b Sat Jan  3 01:05:34 1998\n\nold\n\n"
	disk := faultfs.NewCrash(1)
	dir, err := disk.OpenDir("/")
	require.NoError(t, err)
	defer dir.Close()
	j := &journal{size: int64(len(before))}
	j.before, err = sumBefore(strings.NewReader(before), j.size)
	require.NoError(t, err)
	var text strings.Builder
	for _, m := range together {
		rec, err := plan(t.Context(), MboxRD, FromLine{Date: testDate}, strings.NewReader(m), "")
		require.NoError(t, err)
		sum := &sumWriter{}
		require.NoError(t, rec.writeTo(t.Context(), io.MultiWriter(sum, &text)))
		j.parts = append(j.parts, part{sum.n, sum.sum, sum.head})
		j.length += sum.n
	}
	recovered := func(file string) string {
		require.NoError(t, faultfs.WriteFile(dir, "box", []byte(file), 0o600))
		require.NoError(t, faultfs.WriteFile(dir, journalName("box"), j.text(), 0o600))
		require.NoError(t, (&File{Path: "/box", FS: disk}).Recover(t.Context()))
		got, err := faultfs.ReadFile(dir, "box", 1<<20)
		require.NoError(t, err)
		return string(got)
	}
	for n := 0; n <= text.Len(); n++ {
		part := before + text.String()[:n]
		want := before
		if n == text.Len() {
			want = part
		}
		require.Equal(t, want, recovered(part), "after %d octets", n)
		foreign := part + "From z@z Sat Jan  3 01:05:34 1998\n\nz\n\n"
		require.Equal(t, foreign, recovered(foreign), "after %d octets", n)
		if n > 0 { // sectors that did not reach the disk
			hole := before + strings.Repeat("\x00", n) + text.String()[n:]
			require.Equal(t, before, recovered(hole), "a hole of %d octets", n)
		}
	}
}

// TestHasFromLine puts a From_ line at each place around the edge of what is read at once.
func TestHasFromLine(t *testing.T) {
	const line = "From z@z Sat Jan  3 01:05:34 1998\n"
	for at := 64<<10 - 1100; at < 64<<10+100; at += 7 {
		for _, rest := range []int{0, 10, 5000} {
			text := line + strings.Repeat("From x", 5) + strings.Repeat("y", at-35) + "From " + line + strings.Repeat("y", rest)
			found, err := hasFromLine(strings.NewReader(text))
			require.NoError(t, err)
			require.True(t, found, "%d %d", at, rest)
			found, err = hasFromLine(strings.NewReader(text[:len(line)+at+len(line)-8]))
			require.NoError(t, err)
			require.False(t, found, "%d", at)
		}
	}
}

// TestHasFromLineLimit: a torn tail full of words that begin like a From_ line is not looked at for ever, and stays.
func TestHasFromLineLimit(t *testing.T) {
	for n, want := range map[int]bool{maxLooks: false, maxLooks + 1: true} {
		found, err := hasFromLine(strings.NewReader("x" + strings.Repeat("From \n", n)))
		require.NoError(t, err)
		require.Equal(t, want, found)
	}
}

// TestJournal: what is not exactly right is no journal.
func TestJournal(t *testing.T) {
	j := &journal{size: 7, length: 30, before: 9, parts: []part{{10, 1, []byte("From a")}, {20, 2, []byte("From b")}}}
	for _, j := range []*journal{j, {size: 0, length: 10, parts: j.parts[:1]}} {
		text := string(j.text())
		got, err := readJournal(strings.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, j, got)
		for i := range text {
			if text[i] == '\n' {
				continue
			}
			for _, broken := range []string{text[:i], text[:i] + string(text[i]^1) + text[i+1:]} {
				got, err = readJournal(strings.NewReader(broken))
				require.NoError(t, err)
				require.Nil(t, got, "%d", i)
			}
		}
	}
	for _, bad := range []*journal{
		{size: -1, length: 10, parts: j.parts[:1]},
		{size: 1, length: 31, parts: j.parts},
		{size: 1, length: 29, parts: j.parts},
		{size: 1, length: 20, parts: []part{{30, 1, nil}, {-10, 1, nil}}},
		{size: 1},
	} {
		got, err := readJournal(bytes.NewReader(bad.text()))
		require.NoError(t, err)
		require.Nil(t, got, "%+v", bad)
	}
	got, err := readJournal(bytes.NewReader(doneLine(faultfs.Info{Device: 1, Inode: 2}, 3)))
	require.NoError(t, err)
	require.Nil(t, got)
}

// TestAppendAllLimit: at most maxTogether messages at once.
func TestAppendAllLimit(t *testing.T) {
	texts := slices.Repeat([]string{"x"}, maxTogether+1)
	disk := faultfs.NewCrash(1)
	require.ErrorIs(t, appendTogether(disk, texts...), mailbox.ErrTooLarge)
	got, err := storeTexts(disk)
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, appendTogether(disk, texts[1:]...))
}
