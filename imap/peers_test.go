package imap_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
)

const (
	plainMail = "From: Bob <bob@example.org>\r\nTo: alice@example.org\r\nSubject: first\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nbody of the first\r\n"
	mixedMail = "From: Carol <carol@example.org>\r\nTo: alice@example.org\r\nSubject: second\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\naGVsbG8=\r\n--b--\r\n"
)

// messages returns what a folder holds.
func (f *fixture) messages(t testing.TB, user, folder string) (texts []string, metas []mailbox.Meta) {
	m, err := f.account(t, user).Open(t.Context(), folder)
	require.NoError(t, err)
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		b := make([]byte, msg.Content.Size())
		_, _ = msg.Content.ReadAt(b, 0)
		texts, metas = append(texts, string(b)), append(metas, msg.Meta)
	}
	return texts, metas
}

func TestPeerCurl(t *testing.T) {
	peertest.Need(t, "curl")
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "INBOX", mixedMail)
	addr := f.start(t)
	curl := func(args ...string) string {
		out, err := peertest.Command(t, "curl", append([]string{"-sS", "-u", "alice:secret"}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	require.Equal(t, plainMail, curl("imap://"+addr+"/INBOX;UID=1"))
	require.Equal(t, "text", curl("imap://"+addr+"/INBOX;UID=2;SECTION=1"))
	require.Contains(t, curl("imap://"+addr+"/"), `* LIST (\HasNoChildren) "/" INBOX`)
	require.Contains(t, curl("imap://"+addr+"/INBOX", "-X", "STATUS INBOX (MESSAGES)"), "MESSAGES 2")
	file := filepath.Join(t.TempDir(), "new.eml")
	require.NoError(t, os.WriteFile(file, []byte(mixedMail), 0o600))
	curl("imap://"+addr+"/INBOX", "-T", file)
	texts, _ := f.messages(t, "alice", "INBOX")
	require.Equal(t, []string{plainMail, mixedMail, mixedMail}, texts)
}

// imaplibScript walks through Python's imaplib and raises on the first surprise.
const imaplibScript = `
import imaplib, sys
host, port = sys.argv[1].split(':')
m = imaplib.IMAP4(host, int(port))
def ok(r, what=''):
    assert r[0] == 'OK', (what, r)
    return r[1]
ok(m.login('alice', 'secret'))
assert 'MOVE' in m.capabilities or 'MOVE' in ok(m.capability())[0].decode()
ok(m.select())
assert ok(m.status('INBOX', '(MESSAGES UNSEEN)'))[0] == b'INBOX (MESSAGES 2 UNSEEN 2)'
data = ok(m.fetch('1', '(RFC822)'))
assert b'body of the first' in data[0][1], data
assert b'\\Seen' in ok(m.fetch('1', '(FLAGS)'))[0]
assert ok(m.fetch('1:*', '(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])'))[0][1] == b'Subject: first\r\n\r\n'
ok(m.create('Archive/2024'))
ok(m.copy('1:2', 'Archive/2024'))
ok(m.store('1', '+FLAGS', '(\\Deleted $Work)'))
assert ok(m.expunge()) == [b'1']
ok(m.uid('MOVE', '2', 'Archive/2024'))
ok(m.append('INBOX', '(\\Flagged)', '"01-Feb-2024 12:00:00 +0100"', b'Subject: third\r\n\r\nnew\r\n'))
assert ok(m.noop())
ok(m.rename('Archive/2024', 'Archive/Old'))
ok(m.subscribe('Archive/Old'))
assert b'Archive/Old' in ok(m.lsub())[0]
ok(m.select('Archive/Old', readonly=True))
assert len(ok(m.fetch('1:*', '(UID)'))) == 3
ok(m.unselect())
ok(m.select('INBOX'))
ok(m.close())
ok(m.delete('Archive/Old'))
m.enable('UTF8=ACCEPT')
ok(m.create('"Zażółć"'))
ok(m.select('"Zażółć"'))
m.logout()
print('done')
`

func TestPeerImaplib(t *testing.T) {
	python := peertest.Need(t, "python3")
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "INBOX", mixedMail)
	script := filepath.Join(t.TempDir(), "walk.py")
	require.NoError(t, os.WriteFile(script, []byte(imaplibScript), 0o600))
	out, err := peertest.Command(t, python, script, f.start(t)).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "done", strings.TrimSpace(string(out)))
	texts, metas := f.messages(t, "alice", "INBOX")
	require.Len(t, texts, 1)
	require.Equal(t, mailbox.Flagged, metas[0].Flags)
	require.Equal(t, "2024-02-01 11:00:00", metas[0].Date.Time().UTC().Format("2006-01-02 15:04:05"))
}

// run runs a peer to its end and returns what it printed.
func run(t *testing.T, dir string, env []string, program string, args ...string) string {
	cmd := peertest.Command(t, program, args...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "HOME="+dir), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// write makes a file with the address of the server put in.
func write(t *testing.T, path, text, addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	text = strings.NewReplacer("HOST", host, "PORT", port, "DIR", filepath.Dir(path)).Replace(text)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// mbsync synchronises both ways: flags, deletions, moves and new mail, and both sides are equal afterwards.
func TestPeerMbsync(t *testing.T) {
	peertest.Need(t, "mbsync")
	f, _ := newMaildirFixture(t)
	for i := range 20 {
		f.deliver(t, "alice", "INBOX", fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\nbody %d\r\n", i, i, i))
	}
	f.deliver(t, "alice", "Archive", mixedMail, `\Seen`)
	dir := t.TempDir()
	rc := write(t, filepath.Join(dir, "mbsyncrc"), `IMAPAccount goniec
Host HOST
Port PORT
User alice
Pass secret
SSLType None
AuthMechs LOGIN

IMAPStore far
Account goniec

MaildirStore near
SubFolders Verbatim
Path DIR/mail/
Inbox DIR/mail/INBOX

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
`, f.start(t))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "mail"), 0o700))
	sync := func() { run(t, dir, nil, "mbsync", "-c", rc, "-a") }
	sync()
	files := localMail(t, dir, "INBOX")
	require.Len(t, files, 20)
	require.Len(t, localMail(t, dir, "Archive"), 1)

	// Their side: one flagged, one deleted, one new, one moved. Ours: one flagged, one gone, one new.
	rename(t, files[0], "FS")
	require.NoError(t, os.Remove(files[1]))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mail/INBOX/new/1.local.x"), []byte("Subject: theirs\n\nx\n"), 0o600))
	require.NoError(t, os.Rename(files[2], filepath.Join(dir, "mail/Archive/cur/2.local.x:2,S")))
	hooks := f.hooks(t)
	require.NoError(t, hooks["flag"]("alice", "INBOX", "18", `\Flagged`))
	require.NoError(t, hooks["expunge"]("alice", "INBOX", "19"))
	f.deliver(t, "alice", "INBOX", "Subject: ours\r\n\r\nx\r\n")
	sync()
	sync()
	for _, folder := range []string{"INBOX", "Archive"} {
		require.Equal(t, remoteState(t, f, folder), localState(t, dir, folder), folder)
	}
	require.Len(t, localMail(t, dir, "INBOX"), 19)
	require.Len(t, localMail(t, dir, "Archive"), 2)
}

func localMail(t *testing.T, dir, folder string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "mail", folder, "[cn]*", "*"))
	require.NoError(t, err)
	slices.Sort(files)
	return files
}

// rename gives a file its flags.
func rename(t *testing.T, path, flags string) {
	base, _, _ := strings.Cut(filepath.Base(path), ":2,")
	require.NoError(t, os.Rename(path, filepath.Join(filepath.Dir(filepath.Dir(path)), "cur", base+":2,"+flags)))
}

// localState and remoteState tell each message with its flags, in the same words.
func localState(t *testing.T, dir, folder string) (out []string) {
	for _, f := range localMail(t, dir, folder) {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		_, flags, _ := strings.Cut(f, ":2,")
		out = append(out, withoutTUID(strings.ReplaceAll(string(b), "\r\n", "\n"))+" "+flags)
	}
	slices.Sort(out)
	return out
}

func remoteState(t *testing.T, f *fixture, folder string) (out []string) {
	texts, metas := f.messages(t, "alice", folder)
	for i, text := range texts {
		flags := ""
		for letter, flag := range map[string]mailbox.Flags{"F": mailbox.Flagged, "S": mailbox.Seen} {
			if metas[i].Flags&flag != 0 {
				flags += letter
			}
		}
		b := []byte(flags)
		slices.Sort(b)
		out = append(out, withoutTUID(strings.ReplaceAll(text, "\r\n", "\n"))+" "+string(b))
	}
	slices.Sort(out)
	return out
}

// withoutTUID drops the field with which mbsync finds again what it has stored.
func withoutTUID(s string) string { return regexp.MustCompile(`X-TUID: .*\n`).ReplaceAllString(s, "") }

// fetchmail collects mail and leaves the mailbox empty.
func TestPeerFetchmail(t *testing.T) {
	peertest.Need(t, "fetchmail")
	f, _ := newMaildirFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "INBOX", mixedMail)
	dir := t.TempDir()
	rc := write(t, filepath.Join(dir, "fetchmailrc"), `poll HOST service PORT protocol imap auth password
user alice password secret sslproto '' mda "cat >>DIR/out" no rewrite
`, f.start(t))
	run(t, dir, nil, "fetchmail", "-f", rc, "--nosyslog", "-N", "--pidfile", filepath.Join(dir, "pid"), "-i", filepath.Join(dir, "ids"))
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	require.NoError(t, err)
	require.Contains(t, string(out), "body of the first")
	require.Contains(t, string(out), "aGVsbG8=")
	texts, _ := f.messages(t, "alice", "INBOX")
	require.Empty(t, texts)
}

// getmail collects mail and deletes it.
func TestPeerGetmail(t *testing.T) {
	peertest.Need(t, "getmail")
	f, _ := newMaildirFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "INBOX", mixedMail)
	dir := t.TempDir()
	mda := write(t, filepath.Join(dir, "mda"), "#!/bin/sh\nexec cat >>DIR/out\n", f.start(t))
	require.NoError(t, os.Chmod(mda, 0o700))
	write(t, filepath.Join(dir, "getmailrc"), `[retriever]
type = SimpleIMAPRetriever
server = HOST
port = PORT
username = alice
password = secret
[destination]
type = MDA_external
path = DIR/mda
allow_root_commands = true
[options]
delete = true
`, f.addr)
	run(t, dir, nil, "getmail", "--getmaildir", dir, "--rcfile", "getmailrc")
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	require.NoError(t, err)
	require.Contains(t, string(out), "body of the first")
	require.Contains(t, string(out), "aGVsbG8=")
	texts, _ := f.messages(t, "alice", "INBOX")
	require.Empty(t, texts)
}

// mutt opens a folder, tags, saves to another one, deletes and synchronises.
func TestPeerMutt(t *testing.T) {
	peertest.Need(t, "mutt")
	f, _ := newMaildirFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "INBOX", mixedMail)
	f.deliver(t, "alice", "Kept", plainMail)
	dir := t.TempDir()
	addr := f.start(t)
	rc := write(t, filepath.Join(dir, "muttrc"), `set folder="imap://alice@HOST:PORT/"
set imap_user=alice imap_pass=secret ssl_starttls=no ssl_force_tls=no imap_authenticators=login
set spoolfile="+INBOX" delete=yes confirmappend=no wait_key=no header_cache=DIR/cache quit=yes move=no mail_check=0
set imap_deflate=yes imap_condstore=yes imap_qresync=yes
push "<tag-pattern>~s second<enter><tag-prefix><save-message>+Kept<enter><sync-mailbox><quit>"
`, addr)
	run(t, dir, []string{"TERM=vt100"}, "script", "-qec", "stty rows 24 cols 80; mutt -F "+rc, "/dev/null")
	texts, _ := f.messages(t, "alice", "INBOX")
	require.Equal(t, []string{plainMail}, texts)
	texts, _ = f.messages(t, "alice", "Kept")
	require.Equal(t, []string{plainMail, mixedMail}, texts)
}
