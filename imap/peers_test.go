package imap_test

import (
	"os"
	"path/filepath"
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
