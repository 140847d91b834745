package smtp_test

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// changing are the parts of replies that differ from run to run.
var changing = regexp.MustCompile(`id[= ][0-9A-Z]{12}`)

// conversation sends input in pieces of the given size behind EHLO, ends our side, and returns all replies.
func conversation(t *testing.T, addr, input string, size int) string {
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	c := newClient(t, nc)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	c.reply()
	c.send("EHLO x")
	go func() {
		for rest := input; rest != ""; {
			n := min(size, len(rest))
			if _, err := io.WriteString(c, rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		_ = nc.(*net.TCPConn).CloseWrite()
	}()
	out, err := io.ReadAll(c.r)
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the server neither answers nor ends: %q", out)
	return changing.ReplaceAllString(string(out), "id")
}

// FuzzChopped: how the octets are cut into segments changes nothing in what is said. Commands that must be the last of a
// group are the exception, so inputs with them are left out; BDAT takes the place of DATA.
func FuzzChopped(f *testing.F) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	srv := &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org"), Hostname: "mx.example.org", MaxErrors: 5, MaxConnsPerIP: -1}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	<-srv.Ready()
	f.Cleanup(func() { _ = srv.Close(); <-done })
	for _, s := range []string{
		"MAIL FROM:<a@b.example>\r\nRCPT TO:<b@example.org>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\nde", "NOOP\r\nRSET\r\nFROB\n\r\nMAIL FROM:<\"a b\"@c.example> SIZE=1",
		"MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 5\r\na\nb\rcBDAT 0 LAST\r\n", "BDAT 9\r\nQUIT\r\nxx", "MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 2\r\nabRSET\r\n", strings.Repeat("x", 5000),
	} {
		f.Add(s, uint8(3))
	}
	last := regexp.MustCompile(`(?i)(ehlo|helo|data|starttls|auth|quit|xclient)`)
	f.Fuzz(func(t *testing.T, s string, size uint8) {
		if len(s) > 10_000 || last.MatchString(s) {
			t.Skip("a command that must come last")
		}
		addr := l.Addr().String()
		require.Equal(t, conversation(t, addr, s, 1<<20), conversation(t, addr, s, int(size)+1))
	})
}
