package crlf

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// randomReader cuts its stream as the octets of cuts say.
type randomReader struct {
	r    io.Reader
	cuts []byte
	i    int
}

func (c *randomReader) Read(p []byte) (int, error) {
	n := len(p)
	if len(c.cuts) > 0 {
		n = min(n, 1+int(c.cuts[c.i%len(c.cuts)]))
		c.i++
	}
	return c.r.Read(p[:n])
}

// readSizes reads r to its end in reads as the octets of sizes say.
func readSizes(r io.Reader, sizes []byte) ([]byte, error) {
	var got []byte
	for i := 0; ; i++ {
		n := 512
		if len(sizes) > 0 {
			n = 1 + int(sizes[i%len(sizes)])
		}
		p := make([]byte, n)
		n, err := r.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return got, err
		}
	}
}

func seedTexts(f *testing.F) {
	for _, s := range []string{
		"", ".\r\n", "a\r\n.\r\n", "..\r\n.\r\nQUIT\r\n", "a\n.\nb\r\n.\r\n", "\r\r\n.\r\r\n.\r\n", strings.Repeat("x\r\n", 600) + ".\r\n",
		strings.Repeat("y", 3000) + "\r\n.\r\n", "\x00\r\n.\xff\r\n.\r\n",
	} {
		f.Add([]byte(s), []byte{0}, []byte{3, 200})
		f.Add([]byte(s), []byte{}, []byte{})
	}
}

// FuzzDotReader: however the stream arrives and is read, the message is what the oracle says, under both policies. S01.
func FuzzDotReader(f *testing.F) {
	seedTexts(f)
	f.Fuzz(func(t *testing.T, raw, cuts, sizes []byte) {
		for _, bare := range []Bare{Reject, Normalise} {
			want := oracle(string(raw), bare)
			r := NewReader(&randomReader{r: bytes.NewReader(raw), cuts: cuts})
			d := NewDotReader(r, TextOptions{Bare: bare})
			got, err := readSizes(d, sizes)
			require.Equal(t, want.err, err)
			if err == nil {
				require.Equal(t, want.content, string(got))
				require.EqualValues(t, len(got), d.Stats().Octets)
				require.Equal(t, longestLine(got), d.Stats().LongestLine)
			}
			if err == io.ErrUnexpectedEOF {
				continue
			}
			rest, err := readSizes(r, sizes)
			require.NoError(t, err)
			require.Equal(t, want.rest, string(rest))
		}
	})
}

func longestLine(text []byte) int {
	longest := 0
	for _, line := range strings.Split(string(text), "\r\n") {
		longest = max(longest, len(line))
	}
	return longest
}

// FuzzRoundTrip: what a DotWriter sends, in any pieces, a DotReader gives back, and a TextReader agrees.
func FuzzRoundTrip(f *testing.F) {
	seedTexts(f)
	f.Fuzz(func(t *testing.T, text, cuts, sizes []byte) {
		want := normalise(string(text))
		var wire bytes.Buffer
		w := NewDotWriter(&wire, Normalise)
		_, err := io.Copy(struct{ io.Writer }{w}, &randomReader{r: bytes.NewReader(text), cuts: cuts})
		require.NoError(t, err)
		require.NoError(t, w.Close())
		end := strings.Index("\r\n"+wire.String(), "\r\n.\r\n")
		require.Equal(t, wire.Len()-3, end, "ends at its end and nowhere else")

		got, err := readSizes(NewDotReader(NewReader(&wire), TextOptions{MaxLine: longestLine([]byte(want))}), sizes)
		require.NoError(t, err)
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			require.Equal(t, want+"\r\n", string(got))
		} else {
			require.Equal(t, want, string(got))
		}

		tr := NewTextReader(&randomReader{r: bytes.NewReader(text), cuts: cuts}, TextOptions{Bare: Normalise})
		got, err = readSizes(tr, sizes)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		require.Equal(t, longestLine(got), tr.Stats().LongestLine)
		tr.Reset(&randomReader{r: bytes.NewReader(text), cuts: cuts}, TextOptions{})
		got, err = readSizes(tr, sizes)
		require.Equal(t, want == string(text), err == nil)
		if err == nil {
			require.Equal(t, want, string(got))
		}
	})
}

// FuzzReadLine: lines do not depend on how the stream arrives, and together are the stream. S05, S10.
func FuzzReadLine(f *testing.F) {
	seedTexts(f)
	f.Fuzz(func(t *testing.T, raw, cuts, _ []byte) {
		const max = 1500
		whole := strings.Split(string(raw), "\r\n")
		r := NewReader(&randomReader{r: bytes.NewReader(raw), cuts: cuts})
		r.MaxSkip = -1
		for _, want := range whole[:len(whole)-1] {
			got, err := r.ReadLine(max)
			if len(want) > max {
				require.Equal(t, ErrLineTooLong, err)
				require.True(t, strings.HasPrefix(want, string(got)))
				continue
			}
			require.Equal(t, want, string(got))
			require.Equal(t, strings.ContainsAny(want, "\r\n\x00"), err != nil)
		}
		_, err := r.ReadLine(max)
		if whole[len(whole)-1] == "" {
			require.Equal(t, io.EOF, err)
		} else {
			require.Equal(t, io.ErrUnexpectedEOF, err)
		}
	})
}
