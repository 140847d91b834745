package lmtp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/dialogue"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

// deliverer fails for some local parts.
type deliverer struct {
	mu  sync.Mutex
	got []string
}

func (d *deliverer) Deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	b, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	out := make(goniec.RcptErrors, len(env.To))
	for i, to := range env.To {
		switch to.Address.Local() {
		case "full":
			out[i] = goniec.NewStatus(452, goniec.EnhancedCode{4, 2, 2}, "mailbox full")
		case "gone":
			out[i] = goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
		case "odd":
			out[i] = errors.New("unexpected")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, string(b))
	return out.Err()
}

// serve starts a server on l and stops it with the test.
func serve(t *testing.T, srv *lmtp.Server, l net.Listener) {
	t.Helper()
	srv.Hostname = "store.example.org"
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	<-srv.Ready()
	t.Cleanup(func() {
		_ = srv.Close()
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
	})
}

func TestDialogues(t *testing.T) {
	dialogue.Run(t, "testdata/*.txt", func(t *testing.T, _ map[string]string) dialogue.Target {
		d := &deliverer{}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		serve(t, &lmtp.Server{Handler: smtp.DeliverTo(d, "example.org")}, l)
		return dialogue.Target{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
			},
			Hooks: map[string]func(...string) error{
				"delivered": func(args ...string) error {
					d.mu.Lock()
					defer d.mu.Unlock()
					if fmt.Sprint(len(d.got)) != args[0] {
						return fmt.Errorf("%d messages were delivered", len(d.got))
					}
					return nil
				},
				"body": func(args ...string) error {
					d.mu.Lock()
					defer d.mu.Unlock()
					if want := strings.Join(args, " "); len(d.got) == 0 || !strings.Contains(d.got[len(d.got)-1], want) {
						return fmt.Errorf("messages are %q", d.got)
					}
					return nil
				},
			},
		}
	})
}

// A unix socket has no address to log or to limit.
func TestUnixSocket(t *testing.T) {
	d := &deliverer{}
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	srv := &lmtp.Server{Addr: "unix:" + path, Handler: smtp.DeliverTo(d, "example.org"), Hostname: "store.example.org"}
	done := make(chan error, 1)
	go func() { done <- srv.ListenAndServe() }()
	<-srv.Ready()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	_, err = io.WriteString(c, "LHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\nabcQUIT\r\n")
	require.NoError(t, err)
	out, err := io.ReadAll(bufio.NewReader(c))
	require.NoError(t, err)
	require.Contains(t, string(out), "554 5.5.0 unexpected input behind LHLO")
	require.NoError(t, srv.Shutdown(t.Context()))
	require.ErrorIs(t, <-done, smtp.ErrServerClosed)
	require.NoError(t, c.Close())
}

// RFC 2033 §4.3: the last chunk has a reply for each recipient, also where the server is too busy to take it.
func TestR06_BusyLastChunk(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serve(t, &lmtp.Server{MaxInFlight: 1, Handler: smtp.DeliverTo(goniec.DelivererFunc(
		func(context.Context, *goniec.Envelope, io.Reader) error {
			close(entered)
			<-hold
			return nil
		}), "example.org")}, l)
	open := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		_, err = io.WriteString(c, "LHLO a\r\n")
		require.NoError(t, err)
		for said, buf := "", make([]byte, 1024); !strings.Contains(said, "\r\n250 "); {
			n, err := c.Read(buf)
			require.NoError(t, err)
			said += string(buf[:n])
		}
		return c
	}
	const mail = "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\nabc"
	slow := open()
	_, err = io.WriteString(slow, mail)
	require.NoError(t, err)
	<-entered
	c := open()
	_, err = io.WriteString(c, mail+"QUIT\r\n")
	require.NoError(t, err)
	said, err := io.ReadAll(c)
	require.NoError(t, err)
	close(hold)
	require.Equal(t, 2, strings.Count(string(said), "451 4.3.2 "), string(said))
	require.True(t, strings.HasSuffix(string(said), "221 2.0.0 bye\r\n"), string(said))
}
