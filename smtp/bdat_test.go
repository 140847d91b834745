package smtp_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// greeted connects to srv, says EHLO and reads the reply: EHLO must be the last of a group.
func greeted(t *testing.T, srv *smtp.Server) net.Conn {
	t.Helper()
	c := dial(t, srv)
	tell(t, c, "EHLO c\r\n")
	until(t, c, "\r\n250 ")
	return c
}

func tell(t *testing.T, c net.Conn, input string) {
	t.Helper()
	_, err := io.WriteString(c, input)
	require.NoError(t, err)
}

// until reads what the server says until that holds text.
func until(t *testing.T, c net.Conn, text string) {
	t.Helper()
	for said, buf := "", make([]byte, 4096); !strings.Contains(said, text); {
		n, err := c.Read(buf)
		require.NoError(t, err, said)
		said += string(buf[:n])
	}
}

// rest are the codes of all replies until the server closes.
func rest(t *testing.T, c net.Conn) []int {
	t.Helper()
	said, err := io.ReadAll(c)
	require.NoError(t, err)
	return codes(string(said))
}

// S07: once a chunk was refused, for whatever reason, no other chunk of that transaction makes a message: it would lack a piece.
func TestS07_MessageWithoutRefusedChunk(t *testing.T) {
	const begin = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
	for name, tc := range map[string]struct {
		input string
		want  []int
	}{
		"first has an odd argument":  {"BDAT 3 x\r\nabcBDAT 3 LAST\r\ndef", []int{501, 503}},
		"second has an odd argument": {"BDAT 3\r\nabcBDAT 3 x\r\ndefBDAT 3 LAST\r\nghi", []int{250, 501, 503}},
		"last has an odd argument":   {"BDAT 3\r\nabcBDAT 3 LAST x\r\ndefBDAT 0 LAST\r\n", []int{250, 501, 503}},
	} {
		rec := &recorder{}
		srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(rec)})
		c := greeted(t, srv)
		tell(t, c, begin+tc.input+begin+"BDAT 3 LAST\r\nnewQUIT\r\n")
		require.Equal(t, append(append([]int{250, 250}, tc.want...), 250, 250, 250, 221), rest(t, c), name)
		require.Len(t, rec.got(), 1, name)
		require.True(t, strings.HasSuffix(rec.got()[0].body, "new"), name)
	}
}

// S07, R06: the first chunk meets a busy server, the second one does not.
func TestS07_ChunkBehindBusyChunk(t *testing.T) {
	rec, hold := &recorder{}, make(chan struct{})
	entered := make(chan struct{}, 1)
	srv := start(t, &smtp.Server{MaxInFlight: 1, Handler: smtp.DeliverTo(goniec.DelivererFunc(
		func(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
			if env.From.Local() == "slow" {
				entered <- struct{}{}
				<-hold
			}
			return rec.Deliver(ctx, env, msg)
		}), "example.org")})
	slow := greeted(t, srv)
	tell(t, slow, "MAIL FROM:<slow@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\nabc")
	<-entered

	c := greeted(t, srv)
	tell(t, c, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 3\r\nabc")
	until(t, c, "\r\n451 ")
	close(hold)
	require.Eventually(t, func() bool { return srv.Stats().InFlight == 0 }, time.Minute, time.Millisecond)
	tell(t, c, "BDAT 3 LAST\r\ndefQUIT\r\n")
	require.Equal(t, []int{503, 221}, rest(t, c))
	require.Len(t, rec.got(), 1, "only the slow one")
}

// R01: small chunks, none at all or NOOPs between them do not stretch the time for a message.
func TestR01_SlowChunks(t *testing.T) {
	var ended atomic.Int32
	for _, drop := range []string{"BDAT 0\r\n", "BDAT 1\r\na"} {
		srv := start(t, &smtp.Server{DataTimeout: 500 * time.Millisecond, CommandTimeout: time.Minute, Handler: smtp.DeliverTo(goniec.DelivererFunc(
			func(_ context.Context, _ *goniec.Envelope, msg io.Reader) error {
				defer ended.Add(1)
				_, err := io.Copy(io.Discard, msg)
				return err
			}), "example.org")})
		c := greeted(t, srv)
		tell(t, c, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := io.WriteString(c, drop); err != nil {
					return
				}
			}
		}()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		said, _ := io.ReadAll(c)
		close(stop)
		<-done
		require.Contains(t, string(said), "421 4.4.2", drop)
	}
	require.Eventually(t, func() bool { return ended.Load() == 2 }, time.Minute, time.Millisecond)
}

// A client that pipelines can not know that its only recipient was refused when it sends the message: no error of its own, by
// BDAT as by DATA.
func TestPipelinedChunkWithoutRecipient(t *testing.T) {
	rec := &recorder{}
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(rec)})
	c := greeted(t, srv)
	const n = 25 // more than MaxErrors
	tell(t, c, strings.Repeat("MAIL FROM:<a@example.com>\r\nRCPT TO:<nobody@example.org>\r\nBDAT 3 LAST\r\nabc", n)+"QUIT\r\n")
	want := []int{}
	for range n {
		want = append(want, 250, 550, 554)
	}
	require.Equal(t, append(want, 221), rest(t, c))
	require.Empty(t, rec.got())
}

// S12: a chunk that is announced larger than anybody would skip is refused for good, not to be tried again, and the connection ends.
func TestS12_EndlessChunk(t *testing.T) {
	rec := &recorder{}
	srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(rec)})
	c := greeted(t, srv)
	tell(t, c, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 9000000000000000000 LAST\r\nMAIL FROM:<c@example.com>\r\n")
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	require.Equal(t, []int{250, 250, 552}, rest(t, c))
	require.Empty(t, rec.got())
}
