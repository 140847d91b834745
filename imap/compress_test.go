package imap_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// compressed turns compression on and returns a client that speaks through it.
func compressed(t testing.TB, c *client) (*client, *flate.Writer) {
	c.ok("COMPRESS DEFLATE")
	w, err := flate.NewWriter(c.Conn, 6)
	require.NoError(t, err)
	return &client{Conn: c.Conn, r: bufio.NewReader(flate.NewReader(c.r)), t: t, n: c.n}, w
}

// COMPRESS=DEFLATE: commands, literals, IDLE and large answers go through it; a second COMPRESS does not.
func TestCompress(t *testing.T) {
	f := newFixture(t)
	big := "Subject: big\r\n\r\n" + strings.Repeat("All work and no play makes Jack a dull boy.\r\n", 20000)
	f.deliver(t, "alice", "INBOX", big)
	c, w := compressed(t, login(t, f.start(t)))
	send := func(s string) {
		_, err := io.WriteString(w, s)
		require.NoError(t, err)
		require.NoError(t, w.Flush())
	}
	answer := func(tag string) (all string) {
		for {
			l := c.line()
			all += l
			if strings.HasPrefix(l, tag+" ") {
				return all
			}
		}
	}
	send("a COMPRESS DEFLATE\r\n")
	require.Equal(t, "a NO [COMPRESSIONACTIVE] compression is active already\r\n", answer("a"))
	send("b CAPABILITY\r\n")
	require.NotContains(t, answer("b"), "COMPRESS")
	send("c SELECT INBOX\r\n")
	answer("c")
	send("d FETCH 1 BODY.PEEK[]\r\n")
	require.Contains(t, answer("d"), big)
	send("e APPEND INBOX {5}\r\n")
	require.Equal(t, "+ OK\r\n", c.line())
	send("hello\r\n")
	require.Contains(t, answer("e"), "APPENDUID")
	send("f IDLE\r\n")
	require.Equal(t, "+ idling\r\n", c.line())
	f.deliver(t, "alice", "INBOX", plainMail)
	require.Equal(t, "* 3 EXISTS\r\n", c.line())
	send("DONE\r\n")
	answer("f")
	send("g LOGOUT\r\n")
	answer("g")
}

// I07: a bomb meets the limits of lines and literals, after it was inflated; what is no stream ends the session.
func TestI07_Bomb(t *testing.T) {
	f := newFixture(t)
	f.MaxMessageBytes = 1 << 20
	addr := f.start(t)
	var bomb bytes.Buffer
	w, err := flate.NewWriter(&bomb, 9)
	require.NoError(t, err)
	zeros := bytes.Repeat([]byte{'x'}, 1<<20)
	for range 20 {
		_, _ = w.Write(zeros)
	}
	require.NoError(t, w.Flush())
	require.Less(t, bomb.Len(), 1<<20)
	for _, start := range []string{"", "a LOGIN {18000000+}\r\n", "a SEARCH TEXT {18000000+}\r\n", "a APPEND INBOX {18000000+}\r\n"} {
		c := login(t, addr)
		c.ok("COMPRESS DEFLATE")
		var head bytes.Buffer
		w, err := flate.NewWriter(&head, 1)
		require.NoError(t, err)
		_, _ = io.WriteString(w, start)
		require.NoError(t, w.Flush())
		var peak uint64
		grown := heapGrowth(func() {
			_, _ = c.Write(head.Bytes())
			go func() { _, _ = c.Write(bomb.Bytes()) }()
			var m runtime.MemStats
			for range 20 {
				time.Sleep(5 * time.Millisecond)
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
			_, _ = io.Copy(io.Discard, c.r) // the session ends
		})
		require.Less(t, grown, int64(4<<20), "%q", start) // a deflater or two may wait to be used again
		require.Less(t, peak, uint64(64<<20))
	}
	c := login(t, addr)
	c.ok("COMPRESS DEFLATE")
	_, err = c.Write([]byte("a NOOP\r\n\xff\xff\xff\xff"))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, c.r)
	require.NoError(t, err)
}

// T01: no TLS begins inside compression, where the decompressor holds what came ahead of the handshake.
func TestT01_StartTLSUnderCompression(t *testing.T) {
	f := newFixture(t)
	f.setting(t, "tls", "")
	c, w := compressed(t, login(t, f.start(t)))
	_, err := io.WriteString(w, "a UNAUTHENTICATE\r\nb STARTTLS\r\nc NOOP\r\n")
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	l := c.line()
	require.Regexp(t, `^a OK \[CAPABILITY `, l)
	require.NotContains(t, l, "STARTTLS")
	require.Equal(t, "b BAD STARTTLS is not possible under compression\r\n", c.line())
	require.Equal(t, "c OK NOOP done\r\n", c.line())
}
