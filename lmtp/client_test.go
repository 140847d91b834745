package lmtp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/dialogue"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"
)

func envelope(to ...string) *goniec.Envelope {
	env := &goniec.Envelope{From: goniec.MustAddress("alice@example.com")}
	for _, a := range to {
		env.To = append(env.To, goniec.Recipient{Address: goniec.MustAddress(a)})
	}
	return env
}

const hello = "Subject: x\r\n\r\nhello\r\n"

// TestClientDialogues plays testdata/client/*.txt as the server of a client that sends one message.
func TestClientDialogues(t *testing.T) {
	dialogue.Run(t, "testdata/client/*.txt", func(t *testing.T, settings map[string]string) dialogue.Target {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var res *smtp.Result
		done := make(chan error, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			done <- func() error {
				c, err := (&lmtp.Dialer{Hostname: "client.example"}).Dial(context.Background(), l.Addr().String())
				if err != nil {
					return err
				}
				defer c.Close()
				res, err = c.Send(context.Background(), envelope(strings.Fields(settings["to"])...), strings.NewReader(hello))
				return err
			}()
		}()
		t.Cleanup(func() {
			_ = l.Close()
			<-ended
		})
		return dialogue.Target{
			Play: dialogue.Server,
			Dial: func(context.Context) (net.Conn, error) {
				_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
				return l.Accept()
			},
			Hooks: map[string]func(...string) error{
				"sent":  func(...string) error { return <-done },
				"ended": func(...string) error { _, err := <-done, error(nil); return err },
				"rcpt": func(args ...string) error {
					i, _ := strconv.Atoi(args[0])
					want, err := strings.Join(args[1:], " "), res.Rcpts[i]
					var e *smtp.StageError
					switch errors.As(err, &e); {
					case want == "ok" && err != nil, want == "ambiguous" && (e == nil || !e.Sent):
						return fmt.Errorf("outcome is %v", err)
					case want != "ok" && want != "ambiguous" && (err == nil || !strings.Contains(err.Error(), want)):
						return fmt.Errorf("outcome is %v", err)
					}
					return nil
				},
			},
		}
	})
}

// Client and server over a unix socket, through a pool and a relay.
func TestClientUnixSocket(t *testing.T) {
	d := &deliverer{}
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	serve(t, &lmtp.Server{Handler: smtp.DeliverTo(d, "example.org")}, l)
	c, err := lmtp.Dial(t.Context(), "unix:"+path)
	require.NoError(t, err)
	res, err := c.Send(t.Context(), envelope("a@example.org", "full@example.org", "b@example.org", "x@example.net"), strings.NewReader(hello))
	require.NoError(t, c.Quit(t.Context()))
	out := goniec.Outcomes(err, 4)
	require.NoError(t, out[0])
	require.ErrorContains(t, out[1], "452 4.2.2 mailbox full at the message")
	require.NoError(t, out[2])
	require.ErrorContains(t, out[3], "550 5.7.1")
	require.Equal(t, 250, res.Replies[2].Code)

	host, err := lmtp.ParseHost("unix:" + path)
	require.NoError(t, err)
	relay := &smtp.Relay{Router: smtp.Smarthost(host), Pool: &smtp.Pool{Dialect: lmtp.Dialect()}}
	defer relay.Pool.Close()
	for range 3 {
		err = relay.Deliver(t.Context(), envelope("a@example.org", "gone@example.org"), strings.NewReader(hello))
		out = goniec.Outcomes(err, 2)
		require.NoError(t, out[0])
		require.True(t, goniec.Permanent(out[1]))
	}
}

// TLS is wanted everywhere but on loopback and unix sockets.
func TestParseHost(t *testing.T) {
	for addr, want := range map[string]goniec.TLSLevel{
		"unix:/run/lmtp.sock": goniec.TLSNone, "127.0.0.1:24": goniec.TLSNone, "[::1]:24": goniec.TLSNone, "localhost": goniec.TLSNone,
		"mail.example.org": goniec.TLSVerified, "192.0.2.1:24": goniec.TLSVerified,
	} {
		host, err := lmtp.ParseHost(addr)
		require.NoError(t, err)
		require.Equal(t, want, host.TLS, addr)
	}
	_, err := lmtp.ParseHost("a b")
	require.Error(t, err)
}
