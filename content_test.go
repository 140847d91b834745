package goniec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

func TestSpool(t *testing.T) {
	ctx := context.Background()
	for _, size := range []int{0, 1, 99, 100, 101, 5000} {
		want := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		s := &goniec.Spooler{Memory: 100, Dir: t.TempDir()}
		c, err := s.Spool(ctx, iotest.HalfReader(bytes.NewReader(want)), int64(size)+1)
		require.NoError(t, err)
		require.EqualValues(t, size, c.Size())
		got, err := io.ReadAll(goniec.NewReader(c))
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, iotest.TestReader(goniec.NewReader(c), want))
		require.NoError(t, c.Close())
		left, err := os.ReadDir(s.Dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestSpoolLimit(t *testing.T) {
	ctx := context.Background()
	for _, memory := range []int{-1, 4, 1000} {
		dir := t.TempDir()
		s := &goniec.Spooler{Memory: memory, Dir: dir}
		c, err := s.Spool(ctx, strings.NewReader("0123456789"), 10)
		require.NoError(t, err, "at the limit")
		c.Close()
		_, err = s.Spool(ctx, strings.NewReader("0123456789X"), 10)
		require.ErrorIs(t, err, goniec.ErrTooLarge)
		c, err = s.Spool(ctx, strings.NewReader("0123456789X"), -1)
		require.NoError(t, err)
		c.Close()
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, "nothing is left behind")
	}
}

func TestSpoolFails(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	boom := errors.New("boom")
	_, err := goniec.Spool(ctx, iotest.ErrReader(boom), 0)
	require.ErrorIs(t, err, boom)
	_, err = (&goniec.Spooler{Memory: -1, Dir: "/nonexistent"}).Spool(ctx, strings.NewReader("x"), 0)
	require.ErrorIs(t, err, os.ErrNotExist)
	cancel(boom)
	_, err = goniec.Spool(ctx, strings.NewReader("x"), 0)
	require.ErrorIs(t, err, boom)
}

func TestPrepend(t *testing.T) {
	const fields, body = "A: 1\r\n", "B: 2\r\n\r\ntext\r\n"
	r := goniec.Prepend(fields, strings.NewReader(body))
	c, ok := goniec.AsContent(r)
	require.True(t, ok)
	require.EqualValues(t, len(fields)+len(body), c.Size())
	require.NoError(t, iotest.TestReader(r, []byte(fields+body)))
	for off := range len(fields) + len(body) {
		for n := range 12 {
			p := make([]byte, n)
			m, err := c.ReadAt(p, int64(off))
			require.Equal(t, (fields + body)[off:off+m], string(p[:m]))
			require.True(t, m == n || err == io.EOF)
		}
	}
	_, err := c.ReadAt(make([]byte, 1), -1)
	require.Error(t, err)

	r = goniec.Prepend(fields, iotest.OneByteReader(strings.NewReader(body)))
	_, ok = goniec.AsContent(r)
	require.False(t, ok)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, fields+body, string(got))
}

func ExampleSpool() {
	c, err := goniec.Spool(context.Background(), io.LimitReader(strings.NewReader("Subject: hi\r\n\r\n"), 100), 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	all, err := io.ReadAll(goniec.Prepend("X-Seen: yes\r\n", goniec.NewReader(c)))
	fmt.Printf("%q %v\n", all, err)
	// Output:
	// "X-Seen: yes\r\nSubject: hi\r\n\r\n" <nil>
}

// A message that was closed is an error to read, never an empty message.
func TestSpooledAfterClose(t *testing.T) {
	for _, size := range []int{0, 10, goniec.DefaultSpoolMemory + 1} {
		s, err := goniec.Spool(t.Context(), strings.NewReader(strings.Repeat("x", size)), 0)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "more than once")
		n, err := io.Copy(io.Discard, goniec.NewReader(s))
		require.Zero(t, n)
		if size > 0 {
			require.ErrorIs(t, err, os.ErrClosed, size)
		}
		_, err = s.ReadAt(make([]byte, 1), 0)
		require.ErrorIs(t, err, os.ErrClosed, size)
	}
}
