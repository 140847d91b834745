package smtp_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

// scripted is a connection whose server says one piece of a script at the beginning, and one after each write of the client.
type scripted struct {
	net.Conn // nil: only what is overridden is used
	pieces   [][]byte
	wrote    bytes.Buffer
	closed   bool
}

func (s *scripted) Read(p []byte) (int, error) {
	if s.closed || len(s.pieces) == 0 || len(s.pieces[0]) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) {
	if s.closed {
		return 0, net.ErrClosed
	}
	if len(s.pieces) > 1 {
		s.pieces[1] = append(s.pieces[0][:len(s.pieces[0]):len(s.pieces[0])], s.pieces[1]...)
		s.pieces = s.pieces[1:]
	}
	return s.wrote.Write(p)
}

func (s *scripted) Close() error        { s.closed = true; return nil }
func (s *scripted) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzClient plays any server. Whatever it says: the client ends, says nothing that is a secret without TLS, takes nothing for delivered
// whose end it has not sent, and calls nothing ambiguous that it has not sent.
func FuzzClient(f *testing.F) {
	f.Add("220 x\r\n|250 x\r\n|250 ok\r\n|250 ok\r\n|354 go\r\n|250 ok\r\n", uint8(0))
	f.Add("220 x\r\n|250-x\r\n250 PIPELINING\r\n|250 a\r\n550 5.1.1 b\r\n250 c\r\n354 d\r\n|250 e\r\n", uint8(0))
	f.Add("220 x\r\n|250-x\r\n250-PIPELINING\r\n250-SIZE 10\r\n250 CHUNKING\r\n|250 a\r\n250 b\r\n250 c\r\n452 d\r\n", uint8(0))
	f.Add("220 x\r\n|250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n|220 go\r\n250 x\r\n", uint8(1))
	f.Add("220 x\r\n|250-x\r\n250 AUTH PLAIN CRAM-MD5 =\r\n|334 \r\n|235 ok\r\n", uint8(2))
	f.Add("220-x\r\n220 y\r\n|500 what\r\n|250 x\r\n|421 4.3.2 bye\r\n", uint8(0))
	f.Add("220 x\r\n|250-x\r\n250 LIMITS RCPTMAX=1 MAILMAX=x\r\n|250 ok\r\n|251 ok\r\n|354 \r\n|999 x\r\n", uint8(3))
	f.Fuzz(func(t *testing.T, script string, how uint8) {
		conn := &scripted{}
		for _, piece := range strings.Split(script, "|") {
			conn.pieces = append(conn.pieces, []byte(piece))
		}
		d := &smtp.Dialer{Hostname: "client.example", Timeouts: smtp.Timeouts{Handshake: time.Second}}
		host := goniec.RouteHost{Name: "mx.example.org", TLS: goniec.TLSNone}
		if how&1 != 0 {
			host.TLS = goniec.TLSRequired
		}
		if how&2 != 0 {
			d.Auth = auth.PasswordClients("alice", auth.NewSecret("wonder"))
		}
		c, err := d.NewClient(t.Context(), conn, host)
		if err != nil {
			checkSilent(t, conn, host)
			return
		}
		checkSilent(t, conn, host)
		env := envelope("bob@example.org carol@example.org")
		res, err := c.Send(t.Context(), env, strings.NewReader(hello))
		judge(t, conn, res, err)
		_ = c.Quit(t.Context())
		checkSilent(t, conn, host)
	})
}

func checkSilent(t *testing.T, conn *scripted, host goniec.RouteHost) {
	wire := conn.wrote.String()
	if strings.Contains(wire, "wonder") || strings.Contains(wire, "d29uZGVy") || strings.Contains(wire, "AHdvbmRlcg") {
		t.Fatalf("password in clear text: %q", wire)
	}
	if host.TLS == goniec.TLSRequired && strings.Contains(wire, "MAIL") {
		t.Fatalf("mail in clear text: %q", wire)
	}
}

// judge compares the outcomes with what was written.
func judge(t *testing.T, conn *scripted, res *smtp.Result, err error) {
	wire := conn.wrote.String()
	whole := strings.HasSuffix(wire, hello) || strings.Contains(wire, hello+".\r\n") || strings.Contains(wire, "BDAT 21 LAST\r\n"+hello)
	for i, e := range goniec.Outcomes(err, len(res.Rcpts)) {
		var staged *smtp.StageError
		ambiguous := errors.As(e, &staged) && staged.Sent
		if (e == nil || ambiguous) && !whole {
			t.Fatalf("recipient %d: %v, but the message was not sent: %q", i, e, wire)
		}
		if e == nil && (res.Replies[i] == nil || res.Replies[i].Code/100 != 2) {
			t.Fatalf("recipient %d taken with reply %v", i, res.Replies[i])
		}
	}
}
