//go:build unix

package dovecot

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/scram"
	"github.com/goniec-mail/goniec/internal/peertest"
)

// peerDir is a short path that other users can enter, for sockets.
func peerDir(t *testing.T) string {
	t.Helper()
	peertest.Root(t, "a server that switches users")
	dir, err := os.MkdirTemp("", "goniec")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool { _, err := os.Stat(path); return err == nil }, time.Minute, 20*time.Millisecond, path)
}

// Our client asks a real Dovecot, and relays SCRAM to it.
func TestPeerDovecot(t *testing.T) {
	program := peertest.Need(t, "dovecot")
	dir := peerDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "users"), []byte("alice:{PLAIN}secret:5000:5000::/srv/alice::userdb_quota_rule=*:storage=1G\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dovecot.conf"), fmt.Appendf(nil, `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
protocols =
ssl = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = passwd-file
  args = %[1]s/users
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
  unix_listener auth-userdb {
    mode = 0666
  }
}
`, dir), 0o644))
	peertest.Start(t, dir, nil, program, "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	socket := filepath.Join(dir, "run", "auth-client")
	waitFor(t, socket)

	ctx := context.Background()
	c := &Client{Addr: socket, UserDB: filepath.Join(dir, "run", "auth-userdb"), NoPenalty: true}
	defer c.Close()
	for range 3 {
		id, err := c.Authenticate(ctx, attempt("alice", "secret"))
		require.NoError(t, err)
		require.Equal(t, "alice", id.User)
		require.Equal(t, "5000", id.Attributes["uid"])
		require.Equal(t, "/srv/alice", id.Attributes["home"])
		require.Equal(t, "*:storage=1G", id.Attributes["quota_rule"])
		for _, at := range []*auth.Attempt{attempt("alice", "wrong"), attempt("nobody", "secret")} {
			_, err = c.Authenticate(ctx, at)
			require.ErrorIs(t, err, auth.ErrCredentials)
		}
	}
	mechs, err := c.Mechanisms(ctx, "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")
	require.NoError(t, err)
	require.Len(t, mechs, 5)
	for _, m := range mechs {
		id, err := login(m, clientOf(m.Name(), "alice", "secret"))
		require.NoError(t, err, m.Name())
		require.Equal(t, "alice", id.User)
		_, err = login(m, clientOf(m.Name(), "alice", "wrong"))
		require.ErrorIs(t, err, auth.ErrCredentials, m.Name())
	}
}

// A real Postfix asks our server.
func TestPeerPostfix(t *testing.T) {
	program := peertest.Need(t, "postfix")
	dir := peerDir(t)
	list := []auth.ServerMechanism{auth.Plain{}, auth.Login{}, auth.CRAMMD5{}, scram.SHA256}
	socket := serve(t, &Server{Authenticator: users(t), Mechanisms: list, AllowInsecureAuth: true})
	require.NoError(t, os.Chmod(filepath.Dir(socket), 0o755))
	require.NoError(t, os.Chmod(socket, 0o666))

	addr := peertest.FreeAddr(t)
	for _, d := range []string{"conf", "queue", "data"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	require.NoError(t, peertest.Command(t, "chown", "postfix", filepath.Join(dir, "data")).Run())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "conf", "main.cf"), fmt.Appendf(nil, `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = /dev/stdout
myhostname = mail.test
inet_interfaces = loopback-only
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[2]s
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_error_sleep_time = 0
`, dir, socket), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "conf", "master.cf"), []byte(addr+` inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
rewrite unix - - n - - trivial-rewrite
cleanup unix n - n - 0 cleanup
`), 0o644))
	p := peertest.Start(t, dir, nil, program, "-c", filepath.Join(dir, "conf"), "start-fg")
	t.Cleanup(func() { // its master leaves our process group
		require.NoError(t, peertest.Command(t, program, "-c", filepath.Join(dir, "conf"), "stop").Run())
	})
	p.WaitPort(addr)

	for _, mech := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"} {
		require.Equal(t, "235", smtpAuth(t, addr, clientOf(mech, "alice", "secret")), mech)
		require.Equal(t, "535", smtpAuth(t, addr, clientOf(mech, "alice", "wrong")), mech)
	}
}

// smtpAuth logs in over SMTP and returns the code of the last reply.
func smtpAuth(t *testing.T, addr string, m auth.ClientMechanism) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	r := bufio.NewReader(c)
	reply := func() (code, text string) {
		for {
			l, err := r.ReadString('\n')
			require.NoError(t, err)
			if l[3] == ' ' {
				return l[:3], strings.TrimSpace(l[4:])
			}
			if strings.HasPrefix(l[4:], "AUTH ") {
				require.Contains(t, strings.Fields(l[4:]), m.Name())
			}
		}
	}
	reply()
	fmt.Fprint(c, "EHLO client.test\r\n")
	reply()
	x, initial, err := m.Start(&auth.Conn{AllowInsecureAuth: true})
	require.NoError(t, err)
	fmt.Fprintf(c, "%s\r\n", strings.TrimSpace("AUTH "+m.Name()+" "+auth.EncodeInitial(initial)))
	for {
		code, text := reply()
		if code != "334" {
			if code == "235" {
				require.NoError(t, x.Done())
			}
			return code
		}
		resp, err := auth.Answer(x, text)
		require.NoError(t, err)
		fmt.Fprintf(c, "%s\r\n", resp)
	}
}
