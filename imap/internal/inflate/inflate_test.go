package inflate

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func deflate(t testing.TB, data []byte, level int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func samples() [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	return [][]byte{
		nil, []byte("a"), []byte("a1 NOOP\r\n"), bytes.Repeat([]byte("abc"), 50000), make([]byte, 200000), noise,
		[]byte(strings.Repeat("the quick brown fox ", 40) + strings.Repeat("jumps over ", 4000)),
	}
}

// What compress/flate writes is read back, however it comes.
func TestRoundTrip(t *testing.T) {
	for _, data := range samples() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			packed := deflate(t, data, level)
			got, err := io.ReadAll(NewReader(bytes.NewReader(packed)))
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			got, err = io.ReadAll(iotest.OneByteReader(NewReader(iotest.OneByteReader(bytes.NewReader(packed)))))
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
		}
	}
}

// Each octet is handed out as soon as the received ones determine it. The streams were made by zlib with
// Z_PARTIAL_FLUSH, whose last block ends within an octet.
func TestPartialFlush(t *testing.T) {
	// zlib.compressobj(wbits=-15): compress(b"a1 NOOP\r\n") + flush(Z_PARTIAL_FLUSH), then the same for "a2 NOOP\r\n".
	for _, part := range partialFlushed(t) {
		pr, pw := io.Pipe()
		r := NewReader(pr)
		go func() {
			for _, p := range part.packed {
				_, _ = pw.Write(p)
			}
		}()
		for _, want := range part.plain {
			got := make([]byte, len(want))
			_, err := io.ReadFull(r, got)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		}
		require.NoError(t, pw.Close())
	}
}

type flushed struct {
	packed [][]byte
	plain  []string
}

func partialFlushed(t *testing.T) []flushed {
	un := func(s string) []byte {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		return b
	}
	return []flushed{
		{[][]byte{un("4a3454f0f3f70fe0e50208"), un("a04423280320"), un("80128d15825d7d5c9d43143cfd9cfc2378b90002")}, []string{"a1 NOOP\r\n", "a2 NOOP\r\n", "a3 SELECT INBOX\r\n"}},
		{[][]byte{un("4a345408f5745170730d71f65030b4d252d070f371740fd6e4e54a1c951941320001"), un("54c1cb0510")}, []string{"a1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\na1 UID FETCH 1:* (FLAGS)\r\n", "x\r\n"}},
	}
}

// Hostile streams end in an error, and memory is the Reader's own.
func TestCorrupt(t *testing.T) {
	for _, s := range []string{
		"07",                           // block type 3
		"00ffff0000",                   // lengths do not match
		"4b4c04",                       // ends early
		"030200",                       // a match before the beginning
		"edffff",                       // counts beyond the limits
		"05c08109000000006090ff9b5ac0", // incomplete
		"",
	} {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		_, err = io.ReadAll(NewReader(bytes.NewReader(b)))
		require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF), "%s: %v", s, err)
	}
}

// Whatever compress/flate says of a stream, we say too.
func FuzzAgainstFlate(f *testing.F) {
	for _, data := range samples() {
		if len(data) < 5000 {
			f.Add(deflate(f, data, 6))
			f.Add(deflate(f, data, 1))
			f.Add(deflate(f, data, 0))
		}
	}
	f.Add([]byte{7})
	f.Fuzz(func(t *testing.T, packed []byte) {
		limit := int64(1 << 20)
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), limit))
		got, gotErr := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(packed)), limit))
		if wantErr == nil {
			require.NoError(t, gotErr)
			require.True(t, bytes.Equal(want, got))
			return
		}
		require.Error(t, gotErr)
		require.True(t, bytes.HasPrefix(got, want) || bytes.HasPrefix(want, got))
		chopped, _ := io.ReadAll(io.LimitReader(NewReader(iotest.OneByteReader(bytes.NewReader(packed))), limit))
		require.True(t, bytes.Equal(got, chopped))
	})
}

func BenchmarkInflate(b *testing.B) {
	data := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog\r\n", 20000))
	packed := deflate(b, data, 6)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := io.Copy(io.Discard, NewReader(bytes.NewReader(packed))); err != nil || n != int64(len(data)) {
			b.Fatal(n, err)
		}
	}
}
