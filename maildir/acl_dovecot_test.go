//go:build unix

package maildir_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// aclConf is a Dovecot in which users share folders by its acl plugin.
const aclConf = `mail_location = maildir:%[1]s/mail/%%u
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
ssl = no
mail_uid = %[2]d
mail_gid = %[2]d
first_valid_uid = 1
mail_plugins = acl
plugin {
  acl = vfile
}
namespace inbox {
  inbox = yes
  separator = /
  type = private
}
namespace shared {
  type = shared
  separator = /
  prefix = shared/%%%%u/
  location = maildir:%[1]s/mail/%%%%u
  subscriptions = no
  list = children
}
userdb {
  driver = static
  args = uid=%[2]d gid=%[2]d home=%[1]s/mail/%%u allow_all_users=yes
}
`

type aclDovecot struct {
	t   *testing.T
	dir string
	uid int
}

func startACLDovecot(t *testing.T) *aclDovecot {
	peertest.Need(t, "doveadm")
	dir, err := os.MkdirTemp("", "goniec-dovecot-acl-*")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	d := &aclDovecot{t: t, dir: dir, uid: os.Getuid()}
	if d.uid == 0 {
		d.uid = nobody
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dovecot.conf"), fmt.Appendf(nil, aclConf, dir, d.uid), 0o644))
	return d
}

// acl runs "doveadm acl" as a user.
func (d *aclDovecot) acl(user string, args ...string) string {
	d.t.Helper()
	if os.Getuid() == 0 {
		for _, path := range tree(d.t, d.dir) {
			require.NoError(d.t, os.Lchown(path, d.uid, d.uid))
		}
	}
	cmd := exec.Command("doveadm", append([]string{"-f", "flow", "-c", filepath.Join(d.dir, "dovecot.conf"), "acl"}, args...)...)
	cmd.Env = append(os.Environ(), "USER="+user, "HOME="+filepath.Join(d.dir, "mail", user))
	out, err := cmd.CombinedOutput()
	require.NoError(d.t, err, "doveadm acl %v: %s", args, out)
	return string(out)
}

// dovecotNames are Dovecot's names of the rights, by letter.
var dovecotNames = map[string]string{
	"l": "lookup", "r": "read", "w": "write", "s": "write-seen", "t": "write-deleted", "i": "insert", "p": "post", "e": "expunge",
	"k": "create", "x": "delete", "a": "admin",
}

// rights is what Dovecot says of bob's rights in joe's folder.
func (d *aclDovecot) rights(user, name string) string {
	d.t.Helper()
	_, names, _ := strings.Cut(d.acl(user, "rights", name), "=")
	var r mailbox.Rights
	for word := range strings.FieldsSeq(names) {
		for letter, name := range dovecotNames {
			if name == word {
				one, err := mailbox.ParseRights(letter)
				require.NoError(d.t, err)
				r |= one
			}
		}
	}
	return r.String()
}

// TestDovecotRights: the file that we write means to Dovecot what it means to us, and what Dovecot writes means
// to us what it means to Dovecot.
func TestDovecotRights(t *testing.T) {
	d := startACLDovecot(t)
	s := &maildir.Store{Root: filepath.Join(d.dir, "mail", "{user}")}
	t.Cleanup(func() { s.Close() })
	for _, user := range []string{"joe", "bob"} {
		a, err := s.Account(t.Context(), user)
		require.NoError(t, err)
		t.Cleanup(func() { a.Close() })
	}
	joe, err := s.Account(t.Context(), "joe")
	require.NoError(t, err)
	t.Cleanup(func() { joe.Close() })
	bob := mailbox.Subject{User: "bob"}
	change := func(name string, op mailbox.ACLOp, id, letters string) {
		t.Helper()
		e := mailbox.ACLEntry{}
		id, e.Negative = strings.CutPrefix(id, "-")
		e.ID = mailbox.Identifier(id)
		var err error
		e.Rights, err = mailbox.ParseRights(letters)
		require.NoError(t, err)
		require.NoError(t, mailbox.ChangeACL(t.Context(), joe, name, mailbox.ACLChange{Op: op, Entry: e}))
	}
	for i, list := range [][]string{
		{"bob lr"},
		{"bob lrswipkxtea"},
		{"bob "},
		{"anyone lr", "bob w"},
		{"anyone lr", "bob "},
		{"anyone lr", "-bob r"},
		{"bob lr", "-anyone r"},
		{"bob lrw", "-bob wl"},
		{"anyone lrw", "authenticated l"},
		{"authenticated lrw", "owner l"},
		{"owner lr"},
		{"$team lr"},
		{"carol smith lr", "a \"quoted\" one i", "-carol smith r", "bob l"},
		{"жук@пример.рф lr", "bob lrs"},
	} {
		name := fmt.Sprintf("F%d", i)
		require.NoError(t, joe.Create(t.Context(), name, mailbox.CreateOptions{}))
		for _, e := range list {
			at := strings.LastIndexByte(e, ' ')
			change(name, mailbox.ACLReplace, e[:at], e[at+1:])
		}
		l, err := mailbox.GetACL(t.Context(), joe, name)
		require.NoError(t, err)
		require.Equal(t, l.Rights(bob).String(), d.rights("bob", "shared/joe/"+name), "%q", list)
		if !slices.ContainsFunc(list, func(e string) bool { return strings.HasPrefix(e, "owner") }) {
			require.Equal(t, mailbox.AllRights.String(), d.rights("joe", name), "%q", list)
		}
	}

	require.NoError(t, joe.Create(t.Context(), "Theirs", mailbox.CreateOptions{}))
	change("Theirs", mailbox.ACLReplace, "carol smith", "lr")
	d.acl("joe", "set", "Theirs", "user=bob", "lookup", "read", "write-seen")
	d.acl("joe", "add", "Theirs", "group=team", "insert")
	d.acl("joe", "add", "Theirs", "user=carol smith", "admin")
	l, err := mailbox.GetACL(t.Context(), joe, "Theirs")
	require.NoError(t, err)
	require.Equal(t, "lrs", l.Rights(bob).String())
	require.Equal(t, "lra", l.Rights(mailbox.Subject{User: "carol smith"}).String())
	require.Equal(t, "i", l.Rights(mailbox.Subject{User: "x", Groups: []string{"team"}}).String())
	change("Theirs", mailbox.ACLDelete, "bob", "")
	require.Empty(t, d.rights("bob", "shared/joe/Theirs"))
	require.NotContains(t, d.acl("joe", "get", "Theirs"), "user=bob")
}
