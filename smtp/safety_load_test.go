package smtp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

// T01: a command behind STARTTLS in clear text never reaches anybody, wherever it is split.
func TestT01_StartTLSInjection(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
	in := "STARTTLS\r\nMAIL FROM:<x@evil.example>\r\nRCPT TO:<b@example.org>\r\n"
	for cut := len("STARTTLS\r\n"); cut <= len(in); cut++ {
		c := connect(t, srv)
		c.send("EHLO x")
		_, err := io.WriteString(c, in[:cut])
		require.NoError(t, err)
		if cut < len(in) {
			_, _ = io.WriteString(c, in[cut:])
		}
		out, _ := io.ReadAll(c.r)
		require.NotContains(t, string(out), "250", "cut at %d: %q", cut, out)
	}
	require.Empty(t, rec.got())
}

// T06: without TLS a password is neither asked for nor looked at.
func TestT06_NoPasswordInClearText(t *testing.T) {
	asked := 0
	spy := auth.AuthenticatorFunc(func(context.Context, *auth.Attempt) (auth.Identity, error) {
		asked++
		return auth.Identity{User: "x"}, nil
	})
	srv, _ := newServer(t, func(s *smtp.Server) { s.Auth, s.TLSConfig = spy, serverTLS() })
	c := connect(t, srv)
	_, err := io.WriteString(c, "EHLO x\r\n")
	require.NoError(t, err)
	_, text := c.text()
	require.NotContains(t, text, "AUTH")
	require.Contains(t, text, "STARTTLS")
	require.Equal(t, []int{538, 538, 250}, c.send("AUTH PLAIN AGFsaWNlAHdvbmRlcg==", "AUTH LOGIN", "NOOP"))
	require.Zero(t, asked)
}

// T08: a handshake that does not come ends in time.
func TestT08_HandshakeStall(t *testing.T) {
	srv, _ := newServer(t, func(s *smtp.Server) { s.TLSConfig, s.HandshakeTimeout = serverTLS(), 100*time.Millisecond })
	c := connect(t, srv)
	c.send("EHLO x", "STARTTLS")
	begin := time.Now()
	for i := range 100 { // an octet at a time does not extend it
		if _, err := c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[:1])); err != nil || i > 50 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	require.Zero(t, c.reply())
	require.Less(t, time.Since(begin), 9*time.Second, "the default is 10 s")
}

// A03: what one connection sends in AUTH does not hurt another.
func TestA03_OthersUnaffected(t *testing.T) {
	srv, _ := newServer(t, func(s *smtp.Server) { s.Auth, s.AllowInsecureAuth = users, true })
	good, bad := connect(t, srv), connect(t, srv)
	good.send("EHLO x")
	bad.send("EHLO x")
	_, err := io.WriteString(good, "AUTH PLAIN\r\n")
	require.NoError(t, err)
	require.Equal(t, 334, good.reply())
	require.Equal(t, []int{501, 501, 501}, bad.send("AUTH PLAIN ====", "AUTH PLAIN \x80\x81", "AUTH PLAIN "+strings.Repeat("A", 10_000)))
	require.Equal(t, []int{235}, good.send("AGFsaWNlAHdvbmRlcg=="))
}

// P01, P05: addresses that are none, or that quote what would end a path.
func TestP05_Addresses(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.MaxErrors = -1 })
	c := connect(t, srv)
	c.send("EHLO x", "MAIL FROM:<a@example.com>")
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, addr := range []string{
		long(65) + "@example.org", "b@" + long(64) + ".org", "b@example.org.", "b@[1.2.3]", "b@[IPv6:zz]", "b@[::1]", "b@ex。ample.org", "b@xn--\x80.org", "b@-a.org",
		"b@xn--a-ecp-.example", "b", "@example.org", "b@", "b@@example.org", `"b@example.org`, `"b\@example.org`, "b..c@example.org", "b c@example.org", ".b@example.org",
	} {
		require.Equal(t, []int{501}, c.send("RCPT TO:<"+addr+">"), "%q", addr)
	}
	// Quoted parts are data: no parameter, no second path.
	require.Equal(t, []int{250, 250, 250}, c.send(`RCPT TO:<"t@example.com> ORCPT=a@b"@example.org>`, `RCPT TO:<"x@evil x"@EXAMPLE.org>`, "RCPT TO:<"+long(64)+"@example.org>"))
	require.Equal(t, []int{354}, c.send("DATA"))
	require.Equal(t, []int{250}, c.send("."))
	to := rec.got()[0].env.To
	require.Equal(t, "t@example.com> ORCPT=a@b", to[0].Address.Local())
	require.Equal(t, `"t@example.com> ORCPT=a@b"@example.org`, to[0].Address.String())
	require.Zero(t, to[0].ORcpt)
	require.Equal(t, `"x@evil x"@EXAMPLE.org`, to[1].Address.String())
}

// R05: commands that lead nowhere, and unknown ones.
func TestR05_Junk(t *testing.T) {
	srv, _ := newServer(t)
	for line, want := range map[string]int{"NOOP": 100, "RSET": 100, "VRFY x": 100, "HELP": 100, "FROB": 20, "MAIL": 20} {
		c := connect(t, srv)
		c.send("EHLO x")
		n := 0
		for ; ; n++ {
			if _, err := io.WriteString(c, line+"\r\n"); err != nil {
				break
			}
			if code := c.reply(); code == 421 || code == 0 {
				break
			}
			require.Less(t, n, 1000)
		}
		require.InDelta(t, want, n, 1, line)
	}
	// A message in between makes up for the junk.
	c := connect(t, srv)
	c.send("EHLO x")
	for range 3 {
		for range 90 {
			c.send("NOOP")
		}
		c.begin()
		require.Equal(t, []int{250}, c.send("."))
	}
}

// What was pipelined behind a refused MAIL is no error of its own, but not without limit.
func TestPipelinedBehindRefusedMail(t *testing.T) {
	srv, _ := newServer(t, func(s *smtp.Server) { s.MaxRefused = 150 })
	c := connect(t, srv)
	c.send("EHLO x")
	group := []string{"MAIL FROM:<a@example.com> SIZE=9999999999"}
	for range 100 {
		group = append(group, "RCPT TO:<b@example.org>")
	}
	got := c.group(append(group, "DATA")...)
	require.Equal(t, 552, got[0])
	require.Equal(t, 503, got[101])
	require.Equal(t, []int{250}, c.send("MAIL FROM:<a@example.com>"))
	c.send("RSET")
	require.Equal(t, 421, c.group(group...)[50])
	// Without a refusal before, they are errors.
	c = connect(t, srv)
	c.send("EHLO x")
	for range 20 {
		require.Equal(t, []int{503}, c.send("RCPT TO:<b@example.org>"))
	}
	require.Equal(t, []int{503}, c.send("RCPT TO:<b@example.org>"))
	require.Equal(t, 421, c.reply())
}

// R06: with all places taken by a Deliverer that hangs, further mail is asked to come again, and goroutines do not pile up.
func TestR06_BlockedDeliverer(t *testing.T) {
	free, in := make(chan struct{}), make(chan struct{}, 10)
	blocked := goniec.DelivererFunc(func(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
		_, err := io.Copy(io.Discard, msg)
		in <- struct{}{}
		<-free
		return err
	})
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(blocked, "example.org"), MaxInFlight: 5})
	var stuck []*client
	for range 5 {
		c := connect(t, srv)
		c.send("HELO x")
		c.begin()
		_, err := io.WriteString(c, ".\r\n")
		require.NoError(t, err)
		stuck = append(stuck, c)
	}
	for range stuck {
		<-in
	}
	before := runtime.NumGoroutine()
	for range 50 {
		c := connect(t, srv)
		require.Equal(t, []int{250, 250, 250, 451}, c.send("HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA")[:4])
		c.send("QUIT")
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, time.Minute, time.Millisecond)
	close(free)
	for _, c := range stuck {
		require.Equal(t, 250, c.reply())
		require.Equal(t, []int{250, 250, 354}, c.send("MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA"))
		require.Equal(t, []int{250}, c.send("."))
	}
}

// L01: what a client says is one line in the log, short and printable, and passwords are not in it.
func TestL01_Log(t *testing.T) {
	var log lines
	srv, _ := newServer(t, func(s *smtp.Server) { s.Logger, s.Auth, s.AllowInsecureAuth = log.logger(), users, true })
	c := connect(t, srv)
	c.send("EHLO evil\x1b[2J", "EHLO ok.example", "AUTH PLAIN AGFsaWNlAHdvbmRlcg==",
		"MAIL FROM:<"+strings.Repeat("x", 64)+"@"+strings.Repeat("example.", 20)+"com> SMTPUTF8", "RCPT TO:<no\u202egpj@example.org>", "RCPT TO:<b\u202e@example.org>")
	c.send("DATA")
	require.Equal(t, []int{250}, c.send("Subject: x\x1b[2J\r\n."))
	_ = c.Close()
	_ = srv.Close()
	out := log.String()
	require.Contains(t, out, "msg=accepted")
	require.Contains(t, out, "user=alice@example.org")
	for _, bad := range []string{"wonder", "AGFsaWNl", "\x1b", "\u202e"} {
		require.NotContains(t, out, bad)
	}
	for line := range strings.SplitSeq(out, "\n") {
		require.Less(t, len(line), 2048)
	}
}

// Q04: panics are contained wherever they happen, counted, and the Session hears of the end of its transaction exactly once.
func TestQ04_Panics(t *testing.T) {
	for _, stage := range []string{"NewSession", "Helo", "Mail", "Rcpt", "Data", "Reset", "Close"} {
		t.Run(stage, func(t *testing.T) {
			p := &panicking{stage: stage}
			srv := start(t, &smtp.Server{Handler: p})
			out := codes(talkLockstep(t, srv, "HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA", ".", "NOOP", "QUIT"))
			require.NotEmpty(t, out)
			_ = srv.Close()
			require.EqualValues(t, 1, srv.Stats().Panics)
			require.Equal(t, p.opened, p.reset+p.taken, "every accepted MAIL ends once")
			if stage != "NewSession" {
				require.Equal(t, 1, p.closed)
			}
		})
	}
}

// Q04: a panic in Extensions ends the connection with a word: after a passing error a client would go on with HELO and
// without TLS.
func TestQ04_PanicInExtensions(t *testing.T) {
	srv := start(t, &smtp.Server{Handler: panickingOffer{&panicking{}}})
	said := talkLockstep(t, srv, "EHLO x", "NOOP")
	require.Contains(t, said, "421 4.3.0 temporary failure")
	require.NotContains(t, said, "250")
	require.NotContains(t, said, "injected")
	_ = srv.Close()
	require.EqualValues(t, 1, srv.Stats().Panics)
}

type panickingOffer struct{ *panicking }

func (p panickingOffer) NewSession(context.Context, *smtp.Conn) (smtp.Session, error) { return p, nil }

func (panickingOffer) Extensions([]string) []string { panic("injected in Extensions") }

// Recipients who are asked to come again have a limit as those who are refused have: of the Handler's, and those beyond MaxRecipients.
func TestMaxDeferred(t *testing.T) {
	later := verifier(func(to *goniec.Recipient) error {
		if to.Address.Local() == "later" {
			return goniec.NewStatus(450, goniec.EnhancedCode{4, 7, 1}, "greylisted")
		}
		return nil
	})
	for _, c := range []struct {
		name, rcpt string
		limit      int
		want       int
	}{
		{"by the handler", "later@example.org", 30, 450},
		{"too many", "b@example.org", 30, 452},
		{"no limit", "later@example.org", -1, 450},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(later), MaxDeferred: c.limit, MaxRecipients: 1})
			client := connect(t, srv)
			client.send("EHLO x", "MAIL FROM:<a@example.com>")
			if c.want == 452 {
				require.Equal(t, []int{250}, client.send("RCPT TO:<"+c.rcpt+">"))
			}
			for range 30 {
				require.Equal(t, []int{c.want}, client.send("RCPT TO:<"+c.rcpt+">"))
			}
			// Another message does not make it anew.
			client.send("RSET", "MAIL FROM:<a@example.com>")
			if c.want == 452 {
				require.Equal(t, []int{250}, client.send("RCPT TO:<"+c.rcpt+">"))
			}
			if c.limit < 0 {
				require.Equal(t, []int{c.want}, client.send("RCPT TO:<"+c.rcpt+">"))
				return
			}
			require.Equal(t, []int{421}, client.send("RCPT TO:<"+c.rcpt+">"))
			require.Zero(t, client.reply(), "closed")
		})
	}
}

// verifier judges recipients, and takes all mail.
type verifier func(to *goniec.Recipient) error

func (v verifier) VerifyRcpt(_ context.Context, _ *goniec.Envelope, to *goniec.Recipient) error {
	return v(to)
}

func (verifier) Deliver(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
	_, err := io.Copy(io.Discard, msg)
	return err
}

// talkLockstep sends line after line and returns what was said.
func talkLockstep(t *testing.T, srv *smtp.Server, lines ...string) string {
	c := newClient(t, dial(t, srv))
	_, said := c.text()
	for _, line := range lines {
		if _, err := io.WriteString(c, line+"\r\n"); err != nil {
			break
		}
		_, text := c.text()
		said += text
	}
	return said
}

// panicking panics once, in one stage, and counts the stages.
type panicking struct {
	stage                        string
	opened, reset, taken, closed int
}

func (p *panicking) at(stage string) {
	if p.stage == stage {
		p.stage += " done"
		panic("injected in " + stage)
	}
}

func (p *panicking) NewSession(context.Context, *smtp.Conn) (smtp.Session, error) {
	p.at("NewSession")
	return p, nil
}
func (p *panicking) Helo(context.Context, string) error { p.at("Helo"); return nil }
func (p *panicking) Mail(context.Context, *goniec.Envelope) error {
	p.at("Mail")
	p.opened++
	return nil
}

func (p *panicking) Rcpt(context.Context, *goniec.Envelope, *goniec.Recipient) error {
	p.at("Rcpt")
	return nil
}

func (p *panicking) Data(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
	p.at("Data")
	if p.stage == "Reset" {
		return errors.New("refused, so that Reset is called")
	}
	_, err := io.Copy(io.Discard, msg)
	if err == nil {
		p.taken++
	}
	return err
}
func (p *panicking) Reset(*goniec.Envelope, error) { p.reset++; p.at("Reset") }
func (p *panicking) Close(error)                   { p.closed++; p.at("Close") }

// Data may return before it has read everything: the rest is read for it, and the answer is its own.
func TestDataReturnsEarly(t *testing.T) {
	verdicts := map[string]error{"yes": nil, "no": goniec.NewStatus(554, goniec.EnhancedCode{5, 7, 1}, "seen enough")}
	early := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
		if strings.HasSuffix(env.From.Local(), "-read") {
			_, _ = msg.Read(make([]byte, 400))
		}
		return verdicts[strings.TrimSuffix(env.From.Local(), "-read")]
	})
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(early, "example.org")})
	body := strings.Repeat("text\r\n", 1000)
	for from, want := range map[string][]int{"yes": {354, 250}, "yes-read": {354, 250}, "no": {554}, "no-read": {354, 554}} {
		c := connect(t, srv)
		c.send("HELO x", "MAIL FROM:<"+from+"@example.com>", "RCPT TO:<b@example.org>")
		require.Equal(t, want[:1], c.send("DATA"), from)
		if len(want) > 1 {
			_, err := io.WriteString(c, body+".\r\n")
			require.NoError(t, err)
			require.Equal(t, want[1], c.reply(), from)
		}
		require.Equal(t, []int{250}, c.send("NOOP"), from)
		// A bare LF in the part that nobody read is a fault all the same.
		if from == "yes" {
			c.send("MAIL FROM:<yes@example.com>", "RCPT TO:<b@example.org>", "DATA")
			require.Equal(t, []int{550}, c.send("a\nb\r\n."))
		}
		// The same in chunks.
		c.send("MAIL FROM:<"+from+"@example.com>", "RCPT TO:<b@example.org>")
		_, err := io.WriteString(c, fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", len(body), body, len(body), body))
		require.NoError(t, err)
		if strings.HasPrefix(from, "yes") {
			require.Equal(t, 250, c.reply(), from)
			require.Equal(t, 250, c.reply(), from)
		} else {
			require.Equal(t, 554, c.reply(), from)
			require.Equal(t, 503, c.reply(), from)
		}
		require.Equal(t, []int{250}, c.send("NOOP"), from)
	}
}

// A pipelined group is answered in one write.
func TestPipelinedGroupInOneWrite(t *testing.T) {
	inVirtualTime(t, &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org")}, func(t *testing.T, l *pipeListener) {
		c := l.dial()
		buf := make([]byte, 4096)
		_, _ = c.Read(buf)
		_, _ = io.WriteString(c, "HELO x\r\n")
		_, _ = c.Read(buf)
		_, err := io.WriteString(c, "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
		require.NoError(t, err)
		n, err := c.Read(buf) // a pipe gives what one Write wrote
		require.NoError(t, err)
		require.Equal(t, 4, bytes.Count(buf[:n], []byte("\r\n")), "%q", buf[:n])
		_ = c.Close()
	})
}

// FuzzSession: whatever a client sends, the replies are replies, nothing panics, and no message comes from nowhere.
func FuzzSession(f *testing.F) {
	rec := &recorder{}
	srv := &smtp.Server{Handler: smtp.DeliverTo(rec), Hostname: "mx.example.org", Auth: users, AllowInsecureAuth: true, MaxConnsPerIP: -1}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	<-srv.Ready()
	f.Cleanup(func() { _ = srv.Close(); <-done })
	for _, s := range []string{
		"EHLO x\r\n", "MAIL FROM:<a@b> SIZE=1\r\nRCPT TO:<b@example.org>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\n", "DATA\r\n.\r\n", "AUTH PLAIN =\r\n", "MAIL FROM:<\"a\\\"b\"@c>\r\nRSET\r\n",
		"BDAT 99999999999999999999\r\n", "VRFY \xff\r\nHELP\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		r := newClient(t, c)
		r.reply()
		r.send("EHLO x")
		go func() {
			_, _ = io.WriteString(c, s)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		for {
			code, text := r.text()
			if code == 0 {
				require.Empty(t, text, "half a reply")
				break
			}
			require.True(t, code >= 200 && code < 560, "%q", text)
		}
		require.Zero(t, srv.Stats().Panics)
	})
}
