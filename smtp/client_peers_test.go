package smtp_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/smtp"
)

// sink starts smtp-sink with options and returns its host.
func sink(t *testing.T, options ...string) goniec.RouteHost {
	t.Helper()
	peertest.Need(t, "smtp-sink")
	addr := peertest.FreeAddr(t)
	args := options
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	p := peertest.Start(t, "", nil, "smtp-sink", append(args, addr, "64")...)
	p.WaitPort(addr)
	host, err := smtp.ParseHost(addr, 0)
	require.NoError(t, err)
	host.TLS = goniec.TLSNone
	return host
}

// Postfix's sink in many moods.
func TestPeerSMTPSink(t *testing.T) {
	for name, tc := range map[string]struct {
		options string
		want    string // "" = sent
		sent    bool   // ambiguous
	}{
		"all extensions":      {},
		"no 8BITMIME":         {options: "-8"},
		"no ESMTP":            {options: "-e"},
		"no PIPELINING":       {options: "-p"},
		"EHLO hard error":     {options: "-f ehlo -f helo", want: "at EHLO"},
		"MAIL soft error":     {options: "-r mail", want: "said 4"},
		"RCPT hard error":     {options: "-f rcpt", want: "at RCPT"},
		"DATA soft error":     {options: "-r data", want: "at DATA"},
		"end hard error":      {options: "-f .", want: "at the message"},
		"hangs up at RCPT":    {options: "-q rcpt", want: "closed the connection"},
		"hangs up at the end": {options: "-q .", want: "may have taken", sent: true},
		"421 at MAIL":         {options: "-Q mail", want: "said 421"},
	} {
		t.Run(name, func(t *testing.T) {
			host := sink(t, strings.Fields(tc.options)...)
			p := &smtp.Pool{}
			defer p.Close()
			for range 3 {
				_, err := p.Send(t.Context(), host, envelope("bob@example.org carol@example.org"), strings.NewReader(hello))
				if tc.want == "" {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, goniec.Outcomes(err, 2)[0], tc.want)
				var e *smtp.StageError
				require.ErrorAs(t, goniec.Outcomes(err, 2)[0], &e)
				require.Equal(t, tc.sent, e.Sent)
			}
		})
	}
}

// receivingPostfix starts a Postfix that takes mail for example.org, with STARTTLS and our test certificate, and passes it on to
// a server of ours.
func receivingPostfix(t *testing.T, port int, withoutEHLO string) goniec.RouteHost {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(testCert().PrivateKey)
	require.NoError(t, err)
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testCert().Certificate[0]})...)
	path := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(path, chain, 0o600))
	postfix := peertest.NewPostfix(t, fmt.Sprintf(`myhostname = mx.example.org
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_recipient_restrictions = reject_unauth_destination
relay_domains = example.org
transport_maps = inline:{ {example.org = smtp:[127.0.0.1]:%d} }
smtp_tls_security_level = none
smtpd_tls_security_level = may
smtpd_tls_chain_files = %s
smtpd_discard_ehlo_keywords = %s
message_size_limit = 1000000
`, port, path, withoutEHLO))
	host, err := smtp.ParseHost(postfix.Addr, 0)
	require.NoError(t, err)
	host.Name, host.TLS = "mx.example.org", goniec.TLSVerified
	return host
}

// Our client into Postfix, over verified STARTTLS with CHUNKING and without, and through it into our server: what arrives is what
// was sent, the promises too.
func TestPeerPostfixReceives(t *testing.T) {
	for name, without := range map[string]string{"chunking": "", "one at a time": "chunking, pipelining, 8bitmime"} {
		t.Run(name, func(t *testing.T) {
			srv, rec := newServer(t, func(s *smtp.Server) {
				s.Handler = smtp.DeliverTo(promising{&recorder{}, []string{"DSN"}})
			})
			rec = srv.Handler.(*smtp.Receiver).Deliverer.(promising).recorder
			host := receivingPostfix(t, int(hostAt(srv.ListenAddr(), 0).Port), without)
			pool := &smtp.Pool{Dialer: &smtp.Dialer{TLSConfig: trusting(), Hostname: "client.example"}}
			defer pool.Close()
			small := "From: alice@example.com\r\nDate: Sun, 22 Nov 2026 02:31:46 +0000\r\nMessage-ID: <1@example.com>\r\nSubject: x\r\n\r\n.dot\r\n..\r\n" + strings.Repeat("line\r\n.\r\n", 10)
			large := small + strings.Repeat("a line of some length that fills the message\r\n", 5000)
			for _, text := range []string{small, large} {
				env := envelope("bob@example.org")
				env.EnvID, env.Ret, env.To[0].Notify = "my+id", goniec.RetHdrs, goniec.NotifyFailure
				res, err := pool.Send(t.Context(), host, env, strings.NewReader(text))
				require.NoError(t, err)
				require.True(t, res.TLS)
				require.True(t, res.DSN)
				require.Contains(t, res.Replies[0].Text, "queued as")
			}
			require.Eventually(t, func() bool { return len(rec.got()) == 2 }, time.Minute, 20*time.Millisecond)
			for _, m := range rec.got() {
				body := withoutTrace(m.body)
				require.True(t, body == small || body == large, "%q", tail(body))
				require.Equal(t, "my+id", m.env.EnvID)
				require.Equal(t, goniec.NotifyFailure, m.env.To[0].Notify)
			}
			_, err := pool.Send(t.Context(), host, envelope("bob@example.net"), strings.NewReader(small))
			require.ErrorContains(t, err, "554 5.7.1 <bob@example.net>: Relay access denied at RCPT")
			env := envelope("bob@example.org")
			env.From = goniec.MustAddress("josé@example.com")
			_, err = pool.Send(t.Context(), host, env, strings.NewReader(small))
			require.NoError(t, err, "Postfix offers SMTPUTF8")
			_, err = pool.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(strings.Repeat(large, 5)))
			require.ErrorContains(t, err, "552 5.3.4")
		})
	}
}
