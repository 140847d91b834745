package main

import (
	"log/slog"
	"net/smtp"
	"net/textproto"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/lmtp"
	server "github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/smtptest"
)

// start runs a gateway before a server that speaks SMTP or LMTP.
func start(t *testing.T, speakLMTP bool) (behind *smtptest.Server, addr string) {
	t.Helper()
	cfg := smtptest.Config{}
	if speakLMTP {
		cfg.Dialect = lmtp.Dialect()
	}
	behind = smtptest.Start(t, cfg)
	g, err := newGateway(options{
		domains: []string{"demo.test"}, refuse: []string{"casino"}, to: behind.Addr(), lmtp: speakLMTP, log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	g.Addr = "127.0.0.1:0"
	done := make(chan error, 1)
	go func() { done <- g.ListenAndServe() }()
	<-g.Ready()
	t.Cleanup(func() {
		require.NoError(t, g.Close())
		require.ErrorIs(t, <-done, server.ErrServerClosed)
	})
	return behind, g.ListenAddr().String()
}

func send(addr, to, subject string) error {
	return smtp.SendMail(addr, nil, "you@example.org", []string{to}, []byte("Subject: "+subject+"\r\n\r\nhello\r\n"))
}

// code is the reply that the sender heard.
func code(t *testing.T, err error) int {
	t.Helper()
	var e *textproto.Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

// What the server behind says is what the sender hears.
func TestGateway(t *testing.T) {
	for name, speakLMTP := range map[string]bool{"smtp": false, "lmtp": true} {
		t.Run(name, func(t *testing.T) {
			behind, addr := start(t, speakLMTP)
			require.NoError(t, send(addr, "alice@demo.test", "hello"))
			require.Contains(t, string(behind.Wait(1)[0].Data), "Subject: hello\r\n\r\nhello\r\n")

			require.Equal(t, 550, code(t, send(addr, "alice@other.test", "hello")), "no relay")
			require.Equal(t, 554, code(t, send(addr, "alice@demo.test", "=?utf-8?q?C=61sino?= news")), "filtered")
			for stage, status := range map[server.Stage]*goniec.Status{
				server.StageRcpt: goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user"),
				server.StageText: goniec.NewStatus(452, goniec.EnhancedCode{4, 2, 2}, "mailbox full"),
			} {
				behind.FailNext(stage, status)
				require.Equal(t, status.Code, code(t, send(addr, "alice@demo.test", "hello")), stage)
			}
			behind.DropNext(server.StageText)
			require.Equal(t, 451, code(t, send(addr, "alice@demo.test", "hello")), "nobody knows: the sender tries again")
			require.Len(t, behind.Messages(), 1)
		})
	}
}
