package lmtp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	netsmtp "net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"
)

// collector keeps what it gets, and refuses mail for "gone".
type collector struct {
	mu     sync.Mutex
	got    []string // "protocol recipient"
	bodies []string
}

func (c *collector) Deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	b, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(goniec.RcptErrors, len(env.To))
	for i, to := range env.To {
		if to.Address.Local() == "gone" {
			out[i] = goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
			continue
		}
		// Whether SMTPUTF8 is asked for is the peer's habit.
		proto := strings.NewReplacer("UTF8SMTP", "ESMTP", "UTF8LMTP", "LMTP").Replace(env.Origin.Protocol)
		c.got = append(c.got, proto+" "+to.Address.String())
	}
	c.bodies = append(c.bodies, string(b))
	return out.Err()
}

func (c *collector) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.got...)
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func TestPeerPythonLMTP(t *testing.T) {
	peertest.Need(t, "python3")
	c, l := &collector{}, listen(t)
	serve(t, &lmtp.Server{Handler: smtp.DeliverTo(c, "example.org")}, l)
	script := fmt.Sprintf(`
import smtplib
s = smtplib.LMTP("127.0.0.1", %d)
r = s.sendmail("a@example.com", ["b@example.org", "c@elsewhere.example"], "Subject: x\r\n\r\n.dot\r\n")
assert list(r) == ["c@elsewhere.example"], r
s.quit()
`, l.Addr().(*net.TCPAddr).Port)
	out, err := peertest.Command(t, "python3", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, []string{"LMTP b@example.org"}, c.list())
	require.True(t, strings.HasSuffix(c.bodies[0], "\r\nSubject: x\r\n\r\n.dot\r\n"))
}

// Postfix's load generator in its LMTP form.
func TestPeerSMTPSource(t *testing.T) {
	peertest.Need(t, "smtp-source")
	c, l := &collector{}, listen(t)
	serve(t, &lmtp.Server{Handler: smtp.DeliverTo(c, "example.org")}, l)
	out, err := peertest.Command(t, "smtp-source", "-L", "-s", "3", "-m", "30", "-r", "2", "-f", "a@example.com", "-t", "b@example.org", "inet:"+l.Addr().String()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Len(t, c.list(), 60)
}

// startPostfix starts a Postfix that sends to our two servers, and returns where it listens.
func startPostfix(t *testing.T, smtpPort, lmtpPort int) string {
	t.Helper()
	return peertest.NewPostfix(t, fmt.Sprintf(`myhostname = mail.test
mynetworks = 127.0.0.0/8
smtpd_recipient_restrictions = permit_mynetworks, reject
smtp_tls_security_level = may
relayhost = [127.0.0.1]:%d
transport_maps = inline:{ { example.net = lmtp:inet:127.0.0.1:%d } }
minimal_backoff_time = 300s
`, smtpPort, lmtpPort)).Addr
}

// Postfix as the sending peer: it relays to our SMTP server (over STARTTLS, pipelined) and delivers to our LMTP server, and believes
// the reply for each recipient.
func TestPeerPostfixSends(t *testing.T) {
	peertest.Need(t, "postfix")
	relayed, delivered := &collector{}, &collector{}
	sl, ll := listen(t), listen(t)
	srv := &smtp.Server{Handler: smtp.DeliverTo(relayed, "example.org"), Hostname: "mx.example.org"}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(sl) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	serve(t, &lmtp.Server{Handler: smtp.DeliverTo(delivered, "example.net")}, ll)
	addr := startPostfix(t, sl.Addr().(*net.TCPAddr).Port, ll.Addr().(*net.TCPAddr).Port)

	msg := []byte("Subject: x\r\n\r\n.dot\r\n")
	to := []string{"b@example.org", "c@example.org", "d@example.net", "gone@example.net", "e@example.net"}
	require.NoError(t, netsmtp.SendMail(addr, nil, "a@example.org", to, msg))
	require.Eventually(t, func() bool { return len(relayed.list()) >= 3 && len(delivered.list()) >= 2 }, time.Minute, 20*time.Millisecond)
	require.ElementsMatch(t, []string{"LMTP d@example.net", "LMTP e@example.net"}, delivered.list())
	// The bounce for the one that is gone comes back to the sender.
	require.ElementsMatch(t, []string{"ESMTP b@example.org", "ESMTP c@example.org", "ESMTP a@example.org"}, relayed.list())
	relayed.mu.Lock()
	defer relayed.mu.Unlock()
	require.Contains(t, relayed.bodies[len(relayed.bodies)-1], "no such user")
}
