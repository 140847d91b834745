package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
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

// TestUsage: what is wrong is said with what to do, nothing is made, and the exit code tells what kind it is.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	writeMbox(t, dir+"/box", 1)
	require.NoError(t, os.WriteFile(dir+"/letter", []byte("Dear Ann,\n"), 0o600))
	require.NoError(t, os.MkdirAll(dir+"/md/cur", 0o700))
	require.NoError(t, os.Mkdir(dir+"/empty", 0o700))
	for _, tc := range []struct {
		args []string
		code int
		text string
	}{
		{nil, exitUsage, "FROM and TO are needed"},
		{[]string{"mbox:a"}, exitUsage, "FROM and TO are needed"},
		{[]string{"mbox:a", "mbox:b", "mbox:c"}, exitUsage, "there are 3 arguments"},
		{[]string{"-no", "a", "b"}, exitUsage, "-no"},
		{[]string{dir + "/box", "maildir:" + dir + "/new"}, exitUsage, "as mbox:" + dir + "/box"},
		{[]string{dir + "/md", "maildir:" + dir + "/new"}, exitUsage, "as maildir:" + dir + "/md"},
		{[]string{"pst:" + dir + "/box", "maildir:" + dir + "/new"}, exitUsage, "known are mbox and maildir"},
		{[]string{"mbox:" + dir + "/md", "maildir:" + dir + "/new"}, exitUsage, "say maildir:"},
		{[]string{"mbox:" + dir + "/box", "maildir:"}, exitUsage, "say what it is"},
		{[]string{"mbox:" + dir + "/{user}", "maildir:" + dir + "/new"}, exitUsage, "{user}"},
		{[]string{"mbox:" + dir + "/box", "mbox:" + dir + "/../" + filepath.Base(dir) + "/box"}, exitUsage, "same place"},
		{[]string{"-mbox", "mbx", "mbox:" + dir + "/box", "maildir:" + dir + "/new"}, exitUsage, "mboxcl2"},
		{[]string{"mbox:" + dir + "/none", "maildir:" + dir + "/new"}, exitNoInput, "no such file"},
		{[]string{"mbox:" + dir + "/letter", "maildir:" + dir + "/new"}, exitNoInput, "not an mbox file"},
		{[]string{"maildir:" + dir + "/empty", "maildir:" + dir + "/new"}, exitNoInput, "no Maildir"},
		{[]string{"-state", dir + "/none/state", "mbox:" + dir + "/box", "maildir:" + dir + "/new"}, exitAgain, "state file"},
		{[]string{"-state", dir + "/letter", "mbox:" + dir + "/box", "maildir:" + dir + "/new"}, exitAgain, "not the state of a conversion"},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, tc.code, run(t.Context(), tc.args, &out, &errs), "%q: %s", tc.args, &errs)
		require.Contains(t, errs.String(), tc.text)
		if tc.code != exitAgain {
			require.NoDirExists(t, dir+"/new")
		}
	}
	var out, errs bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), []string{"-help"}, &out, &errs))
	require.Contains(t, out.String(), "mailmove -verify  mbox:/var/mail/ann")
	require.Empty(t, errs.String())
}

// TestFlagsBehind: flags are taken where people put them.
func TestFlagsBehind(t *testing.T) {
	dir := t.TempDir()
	writeMbox(t, dir+"/box", 3)
	require.Contains(t, mustRun(t, "mbox:"+dir+"/box", "maildir:"+dir+"/new", "-verify"), "3 of 3")
}

// TestGrown: mail that has come into an mbox since is copied, and nothing else; what its user has removed in the target does
// not come back.
func TestGrown(t *testing.T) {
	dir := t.TempDir()
	writeMbox(t, dir+"/box", 4)
	args := []string{"mbox:" + dir + "/box", "maildir:" + dir + "/md"}
	mustRun(t, args...)
	names, err := os.ReadDir(dir + "/md/cur")
	require.NoError(t, err)
	require.Len(t, names, 4)
	require.NoError(t, os.Remove(dir+"/md/cur/"+names[0].Name()))
	old := list(t, args[0])
	writeMbox(t, dir+"/box", 7)
	at := time.Now().Add(10 * time.Second)
	require.NoError(t, os.Chtimes(dir+"/box", at, at))
	var out, errs bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), append([]string{"-dry-run"}, args...), &out, &errs))
	require.Contains(t, errs.String(), " of 7 messages in 1 folder would be copied")
	report := mustRun(t, args...)
	require.Contains(t, report, "7         3       4")
	require.NotContains(t, report, "UID", "the file has none that a client could know")
	require.Len(t, list(t, args[1]), 6)
	require.Subset(t, list(t, args[1]), list(t, args[0])[len(old):])
}

// TestLosses: what the target can not keep is told, for each folder.
func TestLosses(t *testing.T) {
	dir := t.TempDir()
	writeMbox(t, dir+"/mail/INBOX", 1)
	writeMbox(t, dir+"/mail/v1.2", 2)
	writeMbox(t, dir+"/mail/v1_2", 3)
	out := mustRun(t, "-verify", "mbox:"+dir+"/mail", "maildir:"+dir+"/md")
	require.Contains(t, out, "v1.2 -> v1_2_2")
	require.Contains(t, out, "3 of 3")
	require.Len(t, list(t, "maildir:"+dir+"/md"), 6)

	s, err := place("maildir:"+dir+"/md", "auto", true)
	require.NoError(t, err)
	a, err := s.Account(t.Context(), user)
	require.NoError(t, err)
	require.NoError(t, a.Create(t.Context(), "Out", mailbox.CreateOptions{SpecialUse: mailbox.UseSent}))
	require.NoError(t, a.Close())
	require.Contains(t, mustRun(t, "maildir:"+dir+"/md", "mbox:"+dir+"/back/"), `Out: the target can not keep: special use \Sent`)
}

// TestOneFile: an mbox file takes INBOX alone, and it is said what to do with the other folders.
func TestOneFile(t *testing.T) {
	dir := t.TempDir()
	writeMbox(t, dir+"/mail/INBOX", 1)
	writeMbox(t, dir+"/mail/Sent", 2)
	mustRun(t, "mbox:"+dir+"/mail", "maildir:"+dir+"/md")
	var out, errs bytes.Buffer
	require.Equal(t, exitIncomplete, run(t.Context(), []string{"maildir:" + dir + "/md", "mbox:" + dir + "/one"}, &out, &errs))
	require.Contains(t, errs.String(), "can only be INBOX; for the other folders name a directory")
	require.NotContains(t, errs.String(), "run it again")
	require.Contains(t, out.String(), "Sent: not copied to its end")
	require.Len(t, list(t, "mbox:"+dir+"/one"), 1)
}

// start runs the program as a process of its own.
func start(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "GONIEC_MAILMOVE_CHILD=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	return cmd, &out
}

// waitStored waits until the target has some messages, or the program has ended.
func waitStored(dir, kind string, n int) {
	for stop := time.Now().Add(time.Minute); stored(dir, kind) < n && time.Now().Before(stop); {
		time.Sleep(time.Millisecond)
	}
}

// TestInterrupted: Ctrl-C ends it soon, with a report and its own exit code; the next run goes on. Meanwhile another run with
// the same arguments is refused, with the process number.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	writeMbox(t, dir+"/src", 1500)
	args := []string{"mbox:" + dir + "/src", "maildir:" + dir + "/target"}
	cmd, out := start(t, args...)
	waitStored(dir, "maildir", 100)
	suspend(t, cmd.Process)
	var second, errs bytes.Buffer
	require.Equal(t, exitAgain, run(t.Context(), args, &second, &errs))
	require.Contains(t, errs.String(), fmt.Sprintf("process %d is at work", cmd.Process.Pid))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	resume(t, cmd.Process)
	_ = cmd.Wait()
	require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode(), out.String())
	require.Contains(t, out.String(), "INBOX   1500")
	require.Contains(t, out.String(), "mailmove: interrupted\nmailmove: run it again with the same arguments to go on")
	require.Contains(t, mustRun(t, append(args, "-verify")...), "1500 of 1500")
	require.Equal(t, list(t, args[0]), list(t, args[1]))
}

// TestKilled kills the program again and again; at the end each message is there once.
func TestKilled(t *testing.T) {
	cycles := 20
	if os.Getenv("GONIEC_LONG") == "1" {
		cycles = 200
	}
	for _, kind := range []string{"maildir", "mbox"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			n := 30 * cycles
			writeMbox(t, dir+"/src", n)
			want := list(t, "mbox:"+dir+"/src")
			args := []string{"mbox:" + dir + "/src", kind + ":" + dir + "/target"}
			kills := 0
			for range cycles {
				cmd, _ := start(t, args...)
				waitStored(dir, kind, min(stored(dir, kind)+1+rand.IntN(25), n))
				time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
				_ = cmd.Process.Kill()
				if cmd.Wait() != nil {
					kills++
				}
				_ = os.Remove(dir + "/target.lock") // its holder is dead, but it is not ten minutes old
			}
			require.Greater(t, kills, cycles/10, "most runs come to their end before they are killed")
			out := mustRun(t, append([]string{"-verify"}, args...)...)
			require.Contains(t, out, fmt.Sprintf("%d of %d", n, n))
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
	require.Regexp(t, `^ 50\.0 % \[#####\.\.\.\.\.\] 5 of 10, 0/s, [12]\.\d MB/s, 10s left, folder 1 of 2 \(INBOX\)\n$`, w.String())
	p.end()
	p.terminal, p.every = true, 0
	p.update(mailbox.Progress{Messages: 10, Total: 10})
	require.Contains(t, w.String(), "\r100.0 % [##########]")
	w.Reset()
	p.update(mailbox.Progress{Folder: strings.Repeat("long", 10), Phase: mailbox.PhaseVerify, Messages: 10, Total: 10, Verified: 3})
	require.Contains(t, w.String(), "comparing: 3 messages")
	require.LessOrEqual(t, len(w.String()), 1+columns)
}

func TestSafeNames(t *testing.T) {
	require.Equal(t, "v1_2/50_", safeName("maildir", "v1.2/50%"))
	require.Equal(t, "_hidden/a.b", safeName("mbox", ".hidden/a.b"))
	require.Equal(t, map[string]string{"a_b": "a_b", "a%b": "a_b_2", "a*b": "a_b_3", "c": "c"}, targetNames("maildir", []string{"a*b", "c", "a_b", "a%b"}))
}
