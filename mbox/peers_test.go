//go:build linux

package mbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mbox"
)

// pythonMbox is Python's mailbox module behind a line of arguments. Its locks do not wait: it tries again.
const pythonMbox = `
import fcntl, json, mailbox, os, sys, time
what, path = sys.argv[1:3]
box = mailbox.mbox(path, create=True)
def lock():
    end = time.time() + 60
    while True:
        try:
            box.lock()
            return
        except mailbox.ExternalClashError:
            if time.time() > end: raise
            time.sleep(0.002)
def text(m):
    return m.as_bytes(unixfrom=False).decode('latin-1')
if what == 'list':
    lock()
    print(json.dumps([[m.get_flags(), text(m), m.get_from()] for m in box]))
    box.unlock()
elif what == 'add':
    who, n = sys.argv[3], int(sys.argv[4])
    for i in range(n):
        lock()
        m = mailbox.mboxMessage("Subject: %s %d\n\n%send\n" % (who, i, "From here to there\n" * (i % 7)))
        m.set_from('a@b', True)
        box.add(m)
        box.flush()
        box.unlock()
        box.close()
        box = mailbox.mbox(path)
elif what == 'flags':
    lock()
    for key, m in box.items():
        if m['Subject'] == sys.argv[3]:
            m.set_flags(sys.argv[4])
            box[key] = m
    box.flush()
    box.unlock()
elif what == 'remove':
    lock()
    for key, m in box.items():
        if m['Subject'] == sys.argv[3]:
            box.remove(key)
    box.flush()
    box.unlock()
box.close()
`

func python(t *testing.T, args ...string) string {
	t.Helper()
	cmd := peertest.Command(t, "python3", append([]string{"-c", pythonMbox}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	return string(out)
}

// pythonList is what Python sees: flags in their order, and the message with its field of flags taken out.
func pythonList(t *testing.T, path string) (all [][2]string) {
	t.Helper()
	var list [][3]string
	require.NoError(t, json.Unmarshal([]byte(python(t, "list", path)), &list))
	for _, m := range list {
		all = append(all, [2]string{m[0], statusFields.ReplaceAllString(m[1], "")})
	}
	return all
}

var statusFields = regexp.MustCompile(`(?m)^(Status|X-Status|X-Keywords):.*\n`)

// TestPeerPython goes both ways with Python's mailbox module: messages, flags, changes of flags, removals.
func TestPeerPython(t *testing.T) {
	t.Parallel() // it waits most of the time
	path := filepath.Join(t.TempDir(), "ann")
	python(t, "add", path, "py", "3")
	s := &mbox.Store{Inbox: filepath.Join(filepath.Dir(path), "{user}")}
	m := openBox(t, s, "INBOX")
	body := func(n int) string { return strings.Repeat("From here to there\r\n", n) + "end\r\n" }
	want := []listed{
		{1, mailbox.FlagList{}, "Subject: py 0\r\n\r\n" + body(0)},
		{2, mailbox.FlagList{}, "Subject: py 1\r\n\r\n" + body(1)},
		{3, mailbox.FlagList{}, "Subject: py 2\r\n\r\n" + body(2)},
	}
	require.Equal(t, want, listBox(t, m))
	flags := mailbox.FlagList{System: mailbox.Seen | mailbox.Flagged | mailbox.Draft, Keywords: []string{"$Later"}}
	_, err := m.Append(t.Context(), strings.NewReader("Subject: ours\r\n\r\nours\r\n"), mailbox.AppendOptions{Flags: flags})
	require.NoError(t, err)
	ours := listed{4, flags, "Subject: ours\r\n\r\nours\r\n"}
	require.Equal(t, append(want, ours), listBox(t, m))
	got := pythonList(t, path)
	require.Len(t, got, 4)
	require.Equal(t, "ROFT", sorted(got[3][0]), "Seen, Flagged, Draft")
	require.Equal(t, "Subject: ours\n\nours\n", got[3][1])
	require.Equal(t, "Subject: py 1\n\n>From here to there\nend\n", got[1][1], "Python leaves the quotes on")

	// Python changes flags of its own message and of ours, and removes one.
	python(t, "flags", path, "py 0", "ROA")
	python(t, "flags", path, "ours", "RODF")
	python(t, "remove", path, "py 1")
	want[0].flags.System = mailbox.Seen | mailbox.Answered
	ours.flags.System = mailbox.Seen | mailbox.Deleted | mailbox.Flagged
	require.Equal(t, []listed{want[0], want[2], ours}, listBox(t, m), "UIDs stay")

	// Our changes of what is still in our form reach Python; an expunge removes the message.
	_, err = m.Append(t.Context(), strings.NewReader("Subject: more\r\n\r\nmore\r\n"), mailbox.AppendOptions{})
	require.NoError(t, err)
	_, err = m.SetFlags(t.Context(), mailbox.UIDs(5), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen | mailbox.Answered}})
	require.NoError(t, err)
	_, err = m.Expunge(t.Context(), mailbox.UIDs(1, 4))
	require.NoError(t, err)
	got = pythonList(t, path)
	require.Len(t, got, 2)
	require.Equal(t, [2]string{"ROA", "Subject: more\n\nmore\n"}, [2]string{sorted(got[1][0]), got[1][1]})
}

// sorted puts flags into the order ROADFT.
func sorted(flags string) (out string) {
	for _, f := range "ROADFT" {
		if strings.ContainsRune(flags, f) {
			out += string(f)
		}
	}
	return out
}

// bodies reads a file and counts each message of a load by its first line; every one must be whole.
func bodies(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	seen := make(map[string]int)
	r := mbox.NewReader(f, mbox.MboxO)
	for _, err := range r.Messages() {
		require.NoError(t, err)
		var b bytes.Buffer
		_, err := b.ReadFrom(r)
		require.NoError(t, err)
		first, rest, _ := strings.Cut(statusFields.ReplaceAllString(b.String(), ""), "\r\n")
		require.True(t, strings.HasPrefix(first, "Subject: "), "%.200q", b.String())
		require.True(t, strings.HasSuffix(rest, "end\r\n"), "%.200q", b.String())
		seen[strings.TrimPrefix(first, "Subject: ")]++
	}
	return seen
}

// loadText is a message of the load test.
func loadText(who string, i int) string {
	return fmt.Sprintf("Subject: %s %d\r\n\r\n%send\r\n", who, i, strings.Repeat("From here to there\r\n", i%7))
}

// underLoad lets a peer and two of ours, File and Store, add n messages each to one file at the same time; afterwards each
// message is there once and whole (F08).
func underLoad(t *testing.T, n int, peer func(path string, i int)) {
	path := filepath.Join(t.TempDir(), "ann")
	var all sync.WaitGroup
	all.Go(func() {
		for i := range n {
			peer(path, i)
		}
	})
	all.Go(func() {
		f := &mbox.File{Path: path, Dialect: mbox.MboxO}
		for i := range n {
			_, err := f.Append(t.Context(), mbox.FromLine{Sender: "a@b"}, strings.NewReader(loadText("file", i)))
			require.NoError(t, err)
		}
	})
	all.Go(func() {
		m := openBox(t, &mbox.Store{Inbox: filepath.Join(filepath.Dir(path), "{user}"), Dialect: mbox.MboxO}, "INBOX")
		for i := range n {
			meta, err := m.Append(t.Context(), strings.NewReader(loadText("store", i)), mailbox.AppendOptions{})
			require.NoError(t, err)
			_, err = m.SetFlags(t.Context(), mailbox.UIDs(meta.UID), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
			require.NoError(t, err)
			if i%3 == 1 { // and take a message of our own out of the middle
				gone, err := m.Expunge(t.Context(), mailbox.UIDs(meta.UID))
				require.NoError(t, err)
				require.Equal(t, 1, gone.Len())
			}
		}
	})
	all.Wait()
	seen := bodies(t, path)
	total := 0
	for i := range n {
		require.Equal(t, 1, seen[fmt.Sprintf("peer %d", i)], "message %d of the peer", i)
		require.Equal(t, 1, seen[fmt.Sprintf("file %d", i)], "message %d of File", i)
		if i%3 != 1 {
			total++
		}
	}
	require.Len(t, storeLeft(seen), total)
	require.NoFileExists(t, path+".lock")
}

func storeLeft(seen map[string]int) (left []string) {
	for name, n := range seen {
		if strings.HasPrefix(name, "store ") && n == 1 {
			left = append(left, name)
		}
	}
	return left
}

// TestPeerPythonLoad: Python takes fcntl's lock first and then the dotlock, and puts a new file into the old one's place when
// it has removed something.
func TestPeerPythonLoad(t *testing.T) {
	t.Parallel() // it waits most of the time
	peertest.Need(t, "python3")
	n := 12
	if peertest.LongForm() {
		n = 100
	}
	underLoad(t, n, func(path string, i int) {
		if i == 0 {
			python(t, "add", path, "peer", fmt.Sprint(n))
			python(t, "add", path, "drop", "3")
			python(t, "remove", path, "drop 1")
			python(t, "remove", path, "drop 0")
			python(t, "remove", path, "drop 2")
		}
	})
}

// procmail delivers one message as an MTA has it do: dotlock by the recipe's second colon, then fcntl.
func procmail(t *testing.T, rc, msg string) {
	t.Helper()
	cmd := peertest.Command(t, "procmail", "-m", rc)
	cmd.Stdin = strings.NewReader("From a@b Sat Jan  3 01:05:34 1998\n" + strings.ReplaceAll(msg, "\r\n", "\n"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func procmailRC(t *testing.T, path string) string {
	t.Helper()
	rc := filepath.Join(filepath.Dir(path), "rc")
	if _, err := os.Stat(rc); err != nil {
		require.NoError(t, os.WriteFile(rc, []byte("SHELL=/bin/sh\nLOCKSLEEP=1\nDEFAULT="+path+"\n:0:\n"+path+"\n"), 0o600))
	}
	return rc
}

// TestPeerProcmail: what procmail delivers is read, with its From_ lines; it waits for our locks, and we for its.
func TestPeerProcmail(t *testing.T) {
	t.Parallel() // it waits most of the time
	peertest.Need(t, "procmail")
	path := filepath.Join(t.TempDir(), "ann")
	procmail(t, procmailRC(t, path), "Subject: one\r\n\r\nFrom here\r\n>From there\r\nend\r\n")
	s := &mbox.Store{Inbox: filepath.Join(filepath.Dir(path), "{user}"), Dialect: mbox.MboxO}
	m := openBox(t, s, "INBOX")
	require.Equal(t, []listed{{1, mailbox.FlagList{}, "Subject: one\r\n\r\nFrom here\r\nFrom there\r\nend\r\n"}}, listBox(t, m),
		"procmail's quoting is mboxo's: it can not be told which line was quoted")
	n := 6
	if peertest.LongForm() {
		n = 40
	}
	underLoad(t, n, func(path string, i int) { procmail(t, procmailRC(t, path), loadText("peer", i)) })
}

// TestPeerMail lets Debian's mail command (bsd-mailx) work on the file: it has fcntl's lock first and then waits for the
// dotlock, the order opposite to ours.
func TestPeerMail(t *testing.T) {
	t.Parallel() // it waits most of the time
	peertest.Need(t, "bsd-mailx")
	path := filepath.Join(t.TempDir(), "ann")
	mail := func(commands string) {
		t.Helper()
		cmd := peertest.Command(t, "bsd-mailx", "-n")
		cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(path), "MAIL="+path, "MAILRC=/dev/null")
		cmd.Stdin = strings.NewReader("set hold\n" + commands)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	s := &mbox.Store{Inbox: filepath.Join(filepath.Dir(path), "{user}"), LockTimeout: time.Minute}
	m := openBox(t, s, "INBOX")
	var want []listed
	for i := range 4 {
		text := fmt.Sprintf("Subject: %d\r\n\r\nFrom here %d\r\nend\r\n", i, i)
		_, err := m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{})
		require.NoError(t, err)
		want = append(want, listed{mailbox.UID(i + 1), mailbox.FlagList{}, text})
	}
	mail("p 1\nd 2\nq\n")
	want[0].flags.System = mailbox.Seen
	require.Equal(t, []listed{want[0], want[2], want[3]}, listBox(t, m), "read and deleted by mail")

	// Both at once: mail rewrites the file while we append.
	n := 3
	if peertest.LongForm() {
		n = 15
	}
	var all sync.WaitGroup
	all.Go(func() {
		for range n {
			mail("p 1\nu *\nq\n")
		}
	})
	for i := range 10 * n {
		text := fmt.Sprintf("Subject: load %d\r\n\r\nend\r\n", i)
		meta, err := m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{})
		require.NoError(t, err)
		want = append(want, listed{meta.UID, mailbox.FlagList{}, text})
	}
	all.Wait()
	got := listBox(t, m)
	texts := func(l []listed) (out []string) {
		for _, one := range l {
			out = append(out, one.text)
		}
		return out
	}
	require.Equal(t, texts(append([]listed{want[0]}, want[2:]...)), texts(got))
}

// TestPeerLockPrograms: lockfile (procmail) and dotlockfile (liblockfile) wait while we hold the file, and we while they do.
func TestPeerLockPrograms(t *testing.T) {
	for name, command := range map[string]func(lock string) []string{
		"lockfile":    func(lock string) []string { return []string{"-1", "-r", "0", lock} },
		"dotlockfile": func(lock string) []string { return []string{"-r", "0", "-l", lock} },
	} {
		t.Run(name, func(t *testing.T) {
			peertest.Need(t, name)
			path := filepath.Join(t.TempDir(), "box")
			f := &mbox.File{Path: path, LockTimeout: 50 * time.Millisecond} // one look at least, however late
			appendOne := func() error {
				_, err := f.Append(t.Context(), mbox.FromLine{}, strings.NewReader("x\r\n"))
				return err
			}
			require.NoError(t, appendOne())
			take := func() *exec.Cmd { return peertest.Command(t, name, command(path+".lock")...) }
			require.NoError(t, take().Run())
			require.ErrorIs(t, appendOne(), mailbox.ErrInUse)
			require.NoError(t, os.Remove(path+".lock"))
			require.NoError(t, appendOne())
			// Ours, as it is made while we work: with the number of a process that lives.
			require.NoError(t, os.WriteFile(path+".lock", fmt.Appendln(nil, os.Getpid()), 0o600))
			require.Error(t, take().Run())
			require.NoError(t, os.Remove(path+".lock"))
			require.NoError(t, take().Run())
		})
	}
}

// mutt runs mutt on a file with keys pushed into it. It wants a terminal: script gives it one.
func mutt(t *testing.T, path, keys string) {
	t.Helper()
	dir := filepath.Dir(path)
	rc := filepath.Join(dir, "muttrc")
	require.NoError(t, os.WriteFile(rc, []byte("set quit=yes delete=yes mark_old=yes confirmappend=no confirmcreate=no move=no mbox_type=mbox wait_key=no tmpdir="+dir+
		" record= auto_tag=no sleep_time=0\nset sort=mailbox-order\npush \""+keys+"\"\n"), 0o600))
	cmd := peertest.Command(t, "script", "-qec", "stty rows 24 cols 80; mutt -n -F "+rc+" -f "+path, "/dev/null")
	cmd.Env = append(os.Environ(), "TERM=vt100", "HOME="+dir, "MAIL="+path)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// TestPeerMutt: mutt reads what we have written, sets flags, deletes, and copies into another file; we read what it did.
func TestPeerMutt(t *testing.T) {
	peertest.Need(t, "mutt", "script")
	dir := t.TempDir()
	path := filepath.Join(dir, "ann")
	s := &mbox.Store{Root: dir, Inbox: path}
	m := openBox(t, s, "INBOX")
	var want []listed
	for i, f := range []mailbox.Flags{0, mailbox.Seen, mailbox.Flagged, 0, mailbox.Seen | mailbox.Answered} {
		text := fmt.Sprintf("From: a@b\r\nSubject: number %d\r\n\r\nFrom here %d\r\n>From there\r\n\r\nend\r\n", i, i)
		l := mailbox.FlagList{System: f}
		_, err := m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{Flags: l})
		require.NoError(t, err)
		want = append(want, listed{mailbox.UID(i + 1), l, text})
	}
	// Message 1: flagged; 2: new again; 3: copied to another file; 4: deleted; 5: left.
	mutt(t, path, "1<enter><flag-message>2<enter><toggle-new>3<enter><copy-message>"+dir+"/copy<enter>4<enter><delete-message><sync-mailbox><quit>")
	want[0].flags.System = mailbox.Flagged
	want[1].flags.System = 0
	require.Equal(t, []listed{want[0], want[1], want[2], want[4]}, listBox(t, m))
	// A folder that mutt has made; its own quoting, and ours of the lines that it has copied as they were.
	c := openBox(t, s, "copy")
	got := listBox(t, c)
	require.Len(t, got, 1)
	require.Equal(t, want[2].text, got[0].text)
	require.Equal(t, mailbox.Flagged, got[0].flags.System&mailbox.Flagged)
}
