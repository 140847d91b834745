package crlf

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

const injected = "MAIL FROM:<x>\r\nRCPT TO:<y>\r\nDATA\r\n"

// TestS02_Smuggling: the published ends of data that are none. What follows them stays text and never becomes commands.
func TestS02_Smuggling(t *testing.T) {
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\r\n.\r\r\n", "\r\n.\r\r\n",
		"\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\x00\n", "\r\x00\n.\r\n",
	} {
		raw := "Subject: a\r\n\r\nbody" + end + injected + "\r\n.\r\nQUIT\r\n"
		for cut := range len(raw) {
			r := NewReader(&cutReader{s: raw, cut: cut})
			d := NewDotReader(r, TextOptions{})
			got, err := io.ReadAll(d)
			if strings.Contains(end, "\x00") && !strings.Contains(end, "\r\x00") {
				require.NoError(t, err) // a NUL is an octet like others, and reported
				require.Contains(t, string(got), injected)
				require.True(t, d.Stats().NUL)
			} else {
				require.Contains(t, []error{ErrBareCR, ErrBareLF}, err, "%q", end)
				require.Equal(t, err, d.Err())
			}
			line, err := r.ReadLine(100)
			require.NoError(t, err)
			require.Equal(t, "QUIT", string(line), "%q cut at %d", end, cut)

			r.Reset(&cutReader{s: raw, cut: cut})
			got, err = io.ReadAll(NewDotReader(r, TextOptions{Bare: Normalise}))
			require.NoError(t, err)
			require.NotContains(t, strings.ReplaceAll(string(got), "\r\n", ""), "\r")
			require.NotContains(t, strings.ReplaceAll(string(got), "\r\n", ""), "\n")
			require.Contains(t, string(got), injected)
		}
	}
}

// TestS03_Relayed: a message taken under Normalise goes out again with every dot doubled and no bare CR or LF.
func TestS03_Relayed(t *testing.T) {
	each(smuggling, 5, func(s string) {
		d := NewDotReader(NewReader(strings.NewReader("x"+s+"\r\n.\r\n")), TextOptions{Bare: Normalise})
		var wire bytes.Buffer
		w := NewDotWriter(&wire, Reject)
		if _, err := d.WriteTo(w); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		end := strings.Index(wire.String(), "\r\n.\r\n")
		if end != wire.Len()-5 {
			t.Fatalf("%q: ends early: %q", s, wire.String())
		}
	})
}

// TestS09_UnexpectedEOF: a message cut at any octet is not a message.
func TestS09_UnexpectedEOF(t *testing.T) {
	const raw = "a\r\n..b\r\n\r\n.\r\n"
	for n := range len(raw) {
		d := NewDotReader(NewReader(strings.NewReader(raw[:n])), TextOptions{})
		_, err := io.ReadAll(d)
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.Equal(t, err, d.Err())
		require.False(t, d.Ended())
		d.Reset(NewReader(strings.NewReader(raw[:n])), TextOptions{})
		require.Equal(t, io.ErrUnexpectedEOF, d.Drain(0))
	}
}

// TestS11_LongLine: 1 MiB without CRLF passes octet for octet; a limit is kept to the octet, and the line never split.
func TestS11_LongLine(t *testing.T) {
	line := strings.Repeat("x", 1<<20) + "\r\n"
	r := NewReader(strings.NewReader(line + ".\r\n"))
	d := NewDotReader(r, TextOptions{})
	got, err := io.ReadAll(d)
	require.NoError(t, err)
	require.Equal(t, line, string(got))
	require.Equal(t, Stats{Octets: 1<<20 + 2, LongestLine: 1 << 20}, d.Stats())
	require.Len(t, r.buf, bulkBuffer)

	for _, limit := range []int{1, 7, 8, 998, 2048} {
		for _, n := range []int{limit, limit + 1} {
			for _, before := range []string{"", "..", "a\r\n..", "\r\n"} { // stuffed dots do not count
				raw := before + strings.Repeat("x", n-strings.Count(before, "..")) + "\r\nz\r\n"
				for _, chop := range []int{1, 7, 1 << 20} {
					r := NewReader(&chopReader{strings.NewReader(raw + ".\r\nQUIT\r\n"), chop})
					d := NewDotReader(r, TextOptions{MaxLine: limit})
					_, err := io.ReadAll(d)
					checkLineLimit(t, n > limit, err, d.Stats(), n)
					next, err := r.ReadLine(10)
					require.NoError(t, err)
					require.Equal(t, "QUIT", string(next))

					tr := NewTextReader(&chopReader{strings.NewReader(strings.ReplaceAll(raw, "..", ".")), chop}, TextOptions{MaxLine: limit})
					_, err = io.ReadAll(tr)
					checkLineLimit(t, n > limit, err, tr.Stats(), n)
				}
			}
		}
	}
}

func checkLineLimit(t *testing.T, over bool, err error, s Stats, n int) {
	t.Helper()
	if over {
		require.Equal(t, ErrLineTooLong, err)
		return
	}
	require.NoError(t, err)
	require.Equal(t, n, s.LongestLine)
}

// TestS12_TooLarge: at the limit and one more; then the rest is drained to the true end, within a limit.
func TestS12_TooLarge(t *testing.T) {
	body := strings.Repeat("..line\r\n", 20000)
	size := int64(len(body) - 20000)
	for _, limit := range []int64{0, size + 1, size} {
		d := NewDotReader(NewReader(strings.NewReader(body+".\r\n")), TextOptions{MaxBytes: limit})
		n, err := io.Copy(io.Discard, d)
		require.NoError(t, err)
		require.Equal(t, size, n)
	}
	for _, limit := range []int64{1, 1000, size - 1} {
		r := NewReader(strings.NewReader(body + ".\r\nQUIT\r\n"))
		d := NewDotReader(r, TextOptions{MaxBytes: limit})
		n, err := io.Copy(io.Discard, d)
		require.Equal(t, ErrTooLarge, err)
		require.LessOrEqual(t, n, limit)
		require.NoError(t, d.Drain(0))
		require.Equal(t, ErrTooLarge, d.Err())
		require.Equal(t, size, d.Stats().Octets)
		line, err := r.ReadLine(10)
		require.NoError(t, err)
		require.Equal(t, "QUIT", string(line))
		_, err = d.Read(make([]byte, 1))
		require.Equal(t, ErrTooLarge, err, "the error stays")
	}
	// A rejected message counts too: it cannot go on for ever.
	d := NewDotReader(NewReader(io.MultiReader(strings.NewReader("a\nb"), new(endless))), TextOptions{MaxBytes: 1 << 20})
	_, err := io.Copy(io.Discard, d)
	require.Equal(t, ErrTooLarge, err)

	tr := NewTextReader(strings.NewReader("12345"), TextOptions{MaxBytes: 5})
	_, err = io.ReadAll(tr)
	require.NoError(t, err)
	tr.Reset(strings.NewReader("123456"), TextOptions{MaxBytes: 5})
	_, err = io.ReadAll(tr)
	require.Equal(t, ErrTooLarge, err)
}

func TestDrain(t *testing.T) {
	// Without an end: the limit holds, within one buffer.
	src := new(endless)
	d := NewDotReader(NewReader(src), TextOptions{})
	require.Equal(t, ErrDrainLimit, d.Drain(1<<20))
	require.InDelta(t, 1<<20, src.n, 2*bulkBuffer)
	require.False(t, d.Ended())
	require.False(t, ErrDrainLimit.InStep())
	// At the limit and one less, counted in raw octets before the end itself.
	for limit, want := range map[int64]error{4: ErrDrainLimit, 5: nil, -1: nil} {
		d := NewDotReader(NewReader(iotest.OneByteReader(strings.NewReader("abc\r\n.\r\nx"))), TextOptions{})
		require.Equal(t, want, d.Drain(limit))
		require.Equal(t, want == nil, d.Ended())
	}
	// A fault is noticed while draining, also when part was read before.
	d = NewDotReader(NewReader(strings.NewReader("abc\r\nd\ne\r\n.\r\n")), TextOptions{})
	require.NoError(t, d.Drain(0))
	require.Equal(t, ErrBareLF, d.Err())
	_, err := d.Read(make([]byte, 9))
	require.Equal(t, ErrBareLF, err)
	// After a whole message there is nothing to drain.
	d = NewDotReader(NewReader(strings.NewReader("abc\r\n.\r\nQUIT\r\n")), TextOptions{})
	_, err = io.ReadAll(d)
	require.NoError(t, err)
	require.NoError(t, d.Drain(0))
	require.NoError(t, d.Err())
}

func TestStats(t *testing.T) {
	for body, want := range map[string]Stats{
		"":                                       {},
		"a\r\n":                                  {Octets: 3, LongestLine: 1},
		".a\r\nbc\r\n":                           {Octets: 8, LongestLine: 2},
		strings.Repeat("x", 40) + "ż\r\n":        {Octets: 44, LongestLine: 42, EightBit: true},
		"ż" + strings.Repeat("x\r\n", 40):        {Octets: 122, LongestLine: 3, EightBit: true},
		strings.Repeat("x\r\n", 11) + "\x00\r\n": {Octets: 36, LongestLine: 1, NUL: true},
	} {
		d := NewDotReader(NewReader(strings.NewReader(stuffed(body))), TextOptions{})
		got, err := io.ReadAll(d)
		require.NoError(t, err)
		require.Equal(t, body, string(got))
		require.Equal(t, want, d.Stats())
		tr := NewTextReader(strings.NewReader(body), TextOptions{})
		_, err = io.ReadAll(tr)
		require.NoError(t, err)
		require.Equal(t, want, tr.Stats())
	}
	d := NewDotReader(NewReader(strings.NewReader("a\rb\ncd\r\n.\r\n")), TextOptions{Bare: Normalise})
	_, err := io.ReadAll(d)
	require.NoError(t, err)
	require.Equal(t, Stats{Octets: 10, LongestLine: 2, BareCR: true, BareLF: true}, d.Stats())
}

// TestLongestOfShortLines: several lines lie within 8 octets.
func TestLongestOfShortLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var tr TextReader
	for range 50000 {
		var b []byte
		for longest := 1 + rng.IntN(8); len(b) < 24; {
			b = append(append(b, "abcdefgh"[:rng.IntN(longest)]...), newline...)
		}
		tr.Reset(bytes.NewReader(b), TextOptions{})
		if _, err := io.Copy(sink{}, &tr); err != nil || tr.Stats().LongestLine != longestLine(b) {
			t.Fatalf("%q: %+v, %v", b, tr.Stats(), err)
		}
	}
}

// TestEightBitAtEveryPlace and TestIndexEOL check what works on 8 octets at a time against the plain way.
func TestEightBitAtEveryPlace(t *testing.T) {
	for n := range 80 {
		b := bytes.Repeat([]byte{127}, n)
		require.False(t, eightBit(b))
		for i := range b {
			b[i] = 128
			require.True(t, eightBit(b))
			b[i] = 127
		}
	}
}

func TestIndexEOL(t *testing.T) {
	octets := []byte{'\r', '\n', 0, '\r' ^ 0x80, '\n' ^ 0x80, '\r' + 1, '\n' - 1, '\n' + 1, 255, 'a'}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			if b[i] = 'x'; rng.IntN(3) == 0 {
				b[i] = octets[rng.IntN(len(octets))]
			}
		}
		if got, want := indexEOL(b), bytes.IndexAny(b, "\r\n"); got != want {
			t.Fatalf("%q: %d, want %d", b, got, want)
		}
	}
}

// failing is a destination that breaks after n octets.
type failing struct{ n int }

var errBroken = errors.New("broken pipe")

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.n {
		n := f.n
		f.n = 0
		return n, errBroken
	}
	f.n -= len(p)
	return len(p), nil
}

// short writes less than it is given, without an error.
type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) / 2, nil }

func TestWriteErrors(t *testing.T) {
	const body = ".a\r\nb\nc\rd"
	whole, _ := oracleStuff(body, Normalise)
	for n := range len(whole) {
		w := NewDotWriter(&failing{n}, Normalise)
		_, err := io.WriteString(w, body)
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		require.Equal(t, errBroken, err, "after %d of %d", n, len(whole))
	}
	w := NewDotWriter(short{}, Reject)
	_, err := io.WriteString(w, "abc")
	require.Equal(t, io.ErrShortWrite, err)
	b := NewWriter(short{})
	_, _ = b.WriteString("abc")
	require.Equal(t, io.ErrShortWrite, b.Flush())
	_, err = b.Write([]byte("x"))
	require.Equal(t, io.ErrShortWrite, err, "sticky")
	b.Reset(sink{})
	require.NoError(t, b.Flush())

	d := NewDotReader(NewReader(strings.NewReader("abc\r\n.\r\n")), TextOptions{})
	_, err = d.WriteTo(&failing{1})
	require.Equal(t, errBroken, err)
	d.Reset(NewReader(strings.NewReader("abc\r\n.\r\n")), TextOptions{})
	_, err = d.WriteTo(short{})
	require.Equal(t, io.ErrShortWrite, err)
}

// TestDotWriterEnds: after Close and after a fault nothing more goes out.
func TestDotWriterEnds(t *testing.T) {
	var wire bytes.Buffer
	w := NewDotWriter(&wire, Reject)
	require.NoError(t, w.Close())
	require.Equal(t, ".\r\n", wire.String())
	require.Error(t, w.Close())
	_, err := w.Write([]byte("x"))
	require.Error(t, err)
	require.Equal(t, ".\r\n", wire.String())

	wire.Reset()
	w.Reset(&wire, Reject)
	n, err := w.ReadFrom(strings.NewReader("a\r\nb\nc"))
	require.Equal(t, ErrBareLF, err)
	require.EqualValues(t, 6, n)
	require.Equal(t, ErrBareLF, w.Close())
	require.Equal(t, "a\r\nb", wire.String(), "no end: the message must not be taken for whole")

	_, err = w.ReadFrom(iotest.ErrReader(errBroken))
	require.Error(t, err)
	w.Reset(&wire, Reject)
	_, err = w.ReadFrom(iotest.ErrReader(errBroken))
	require.Equal(t, errBroken, err)
}

// TestWriter compares with a bytes.Buffer over writes of all sizes.
func TestWriter(t *testing.T) {
	var got, want bytes.Buffer
	w := NewWriter(&got)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 2000 {
		p := bytes.Repeat([]byte{byte(i)}, rng.IntN(3000)*rng.IntN(10))
		want.Write(p)
		switch i % 5 {
		case 0:
			_, _ = w.WriteString(string(p))
		case 1:
			want.WriteByte('b')
			_, _ = w.Write(p)
			require.NoError(t, w.WriteByte('b'))
		case 2:
			n, err := w.Write(p)
			require.NoError(t, err)
			require.Equal(t, len(p), n)
		case 3:
			_, _ = w.Write(p)
			require.NoError(t, w.Flush())
			require.Zero(t, w.Buffered())
			require.Nil(t, w.buf)
		case 4:
			n, err := w.ReadFrom(iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(p))))
			require.NoError(t, err)
			require.EqualValues(t, len(p), n)
		}
		require.LessOrEqual(t, w.size(), bulkBuffer)
	}
	require.NoError(t, w.Flush())
	require.True(t, bytes.Equal(want.Bytes(), got.Bytes()))

	// Errors of the source are the call's own, those of the destination stay.
	_, err := w.ReadFrom(iotest.ErrReader(errBroken))
	require.Equal(t, errBroken, err)
	_, err = w.ReadFrom(nothing{})
	require.Equal(t, io.ErrNoProgress, err)
	require.NoError(t, w.Flush())
	b := NewWriter(&failing{1})
	_, err = b.ReadFrom(bytes.NewReader(make([]byte, 3*bulkBuffer)))
	require.Error(t, err)
	require.Error(t, b.Flush())
}
