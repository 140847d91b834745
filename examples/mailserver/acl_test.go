package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// aclScript shares a folder between two users by Python's imaplib, and raises at the first surprise.
const aclScript = `
import imaplib, sys
host, port = sys.argv[1].rsplit(':', 1)
phase = sys.argv[2]
def ok(r):
    assert r[0] == 'OK', r
    return r[1]
def no(r):
    assert r[0] == 'NO', r
    return r[1]
def user(name):
    m = imaplib.IMAP4(host, int(port))
    ok(m.login(name + '@demo.test', name))
    return m
work = '"Other Users/alice@demo.test/Projects"'
alice, bob = user('alice'), user('bob')
if phase == 'first':
    assert 'ACL' in ok(alice.capability())[0].decode().split()
    ok(alice.create('Projects'))
    ok(alice.append('Projects', None, None, b'Subject: plan\r\n\r\nours\r\n'))
    assert ok(alice.myrights('Projects')) == [b'Projects lrswipkxteacd'], alice.myrights('Projects')
    no(bob.select(work))
    ok(alice.setacl('Projects', 'BOB@Demo.Test', 'lrs'))
    no(alice.setacl('Projects', 'nobody@demo.test', 'lrs'))
    no(alice.setacl('Projects', 'anyone', 'l'))
assert ok(alice.getacl('Projects')) == [b'Projects alice@demo.test lrswipkxteacd bob@demo.test lrs'], alice.getacl('Projects')
assert b'Other Users/' in ok(bob.namespace())[0]
assert any(b'alice@demo.test/Projects' in line for line in ok(bob.list())), bob.list()
assert ok(bob.myrights(work)) == [work.encode() + b' lrs'], bob.myrights(work)
ok(bob.select(work))
assert b'plan' in ok(bob.fetch('1', '(BODY.PEEK[HEADER])'))[0][1]
assert b'\\Seen' in ok(bob.store('1', '+FLAGS', '(\\Seen \\Deleted)'))[0]
no(bob.expunge())
ok(bob.subscribe(work))
assert any(b'alice@demo.test/Projects' in line for line in ok(bob.lsub('""', '*')))
no(bob.append(work, None, None, b'Subject: mine\r\n\r\n'))
if phase == 'second':
    ok(bob.unselect())
    ok(alice.deleteacl('Projects', 'bob@demo.test'))
    no(bob.status(work, '(MESSAGES)'))
    assert not any(b'Other Users' in line for line in ok(bob.list()))
print('done')
`

// Users share folders over the Maildir, with Python's imaplib as client; what they share outlives the server.
func TestPeerImaplibACL(t *testing.T) {
	t.Parallel()
	python := peertest.Need(t, "python3")
	dir := t.TempDir()
	for _, phase := range []string{"first", "second"} {
		p := start(t, dir)
		out, err := peertest.Command(t, python, "-c", aclScript, p.addrs["read imap"], phase).CombinedOutput()
		require.NoError(t, err, "%s: %s", phase, out)
		require.Equal(t, "done\n", string(out))
		list, err := os.ReadFile(filepath.Join(dir, "goniec-demo/mail/demo.test/alice/.Projects/dovecot-acl"))
		require.NoError(t, err)
		require.Equal(t, map[string]string{"first": "user=bob@demo.test lrs\n", "second": ""}[phase], string(list))
		p.interrupt(t)
	}
}
