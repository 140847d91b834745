package lmtp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"
)

const dovecotConf = `
protocols = lmtp
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
ssl = no
listen = 127.0.0.1
mail_location = maildir:%[1]s/mail/%%n
first_valid_uid = 1
postmaster_address = postmaster@example.org
hostname = store.example.org
lmtp_rcpt_check_quota = yes
service anvil {
  chroot =
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[2]s
  }
}
service stats {
  chroot =
}
passdb {
  driver = passwd-file
  args = username_format=%%n %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%n %[1]s/users
}
`

// startDovecot starts a Dovecot that takes mail for the users a and b by LMTP, and returns its folder and address.
func startDovecot(t *testing.T) (dir, addr string) {
	t.Helper()
	program := peertest.Need(t, "dovecot")
	if os.Getuid() != 0 {
		t.Skip("Dovecot needs root for its users")
	}
	dir, err := os.MkdirTemp("", "dovecot") // short, for its sockets
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	mail := filepath.Join(dir, "mail")
	require.NoError(t, os.Mkdir(mail, 0o777))
	require.NoError(t, os.Chmod(mail, 0o777))
	users := "a:{PLAIN}x:65534:65534::" + mail + "/a\nb:{PLAIN}x:65534:65534::" + mail + "/b\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "users"), []byte(users), 0o644))
	addr = peertest.FreeAddr(t)
	conf := filepath.Join(dir, "dovecot.conf")
	_, port, _ := strings.Cut(addr, ":")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, dovecotConf, dir, port), 0o644))
	p := peertest.Start(t, dir, nil, program, "-F", "-c", conf)
	p.WaitPort(addr)
	return dir, addr
}

// Our client into Dovecot's LMTP, over TCP and a unix socket: a reply for each recipient, and the message as it was sent.
func TestPeerDovecotReceives(t *testing.T) {
	dir, addr := startDovecot(t)
	small := "Subject: x\r\n\r\n.dot\r\n..\r\n"
	large := small + strings.Repeat("a line of some length that fills the message\r\n", 5000)
	for i, to := range []string{addr, "unix:" + filepath.Join(dir, "run", "lmtp")} {
		c, err := lmtp.Dial(t.Context(), to)
		require.NoError(t, err)
		for _, text := range []string{small, large} {
			res, err := c.Send(t.Context(), envelope("a@example.org", "nobody@example.org", "b@example.org"), strings.NewReader(text))
			out := goniec.Outcomes(err, 3)
			require.NoError(t, out[0])
			require.NoError(t, out[2])
			require.True(t, goniec.Permanent(out[1]))
			var e *smtp.StageError
			require.ErrorAs(t, out[1], &e)
			require.Equal(t, smtp.StageRcpt, e.Stage)
			require.Equal(t, 250, res.Replies[2].Code)
			require.NotSame(t, res.Replies[0], res.Replies[2], "each has a reply of his own")
		}
		require.NoError(t, c.Quit(t.Context()))
		for _, user := range []string{"a", "b"} {
			files, err := filepath.Glob(filepath.Join(dir, "mail", user, "new", "*"))
			require.NoError(t, err)
			require.Len(t, files, 2*(i+1))
			for _, f := range files {
				b, err := os.ReadFile(f)
				require.NoError(t, err)
				text := strings.ReplaceAll(string(b), "\n", "\r\n")
				require.True(t, strings.HasSuffix(text, small) || strings.HasSuffix(text, large))
			}
		}
	}
}
