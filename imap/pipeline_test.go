package imap_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/mailbox"
)

// unbuffered is a listener whose connections hold nothing: what is written has been read.
type unbuffered struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// loopbackConn has an address from which passwords are taken.
type loopbackConn struct{ net.Conn }

func (loopbackConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *unbuffered) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return loopbackConn{nc}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *unbuffered) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *unbuffered) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// startUnbuffered serves f without any buffer between, and returns a session that has INBOX selected.
func (f *fixture) startUnbuffered(t *testing.T) *client {
	l := &unbuffered{conns: make(chan net.Conn), closed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- f.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.ErrorIs(t, <-done, imap.ErrServerClosed)
	})
	ours, theirs := net.Pipe()
	l.conns <- theirs
	require.NoError(t, ours.SetDeadline(time.Now().Add(time.Minute)))
	c := &client{Conn: ours, r: bufio.NewReaderSize(ours, 16), t: t} // reads no more than a line asks for
	t.Cleanup(func() { _ = ours.Close() })
	require.Regexp(t, `^\* OK`, c.line())
	c.ok("LOGIN alice secret")
	c.ok("SELECT INBOX")
	return c
}

// flagged returns the messages of alice's INBOX that are \Flagged.
func (f *fixture) flagged(t *testing.T) (uids mailbox.UIDSet) {
	m, err := f.account(t, "alice").Open(t.Context(), "INBOX")
	require.NoError(t, err)
	ch, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	var b mailbox.UIDSetBuilder
	for m := range ch.Messages {
		if m.Flags&mailbox.Flagged != 0 {
			b.Add(m.UID)
		}
	}
	return b.Set()
}

// letter is a message of n octets.
func letter(n int) string {
	const head = "Subject: x\r\n\r\n"
	return head + strings.Repeat("0123456789abcdef0123456789abcdef\r\n", n)[:n-len(head)-2] + "\r\n"
}

// pipelined sends commands in one write, and reads the first 8 KiB of the replies, which are written without another goroutine.
func pipelined(t *testing.T, c *client, commands ...string) {
	go func() { _, _ = io.WriteString(c, strings.Join(commands, "\r\n")+"\r\n") }()
	_, err := io.CopyN(io.Discard, c.r, 8<<10)
	require.NoError(t, err)
}

// rawLine reads a line, and no literal behind it.
func rawLine(t *testing.T, c *client) string {
	l, err := c.r.ReadString('\n')
	require.NoError(t, err)
	return l
}

// The next command is read and run while a client takes in the last reply, as long as that is not longer than two pieces
// and the writer's buffer; replies come in the order of the commands.
func TestPipelineGoesOn(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", letter(120<<10))
	c := f.startUnbuffered(t)
	pipelined(t, c, "a FETCH 1 BODY.PEEK[]", "b STORE 1 +FLAGS.SILENT (\\Flagged)", "c FETCH 1 BODY.PEEK[TEXT]<0.5>", "d NOOP")
	require.Eventually(t, func() bool { return !f.flagged(t).Empty() }, 10*time.Second, time.Millisecond)
	var tags strings.Builder
	for tags.Len() < 4 {
		if l := rawLine(t, c); l[1] == ' ' && l[0] != '*' {
			require.Regexp(t, `^. OK `, l)
			tags.WriteByte(l[0])
		}
	}
	require.Equal(t, "abcd", tags.String())
}

// What is octet by octet in the store comes so, whatever the sizes of the replies and however the client reads.
func TestPipelineBodies(t *testing.T) {
	sizes := []int{100, 8 << 10, 16<<10 - 40, 16 << 10, 64<<10 - 40, 64 << 10, 64<<10 + 1, 130 << 10, 300, 200 << 10, 20}
	f := newFixture(t)
	var commands []string
	for i, n := range sizes {
		f.deliver(t, "alice", "INBOX", letter(n))
		commands = append(commands, fmt.Sprintf("%c FETCH %d BODY.PEEK[]", 'a'+i, i+1))
	}
	c := f.startUnbuffered(t)
	go func() { _, _ = io.WriteString(c, strings.Join(commands, "\r\n")+"\r\n") }()
	for i, n := range sizes {
		require.Equal(t, fmt.Sprintf("* %d FETCH (BODY[] {%d}\r\n", i+1, n), rawLine(t, c))
		body := make([]byte, n)
		_, err := io.ReadFull(c.r, body)
		require.NoError(t, err)
		require.Equal(t, letter(n), string(body))
		require.Equal(t, ")\r\n", rawLine(t, c))
		require.Regexp(t, fmt.Sprintf("^%c OK ", 'a'+i), rawLine(t, c))
	}
}

// I06: what is run ahead of a client that does not read is bounded: one command waits for the reply of another.
func TestI06_PipelineWaits(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", letter(300<<10))
	f.WriteTimeout = 500 * time.Millisecond
	c := f.startUnbuffered(t)
	grown := heapGrowth(func() {
		pipelined(t, c, "a FETCH 1 BODY.PEEK[]", "b STORE 1 +FLAGS.SILENT (\\Flagged)", "c NOOP")
		time.Sleep(200 * time.Millisecond)
	})
	require.Less(t, grown, int64(1<<20))
	require.True(t, f.flagged(t).Empty(), "the reply before was not taken in")
	require.Eventually(t, func() bool { return f.Stats().Conns == 0 }, 10*time.Second, 10*time.Millisecond)
	require.True(t, f.flagged(t).Empty())
}

// I06: a client that leaves a reply unread is disconnected although its session only waits for the next command.
func TestI06_UnreadWhileWaiting(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", letter(100<<10))
	f.WriteTimeout = 200 * time.Millisecond
	c := f.startUnbuffered(t)
	pipelined(t, c, "a FETCH 1 BODY.PEEK[]")
	require.Eventually(t, func() bool { return f.Stats().Conns == 0 }, 10*time.Second, 10*time.Millisecond)
	require.Contains(t, f.log.String(), "timeout")
}

// Shutdown lets a client take in what it was told, goodbye included.
func TestPipelineShutdown(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", letter(100<<10))
	c := f.startUnbuffered(t)
	pipelined(t, c, "a FETCH 1 BODY.PEEK[]")
	down := make(chan error, 1)
	go func() { down <- f.Shutdown(t.Context()) }()
	rest, err := io.ReadAll(c.r)
	require.True(t, err == nil || errors.Is(err, io.EOF), "%v", err)
	require.Regexp(t, `\r\n\)\r\na OK .*\r\n\* BYE .*\r\n$`, string(rest[len(rest)-200:]))
	require.NoError(t, <-down)
}

// A client that has not read a large reply yet, and waits in IDLE or under NOTIFY, is told all of it, and the goodbye when the selected
// mailbox goes.
func TestPipelineGoodbye(t *testing.T) {
	for _, how := range []string{"IDLE", "NOTIFY SET (selected (MessageNew MessageExpunge))"} {
		f := newFixture(t)
		f.deliver(t, "alice", "Box", letter(100<<10))
		c := f.startUnbuffered(t)
		c.ok("SELECT Box")
		pipelined(t, c, "a FETCH 1 BODY.PEEK[]", "b "+how)
		time.Sleep(50 * time.Millisecond) // the session waits for us by now
		require.NoError(t, f.account(t, "alice").Delete(t.Context(), "Box"))
		time.Sleep(50 * time.Millisecond)
		rest, _ := io.ReadAll(c.r)
		require.Regexp(t, `\r\n\)\r\na OK [^\n]*\n(.*\n)?\* BYE .*\r\n$`, string(rest[max(0, len(rest)-300):]), how)
	}
}

// T01: replies of before STARTTLS have all left before the handshake begins, and nothing that a client sent before it counts, although
// the session reads while it writes.
func TestT01_StartTLSAfterLargeReply(t *testing.T) {
	for _, injected := range []string{"", "x NOOP\r\n"} {
		f := newFixture(t)
		f.setting(t, "tls", "")
		f.deliver(t, "alice", "INBOX", letter(120<<10))
		c := f.startUnbuffered(t)
		go func() {
			for _, l := range []string{"a FETCH 1 BODY.PEEK[]\r\n", "b UNAUTHENTICATE\r\n", "c STARTTLS\r\n" + injected} {
				_, _ = io.WriteString(c, l)
			}
		}()
		for !strings.HasPrefix(rawLine(t, c), "b OK") {
		}
		if injected != "" {
			rest, _ := io.ReadAll(c.r)
			require.Empty(t, string(rest))
			continue
		}
		require.Regexp(t, `^c OK `, rawLine(t, c))
		require.Zero(t, c.r.Buffered())
		s := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, s.Handshake())
		c.Conn, c.r = s, bufio.NewReader(s)
		c.ok("LOGIN alice secret")
	}
}
