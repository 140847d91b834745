package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// limited is a writer that fails after some octets.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return l.left, errors.New("the disk at /srv is on fire")
	}
	l.left -= len(p)
	return len(p), nil
}

// A Deliverer that copies the message into something that fails, after any number of octets: the client is told, nothing leaks,
// and the session stays in step.
func TestDelivererFailsInTheMiddle(t *testing.T) {
	room := 0
	d := goniec.DelivererFunc(func(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
		_, err := io.Copy(&limited{room}, msg)
		return err
	})
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(d, "example.org")})
	c := connect(t, srv)
	c.send("EHLO x")
	body := "Subject: x\r\n\r\n" + strings.Repeat("text\r\n", 100)
	fits := map[string]bool{}
	defer func() { require.Len(t, fits, 2); require.True(t, fits["DATA"] && fits["BDAT"]) }()
	for room = 0; room < 1000; room += 50 {
		for _, how := range []string{"DATA", "BDAT"} {
			c.send("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
			if how == "DATA" {
				require.Equal(t, []int{354}, c.send("DATA"))
				_, err := io.WriteString(c, body+".\r\n")
				require.NoError(t, err)
			} else {
				_, err := fmt.Fprintf(c, "BDAT %d LAST\r\n%s", len(body), body)
				require.NoError(t, err)
			}
			code, text := c.text()
			require.NotContains(t, text, "fire")
			if fits[how] = fits[how] || code == 250; !fits[how] {
				require.Equal(t, 451, code, "%s with room for %d", how, room)
			} else {
				require.Equal(t, 250, code, "%s with room for %d", how, room)
			}
			require.Equal(t, []int{250}, c.send("NOOP"))
		}
	}
}

// Faults of the message reach a Deliverer that copies as they reach one that reads, and win over whatever it says.
func TestFaultWins(t *testing.T) {
	for name, d := range map[string]goniec.DelivererFunc{
		"copies": func(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
			_, err := io.Copy(io.Discard, msg)
			return err
		},
		"reads": func(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
			_, err := io.ReadAll(msg)
			return err
		},
		"ignores": func(_ context.Context, _ *goniec.Envelope, msg io.Reader) error { _, _ = io.ReadAll(msg); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(d, "example.org"), MaxMessageBytes: 1000, MaxReceived: 1})
			c := connect(t, srv)
			c.send("EHLO x")
			for text, want := range map[string]int{
				"a\nb\r\n": 550, "a\rb\r\n": 550, "Received: 1\r\nReceived: 2\r\n\r\nx\r\n": 554, strings.Repeat("x\r\n", 334): 552, "ok\r\n": 250,
			} {
				c.begin()
				_, err := io.WriteString(c, text+".\r\n")
				require.NoError(t, err)
				require.Equal(t, want, c.reply(), "%q", text)
				c.send("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
				_, err = fmt.Fprintf(c, "BDAT %d LAST\r\n%s", len(text), text)
				require.NoError(t, err)
				require.Equal(t, want, c.reply(), "%q in a chunk", text)
				require.Equal(t, []int{250}, c.send("NOOP"))
			}
		})
	}
}

// The sum of the chunks is limited; one that is beyond is read and dropped.
func TestBDATLimit(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.MaxMessageBytes = 10 })
	c := connect(t, srv)
	c.send("EHLO x", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
	_, err := io.WriteString(c, "BDAT 6\r\n123456BDAT 8\r\n\r\nQUIT\r\nBDAT 4 LAST\r\nabcd")
	require.NoError(t, err)
	require.Equal(t, []int{250, 552, 503}, []int{c.reply(), c.reply(), c.reply()})
	c.send("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
	_, err = io.WriteString(c, "BDAT 6\r\n123456BDAT 4 LAST\r\n7890")
	require.NoError(t, err)
	require.Equal(t, []int{250, 250}, []int{c.reply(), c.reply()})
	require.Equal(t, "1234567890", withoutTrace(rec.got()[0].body))
	// What is too long even to be dropped ends the connection.
	_, err = io.WriteString(c, "BDAT 9000000000\r\n")
	require.NoError(t, err)
	require.Equal(t, 421, c.reply())
	require.Zero(t, c.reply())
}

// A Deliverer with a wrong number of outcomes counts as failed for all, and the log says so.
func TestWrongNumberOfOutcomes(t *testing.T) {
	var log lines
	d := goniec.DelivererFunc(func(context.Context, *goniec.Envelope, io.Reader) error {
		return goniec.RcptErrors{nil, nil, errors.New("x")}
	})
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(d, "example.org"), Logger: log.logger()})
	c := connect(t, srv)
	c.send("HELO x")
	require.Equal(t, []int{250, 250, 451}, c.group("MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA"))
	_ = srv.Close()
	require.Contains(t, log.String(), "wrong number of outcomes")
	require.Contains(t, log.String(), "outcomes=3 recipients=1")
}

// A Bounce that fails too leaves the message with the client.
func TestBounceFails(t *testing.T) {
	rec := &recorder{fail: map[string]error{"never": goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "never")}}
	var bounced []string
	var fail error
	bounce := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
		b, err := io.ReadAll(msg)
		for _, to := range env.To {
			bounced = append(bounced, to.Address.String()+" "+withoutTrace(string(b)))
		}
		return errors.Join(fail, err)
	})
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(rec), Bounce: bounce})
	c := connect(t, srv)
	c.send("HELO x")
	try := func() int {
		c.send("MAIL FROM:<a@example.com>", "RCPT TO:<good@example.org>", "RCPT TO:<never@example.org>", "DATA")
		return c.send("Subject: x\r\n.")[0]
	}
	require.Equal(t, 250, try())
	require.Equal(t, []string{"never@example.org Subject: x\r\n"}, bounced)
	fail = errors.New("queue is full")
	require.Equal(t, 451, try())
}

// What a Handler may ask its Conn.
func TestConn(t *testing.T) {
	var log lines
	var seen string
	h := smtp.HandlerFunc(func(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
		seen = fmt.Sprint(c.Protocol(), " ", c.Hostname(), " ", c.Helo() == "", " ", c.TLS() == nil, " ", c.Local().String() == c.Peer().(*net.TCPAddr).String(), " ",
			c.Remote().String() == c.Peer().String(), " ", c.Deadline().IsZero(), " ", c.RDNS() == "")
		c.Logger().Info("hello")
		return smtp.DeliverTo(goniec.Discard(), "example.org").NewSession(ctx, c)
	})
	srv := start(t, &smtp.Server{Handler: h, Logger: log.logger()})
	c := connect(t, srv)
	c.send("HELO x", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
	local := c.LocalAddr().String()
	_ = c.Close()
	require.Eventually(t, func() bool { return srv.Stats().Conns == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, "smtp mx.example.org true true false true false true", seen)
	require.Contains(t, log.String(), "msg=hello protocol=smtp remote="+local)
	require.Contains(t, log.String(), `msg="given up"`)
	require.Contains(t, log.String(), "err=EOF")
}
