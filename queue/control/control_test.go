package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

const body = "Subject: x\r\n\r\nHello\r\n"

func envelope(t testing.TB, from string, to ...string) *goniec.Envelope {
	t.Helper()
	env := &goniec.Envelope{ID: goniec.NewID()}
	if from != "" {
		var err error
		env.From, err = goniec.ParseAddress(from)
		require.NoError(t, err)
	}
	for _, s := range to {
		a, err := goniec.ParseAddress(s)
		require.NoError(t, err)
		env.To = append(env.To, goniec.Recipient{Address: a})
	}
	return env
}

// serve starts a server for hands on a socket of its own.
func serve(t *testing.T, s *control.Server) *control.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	l, err := control.Listen(path)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Shutdown(context.Background()))
		require.ErrorIs(t, <-done, control.ErrServerClosed)
	})
	return &control.Client{Path: path}
}

func TestHands(t *testing.T) {
	q := &queue.Queue{Store: &queue.Memory{}, Deliverer: goniec.Discard(), Hostname: "mx.example.net"}
	c := serve(t, &control.Server{Queue: q})
	ctx := t.Context()
	id, err := c.Enqueue(ctx, envelope(t, "me@example.org", "a@x.example", "b@y.example"), strings.NewReader(body), queue.Options{Hold: true, Key: "k"})
	require.NoError(t, err)
	again, err := c.Enqueue(ctx, envelope(t, "me@example.org", "a@x.example"), strings.NewReader(body), queue.Options{Key: "k"})
	require.NoError(t, err)
	require.Equal(t, id, again)

	e, err := c.Show(ctx, id)
	require.NoError(t, err)
	require.Equal(t, queue.StateHold, e.State())
	require.Equal(t, "me@example.org", e.Envelope.From.String())
	require.True(t, strings.HasPrefix(e.Envelope.Origin.User, "uid:"))
	var buf bytes.Buffer
	require.NoError(t, c.Cat(ctx, id, &buf))
	require.Equal(t, body, buf.String())
	require.NoError(t, c.Release(ctx, id))
	require.NoError(t, c.Hold(ctx, id))
	require.NoError(t, c.Flush(ctx, id))
	require.NoError(t, c.FlushDest(ctx, "x.example"))
	require.NoError(t, c.Requeue(ctx, id))

	large := strings.Repeat("0123456789\r\n", 300_000)
	other, err := c.Enqueue(ctx, envelope(t, "me@example.org", "a@x.example"), strings.NewReader(large), queue.Options{})
	require.NoError(t, err)
	buf.Reset()
	require.NoError(t, c.Cat(ctx, other, &buf))
	require.Equal(t, large, buf.String())

	var ids []queue.ID
	for e, err := range c.List(ctx, queue.Filter{State: []queue.State{queue.StateHold}}) {
		require.NoError(t, err)
		ids = append(ids, e.ID)
	}
	require.Equal(t, []queue.ID{id}, ids)
	for range c.List(ctx, queue.Filter{}) {
		break
	}
	require.NoError(t, c.Expire(ctx, other))
	require.NoError(t, c.Delete(ctx, id))
	_, err = c.Show(ctx, id)
	require.ErrorIs(t, err, queue.ErrNotFound)
	require.ErrorIs(t, c.Delete(ctx, id), queue.ErrNotFound)
	require.ErrorIs(t, c.Cat(ctx, id, io.Discard), queue.ErrNotFound)
}

// What happened to a message can be asked over the socket, also when it is gone.
func TestPast(t *testing.T) {
	q := &queue.Queue{Store: &queue.Memory{}, Deliverer: goniec.Discard()}
	c := serve(t, &control.Server{Queue: q})
	ask := func(id queue.ID) (kinds []queue.EventKind, err error) {
		for e, err := range c.Past(t.Context(), id) {
			if err != nil {
				return kinds, err
			}
			require.Equal(t, id, e.ID)
			kinds = append(kinds, e.Kind)
		}
		return kinds, nil
	}
	_, err := ask("X")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	h, err := queue.OpenHistory(t.TempDir(), queue.HistoryOptions{})
	require.NoError(t, err)
	defer h.Close()
	q.History = h
	_, err = ask("X")
	require.ErrorIs(t, err, queue.ErrNotFound)
	id, err := c.Enqueue(t.Context(), envelope(t, "me@example.org", "a@x.example"), strings.NewReader(body), queue.Options{Hold: true})
	require.NoError(t, err)
	require.NoError(t, c.Delete(t.Context(), id))
	kinds, err := ask(id)
	require.NoError(t, err)
	require.Equal(t, []queue.EventKind{queue.Queued, queue.Removed}, kinds)
	for range c.Past(t.Context(), id) {
		break
	}
}

// S09: a submission that breaks off is not queued.
func TestS09_BrokenSubmission(t *testing.T) {
	q := &queue.Queue{Store: &queue.Memory{}, Deliverer: goniec.Discard()}
	c := serve(t, &control.Server{Queue: q, MaxMessageBytes: 100})
	broken := errors.New("broken pipe")
	for _, n := range []int{0, 1, 20, 5000} {
		_, err := c.Enqueue(t.Context(), envelope(t, "me@example.org", "a@x.example"),
			io.MultiReader(bytes.NewReader(make([]byte, min(n, 50))), reader{broken}), queue.Options{})
		require.ErrorIs(t, err, broken)
	}
	_, err := c.Enqueue(t.Context(), envelope(t, "me@example.org", "a@x.example"), bytes.NewReader(make([]byte, 100)), queue.Options{Hold: true})
	require.NoError(t, err, "at the limit")
	_, err = c.Enqueue(t.Context(), envelope(t, "me@example.org", "a@x.example"), bytes.NewReader(make([]byte, 101)), queue.Options{})
	var s *goniec.Status
	require.ErrorAs(t, err, &s)
	require.Equal(t, 552, s.Code)
	n := 0
	for range q.List(t.Context(), queue.Filter{}) {
		n++
	}
	require.Equal(t, 1, n)
}

type reader struct{ err error }

func (r reader) Read([]byte) (int, error) { return 0, r.err }

// panicking panics when it is asked for anything but Hold.
type panicking struct{ control.Hands }

func (panicking) Hold(context.Context, queue.ID) error { return nil }

func TestRequests(t *testing.T) {
	c := serve(t, &control.Server{Queue: panicking{}})
	require.NoError(t, c.Hold(t.Context(), "x"))
	require.ErrorContains(t, c.Release(t.Context(), "x"), "internal error")
	require.NoError(t, c.Hold(t.Context(), "x"), "the server lives")
	for in, want := range map[string]string{
		"{}\n":                  "unknown request",
		"{\"op\":\"rm -rf\"}\n": "unknown request",
		"junk\n":                "invalid character",
		"{\"op\":\"submit\",\"envelope\":\"AAAA\"}\n": "serialised envelope",
	} {
		conn, err := net.Dial("unix", c.Path)
		require.NoError(t, err)
		_, err = io.WriteString(conn, in)
		require.NoError(t, err)
		out, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Contains(t, string(out), want)
		require.NoError(t, conn.Close())
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	l, err := control.Listen(path)
	require.NoError(t, err)
	_, err = control.Listen(path)
	require.ErrorContains(t, err, "another process")
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	l, err = control.Listen(path)
	require.NoError(t, err, "a left-over is replaced")
	require.NoError(t, l.Close())
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = control.Listen(path)
	require.Error(t, err, "a file is not")
}

func TestShutdown(t *testing.T) {
	s := &control.Server{Queue: panicking{}}
	require.NoError(t, s.Shutdown(t.Context()), "before Serve too")
	path := filepath.Join(t.TempDir(), "control")
	l, err := control.Listen(path)
	require.NoError(t, err)
	require.ErrorIs(t, s.Serve(l), control.ErrServerClosed)

	s = &control.Server{Queue: panicking{}}
	l, err = control.Listen(path)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := net.Dial("unix", path) // says nothing
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, (&control.Client{Path: path}).Hold(t.Context(), "x"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	require.ErrorIs(t, <-done, control.ErrServerClosed)
}

func entries(es ...queue.Entry) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		for _, e := range es {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func TestListings(t *testing.T) {
	at := time.Date(2026, 11, 5, 10, 31, 0, 0, time.UTC)
	a := queue.Entry{ID: "K7Q200000000", Envelope: envelope(t, "ann@example.org", "bob@x.example", "eve@x.example"), Size: 1234, Since: at, Jobs: []queue.Job{
		{Dest: "x.example", Rcpts: []int{0, 1}, Reasons: []string{"mx2.x.example said 451 4.7.1 greylisted", "mx2.x.example said 451 4.7.1 greylisted"}, State: queue.StateDeferred, Attempts: 1, Due: at},
	}}
	b := queue.Entry{ID: "K7Q300000000", Envelope: envelope(t, "", "bob@y.example"), Size: 2000, Since: at, Jobs: []queue.Job{{Rcpts: []int{0}, State: queue.StateHold}}}
	c := queue.Entry{ID: "K7Q400000000", Since: at, Jobs: []queue.Job{{Rcpts: []int{0}, State: queue.StateCorrupt}}}
	var out bytes.Buffer
	require.NoError(t, control.WriteMailq(&out, entries(a, b, c), time.UTC))
	require.Equal(t, `-Queue ID-      --Size-- ----Arrival Time----     -Sender/Recipient-------
K7Q200000000        1234 Thu Nov  5 10:31:00 2026 ann@example.org
                                         (mx2.x.example said 451 4.7.1 greylisted)
                                         bob@x.example
                                         eve@x.example

K7Q300000000!       2000 Thu Nov  5 10:31:00 2026 MAILER-DAEMON
                                         bob@y.example

K7Q400000000#          0 Thu Nov  5 10:31:00 2026 (unreadable)

-- 4 Kbytes in 3 Requests.
`, out.String())
	out.Reset()
	require.NoError(t, control.WriteMailq(&out, entries(), nil))
	require.Equal(t, "Mail queue is empty\n", out.String())
	out.Reset()
	require.NoError(t, control.WriteJSON(&out, entries(a, b)))
	lines := slices.Collect(strings.Lines(out.String()))
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], `"queue_name":"deferred","queue_id":"K7Q200000000","arrival_time":1793874660,"message_size":1234,"sender":"ann@example.org"`)
	require.Contains(t, lines[0], `{"address":"eve@x.example","delay_reason":"mx2.x.example said 451 4.7.1 greylisted","destination":"x.example","attempts":1`)
}
