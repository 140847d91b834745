package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// sender stores messages by one protocol until it is told to stop, over one connection as long as that lives.
type sender struct {
	name  string
	store func(id, msg string) (reply string, err error)
	close func()

	acked, refused atomic.Int64
	replies        map[string]int // refusals
}

func (s *sender) run(stop chan struct{}, ledger *ledger, wrong func(string)) {
	defer s.close()
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.IntN(10)) * time.Millisecond):
		}
		id := ledger.next()
		msg := fmt.Sprintf("Subject: x\r\nX-Id: %s\r\n\r\n%sthe end\r\n", id, strings.Repeat("a line of the message\r\n", 1<<rand.IntN(14))) // up to 188 KB: in the queue's log, or in a file
		reply, err := s.store(id, msg)
		switch {
		case err != nil:
			s.close() // the server hung up: the next message takes another connection
		case strings.HasPrefix(reply, "250 "), strings.HasPrefix(reply, "OK "):
			ledger.ack(id)
			s.acked.Add(1)
		case strings.HasPrefix(reply, "452 4.3.1"), strings.HasPrefix(reply, "451 "), strings.HasPrefix(reply, "NO "):
			s.refused.Add(1)
			s.replies[reply[:min(len(reply), 18)]]++
		default:
			wrong(s.name + ": " + reply)
		}
	}
}

// viaSMTP speaks SMTP or LMTP.
func viaSMTP(name, addr, hello string) *sender {
	var c *textproto.Conn
	s := &sender{name: name, replies: map[string]int{}}
	s.close = func() {
		if c != nil {
			_ = c.Close()
			c = nil
		}
	}
	say := func(line string) (string, error) {
		if line != "" {
			if err := c.PrintfLine("%s", line); err != nil {
				return "", err
			}
		}
		code, text, err := c.ReadResponse(0)
		var reply *textproto.Error
		if err != nil && !errors.As(err, &reply) {
			return "", err
		}
		return fmt.Sprintf("%d %s", code, text), nil
	}
	s.store = func(_, msg string) (reply string, err error) {
		lines := []string{"MAIL FROM:<you@example.org>", "RCPT TO:<alice@demo.test>", "DATA", msg + "."}
		if c == nil {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return "", err
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
			c = textproto.NewConn(conn)
			lines = append([]string{"", hello}, lines...)
		}
		for _, line := range lines {
			if reply, err = say(line); err != nil {
				return "", err
			}
			if reply[0] > '3' {
				if line != msg+"." {
					_, err = say("RSET")
				}
				return reply, err
			}
		}
		return reply, nil
	}
	return s
}

// viaIMAP appends.
func viaIMAP(addr string) *sender {
	var c net.Conn
	var in *bufio.Reader
	s := &sender{name: "imap", replies: map[string]int{}}
	s.close = func() {
		if c != nil {
			_ = c.Close()
			c = nil
		}
	}
	say := func(command string) (string, error) {
		fmt.Fprintf(c, "a %s\r\n", command)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return "", err
			}
			if reply, ok := strings.CutPrefix(line, "a "); ok {
				return reply, nil
			}
		}
	}
	s.store = func(_, msg string) (reply string, err error) {
		if c == nil {
			if c, err = net.Dial("tcp", addr); err != nil {
				return "", err
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
			in = bufio.NewReader(c)
			if reply, err = say("LOGIN alice@demo.test alice"); err != nil {
				return reply, err
			}
		}
		return say(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(msg), msg))
	}
	return s
}

// ballast fills a file system, and keeps it full until told to stop; then it gives the room back.
func ballast(t *testing.T, dir string, stop chan struct{}) {
	f, err := os.Create(filepath.Join(dir, "ballast"))
	require.NoError(t, err)
	block := make([]byte, 1<<20)
	for full := false; ; {
		for size := len(block); size > 0; {
			if _, err := f.Write(block[:size]); err != nil {
				size /= 2
				full = true
			}
		}
		if !full {
			continue
		}
		select {
		case <-stop:
			require.NoError(t, errors.Join(f.Truncate(0), f.Close(), os.Remove(f.Name())))
			return
		case <-time.After(20 * time.Millisecond): // mail that went has made room
		}
	}
}

// F05: the disk is full for a minute, under load by SMTP, LMTP and IMAP. What does not fit is refused for the time
// being; reading and deleting go on; when there is room again everything works, without a restart; and at the
// end all that was acknowledged is there, whole, and nothing is left of what was refused.
func TestF05_FullUnderLoad(t *testing.T) {
	t.Parallel()
	full := time.Second
	if peertest.LongForm() {
		full = time.Minute
	}
	disk := peertest.NewDisk(t, 160<<20)
	p := start(t, disk.Path)
	mails := filepath.Join(disk.Path, "goniec-demo/mail/demo.test")
	for range 20 { // to be deleted
		require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "bob@demo.test", "Subject: x\r\n\r\nthe end"))
	}
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(mails, "bob/new/*"))
		return len(files) == 20
	}, time.Minute, 10*time.Millisecond)
	imapSay(t, p.addrs["read imap"], "bob", "SELECT INBOX")
	pop3Say(t, p.addrs["read pop3"], "bob", "QUIT")
	senders := []*sender{
		viaSMTP("smtp", p.addrs["receive smtp"], "EHLO test"), viaSMTP("smtp", p.addrs["receive smtp"], "EHLO test"),
		viaSMTP("lmtp", p.addrs["deliver lmtp"], "LHLO test"), viaSMTP("lmtp", p.addrs["deliver lmtp"], "LHLO test"),
		viaIMAP(p.addrs["read imap"]), viaIMAP(p.addrs["read imap"]),
	}
	ledger, stop := &ledger{}, make(chan struct{})
	var wg sync.WaitGroup
	finish := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer finish()
	for _, s := range senders {
		wg.Go(func() { s.run(stop, ledger, func(what string) { t.Error(what) }) })
	}
	count := func(of func(*sender) int64) (n []int64) {
		for _, s := range senders {
			n = append(n, of(s))
		}
		return n
	}
	acked := func() []int64 { return count(func(s *sender) int64 { return s.acked.Load() }) }
	grown := func(before []int64) func() bool {
		return func() bool {
			for i, n := range acked() {
				if n == before[i] {
					return false
				}
			}
			return true
		}
	}
	require.Eventually(t, grown(acked()), time.Minute, 10*time.Millisecond)

	room, filled := make(chan struct{}), make(chan struct{})
	empty := sync.OnceFunc(func() { close(room); <-filled })
	defer empty()
	go func() { ballast(t, disk.Path, room); close(filled) }()
	require.Eventually(t, func() bool {
		for _, s := range senders {
			if s.refused.Load() == 0 {
				return false
			}
		}
		return true
	}, 2*time.Minute, 10*time.Millisecond, "there is always room")
	time.Sleep(full / 2)
	deleteWhileFull(t, p)
	time.Sleep(full / 2)
	empty()
	require.Eventually(t, grown(acked()), time.Minute, 10*time.Millisecond, "works again when there is room")
	finish()

	var found map[string]bool
	require.Eventually(t, func() bool {
		found = stored(t, mails)
		for _, id := range ledger.acked {
			if !found[id] {
				return false
			}
		}
		left, _ := filepath.Glob(filepath.Join(disk.Path, "goniec-demo/queue/body/*"))
		return len(left) == 0
	}, 60*time.Second, 100*time.Millisecond, "acknowledged and lost, or left behind in the queue")
	p.interrupt(t) // while a folder is in use, its lock file may lie in tmp/
	left, err := filepath.Glob(filepath.Join(mails, "*", "tmp", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	for _, s := range senders {
		t.Logf("%s: %d acknowledged, %d refused %v", s.name, s.acked.Load(), s.refused.Load(), s.replies)
	}
	require.NotContains(t, p.out.String(), "panic")
}

// deleteWhileFull deletes by IMAP and POP3.
func deleteWhileFull(t *testing.T, p *process) {
	c, err := net.Dial("tcp", p.addrs["read imap"])
	require.NoError(t, err)
	fmt.Fprint(c, "a LOGIN bob@demo.test bob\r\na SELECT INBOX\r\na STORE 1:5 +FLAGS.SILENT (\\Deleted)\r\nb EXPUNGE\r\nc LOGOUT\r\n")
	text, err := io.ReadAll(c)
	require.NoError(t, errors.Join(err, c.Close()))
	require.Contains(t, string(text), "* 5 EXPUNGE\r\n* 4 EXPUNGE\r\n* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n* 1 EXPUNGE\r\nb OK")
	c, err = net.Dial("tcp", p.addrs["read pop3"])
	require.NoError(t, err)
	fmt.Fprint(c, "USER bob@demo.test\r\nPASS bob\r\nDELE 1\r\nDELE 2\r\nRETR 3\r\nQUIT\r\n")
	text, err = io.ReadAll(c)
	require.NoError(t, errors.Join(err, c.Close()))
	require.Equal(t, 7, strings.Count("\n"+string(text), "\n+OK"), "%s", text)
}
