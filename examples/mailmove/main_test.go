package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mbox"
)

func TestMain(m *testing.M) {
	if os.Getenv("GONIEC_MAILMOVE_CHILD") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// writeMbox makes a file of n messages; every third one is the same as another, octet by octet.
func writeMbox(t *testing.T, path string, n int) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	f, err := os.Create(path)
	require.NoError(t, err)
	w := mbox.NewWriter(f, mbox.MboxRD)
	for i := range n {
		from := mbox.FromLine{Sender: "a@b", Date: time.Unix(int64(1e9+i/2), 0)}
		_, err := w.Write(t.Context(), from, strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\nFrom here\r\n>From there %s", i/2, filepath.Base(path))))
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

// list returns all messages of a place: folder, date, flags, text.
func list(t *testing.T, arg string) (all []string) {
	t.Helper()
	s, err := place(arg, "auto", true)
	require.NoError(t, err)
	a, err := s.Account(t.Context(), user)
	require.NoError(t, err)
	defer a.Close()
	for info, err := range a.Mailboxes(t.Context()) {
		require.NoError(t, err)
		m, err := a.Open(t.Context(), info.Name)
		require.NoError(t, err)
		ch, err := m.Changes(t.Context(), mailbox.Latest)
		require.NoError(t, err)
		for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
			require.NoError(t, err)
			var b bytes.Buffer
			_, err = b.ReadFrom(goniec.NewReader(msg.Content))
			require.NoError(t, err)
			all = append(all, fmt.Sprintf("%s %d %v %q", info.Name, msg.Date, msg.Flags.List(ch.State.Keywords), b.String()))
		}
		require.NoError(t, m.Close())
	}
	return all
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), args, &out, &errs), "%s%s", out.String(), errs.String())
	return out.String()
}

// TestThereAndBack: mbox to Maildir to Maildir to mbox, with folders.
func TestThereAndBack(t *testing.T) {
	dir := t.TempDir()
	writeMbox(t, dir+"/mail/INBOX", 7)
	writeMbox(t, dir+"/mail/Lists.sbd/Go", 4)
	want := list(t, "mbox:"+dir+"/mail")
	require.Len(t, want, 11)
	require.Contains(t, mustRun(t, "-dry-run", "mbox:"+dir+"/mail", "maildir:"+dir+"/one"), "Lists/Go")
	require.NoDirExists(t, dir+"/one")
	out := mustRun(t, "-verify", "mbox:"+dir+"/mail", "maildir:"+dir+"/one")
	require.Contains(t, out, "7 of 7")
	require.Equal(t, want, list(t, "maildir:"+dir+"/one"))

	s, err := place("maildir:"+dir+"/one", "auto", true)
	require.NoError(t, err)
	a, err := s.Account(t.Context(), user)
	require.NoError(t, err)
	m, err := a.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	flags := mailbox.FlagList{System: mailbox.Seen | mailbox.Answered, Keywords: []string{"$Later"}}
	_, err = m.SetFlags(t.Context(), mailbox.UIDs(2, 3), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: flags})
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.NoError(t, a.Close())
	want = list(t, "maildir:"+dir+"/one")
	mustRun(t, "-verify", "maildir:"+dir+"/one", "maildir:"+dir+"/two")
	require.Equal(t, want, list(t, "maildir:"+dir+"/two"))
	mustRun(t, "-verify", "-keep-uids", "maildir:"+dir+"/two", "mbox:"+dir+"/back/")
	require.Equal(t, want, list(t, "mbox:"+dir+"/back/"))
	require.Contains(t, mustRun(t, "maildir:"+dir+"/two", "mbox:"+dir+"/back/"), "7         0       7")
	require.Equal(t, want, list(t, "mbox:"+dir+"/back/"), "nothing is copied twice")
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{}, {"a"}, {"-no", "a", "b"}, {"-help"}} {
		var out, errs bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), args, &out, &errs))
		require.NotEmpty(t, errs.String())
	}
	for _, args := range [][]string{{dir, dir}, {"pst:" + dir, "mbox:" + dir}, {"mbox:" + dir + "/none", "mbox:" + dir}, {"mbox:" + dir, "maildir:"}} {
		var out, errs bytes.Buffer
		require.Equal(t, exitFailed, run(t.Context(), args, &out, &errs), args)
	}
}

// TestKilled kills the program again and again; at the end each message is there once.
func TestKilled(t *testing.T) {
	for _, kind := range []string{"maildir", "mbox"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			writeMbox(t, dir+"/src", 300)
			want := list(t, "mbox:"+dir+"/src")
			args := []string{"mbox:" + dir + "/src", kind + ":" + dir + "/target"}
			kills := 0
			for n := 40; n < 300; n += 90 {
				cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
				cmd.Env = append(os.Environ(), "GONIEC_MAILMOVE_CHILD=1")
				require.NoError(t, cmd.Start())
				for stop := time.Now().Add(10 * time.Second); stored(dir, kind) < n && time.Now().Before(stop); {
					time.Sleep(time.Millisecond)
				}
				_ = cmd.Process.Kill()
				if cmd.Wait() != nil {
					kills++
				}
				_ = os.Remove(dir + "/target.lock") // its holder is dead, but it is not ten minutes old
			}
			require.Positive(t, kills)
			out := mustRun(t, append([]string{"-verify"}, args...)...)
			require.Contains(t, out, "300 of 300")
			require.Equal(t, want, list(t, args[1]))
		})
	}
}

// stored is how many messages the target has about now.
func stored(dir, kind string) int {
	if kind == "maildir" {
		names, _ := os.ReadDir(dir + "/target/cur")
		return len(names)
	}
	b, _ := os.ReadFile(dir + "/target")
	return bytes.Count(b, []byte("\nSubject: "))
}

func TestProgress(t *testing.T) {
	var w bytes.Buffer
	p := newProgress(&w)
	p.update(mailbox.Progress{Total: 10, Folders: 1})
	require.Empty(t, w.String(), "a line a minute")
	p.last = p.last.Add(-time.Hour)
	p.start = p.start.Add(-10 * time.Second)
	p.update(mailbox.Progress{Folder: "INBOX", Folders: 2, Messages: 5, Total: 10, Octets: 20e6})
	require.Regexp(t, `^ 50\.0 %  5 of 10 messages, folder 1 of 2 \(INBOX\), [12]\.\d MB/s, 10s left\n$`, w.String())
	p.end()
	p.terminal, p.every = true, 0
	p.update(mailbox.Progress{Messages: 10, Total: 10})
	require.Contains(t, w.String(), "\r100.0 %")
}

func TestSafeNames(t *testing.T) {
	require.Equal(t, "v1_2/50_", safeNames("maildir:/x")("v1.2/50%"))
	require.Equal(t, "_hidden/a.b", safeNames("mbox:/x")(".hidden/a.b"))
}
