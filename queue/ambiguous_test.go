package queue_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/smtptest"
)

// Q03: the server hangs up after the final dot, before its 250: nobody knows, so it is sent again.
func TestQ03_HangsUpBeforeReply(t *testing.T) {
	t.Parallel()
	srv := smtptest.NewServer(t)
	r := newRoad(t, srv.Addr(), nil)
	srv.DropNext(smtp.StageText)
	r.send(t, 1, "bob@example.org")
	r.finished(t)
	require.Equal(t, 1, r.count(queue.Deferred))
	require.Equal(t, 1, r.count(queue.Delivered))
	require.Len(t, srv.Messages(), 1)
	require.Equal(t, 2, strings.Count(srv.Transcript(), "C: MAIL"), "two attempts")
	require.Empty(t, r.returned())
}

// Q03: 354, then silence: the wait for the reply has its limit (10 minutes unless set), and then it is sent again.
func TestQ03_Silence(t *testing.T) {
	t.Parallel()
	srv := smtptest.NewServer(t)
	r := newRoad(t, srv.Addr(), nil)
	r.relay.Pool.Dialer.Timeouts.DataEnd = time.Second
	srv.StallNext(smtp.StageText, time.Hour)
	r.send(t, 1, "bob@example.org")
	r.finished(t)
	require.Positive(t, r.count(queue.Deferred), "once; more often where a second is short for a reply")
	require.Equal(t, 1, r.count(queue.Delivered))
	r.mu.Lock()
	defer r.mu.Unlock()
	for reason := range r.reasons {
		require.Contains(t, reason, "did not answer the message, which it may have taken")
	}
}

// Q03: 250, then a reset: it is done, by the 250 alone.
func TestQ03_ResetAfterReply(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served, taken, done := make(chan string, 10), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 4096)
			for _, line := range []string{"220 x", "250 x", "250 x", "250 x", "354 go"} {
				_, _ = io.WriteString(c, line+"\r\n")
				_, _ = c.Read(buf)
			}
			_, _ = io.WriteString(c, "250 taken\r\n")
			<-taken // a reset could overtake it
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			served <- "once"
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	r := newRoad(t, l.Addr().String(), nil)
	r.send(t, 1, "bob@example.org")
	require.Eventually(t, func() bool { return r.count(queue.Delivered) == 1 }, time.Minute, time.Millisecond)
	close(taken)
	r.finished(t)
	<-served
	time.Sleep(300 * time.Millisecond) // longer than the back-off
	require.Equal(t, 1, r.count(queue.Delivered))
	require.Zero(t, r.count(queue.Deferred))
	require.Empty(t, served)
}
