//go:build unix

package maildir_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// dovecot is a Dovecot that works on one Maildir through doveadm, without a server.
type dovecot struct {
	t       *testing.T
	conf    string
	maildir string
	uid     int
}

// nobody owns the mail when the test runs as root, for whom Dovecot opens none.
const nobody = 65534

func startDovecot(t *testing.T) *dovecot {
	t.Helper()
	peertest.Need(t, "doveadm")
	dir, err := os.MkdirTemp("", "goniec-dovecot-*") // t.TempDir is closed to other users
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	d := &dovecot{t: t, conf: filepath.Join(dir, "dovecot.conf"), maildir: filepath.Join(dir, "mail", "u"), uid: os.Getuid()}
	if d.uid == 0 {
		d.uid = nobody
	}
	require.NoError(t, os.MkdirAll(d.maildir, 0o755))
	conf := fmt.Sprintf("mail_location = maildir:%s\nbase_dir = %s/run\nstate_dir = %s/state\nlog_path = %s/log\nssl = no\n"+
		"mail_uid = %d\nmail_gid = %d\nfirst_valid_uid = 1\nmail_fsync = always\n", d.maildir, dir, dir, dir, d.uid, d.uid)
	require.NoError(t, os.WriteFile(d.conf, []byte(conf), 0o644))
	d.own()
	return d
}

// own gives Dovecot's user what the test has written.
func (d *dovecot) own() {
	if os.Getuid() != 0 {
		return
	}
	for _, path := range tree(d.t, filepath.Dir(d.conf)) {
		require.NoError(d.t, os.Lchown(path, d.uid, d.uid))
	}
}

func (d *dovecot) command(input string, args ...string) *exec.Cmd {
	cmd := exec.Command("doveadm", append([]string{"-c", d.conf}, args...)...)
	cmd.Env = append(os.Environ(), "USER=nobody", "HOME="+filepath.Dir(d.conf))
	cmd.Stdin = strings.NewReader(input)
	return cmd
}

func (d *dovecot) do(input string, args ...string) string {
	d.t.Helper()
	d.own()
	out, err := d.command(input, args...).CombinedOutput()
	require.NoError(d.t, err, "doveadm %v: %s", args, out)
	return string(out)
}

// folder asks Dovecot what we tell with lookFolder.
func (d *dovecot) folder(name string) folderView {
	d.t.Helper()
	status := d.do("", "mailbox", "status", "uidvalidity uidnext", dovecotName(name))
	var f folderView
	for _, field := range strings.Fields(status) {
		if v, ok := strings.CutPrefix(field, "uidvalidity="); ok {
			n, _ := strconv.ParseUint(v, 10, 32)
			f.validity = uint32(n)
		}
		if v, ok := strings.CutPrefix(field, "uidnext="); ok {
			n, _ := strconv.ParseUint(v, 10, 32)
			f.next = mailbox.UID(n)
		}
	}
	f.mails = make(map[mailbox.UID]string)
	for _, block := range strings.Split(d.do("", "fetch", "uid flags size.virtual", "mailbox", dovecotName(name), "all"), "\f") {
		var uid mailbox.UID
		var flags []string
		var size string
		for line := range strings.SplitSeq(block, "\n") {
			key, value, _ := strings.Cut(line, ": ")
			switch key {
			case "uid":
				n, _ := strconv.Atoi(value)
				uid = mailbox.UID(n)
			case "flags":
				flags = slices.DeleteFunc(strings.Fields(value), func(s string) bool { return s == `\Recent` })
			case "size.virtual":
				size = value
			}
		}
		if uid != 0 {
			slices.Sort(flags)
			f.mails[uid] = fmt.Sprint(flags, " ", size)
		}
	}
	return f
}

func dovecotName(name string) string { return strings.ReplaceAll(name, "/", ".") }

// ours is the same view by us.
func ours(t *testing.T, a mailbox.Account, name string) folderView {
	t.Helper()
	m, err := a.Open(t.Context(), name)
	require.NoError(t, err)
	defer m.Close()
	ch, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	f := folderView{validity: ch.State.UIDValidity, next: ch.State.UIDNext, mails: map[mailbox.UID]string{}}
	for meta := range ch.Messages {
		l := meta.Flags.List(ch.State.Keywords)
		flags := l.Keywords
		for bit, name := range map[mailbox.Flags]string{
			mailbox.Seen: `\Seen`, mailbox.Answered: `\Answered`, mailbox.Flagged: `\Flagged`,
			mailbox.Deleted: `\Deleted`, mailbox.Draft: `\Draft`,
		} {
			if l.System&bit != 0 {
				flags = append(flags, name)
			}
		}
		slices.Sort(flags)
		size := meta.Size
		for msg, err := range m.Read(t.Context(), mailbox.UIDs(meta.UID)) {
			require.NoError(t, err)
			size = msg.Content.Size()
		}
		f.mails[meta.UID] = fmt.Sprint(flags, " ", size)
	}
	return f
}

// A message of Dovecot's whose file we do not find, as it is being renamed, keeps its UID when it shows after we were started
// anew.
func TestDovecotLineBeforeFile(t *testing.T) {
	d := startDovecot(t)
	d.do("Subject: 1\r\n\r\none\r\n", "save", "-m", "INBOX")
	look := func(n int) {
		t.Helper()
		s := &maildir.Store{Root: filepath.Dir(d.maildir)}
		defer s.Close()
		a, m := open(t, s, "u", "INBOX")
		got := ours(t, a, "INBOX")
		require.Len(t, got.mails, n)
		require.NoError(t, m.Close())
		d.own()
	}
	look(1)
	d.do("Subject: 2\r\n\r\ntwo\r\n", "save", "-m", "INBOX")
	d.do("Subject: 3\r\n\r\nthree\r\n", "save", "-m", "INBOX")
	theirs := d.folder("INBOX")
	require.Len(t, theirs.mails, 3)
	list, err := os.ReadFile(d.maildir + "/dovecot-uidlist")
	require.NoError(t, err)
	var moved []string
	for _, dir := range []string{"cur", "new"} {
		names, err := os.ReadDir(filepath.Join(d.maildir, dir))
		require.NoError(t, err)
		for _, n := range names {
			base, _, _ := strings.Cut(n.Name(), ":")
			if strings.Contains(string(list), "\n2 ") && strings.Contains(lineOf(string(list), "2 "), base) {
				moved = append(moved, filepath.Join(d.maildir, dir, n.Name()))
			}
		}
	}
	require.Len(t, moved, 1)
	aside := filepath.Join(filepath.Dir(d.conf), "aside")
	require.NoError(t, os.Rename(moved[0], aside))
	look(2)
	look(2)
	require.NoError(t, os.Rename(aside, moved[0]))
	look(3)
	s := &maildir.Store{Root: filepath.Dir(d.maildir)}
	defer s.Close()
	a, _ := open(t, s, "u", "INBOX")
	requireSame(t, theirs, ours(t, a, "INBOX"))
	requireSame(t, d.folder("INBOX"), ours(t, a, "INBOX"))
}

// lineOf returns the line of a text that begins so.
func lineOf(text, begin string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin) {
			return line
		}
	}
	return ""
}

func requireSame(t *testing.T, theirs, ours folderView) {
	t.Helper()
	require.Equal(t, theirs.validity, ours.validity, "UIDVALIDITY")
	require.Equal(t, theirs.next, ours.next, "UIDNEXT")
	require.Equal(t, theirs.mails, ours.mails)
}

// A tree made by Dovecot opens here with everything equal; what we do then, Dovecot sees with the same
// UIDVALIDITY, UIDs, flags and keywords; and back again.
func TestDovecotSharesTheTree(t *testing.T) {
	d := startDovecot(t)
	for i := range 5 {
		d.do(fmt.Sprintf("Subject: %d\r\n\r\nmessage %d\r\n", i, i), "save", "-m", "INBOX")
	}
	d.do("", "mailbox", "create", "Lists.Go")
	d.do("Subject: go\r\n\r\ngophers\r\n", "save", "-m", "Lists.Go")
	d.do("", "mailbox", "subscribe", "Lists.Go")
	d.do("", "mailbox", "create", "Entwürfe")
	d.do("", "flags", "add", `\Seen $Label1 Work`, "mailbox", "INBOX", "uid", "2")
	d.do("", "flags", "add", `\Answered \Flagged Work`, "mailbox", "INBOX", "uid", "3")
	d.do("", "expunge", "mailbox", "INBOX", "uid", "4")

	s := &maildir.Store{Root: filepath.Dir(d.maildir)}
	defer s.Close()
	a, m := open(t, s, "u", "INBOX")
	requireSame(t, d.folder("INBOX"), ours(t, a, "INBOX"))
	requireSame(t, d.folder("Lists/Go"), ours(t, a, "Lists/Go"))
	requireSame(t, d.folder("Entwürfe"), ours(t, a, "Entwürfe"))
	names, err := mailbox.Subscribed(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, []string{"Lists/Go"}, names)

	// Ours.
	ctx := t.Context()
	require.NoError(t, s.Deliver(ctx, "u", "", strings.NewReader(hello), mailbox.AppendOptions{}))
	_, err = m.Append(ctx, strings.NewReader("Subject: x\r\n\r\nappended\r\n"), mailbox.AppendOptions{
		Flags: mailbox.FlagList{System: mailbox.Draft, Keywords: []string{"Work", "Mine"}},
	})
	require.NoError(t, err)
	_, err = m.SetFlags(ctx, mailbox.UIDs(1, 2, 3), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Deleted, Keywords: []string{"Third"}}})
	require.NoError(t, err)
	_, err = m.Expunge(ctx, mailbox.UIDs(1))
	require.NoError(t, err)
	_, err = mailbox.Move(ctx, a, "INBOX", 0, mailbox.UIDs(3), "Lists/Go")
	require.NoError(t, err)
	require.NoError(t, a.Create(ctx, "Made/Here", mailbox.CreateOptions{}))
	_, err = mailbox.Copy(ctx, a, "INBOX", 0, mailbox.UIDs(2), "Made/Here")
	require.NoError(t, err)
	require.NoError(t, mailbox.Subscribe(ctx, a, "Made/Here", true))
	for _, name := range []string{"INBOX", "Lists/Go", "Made/Here"} {
		mine := ours(t, a, name)
		requireSame(t, d.folder(name), mine)
	}
	require.Contains(t, d.do("", "mailbox", "list", "-s"), "Made.Here")

	// Theirs, while we have the folder open.
	d.do("", "flags", "remove", `\Deleted Third`, "mailbox", "INBOX", "uid", "2")
	d.do("", "flags", "add", "Fourth", "mailbox", "INBOX", "uid", "5")
	d.do("Subject: later\r\n\r\nlater\r\n", "save", "-m", "INBOX")
	d.do("", "move", "INBOX", "mailbox", "Lists.Go", "uid", "2")
	requireSame(t, d.folder("INBOX"), ours(t, a, "INBOX"))
	requireSame(t, d.folder("Lists/Go"), ours(t, a, "Lists/Go"))
}

// Both work on one folder at the same time: nothing is lost, and both see the same UIDs in the end.
func TestDovecotAtTheSameTime(t *testing.T) {
	d := startDovecot(t)
	if os.Getuid() == 0 && os.Getenv(childEnv) == "" {
		// Files of root would be closed to Dovecot: the test runs again as its user.
		asNobody(t, "^TestDovecotAtTheSameTime$")
		return
	}
	each := 15
	if long {
		each = 150
	}
	s := &maildir.Store{Root: filepath.Dir(d.maildir)}
	defer s.Close()
	a, m := open(t, s, "u", "INBOX")
	ctx := t.Context()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range each {
			out, err := d.command(fmt.Sprintf("Subject: d%d\r\n\r\n%d\r\n", i, i), "save", "-m", "INBOX").CombinedOutput()
			if err != nil {
				t.Errorf("doveadm save: %v %s", err, out)
			}
			out, err = d.command("", "flags", "add", `\Seen`, "mailbox", "INBOX", "all").CombinedOutput()
			if err != nil {
				t.Errorf("doveadm flags: %v %s", err, out)
			}
		}
	})
	wg.Go(func() {
		for i := range 2 * each {
			if err := s.Deliver(ctx, "u", "", strings.NewReader(fmt.Sprintf("Subject: o%d\r\n\r\nx\r\n", i)), mailbox.AppendOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := m.Append(ctx, strings.NewReader(fmt.Sprintf("Subject: a%d\r\n\r\nx\r\n", i)), mailbox.AppendOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := m.SetFlags(ctx, mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flagged}}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	time.Sleep(10 * time.Millisecond)
	_, err := m.SetFlags(ctx, mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flagged}})
	require.NoError(t, err)
	mine := ours(t, a, "INBOX")
	require.Len(t, mine.mails, 5*each)
	requireSame(t, d.folder("INBOX"), mine)
}

// Python's mailbox.Maildir reads what we wrote, and we read what it wrote.
func TestPythonReadsOurMaildir(t *testing.T) {
	python := peertest.Need(t, "python3")
	root := t.TempDir()
	s := &maildir.Store{Root: root}
	defer s.Close()
	a, m := open(t, s, "u", "INBOX")
	ctx := t.Context()
	require.NoError(t, s.Deliver(ctx, "u", "", strings.NewReader(hello), mailbox.AppendOptions{}))
	_, err := m.Append(ctx, strings.NewReader("Subject: two\r\n\r\n2\r\n"), mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Seen | mailbox.Flagged}})
	require.NoError(t, err)
	require.NoError(t, a.Create(ctx, "Sub/Folder", mailbox.CreateOptions{}))
	script := `
import mailbox, sys
m = mailbox.Maildir(sys.argv[1], create=False)
for k in sorted(m.keys(), key=lambda k: m[k]["Subject"]):
    print(m[k]["Subject"], m[k].get_flags(), repr(m.get_bytes(k)))
print(m.list_folders())
msg = mailbox.MaildirMessage("Subject: from python\n\nhi\n")
msg.set_subdir("cur"); msg.set_flags("RS")
m.add(msg)
`
	out, err := exec.Command(python, "-c", script, filepath.Join(root, "u")).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "hello  b'Subject: hello\\n\\nHello, world.\\n'\ntwo FS b'Subject: two\\n\\n2\\n'\n['Sub.Folder']\n", string(out))
	metas, _ := list(t, m)
	require.Len(t, metas, 3)
	require.Equal(t, mailbox.Seen|mailbox.Answered, metas[2].Flags)
	require.Equal(t, "Subject: from python\r\n\r\nhi\r\n", content(t, m, metas[2].UID))
	_ = io.Discard
}
