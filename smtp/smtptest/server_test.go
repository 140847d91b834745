package smtptest_test

import (
	"context"
	"fmt"
	netsmtp "net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/smtptest"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

const hello = "Subject: x\r\n\r\nhello\r\n"

func send(t *testing.T, srv *smtptest.Server, d *smtp.Dialer) error {
	t.Helper()
	p := &smtp.Pool{Dialer: d}
	defer p.Close()
	env := &goniec.Envelope{From: goniec.MustAddress("a@example.com"), To: []goniec.Recipient{{Address: goniec.MustAddress("b@example.org")}}}
	_, err := p.Send(t.Context(), srv.Host(), env, strings.NewReader(hello))
	return err
}

// The standard library's client is a user as good as ours.
func TestMessages(t *testing.T) {
	srv := smtptest.NewServer(t)
	for i := range 3 {
		to := fmt.Sprintf("b%d@example.org", i)
		require.NoError(t, netsmtp.SendMail(srv.Addr(), nil, "a@example.com", []string{to}, []byte(hello)))
	}
	got := srv.Wait(3)
	require.Equal(t, hello, string(got[2].Data))
	require.Equal(t, "b2@example.org", got[2].Envelope.To[0].Address.String())
	require.Contains(t, srv.Transcript(), "3 C: RCPT TO:<b2@example.org>")
	srv.Reset()
	require.Empty(t, srv.Messages())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := srv.WaitContext(ctx, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestTLSAndAuth(t *testing.T) {
	for _, cfg := range []smtptest.Config{
		{TLS: true, Users: map[string]string{"alice": "wonder"}}, {ImplicitTLS: true, Users: map[string]string{"alice": "wonder"}},
	} {
		srv := smtptest.Start(t, cfg)
		d := srv.Dialer()
		d.ImplicitTLS = cfg.ImplicitTLS
		d.Auth = auth.PasswordClients("alice", auth.NewSecret("wonder"))
		require.NoError(t, send(t, srv, d))
		require.Equal(t, "alice", srv.Wait(1)[0].Envelope.Origin.User)
		require.NotContains(t, srv.Transcript(), "AHdvbmRlcg")
		d = srv.Dialer()
		d.ImplicitTLS = cfg.ImplicitTLS
		d.Auth = auth.PasswordClients("alice", auth.NewSecret("wrong"))
		require.ErrorContains(t, send(t, srv, d), "535")
	}
}

// Every stage can fail, stall and drop, once; the next message goes through.
func TestFaults(t *testing.T) {
	stages := []smtp.Stage{
		smtp.StageBanner, smtp.StageEHLO, smtp.StageTLS, smtp.StageAuth, smtp.StageMail, smtp.StageRcpt, smtp.StageData, smtp.StageText,
	}
	srv := smtptest.Start(t, smtptest.Config{TLS: true, Users: map[string]string{"alice": "wonder"}})
	dialer := func() *smtp.Dialer {
		d := srv.Dialer()
		d.Auth = auth.PasswordClients("alice", auth.NewSecret("wonder"))
		return d
	}
	for _, stage := range stages {
		for _, drop := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s drop=%v", stage, drop), func(t *testing.T) {
				srv.Reset()
				if drop {
					srv.DropNext(stage)
				} else {
					srv.FailNext(stage, goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "by request"))
				}
				err := send(t, srv, dialer())
				var e *smtp.StageError
				require.ErrorAs(t, err, &e)
				require.True(t, goniec.Temporary(err))
				if drop {
					require.Equal(t, stage == smtp.StageData || stage == smtp.StageText || stage == smtp.StageMail || stage == smtp.StageRcpt, e.Sent,
						"small messages leave together with their envelope")
				} else if stage != smtp.StageTLS {
					require.ErrorContains(t, err, "4.7.1 by request")
				}
				require.Empty(t, srv.Messages())
				require.NoError(t, send(t, srv, dialer()))
			})
		}
	}
	srv.Reset()
	srv.StallNext(smtp.StageMail, 50*time.Millisecond)
	start := time.Now()
	require.NoError(t, send(t, srv, dialer()))
	require.GreaterOrEqual(t, time.Since(start), 50*time.Millisecond)
	srv.StallNext(smtp.StageRcpt, time.Hour)
	d := dialer()
	d.Timeouts.Command = 50 * time.Millisecond
	require.ErrorContains(t, send(t, srv, d), "timeout")
}
