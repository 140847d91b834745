package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/peertest"
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

// oracle splits what follows 354 at the end of the message by the letter of RFC 5321 §4.1.1.4 and takes the dots out. ok is false
// when the message has a bare CR or LF.
func oracle(stream string) (content, rest string, ok bool) {
	s := "\r\n" + stream
	end := strings.Index(s, "\r\n.\r\n")
	content, rest = s[2:max(end+2, 2)], s[end+5:]
	clean := strings.ReplaceAll(content, "\r\n", "")
	ok = !strings.ContainsAny(clean, "\r\n")
	return strings.TrimPrefix(strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n"), "\r\n"), rest, ok
}

// S01: a message ends where CRLF.CRLF is, and nowhere else; the session is in step afterwards.
func TestS01_DataThroughServer(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.MaxErrors, s.MaxJunk, s.MaxTransactions = -1, -1, -1 })
	c := connect(t, srv)
	c.send("HELO x")
	n := 0
	try := func(s string) {
		n++
		c.begin()
		stream := s + "\r\n.\r\nNOOP\r\n"
		_, err := io.WriteString(c, stream)
		require.NoError(t, err)
		content, rest, ok := oracle(stream)
		first := c.reply()
		for range strings.Count(rest, "\r\n") - 1 {
			require.Equal(t, 500, c.reply(), "%q", s)
		}
		require.Equal(t, 250, c.reply(), "%q", s)
		if !ok {
			require.Equal(t, 550, first, "%q", s)
			return
		}
		require.Equal(t, 250, first, "%q", s)
		rec.mu.Lock()
		require.Equal(t, content, withoutTrace(rec.mail[len(rec.mail)-1].body), "%q", s)
		rec.mail = rec.mail[:0]
		rec.mu.Unlock()
	}
	letters := "\r\n.\x00a"
	exhaustive := 4
	if peertest.LongForm() {
		exhaustive = 8
		require.NoError(t, c.SetDeadline(time.Time{}))
	}
	for length := range exhaustive + 1 {
		for i := range pow(len(letters), length) {
			var b []byte
			for range length {
				b = append(b, letters[i%len(letters)])
				i /= len(letters)
			}
			try(string(b))
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := make([]byte, 5+rng.IntN(4))
		for i := range b {
			b[i] = letters[rng.IntN(len(letters))]
		}
		try(string(b))
	}
	t.Logf("%d strings", n)
}

func pow(a, b int) int {
	n := 1
	for range b {
		n *= a
	}
	return n
}

// S02: the known smuggling sequences make no second transaction, and are answered after the true end.
func TestS02_Smuggling(t *testing.T) {
	srv, rec := newServer(t)
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\x00\n",
	} {
		c := connect(t, srv)
		c.send("EHLO x")
		c.begin()
		before := len(rec.got())
		_, err := io.WriteString(c, "one"+end+"MAIL FROM:<x@evil.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\ntwo\r\n.\r\n")
		require.NoError(t, err)
		code := c.reply()
		require.Equal(t, 250, c.send("NOOP")[0], "%q: out of step", end)
		got := rec.got()[before:]
		if strings.Contains(end, "\x00") && !strings.Contains(end, "\r\x00") {
			require.Equal(t, 250, code, "%q", end) // a NUL is no line end: it is content
			require.Len(t, got, 1)
			require.Contains(t, got[0].body, "evil.example")
			continue
		}
		require.Equal(t, 550, code, "%q", end)
		require.Empty(t, got, "%q", end)
	}
}

// S04: the same in chunks, cut at every octet into two: refused, no second message, in step.
func TestS04_BareNewlinesInChunks(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("EHLO x")
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\r\n.\r\r\n", "\r\n.\r\x00\n", "\r"} {
		text := "one" + end
		for cut := range len(text) + 1 {
			c.send("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
			_, err := fmt.Fprintf(c, "BDAT %d\r\n%sBDAT %d LAST\r\n%s", cut, text[:cut], len(text)-cut, text[cut:])
			require.NoError(t, err)
			got := []int{c.reply(), c.reply()}
			require.Contains(t, [][]int{{250, 550}, {550, 503}}, got, "%q cut at %d", text, cut)
			require.Equal(t, []int{250}, c.send("RSET"))
			c.begin() // and for the junk limit's sake
			require.Equal(t, []int{250}, c.send("."))
		}
	}
	for _, m := range rec.got() {
		require.NotContains(t, m.body, "one")
	}
}

// S05: a bare LF does not end a command; the line counts as one error.
func TestS05_BareLFCommand(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("EHLO x")
	for _, line := range []string{"MAIL FROM:<a@b>\nRCPT TO:<b@example.org>", "NOOP\n", "NOOP\rNOOP", "\n", "NO\x00OP"} {
		require.Equal(t, 500, c.send(line)[0], "%q", line)
	}
	require.Equal(t, 503, c.send("RCPT TO:<b@example.org>")[0])
	require.Empty(t, rec.got())
}

// S06: what follows a command that must come last is not run.
func TestS06_InputBehindLastCommand(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.TLSConfig, s.Auth, s.AllowInsecureAuth = serverTLS(), users, true })
	open := "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
	for _, group := range []string{
		open + "DATA\r\nSubject: x\r\n\r\n.\r\n",
		"EHLO y\r\n" + open,
		"HELO y\r\n" + open,
		"STARTTLS\r\n" + open,
		"AUTH PLAIN\r\nAGFsaWNlAHdvbmRlcg==\r\n",
		"QUIT\r\n" + open,
	} {
		c := connect(t, srv)
		c.send("EHLO x")
		_, err := io.WriteString(c, group)
		require.NoError(t, err)
		var last string
		var code int
		for code = c.reply(); code == 250; code = c.reply() {
		}
		require.Equal(t, 554, code, "%q: %s", group, last)
		require.Zero(t, c.reply(), "%q: connection is open", group)
	}
	require.Empty(t, rec.got())
}

// S08: a TLS stream that is closed within a message, with plain text behind it.
func TestS08_CloseNotifyInsideMessage(t *testing.T) {
	for _, how := range []string{"DATA", "BDAT 100"} {
		srv, rec := newServer(t, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
		raw := dial(t, srv)
		c := newClient(t, raw)
		c.reply()
		c.send("EHLO x", "STARTTLS")
		sec := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // a certificate of the test's own
		require.NoError(t, sec.Handshake())
		c = newClient(t, sec)
		c.send("EHLO x", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
		_, err := io.WriteString(c, how+"\r\n")
		require.NoError(t, err)
		if how == "DATA" {
			require.Equal(t, 354, c.reply())
		}
		_, err = io.WriteString(c, "half a message")
		require.NoError(t, err)
		require.NoError(t, sec.CloseWrite())
		_, _ = io.WriteString(raw, "\r\n.\r\nQUIT\r\n"+strings.Repeat("x", 100))
		_, err = io.ReadAll(raw)
		require.True(t, err == nil || isReset(err), "%v", err)
		require.Empty(t, rec.got())
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

// S09: a connection that ends within a message, at any octet, delivers nothing.
func TestS09_CutMessage(t *testing.T) {
	for _, in := range []string{
		"HELO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 5\r\nab\r\ncBDAT 6 LAST\r\ndefghi",
		"DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n",
	} {
		srv, rec := newServer(t)
		isBDAT := strings.Contains(in, "BDAT")
		for cut := range len(in) {
			c := connect(t, srv)
			if !isBDAT {
				c.send("HELO x", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
			} else {
				c.send("NOOP")
			}
			head, tail := in[:cut], ""
			if !isBDAT && cut > 6 {
				head, tail = in[:6], in[6:cut]
			}
			// HELO must stand alone.
			if isBDAT && cut > 8 {
				head, tail = in[:8], in[8:cut]
			}
			_, err := io.WriteString(c, head)
			require.NoError(t, err)
			if tail != "" {
				c.reply()
				_, err = io.WriteString(c, tail)
				require.NoError(t, err)
			}
			require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
			_, _ = io.Copy(io.Discard, c.r)
			require.Empty(t, rec.got(), "cut at %d of %q", cut, in)
		}
	}
}

// S10, A03: command lines at their limit and beyond, in all verbs; 12,288 in AUTH.
func TestS10_LineLimits(t *testing.T) {
	srv, _ := newServer(t, func(s *smtp.Server) { s.Auth, s.AllowInsecureAuth, s.MaxErrors = users, true, -1 })
	c := connect(t, srv)
	c.send("EHLO x")
	pad := func(s string, n int) string { return s + strings.Repeat("x", n-len(s)) }
	require.Equal(t, []int{250, 500}, c.send(pad("NOOP ", 4094), pad("NOOP ", 4095)))
	require.Equal(t, []int{504, 500}, c.send(pad("AUTH ", 12288), pad("AUTH ", 12289)))
	_, err := io.WriteString(c, "AUTH PLAIN\r\n")
	require.NoError(t, err)
	require.Equal(t, 334, c.reply())
	require.Equal(t, []int{501}, c.send(pad("", 12288)))
	_, err = io.WriteString(c, "AUTH PLAIN\r\n")
	require.NoError(t, err)
	require.Equal(t, 334, c.reply())
	require.Equal(t, []int{500}, c.send(pad("", 12289)))
	// MAIL NOOP in one line is one command, however long.
	require.Equal(t, []int{500, 250}, c.send(pad("NOOP ", 500_000), "NOOP"))
	// Beyond a megabyte nobody looks for the end any more.
	_, err = io.WriteString(c, strings.Repeat("x", 1_300_000))
	if err == nil {
		require.Equal(t, 421, c.reply())
	}
}

// S11: a long text line passes unchanged up to the limit, and costs no memory.
func TestS11_LongTextLine(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("HELO x")
	for extra, want := range []int{250, 550} {
		c.begin()
		line := strings.Repeat("a", 1<<20+extra)
		_, err := io.WriteString(c, line+"\r\n.\r\n")
		require.NoError(t, err)
		require.Equal(t, want, c.reply())
		if want == 250 {
			require.Equal(t, line+"\r\n", withoutTrace(rec.got()[0].body))
		}
	}
	require.Len(t, rec.got(), 1)
}

// S12: a message larger than declared and larger than the limit is refused, and read to its end all the same.
func TestS12_SizeLie(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.MaxMessageBytes = 1 << 20 })
	c := connect(t, srv)
	c.send("EHLO x")
	require.Equal(t, []int{250, 250, 354}, c.send("MAIL FROM:<a@example.com> SIZE=10", "RCPT TO:<b@example.org>", "DATA"))
	chunk := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 1024)
	var peak uint64
	for range 20 {
		_, err := io.WriteString(c, chunk)
		require.NoError(t, err)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
	}
	require.Equal(t, []int{552}, c.send("."))
	require.Equal(t, []int{250}, c.send("NOOP"))
	require.Empty(t, rec.got())
	require.Less(t, peak, uint64(64<<20))
}

// S13: recipients beyond the limit are refused, the others stay.
func TestS13_TooManyRecipients(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("HELO x", "MAIL FROM:<a@example.com>")
	var lines []string
	for i := range 10_001 {
		lines = append(lines, fmt.Sprintf("RCPT TO:<b%d@example.org>", i))
	}
	got := c.group(lines...)
	for i, code := range got {
		want := 250
		if i >= 1000 {
			want = 452
		}
		require.Equal(t, want, code, "recipient %d", i)
	}
	require.Equal(t, []int{354}, c.send("DATA"))
	require.Equal(t, []int{250}, c.send("."))
	require.Len(t, rec.got()[0].env.To, 1000)
}

// S14: other protocols are recognised at their first line.
func TestS14_ForeignProtocols(t *testing.T) {
	srv, rec := newServer(t)
	for _, in := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nEHLO x\r\nMAIL FROM:<a@b>\r\n", "CONNECT x:25 HTTP/1.1\r\n\r\n",
		"Subject: x\r\n\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\nEHLO x\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 400),
	} {
		out := codes(talk(t, srv, in))
		require.Len(t, out, 2, "%q", in)
		require.Equal(t, 220, out[0])
		require.Equal(t, 421, out[1], "%q", in)
	}
	require.Empty(t, rec.got())
}

// S14, ALPACA: a TLS client of another protocol is refused in the handshake.
func TestS14_ALPN(t *testing.T) {
	srv := &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard()), TLSConfig: serverTLS(), Hostname: "mx.example.org"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	for proto, ok := range map[string]bool{"http/1.1": false, "smtp": true, "": true} {
		cfg := &tls.Config{InsecureSkipVerify: true}
		if proto != "" {
			cfg.NextProtos = []string{proto}
		}
		c, err := tls.Dial("tcp", l.Addr().String(), cfg)
		require.Equal(t, ok, err == nil, "%s: %v", proto, err)
		if err == nil {
			require.Equal(t, 220, newClient(t, c).reply())
			require.NoError(t, c.Close())
		}
	}
}

// S15: verbs that are none.
func TestS15_JunkVerbs(t *testing.T) {
	srv, _ := newServer(t, func(s *smtp.Server) { s.MaxErrors = -1 })
	c := connect(t, srv)
	c.send("EHLO x")
	for _, in := range []string{"", " ", "\x00", "MAIL\x00FROM:<a@b>", "M\xc3\x84IL FROM:<a@b>", "\xed\xa0\x80", "\xff\xfe", "N\xcc", "STARTTLSX", "MAILFROM:<a@b>", strings.Repeat("A", 4000)} {
		require.Equal(t, []int{500}, c.send(in), "%q", in)
	}
	for _, in := range []string{"MAIL FROM:<a\x80@example.com>", "MAIL FROM:<a@\xff>", "MAIL FROM:<\xed\xa0\x80@example.com>", "MAIL FROM:<a@example.com> SIZE=\xc3"} {
		require.Equal(t, []int{501}, c.send(in), "%q", in)
	}
	require.Zero(t, srv.Stats().Panics)
}

// S19: unknown recipients are refused when they are named, and a client that tries very many is sent away.
func TestS19_UnknownRecipients(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("HELO x", "MAIL FROM:<a@example.com>")
	for i := range 1000 {
		require.Equal(t, []int{550}, c.send(fmt.Sprintf("RCPT TO:<nobody%d@example.org>", i)))
	}
	require.Equal(t, []int{421}, c.send("RCPT TO:<nobody@example.org>"))
	require.Empty(t, rec.got())
}

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
	require.Less(t, time.Since(begin), 2*time.Second)
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

// pipeListener gives out net.Pipe connections, for tests in virtual time.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

// inVirtualTime runs test with a server over pipes.
func inVirtualTime(t *testing.T, srv *smtp.Server, test func(t *testing.T, l *pipeListener)) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		srv.Hostname = "mx.example.org"
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		<-srv.Ready()
		test(t, l)
		_ = srv.Close()
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
	})
}

// trickle sends the text an octet at a time and returns how long the connection lived.
func trickle(c *client, text string, gap time.Duration) time.Duration {
	begin := time.Now()
	ended := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, c.r); close(ended) }()
	for i := 0; ; i++ {
		select {
		case <-ended:
			return time.Since(begin)
		case <-time.After(gap):
		}
		_, _ = c.Write([]byte{text[i%len(text)]})
	}
}

// R01: an octet every 59 s in a command or a message: the connection ends within five minutes.
func TestR01_Slowloris(t *testing.T) {
	for _, where := range []string{"command", "DATA", "BDAT"} {
		t.Run(where, func(t *testing.T) {
			inVirtualTime(t, &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org")}, func(t *testing.T, l *pipeListener) {
				c := newClient(t, l.dial())
				c.reply()
				for _, line := range []string{"HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>"} {
					c.send(line)
				}
				switch where {
				case "DATA":
					c.send("DATA")
				case "BDAT":
					_, _ = io.WriteString(c, "BDAT 1000000\r\n")
				}
				lived := trickle(c, "aaaaaaaaaa", 59*time.Second)
				require.LessOrEqual(t, lived, 5*time.Minute+time.Second)
			})
		})
	}
}

// R01: a client at the minimum rate is served, however long it takes.
func TestR01_MinimumRateIsEnough(t *testing.T) {
	inVirtualTime(t, &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org")}, func(t *testing.T, l *pipeListener) {
		c := newClient(t, l.dial())
		c.reply()
		for _, line := range []string{"HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA"} {
			c.send(line)
		}
		for range 1000 { // 510 octets a second for a quarter of an hour
			_, err := io.WriteString(c, strings.Repeat("x", 508)+"\r\n")
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.Equal(t, []int{250}, c.send("."))
		_ = c.Close()
	})
}

// A Handler that takes too long loses its context, and the client its connection.
func TestStageTimeout(t *testing.T) {
	slow := goniec.DelivererFunc(func(ctx context.Context, _ *goniec.Envelope, _ io.Reader) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	inVirtualTime(t, &smtp.Server{Handler: smtp.DeliverTo(slow, "example.org")}, func(t *testing.T, l *pipeListener) {
		c := newClient(t, l.dial())
		c.reply()
		for _, line := range []string{"HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>"} {
			c.send(line)
		}
		begin := time.Now()
		require.Equal(t, []int{421}, c.send("DATA"))
		require.Equal(t, 4*time.Minute, time.Since(begin))
		require.Zero(t, c.reply())
	})
}

// R02: idle connections are cheap, one more than the limit gets a line, and those that are there are served.
func TestR02_IdleConnections(t *testing.T) {
	n := 500
	if peertest.LongForm() {
		n = 9_000 // both ends are here, and 20,000 descriptors are what many systems allow
	}
	srv, _ := newServer(t, func(s *smtp.Server) { s.MaxConns, s.MaxConnsPerIP, s.CommandTimeout = n+n/3, -1, time.Hour })
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	buf := make([]byte, 512)
	conns := make([]net.Conn, 0, n)
	before := inUse()
	for range n {
		c, err := net.Dial("tcp", srv.ListenAddr().String())
		require.NoError(t, err)
		conns = append(conns, c)
		for _, say := range []string{"", "EHLO x\r\n"} {
			_, err = io.WriteString(c, say)
			require.NoError(t, err)
			_, err = c.Read(buf)
			require.NoError(t, err)
		}
	}
	each := (inUse() - before) / uint64(n)
	t.Logf("%d octets of heap and stack for each of %d connections, the client's end included", each, n)
	if !raceDetector {
		require.Less(t, each, uint64(12<<10))
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// R04: Shutdown lets transfers in progress finish, and tells idle clients.
func TestR04_Shutdown(t *testing.T) {
	srv, rec := newServer(t, func(s *smtp.Server) { s.MaxConnsPerIP = -1 })
	const n = 100
	busy := make([]*client, n)
	for i := range busy {
		busy[i] = connect(t, srv)
		busy[i].send("HELO x")
		busy[i].begin()
	}
	idle := connect(t, srv)
	idle.send("HELO x")
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(context.Background()) }()
	require.Equal(t, 421, idle.reply())
	require.Zero(t, idle.reply())
	_ = idle.Close()
	for _, c := range busy {
		require.Equal(t, []int{250}, c.send("text\r\n."))
		require.Equal(t, 421, c.reply())
		_ = c.Close()
	}
	require.NoError(t, <-done)
	require.Len(t, rec.got(), n)
}

// R04: a Shutdown whose time is over cuts the rest; what was not acknowledged is known not to be.
func TestR04_ShutdownDeadline(t *testing.T) {
	srv, rec := newServer(t)
	c := connect(t, srv)
	c.send("HELO x")
	c.begin()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, srv.Shutdown(ctx), context.DeadlineExceeded)
	require.NotEqual(t, 250, c.reply())
	require.Empty(t, rec.got())
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
	free := make(chan struct{})
	blocked := goniec.DelivererFunc(func(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
		_, err := io.Copy(io.Discard, msg)
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
	before := runtime.NumGoroutine()
	for range 50 {
		c := connect(t, srv)
		require.Equal(t, []int{250, 250, 250, 451}, c.send("HELO x", "MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA")[:4])
		c.send("QUIT")
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, 10*time.Second, time.Millisecond)
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
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
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
