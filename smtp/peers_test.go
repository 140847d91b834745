package smtp_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/smtp"
)

const peerMessage = "Subject: hello\r\n\r\n.a line with a dot\r\n..two\r\n"

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := peertest.Command(t, program, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func messageFile(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "message.eml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestPeerCurl(t *testing.T) {
	peertest.Need(t, "curl")
	srv, rec := newServer(t, func(s *smtp.Server) { s.Auth, s.TLSConfig = users, serverTLS() })
	run(t, "curl", "-sS", "smtp://"+srv.ListenAddr().String()+"/client.example.com", "--mail-from", "a@example.com", "--mail-rcpt", "b@example.org", "-T", messageFile(t, peerMessage))
	run(t, "curl", "-sS", "--ssl-reqd", "-k", "-u", "alice:wonder", "smtp://"+srv.ListenAddr().String(), "--mail-from", "a@example.com", "--mail-rcpt", "x@elsewhere.example", "-T", messageFile(t, peerMessage))
	got := rec.got()
	require.Len(t, got, 2)
	require.Equal(t, peerMessage, withoutTrace(got[0].body))
	require.Equal(t, "ESMTPSA", got[1].env.Origin.Protocol)
	require.Equal(t, "alice@example.org", got[1].env.Origin.User)
}

func TestPeerPythonSMTP(t *testing.T) {
	peertest.Need(t, "python3")
	srv, rec := newServer(t, func(s *smtp.Server) { s.Auth, s.AllowInsecureAuth = users, true })
	_, port, _ := net.SplitHostPort(srv.ListenAddr().String())
	script := fmt.Sprintf(`
import smtplib
s = smtplib.SMTP("127.0.0.1", %s)
s.login("alice", "wonder")
r = s.sendmail("a@example.com", ["b@example.org", "nobody@example.org"], %q.encode(), mail_options=["BODY=8BITMIME", "SMTPUTF8"])
assert list(r) == ["nobody@example.org"], r
assert s.verify("b@example.org")[0] == 252
assert s.noop()[0] == 250
s.quit()
`, port, peerMessage)
	run(t, "python3", "-c", script)
	require.Equal(t, peerMessage, withoutTrace(rec.got()[0].body))
	require.Equal(t, "UTF8SMTPA", rec.got()[0].env.Origin.Protocol)
}

func TestPeerSwaks(t *testing.T) {
	peertest.Need(t, "swaks")
	srv, rec := newServer(t, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
	_, port, _ := net.SplitHostPort(srv.ListenAddr().String())
	run(t, "swaks", "--server", "127.0.0.1", "--port", port, "--tls", "--from", "a@example.com", "--to", "b@example.org", "--pipeline", "--body", "swaks was here")
	require.Contains(t, rec.got()[0].body, "swaks was here")
	require.Equal(t, "ESMTPS", rec.got()[0].env.Origin.Protocol)
}

// Postfix's load generator, with its own pipelining of sessions.
func TestPeerSMTPSource(t *testing.T) {
	peertest.Need(t, "smtp-source")
	srv, rec := newServer(t)
	out := run(t, "smtp-source", "-s", "5", "-m", "100", "-r", "3", "-l", "2000", "-f", "a@example.com", "-t", "b@example.org", "inet:"+srv.ListenAddr().String())
	require.Empty(t, strings.TrimSpace(out))
	require.Len(t, rec.got(), 100)
	require.Len(t, rec.got()[0].env.To, 3)
}

// Dialogues of another server's test suite: our replies have the same class, line by line, except where noted.
func TestCorpusDialogues(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(peertest.Corpora(t), "smtp-dialogues-chasquid", "*", "*.cmy"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	otherwise := map[string]string{
		"bad_data.cmy":               "a header is not parsed by the SMTP server",
		"wrong_proto.cmy":            "421 instead of 502: the connection ends",
		"auth_multi_dialog.cmy":      "its users are not ours",
		"auth_too_many_failures.cmy": "20 errors are allowed by default, not 3",
	}
	played := 0
	for _, file := range files {
		name := filepath.Base(file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if otherwise[name] != "" || strings.Contains(string(text), "~>") {
			continue
		}
		played++
		t.Run(name, func(t *testing.T) { playForeign(t, string(text)) })
	}
	require.Greater(t, played, 8)
}

// playForeign plays "c -> send" and "c <~ expect" lines. Addresses without angle brackets, which that server takes, get them.
func playForeign(t *testing.T, text string) {
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(&recorder{}, "testserver"), MaxTextLine: -1})
	srv.Handler.(*smtp.Receiver).Deliverer = goniec.Discard()
	bare := regexp.MustCompile(`^((?:RCPT|MAIL) (?:TO|FROM): ?)([^< ].*)$`)
	var c *client
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "c tcp_connect"):
			c = newClient(t, dial(t, srv))
		case strings.HasPrefix(line, "c ->"):
			_, err := fmt.Fprintf(c, "%s\r\n", bare.ReplaceAllString(strings.TrimPrefix(strings.TrimPrefix(line, "c ->"), " "), "$1<$2>"))
			require.NoError(t, err)
		case strings.HasPrefix(line, "c <"):
			_, want, _ := strings.Cut(line[3:], " ")
			require.Equal(t, int(want[0]-'0'), c.reply()/100, line)
		}
	}
}
