package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// note is a queue that notes what it is asked.
type note struct{ b bytes.Buffer }

func (n *note) say(format string, args ...any) error {
	fmt.Fprintf(&n.b, format+"\n", args...)
	return nil
}

func (n *note) List(_ context.Context, f queue.Filter) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		_ = n.say("list %+v", f)
		yield(queue.Entry{ID: "one"}, nil)
	}
}

func (n *note) Show(_ context.Context, id queue.ID) (queue.Entry, error) {
	return queue.Entry{ID: id, Envelope: &goniec.Envelope{ID: string(id)}}, n.say("show %q", id)
}

func (n *note) Cat(_ context.Context, id queue.ID, w io.Writer) error {
	_, err := io.WriteString(w, "body of "+string(id))
	return err
}

func (n *note) Past(_ context.Context, id queue.ID) iter.Seq2[queue.Event, error] {
	return func(yield func(queue.Event, error) bool) {
		_ = n.say("past %q", id)
		yield(queue.Event{ID: id}, nil)
	}
}
func (n *note) Hold(_ context.Context, id queue.ID) error      { return n.say("hold %q", id) }
func (n *note) Release(_ context.Context, id queue.ID) error   { return n.say("release %q", id) }
func (n *note) Flush(_ context.Context, id queue.ID) error     { return n.say("flush %q", id) }
func (n *note) FlushDest(_ context.Context, dest string) error { return n.say("flush-dest %q", dest) }
func (n *note) Delete(_ context.Context, id queue.ID) error    { return n.say("delete %q", id) }
func (n *note) Expire(_ context.Context, id queue.ID) error    { return n.say("expire %q", id) }
func (n *note) Requeue(_ context.Context, id queue.ID) error   { return n.say("requeue %q", id) }

func (n *note) Enqueue(_ context.Context, env *goniec.Envelope, msg io.Reader, o queue.Options) (queue.ID, error) {
	text, err := io.ReadAll(msg)
	env = env.Clone()
	env.Received = env.Received.Truncate(1 << 62) // differs from call to call
	_ = n.say("enqueue %d recipients %q %q %v: %v", len(env.To), text, o.Key, o.Hold, err)
	return "new", err
}

// answer gives a request to a server and returns its answer and what it did.
func answer(in io.Reader) (out, did string) {
	n := &note{}
	s := &Server{Queue: n, ctx: context.Background()}
	var buf bytes.Buffer
	w := bufio.NewWriter(&buf)
	err := func() error {
		r := bufio.NewReader(in)
		line, err := readLine(r, maxRequest)
		if err != nil {
			return err
		}
		var req request
		if err := json.Unmarshal(line, &req); err != nil {
			return err
		}
		return s.do(7, &req, r, w)
	}()
	_ = w.Flush()
	return fmt.Sprint(buf.String(), err), n.b.String()
}

// FuzzRequest: whatever a client sends makes no panic, and means the same however it is chopped. A message is taken only when
// its last frame came.
func FuzzRequest(f *testing.F) {
	env := goniec.AppendEnvelope(nil, &goniec.Envelope{ID: "x", To: []goniec.Recipient{{Address: goniec.MustAddress("a@b.example")}}})
	for _, r := range []request{
		{Op: "list", Filter: &queue.Filter{Dest: "x", State: []queue.State{queue.StateHold}}},
		{Op: "show", ID: "ABC"},
		{Op: "cat", ID: "ABC"},
		{Op: "hold"},
		{Op: "flush-dest", Dest: "x.example"},
		{Op: "past", ID: "one"},
		{Op: "other"},
		{Op: "submit", Envelope: env},
	} {
		var b bytes.Buffer
		if err := writeLine(&b, r); err != nil {
			f.Fatal(err)
		}
		fw := frameWriter{&b}
		_, _ = fw.Write([]byte("Subject: x\r\n\r\n"))
		_ = fw.end()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, did := answer(bytes.NewReader(data))
		chopped, choppedDid := answer(iotest.OneByteReader(bytes.NewReader(data)))
		require.Equal(t, out, chopped)
		require.Equal(t, did, choppedDid)
	})
}

// FuzzFrames: what is written in any pieces is read back in any pieces; a message cut anywhere is an error; and frames of a
// stranger give at most what they hold.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("some message"), uint16(5), uint16(3))
	f.Add([]byte{0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0}, uint16(1), uint16(100))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, piece, cut uint16) {
		var b bytes.Buffer
		w := frameWriter{&b}
		for rest := data; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			m, err := w.Write(rest[:n])
			require.NoError(t, err)
			require.Equal(t, n, m)
			rest = rest[n:]
		}
		require.NoError(t, w.end())
		wire := b.Bytes()
		got, err := io.ReadAll(&frameReader{r: iotest.HalfReader(bytes.NewReader(wire))})
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
		_, err = io.ReadAll(&frameReader{r: bytes.NewReader(wire[:int(cut)%len(wire)])})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)

		foreign, _ := io.ReadAll(&frameReader{r: bytes.NewReader(data)})
		require.LessOrEqual(t, len(foreign), max(len(data)-4, 0))
	})
}

// FuzzResponse: what a client understands of an answer it would say again.
func FuzzResponse(f *testing.F) {
	for _, r := range []response{
		fromEntry(queue.Entry{ID: "x", Envelope: &goniec.Envelope{ID: "x"}, Jobs: []queue.Job{{Dest: "d", Reasons: []string{"451"}}}}),
		{Error: toWire(queue.ErrNotFound)},
		{Error: toWire(goniec.NewStatus(452, goniec.EnhancedCode{4, 3, 1}, "full"))},
		{Data: []byte("x"), Done: true},
	} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r response
		if json.Unmarshal(data, &r) != nil {
			return
		}
		if r.Error != nil {
			err := r.Error.err()
			require.NotEmpty(t, fmt.Sprintf("%T", err))
			require.Equal(t, err.Error(), toWire(err).err().Error())
		}
		if r.Entry == nil {
			return
		}
		e, err := r.toEntry()
		if err != nil {
			return
		}
		again := fromEntry(e)
		back, err := again.toEntry()
		require.NoError(t, err)
		require.Equal(t, e.ID, back.ID)
		require.Equal(t, e.Jobs, back.Jobs)
		require.Equal(t, e.Envelope != nil, back.Envelope != nil)
	})
}
