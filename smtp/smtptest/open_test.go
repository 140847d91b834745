package smtptest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/smtptest"
)

// A fake server without a test around it.
func TestOpen(t *testing.T) {
	srv, err := smtptest.Open(smtptest.Config{TLS: true})
	require.NoError(t, err)
	relay := &smtp.Relay{Router: smtp.Smarthost(srv.Host()), Pool: &smtp.Pool{Dialer: srv.Dialer()}}
	defer relay.Pool.Close()
	env := &goniec.Envelope{To: goniec.Recipients(goniec.MustAddress("b@example.org"))}
	require.NoError(t, relay.Deliver(t.Context(), env, strings.NewReader("Subject: x\r\n\r\n")))
	require.Len(t, srv.Wait(1), 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = srv.WaitContext(ctx, 2)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Panics(t, func() { srv.FailNext("dance", nil) })
	require.NoError(t, srv.Close())
	require.NoError(t, srv.Close(), "twice")
	_, err = smtp.Dial(t.Context(), srv.Addr())
	require.Error(t, err)
}
