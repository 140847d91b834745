package smtp_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/smtptest"
)

func TestRemoteMTA(t *testing.T) {
	require.Equal(t, "mx.test", (&smtp.StageError{Host: "mx.test", Addr: "192.0.2.1:25"}).RemoteMTA())
	require.Equal(t, "192.0.2.1:25", (&smtp.StageError{Addr: "192.0.2.1:25"}).RemoteMTA())
	require.Empty(t, (&smtp.StageError{Host: "mx.test"}).RemoteMTA(), "nobody answered")
}

// RFC 3464 §2.3.6: what the server said is told from what we found out ourselves.
func TestRemoteReply(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Config{Change: func(s *smtp.Server) { s.MaxMessageBytes = 1000 }})
	for name, tc := range map[string]struct {
		to, text string
		said     int
	}{
		"refused":   {"bob@example.org", hello, 550},
		"too large": {"bob@example.org", strings.Repeat("0123456789\r\n", 100), 0},
		"SMTPUTF8":  {"bób@[127.0.0.1]", hello, 0},
		"hangs up":  {"bob@example.org", hello, 0},
	} {
		t.Run(name, func(t *testing.T) {
			srv.Reset()
			host, p := srv.Host(), &smtp.Pool{Dialer: srv.Dialer()}
			defer p.Close()
			switch name {
			case "refused":
				srv.FailNext(smtp.StageRcpt, goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no"))
			case "SMTPUTF8":
				p.Dialer.Ignore = []string{"SMTPUTF8"}
			case "hangs up":
				srv.DropNext(smtp.StageRcpt)
			}
			_, err := p.Send(t.Context(), host, envelope(tc.to), strings.NewReader(tc.text))
			var e *smtp.StageError
			require.True(t, errors.As(goniec.Outcomes(err, 1)[0], &e), "%v", err)
			if tc.said == 0 {
				require.Nil(t, e.RemoteReply())
				require.NotContains(t, e.Error(), " said ")
				return
			}
			require.Equal(t, tc.said, e.RemoteReply().Code)
			require.Contains(t, e.Error(), " said 550 ")
		})
	}
	require.Nil(t, (&smtp.StageError{Host: "mx.test", Addr: "a"}).RemoteReply())
}

// What a sender may read of a session without a reply: which step it was, and never the private words of the cause.
func TestStageErrorStatus(t *testing.T) {
	secret := errors.New("dial tcp /secret/path")
	for _, c := range []struct {
		e    *smtp.StageError
		want string
	}{
		{&smtp.StageError{Stage: smtp.StageConnect, Host: "mx.test", Err: secret}, "451 4.4.1 no connection to mx.test"},
		{&smtp.StageError{Stage: smtp.StageConnect, Host: "unix:/secret/path", Err: secret}, "451 4.4.1 no connection to the next host"},
		{&smtp.StageError{Stage: smtp.StageConnect, Err: secret}, "451 4.4.1 no connection to the next host"},
		{&smtp.StageError{Stage: smtp.StageTLS, Host: "mx.test", Addr: "a", Err: secret}, "451 4.4.0 no safe connection by TLS"},
		{&smtp.StageError{Stage: smtp.StageAuth, Host: "mx.test", Addr: "a", Err: secret}, "451 4.4.0 login failed"},
		{&smtp.StageError{Stage: smtp.StageRcpt, Host: "mx.test", Addr: "a", Err: os.ErrDeadlineExceeded}, "451 4.4.2 no answer in time at RCPT"},
		{&smtp.StageError{Stage: smtp.StageText, Host: "mx.test", Addr: "a", Sent: true, Err: io.ErrUnexpectedEOF}, "451 4.4.2 connection lost at the message"},
	} {
		s := goniec.StatusOf(c.e)
		require.Equal(t, c.want, s.Reply())
		require.ErrorIs(t, s, c.e.Err)
		require.True(t, goniec.Temporary(c.e))
		require.NotContains(t, s.Reply(), "secret")
	}
	// A message that can not be read is no fault of the connection.
	srv := smtptest.NewServer(t)
	p := &smtp.Pool{Dialer: srv.Dialer()}
	defer p.Close()
	_, err := p.Send(t.Context(), srv.Host(), envelope("bob@example.org"), io.MultiReader(strings.NewReader("Subject: x\r\n"), failing{secret}))
	require.Error(t, err)
	require.NotContains(t, goniec.StatusOf(err).Reply(), "secret")
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
