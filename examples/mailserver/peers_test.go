package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// helloFile writes a message file with the given line ends.
func helloFile(t *testing.T, dir, eol string) string {
	path := filepath.Join(dir, "hello.eml")
	text := strings.Join([]string{"From: you@example.org", "Subject: hello", "", "It works.", ".dot", ""}, eol)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// trace is what the server puts on top of a message for alice.
const trace = `(?s)^Return-Path: <you@example.org>\r\nDelivered-To: alice@demo.test\r\nReceived: from .*Subject: hello\r\n\r\nIt works\.\r\n\.dot\r\n(\r\n)?$` // curl ends a message without CRLF by one

// arrived waits until a user's INBOX has n messages: they come through the queue.
func arrived(t *testing.T, p *process, user string, n int) {
	require.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(p.dir, "goniec-demo/mail/demo.test", user, "[nc][eu][wr]", "*"))
		return err == nil && len(files) >= n
	}, time.Minute, 5*time.Millisecond)
}

func TestPeerCurl(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "curl")
	p := start(t, t.TempDir())
	for i, eol := range []string{"\r\n", "\n"} { // the second is what an editor writes
		hello := helloFile(t, p.dir, eol)
		out, err := peertest.Command(t, "curl", "-sS", "smtp://"+p.addrs["receive smtp"], "--mail-from", "you@example.org", "--mail-rcpt", "alice@demo.test", "-T", hello).CombinedOutput()
		require.NoError(t, err, "%s", out)
		arrived(t, p, "alice", i+1)
		out, err = peertest.Command(t, "curl", "-sS", fmt.Sprintf("pop3://%s/%d", p.addrs["read pop3"], i+1), "-u", "alice@demo.test:alice").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Regexp(t, trace, string(out))
	}
	out, err := peertest.Command(t, "curl", "-sS", "imap://"+p.addrs["read imap"]+"/INBOX;MAILINDEX=1", "-u", "alice@demo.test:alice").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, trace, string(out))
	out, err = peertest.Command(t, "curl", "-sSk", "imaps://"+p.addrs["read imaps"]+"/INBOX;MAILINDEX=2", "-u", "alice@demo.test:alice").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, trace, string(out))
	out, err = peertest.Command(t, "curl", "-sSk", "--ssl-reqd", "pop3://"+p.addrs["read pop3"], "-u", "alice@demo.test:alice").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `^1 \d+\r\n2 \d+\r\n$`, string(out))
}

func TestPeerSwaks(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "swaks")
	p := start(t, t.TempDir())
	for _, args := range [][]string{
		{"--server", p.addrs["receive smtp"], "--to", "alice@demo.test"},
		{"--server", p.addrs["submit smtp"], "--to", "bob@demo.test", "--auth", "PLAIN", "--auth-user", "alice@demo.test", "--auth-password", "alice"},
		{"--server", p.addrs["submit smtp"], "--to", "bob@demo.test", "--auth", "LOGIN", "--auth-user", "alice@demo.test", "--auth-password", "alice"},
		{"--server", p.addrs["submit smtp"], "--to", "bob@demo.test", "--tls", "--auth-user", "alice@demo.test", "--auth-password", "alice"},
		{"--server", p.addrs["deliver lmtp"], "--to", "bob@demo.test", "--protocol", "LMTP"},
	} {
		from := "you@example.org"
		if args[1] == p.addrs["submit smtp"] {
			from = "alice@demo.test"
		}
		out, err := peertest.Command(t, "swaks", append(args, "--from", from, "--helo", "test.example")...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Regexp(t, `(?m)^<[-~]  250 2\.`, string(out))
	}
	out, err := peertest.Command(t, "swaks", "--server", p.addrs["submit smtp"], "--to", "bob@demo.test", "--auth-user", "alice@demo.test", "--auth-password", "alice", "--from", "bob@demo.test").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "553 5.7.1 this sender address is not yours")
	out, err = peertest.Command(t, "swaks", "--server", p.addrs["receive smtp"], "--to", "nobody@demo.test", "--from", "you@example.org").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "550 5.1.1")
}

const pythonRoundTrip = `
import sys, smtplib, poplib, mailbox
from email.message import EmailMessage
smtp, submit, lmtp, pop3, maildir = sys.argv[1:]
def host(a): h, p = a.rsplit(":", 1); return h, int(p)
m = EmailMessage()
m["From"], m["To"], m["Subject"] = "you@example.org", "alice@demo.test", "Zażółć"
m.set_content("gęślą jaźń\n.dot\n")
with smtplib.SMTP(*host(smtp)) as s:
    s.send_message(m)
    try:
        s.sendmail("you@example.org", ["alice@demo.test", "nobody@demo.test"], m.as_string())
    except smtplib.SMTPRecipientsRefused as e:
        sys.exit("both refused: %s" % e)
with smtplib.SMTP(*host(submit)) as s:
    s.login("alice@demo.test", "alice")
    try:
        s.send_message(m)
        sys.exit("sent in a foreign name")
    except smtplib.SMTPSenderRefused as e:
        assert e.smtp_code == 553, e
    s.send_message(m, from_addr="alice@demo.test")
with smtplib.LMTP(*host(lmtp)) as s:
    s.send_message(m)
import glob, time
for i in range(6000):
    if len(glob.glob(maildir + "/[nc][eu][wr]/*")) == 4: break
    time.sleep(0.01)
p = poplib.POP3(*host(pop3))
p.user("alice@demo.test"); p.pass_("alice")
count, size = p.stat()
assert count == 4, count
assert sum(int(l.split()[1]) for l in p.list()[1]) == size
assert len({l.split()[1] for l in p.uidl()[1]}) == 4
import email, email.policy
got = email.message_from_bytes(b"\r\n".join(p.retr(1)[1]) + b"\r\n", policy=email.policy.default)
assert got["Subject"] == "Zażółć" and got["Return-Path"] in ("<you@example.org>", "<alice@demo.test>") and got["Delivered-To"] == "alice@demo.test", got
assert got.get_content().replace("\r\n", "\n") == "gęślą jaźń\n.dot\n", got.get_content()
assert p.top(1, 0)[1][-1] == b""
p.dele(2); p.quit()
box = mailbox.Maildir(maildir, create=False)
assert len(box) == 3, len(box)
assert {box[k]["Return-Path"] for k in box.keys()} <= {"<you@example.org>", "<alice@demo.test>"}
print("fine")
`

func TestPeerPython(t *testing.T) {
	t.Parallel()
	python := peertest.Need(t, "python3")
	p := start(t, t.TempDir())
	out, err := peertest.Command(t, python, "-c", pythonRoundTrip, p.addrs["receive smtp"], p.addrs["submit smtp"], p.addrs["deliver lmtp"], p.addrs["read pop3"],
		filepath.Join(p.dir, "goniec-demo/mail/demo.test/alice")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "fine\n", string(out))
}

func TestPeerMutt(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "mutt", "script")
	p := start(t, t.TempDir())
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: for mutt\r\n\r\nx"))
	arrived(t, p, "alice", 1)
	box := filepath.Join(p.dir, "goniec-demo/mail/demo.test/alice")
	// mutt wants a terminal: script gives it one. It draws the index and leaves.
	cmd := peertest.Command(t, "script", "-qec", "mutt -n -F /dev/null -f "+box+" -e 'set quit=yes' -e 'push q'", "/dev/null")
	require.NoError(t, os.Mkdir(filepath.Join(p.dir, "Mail"), 0o700)) // else it asks

	cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+p.dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Msgs:1 New:1")
	require.Contains(t, string(out), "for mutt")
}

// imapflow and nodemailer, at the versions that testdata/npm pins: submission with STARTTLS, then reading over STARTTLS and TLS, with
// a second client that is told by IDLE and QRESYNC what the first one does.
func TestPeerNPM(t *testing.T) {
	t.Parallel()
	node, modules := peertest.NodeModules(t)
	p := start(t, t.TempDir())
	script, err := filepath.Abs("testdata/npm/clients.cjs")
	require.NoError(t, err)
	cmd := peertest.Command(t, node, script, port(p.addrs["read imap"]), port(p.addrs["read imaps"]), port(p.addrs["submit smtp"]), filepath.Join(p.dir, "goniec-demo/tls.pem"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "done\n", string(out))
	arrived(t, p, "bob", 7)
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
