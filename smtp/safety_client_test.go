package smtp_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/smtp"
)

// client is a raw connection whose replies are read one by one.
type client struct {
	net.Conn
	r *bufio.Reader
	t testing.TB
}

// connect dials and reads the banner.
func connect(t testing.TB, srv *smtp.Server) *client {
	t.Helper()
	c := newClient(t, dial(t, srv))
	require.Equal(t, 220, c.reply())
	return c
}

func newClient(t testing.TB, c net.Conn) *client { return &client{c, bufio.NewReader(c), t} }

// reply reads a whole reply and returns its code; 0 when the connection ended.
func (c *client) reply() int {
	code, _ := c.text()
	return code
}

// text reads a whole reply.
func (c *client) text() (code int, text string) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return 0, text
		}
		text += line
		if len(line) > 3 && line[3] != '-' {
			return codes(line)[0], text
		}
	}
}

// send writes lines one by one and reads the reply to each.
func (c *client) send(lines ...string) []int {
	var got []int
	for _, line := range lines {
		got = append(got, c.group(line)...)
	}
	return got
}

// group writes lines at once and reads as many replies.
func (c *client) group(lines ...string) []int {
	_, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n")
	require.NoError(c.t, err)
	got := make([]int, len(lines))
	for i := range got {
		got[i] = c.reply()
	}
	return got
}

// begin opens a transaction up to the 354.
func (c *client) begin() {
	require.Equal(c.t, []int{250, 250, 354}, c.group("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"))
}

// newServer has a recorder that takes mail for example.org.
func newServer(t testing.TB, change ...func(*smtp.Server)) (*smtp.Server, *recorder) {
	rec := &recorder{}
	srv := &smtp.Server{Handler: smtp.DeliverTo(rec)}
	for _, f := range change {
		f(srv)
	}
	return start(t, srv), rec
}

// withoutTrace cuts our Received field off.
func withoutTrace(body string) string {
	for {
		line, rest, _ := strings.Cut(body, "\r\n")
		if !strings.HasPrefix(line, "Received: from ") && !strings.HasPrefix(line, "\t") {
			return body
		}
		body = rest
	}
}
