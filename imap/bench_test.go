package imap_test

import (
	"bufio"
	"compress/flate"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// benchBox is a Maildir of n messages, and a session that has it selected.
func benchBox(b *testing.B, n int) *client {
	f, _ := newMaildirFixture(b)
	a := f.account(b, "alice")
	m, err := a.Open(b.Context(), "INBOX")
	require.NoError(b, err)
	_, err = mailbox.AppendAll(b.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
		for i := range n {
			text := fmt.Sprintf("Received: from a by b\r\nFrom: \"Person %d\" <p%d@example.org>\r\nTo: alice@example.org\r\nSubject: message number %d of many\r\n"+
				"Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <%d@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n%s",
				i, i, i, i, strings.Repeat("a line of text that is not long\r\n", 60))
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(text)}, nil) {
				return
			}
		}
	})
	require.NoError(b, err)
	// A Maildir that was just changed is read again at each look: its time stamps tell nothing yet.
	time.Sleep(2 * time.Second)
	c := login(b, f.start(b))
	c.ok("SELECT INBOX")
	return c
}

// BenchmarkMailbox measures whole commands over 2,000 messages, warm; ns/message is what counts.
func BenchmarkMailbox(b *testing.B) {
	const n = 2000
	for name, command := range map[string]string{
		"flags": "FETCH 1:* FLAGS", "envelope": "FETCH 1:* ENVELOPE", "structure": "FETCH 1:* BODYSTRUCTURE",
		"list": "FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Date From To Cc Subject Message-ID References Content-Type X-Priority)])",
		"body": "FETCH 1:* BODY.PEEK[]", "search-subject": "SEARCH SUBJECT 1999", "search-body": "SEARCH BODY zzz", "sort": "SORT (SUBJECT) UTF-8 ALL",
		"store": "STORE 1:* +FLAGS.SILENT (\\Seen)",
	} {
		b.Run(name, func(b *testing.B) {
			c := benchBox(b, n)
			run := func() {
				_, err := io.WriteString(c, "b "+command+"\r\n")
				require.NoError(b, err)
				for {
					l, err := c.r.ReadSlice('\n')
					if err == bufio.ErrBufferFull {
						continue
					}
					if err != nil || strings.HasPrefix(string(l), "b OK") {
						require.NoError(b, err)
						return
					}
				}
			}
			run()
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
		})
	}
}

// BenchmarkPipeline measures commands that a client sends without waiting for replies: one write of it has them all. The bodies are
// of 2,000 messages, over a connection in the clear, under TLS and compressed.
func BenchmarkPipeline(b *testing.B) {
	const n, each = 2000, 100
	var bodies, flags strings.Builder
	for first := 1; first < n; first += each {
		fmt.Fprintf(&bodies, "p FETCH %d:%d BODY.PEEK[]\r\n", first, first+each-1)
	}
	for i := range 1000 {
		fmt.Fprintf(&flags, "p FETCH %d FLAGS\r\n", i+1)
	}
	for _, v := range []struct{ name, commands, before string }{
		{"bodies", bodies.String(), "NOOP"},
		{"bodies-compressed", bodies.String(), "COMPRESS DEFLATE"},
		{"flags", flags.String(), "NOOP"},
	} {
		b.Run(v.name, func(b *testing.B) {
			c := benchBox(b, n)
			c.ok(v.before)
			r := io.Reader(c.r)
			w := io.Writer(c)
			if v.name == "bodies-compressed" {
				r = flate.NewReader(c.r)
				z, _ := flate.NewWriter(c, flate.BestSpeed)
				w = flusher{z}
			}
			lines := bufio.NewReaderSize(r, 64<<10)
			count := strings.Count(v.commands, "\n")
			b.ReportAllocs()
			for b.Loop() {
				_, err := io.WriteString(w, v.commands)
				require.NoError(b, err)
				for done := 0; done < count; {
					l, err := lines.ReadSlice('\n')
					require.NoError(b, err)
					if l[0] == 'p' {
						done++
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/command")
		})
	}
}

// flusher flushes after each write.
type flusher struct{ z *flate.Writer }

func (f flusher) Write(p []byte) (int, error) {
	if n, err := f.z.Write(p); err != nil {
		return n, err
	}
	return len(p), f.z.Flush()
}

// BenchmarkIdle measures the memory of a session in IDLE with a folder of 2,000 messages open: the goal is 14 KB of resident
// memory.
func BenchmarkIdle(b *testing.B) {
	f := newFixture(b)
	f.MaxConnsPerIP = -1
	for range 2000 {
		f.deliver(b, "alice", "INBOX", plainMail)
	}
	addr := f.start(b)
	const n = 500
	for b.Loop() {
		conns := make([]*client, 0, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range n {
			c := login(b, addr)
			c.ok("SELECT INBOX")
			_, err := io.WriteString(c, "i IDLE\r\n")
			require.NoError(b, err)
			c.line()
			conns = append(conns, c)
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		client := 4096.0 // of bufio in the client, in this process too
		b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/n-client, "heap-B/session")
		b.ReportMetric((float64(after.StackInuse)-float64(before.StackInuse))/n, "stack-B/session")
		for _, c := range conns {
			c.Close()
		}
	}
}
