package queue

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// "" is no message: a program that has lost an ID does nothing to the others.
func TestNoID(t *testing.T) {
	files, err := OpenFiles("/queue", FileOptions{FS: faultfs.NewCrash(1)})
	require.NoError(t, err)
	defer files.Close()
	for _, store := range []Store{&Memory{}, files} {
		q := &Queue{Store: store}
		id, err := q.Enqueue(t.Context(), testEnvelope(t, "bob@x.example"), strings.NewReader("x"), Options{})
		require.NoError(t, err)
		ctx := t.Context()
		for _, no := range []ID{"", "?", "000000000000"} {
			_, err = q.Show(ctx, no)
			require.ErrorIs(t, err, ErrNotFound, "show %T %q", store, no)
			require.ErrorIs(t, q.Flush(ctx, no), ErrNotFound, "flush %T %q", store, no)
			require.ErrorIs(t, q.Requeue(ctx, no), ErrNotFound, "%q", no)
			require.ErrorIs(t, q.Hold(ctx, no), ErrNotFound, "%q", no)
			require.ErrorIs(t, q.Release(ctx, no), ErrNotFound, "%q", no)
			require.ErrorIs(t, q.Expire(ctx, no), ErrNotFound, "%q", no)
			require.ErrorIs(t, q.Delete(ctx, no), ErrNotFound, "%q", no)
			require.ErrorIs(t, q.Cat(ctx, no, &bytes.Buffer{}), ErrNotFound, "%q", no)
		}
		e, err := q.Show(ctx, id)
		require.NoError(t, err)
		require.Len(t, e.Jobs, 1)
		require.Equal(t, StateIncoming, e.Jobs[0].State)
	}
}

// What Repeated says is of this Enqueue, also when it fails before the Store is asked.
func TestRepeatedIsOfThisCall(t *testing.T) {
	q := &Queue{Store: &Memory{}}
	repeated := false
	o := Options{Key: "a", Repeated: &repeated}
	for _, want := range []bool{false, true} {
		_, err := q.Enqueue(t.Context(), testEnvelope(t, "bob@x.example"), strings.NewReader("x"), o)
		require.NoError(t, err)
		require.Equal(t, want, repeated)
	}
	_, err := q.Enqueue(t.Context(), testEnvelope(t), strings.NewReader("x"), o)
	require.Error(t, err)
	require.False(t, repeated, "no recipients")
	repeated = true
	require.NoError(t, q.Close())
	_, err = q.Enqueue(t.Context(), testEnvelope(t, "bob@x.example"), strings.NewReader("x"), o)
	require.ErrorIs(t, err, ErrClosed)
	require.False(t, repeated, "closed")
}
