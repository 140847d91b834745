package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

func testEnvelope(t testing.TB, to ...string) *goniec.Envelope {
	t.Helper()
	env := &goniec.Envelope{ID: goniec.NewID()}
	env.From, _ = goniec.ParseAddress("sender@example.org")
	for _, a := range to {
		addr, err := goniec.ParseAddress(a)
		require.NoError(t, err)
		env.To = append(env.To, goniec.Recipient{Address: addr})
	}
	return env
}

func testMessage(t testing.TB, body string, to ...string) Message {
	env := testEnvelope(t, to...)
	dests := make([]string, len(to))
	for i := range to {
		dests[i] = env.To[i].Address.Domain()
	}
	return Message{Envelope: env, Groups: GroupBy(dests, 100), Body: strings.NewReader(body)}
}

func TestFileSmoke(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := context.Background()
	s, err := OpenFiles(dir, FileOptions{SegmentSize: 8 << 10, InlineBody: 500})
	require.NoError(t, err)
	var ids []ID
	for i := range 200 {
		body := fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", i, strings.Repeat("x", i*5))
		id, err := s.Put(ctx, testMessage(t, body, "a@x.example", "b@y.example"))
		require.NoError(t, err)
		ids = append(ids, id)
	}
	for i := 0; i < 200; i += 2 {
		ls, err := s.Claim(ctx, ClaimRequest{ID: ids[i], Max: 10})
		require.NoError(t, err)
		require.Len(t, ls, 2)
		for _, l := range ls {
			require.NoError(t, s.Settle(ctx, l, Settlement{Attempted: true}))
		}
	}
	ls, err := s.Claim(ctx, ClaimRequest{Dest: "x.example", Max: 1000, Now: time.Now()})
	require.NoError(t, err)
	require.Len(t, ls, 100)
	for _, l := range ls {
		require.NoError(t, s.Settle(ctx, l, Settlement{Attempted: true, Open: []int{0}, Reasons: []string{"451 no"}, Due: time.Now().Add(time.Hour)}))
	}
	for range 2 {
		n := 0
		for e, err := range s.Entries(ctx, Filter{}) {
			require.NoError(t, err)
			require.Len(t, e.Jobs, 2)
			require.Equal(t, "451 no", e.Jobs[0].Reasons[0])
			b, err := s.Open(ctx, e.ID)
			require.NoError(t, err)
			data, err := io.ReadAll(goniec.NewReader(b))
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(data, []byte("Subject: ")))
			require.NoError(t, b.Close())
			n++
		}
		require.Equal(t, 100, n)
		require.NoError(t, s.Close())
		s, err = OpenFiles(dir, FileOptions{SegmentSize: 8 << 10, InlineBody: 500})
		require.NoError(t, err)
	}
	_, err = OpenFiles(dir, FileOptions{Control: "x"})
	var owned *OwnedError
	require.ErrorAs(t, err, &owned)
	require.NoError(t, s.Close())
	_ = faultfs.OS{}
}
