package smtp_test

import (
	"net/textproto"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/smtp"
)

// What is offered reaches the envelope, within its limits; without the offer it is refused.
func TestOffer(t *testing.T) {
	plain, _ := newServer(t)
	offering, rec := newServer(t, func(s *smtp.Server) {
		s.Handler = smtp.Chain(s.Handler, smtp.Offer("DELIVERBY 60", "MT-PRIORITY", "FROBNICATE"), smtp.FutureRelease(time.Hour))
	})
	for _, c := range []struct {
		srv  *smtp.Server
		line string
		code int
	}{
		{plain, "HOLDFOR=60", 555},
		{plain, "MT-PRIORITY=3", 555},
		{plain, "BY=120;R", 555},
		{offering, "HOLDFOR=3600 BY=60;R MT-PRIORITY=3", 250},
		{offering, "HOLDFOR=3601", 0},
		{offering, "HOLDUNTIL=" + time.Now().Add(30*time.Minute).UTC().Format(time.RFC3339), 250},
		{offering, "HOLDUNTIL=" + time.Now().Add(2*time.Hour).UTC().Format(time.RFC3339), 0},
		{offering, "BY=59;R", 0},
	} {
		conn := textproto.NewConn(dial(t, c.srv))
		_, _, err := conn.ReadResponse(220)
		require.NoError(t, err)
		ask := func(code int, format string, args ...any) string {
			_, err := conn.Cmd(format, args...)
			require.NoError(t, err)
			got, text, err := conn.ReadResponse(code)
			require.NoError(t, err, "%s: %d %s", c.line, got, text)
			return text
		}
		lines := ask(250, "EHLO client.example.com")
		if c.srv == offering {
			require.Regexp(t, `(?m)^DELIVERBY 60$`, lines)
			require.Regexp(t, `(?m)^MT-PRIORITY$`, lines)
			require.Regexp(t, `(?m)^FUTURERELEASE 3600 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, lines)
			require.NotContains(t, lines, "FROBNICATE", "the server does not know it")
		}
		if c.code == 0 {
			ask(5, "MAIL FROM:<a@example.com> %s", c.line)
			continue
		}
		ask(c.code, "MAIL FROM:<a@example.com> %s", c.line)
		if c.code == 250 {
			ask(250, "RCPT TO:<b@example.org>")
			ask(354, "DATA")
			ask(250, "Subject: x\r\n\r\nx\r\n.")
			env := rec.mail[len(rec.mail)-1].env
			require.Greater(t, time.Until(env.HoldUntil), 20*time.Minute)
			if len(rec.mail) == 1 {
				require.Equal(t, int8(3), env.Priority)
				require.True(t, env.DeliverBy.Return)
			}
		}
	}
}
