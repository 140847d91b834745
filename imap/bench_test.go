package imap_test

import (
	"bufio"
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
