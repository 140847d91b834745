package control

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// Users who may only submit get a quarter of the connections each and three quarters together; admins are not counted.
func TestAdmit(t *testing.T) {
	s := &Server{MaxConns: 8}
	var leave []func()
	enter := func(uid uint32) bool {
		l, err := s.admit(uid)
		if err != nil {
			require.Equal(t, 451, goniec.StatusOf(err).Code)
			return false
		}
		leave = append(leave, l)
		return true
	}
	const a, b, c, d = 4711, 4712, 4713, 4714
	require.True(t, enter(a))
	require.True(t, enter(a))
	require.False(t, enter(a), "a quarter")
	require.True(t, enter(b) && enter(b) && enter(c) && enter(c))
	require.False(t, enter(d), "three quarters")
	for range 20 {
		require.True(t, enter(0))
	}
	for _, l := range leave {
		l()
	}
	require.Empty(t, s.users)
	require.Zero(t, s.strangers)
	require.True(t, enter(d))
	tiny := &Server{MaxConns: 1}
	_, err := tiny.admit(a)
	require.NoError(t, err, "one at least")
}

// A user's submission is the user's: its ID, origin and key are not taken from the request.
func TestSubmissionIsTheUsers(t *testing.T) {
	q := &queue.Queue{Store: &queue.Memory{}, Deliverer: goniec.Discard()}
	s := &Server{Queue: q, ctx: t.Context()}
	submit := func(uid uint32, key string) queue.ID {
		env := &goniec.Envelope{
			ID: "../../etc/passwd", From: goniec.MustAddress("me@example.org"), To: []goniec.Recipient{{Address: goniec.MustAddress("a@x.example")}},
			AuthSender: "root@example.org", Origin: goniec.Origin{User: "root"}, Received: time.Unix(0, 0),
		}
		var out, frames strings.Builder
		w := frameWriter{&frames}
		_, err := w.Write([]byte("Subject: x\r\n\r\nx\r\n"))
		require.NoError(t, err)
		require.NoError(t, w.end())
		req := &request{Op: "submit", Envelope: goniec.AppendEnvelope(nil, env), Options: queue.Options{Key: key, Hold: true}}
		require.NoError(t, s.submit(uid, req, strings.NewReader(frames.String()), &out))
		_, id, ok := strings.Cut(out.String(), `"id":"`)
		require.True(t, ok, out.String())
		return queue.ID(id[:12])
	}
	const a, b = 4711, 4712
	first := submit(a, "letter-1")
	require.Equal(t, first, submit(a, "letter-1"), "the same user's key")
	require.NotEqual(t, first, submit(b, "letter-1"), "another's")
	_, err := q.Enqueue(t.Context(), &goniec.Envelope{To: []goniec.Recipient{{Address: goniec.MustAddress("a@x.example")}}}, strings.NewReader("x"), queue.Options{Key: "letter-1"})
	require.NoError(t, err)
	require.Equal(t, submit(0, "letter-1"), submit(0, "letter-1"))
	n := 0
	for e, err := range q.List(t.Context(), queue.Filter{}) {
		require.NoError(t, err)
		require.Regexp(t, "^[0-9A-Z]{12}$", string(e.ID))
		require.Empty(t, e.Envelope.AuthSender)
		if e.State() == queue.StateHold {
			require.Regexp(t, "^uid:", e.Envelope.Origin.User)
			require.WithinDuration(t, time.Now(), e.Envelope.Received, time.Minute)
		}
		n++
	}
	require.Equal(t, 3, n)
}

// The line of a request is bounded, for strangers more tightly.
func TestRequestLimits(t *testing.T) {
	for _, limit := range []int{1, 4096, 100_000} {
		line := strings.Repeat("x", limit-1) + "\n"
		got, err := readLine(bufio.NewReader(strings.NewReader(line)), limit)
		require.NoError(t, err)
		require.Len(t, got, limit)
		_, err = readLine(bufio.NewReader(strings.NewReader("x"+line)), limit)
		require.ErrorContains(t, err, "too long")
	}
	require.Less(t, maxStranger, maxRequest)
}
