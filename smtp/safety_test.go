package smtp_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/smtp"
)

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
	}
	require.NoError(t, c.SetDeadline(time.Time{}))
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
