package crlf

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// lineResult is what one ReadLine returned.
type lineResult struct {
	line string
	err  error
}

// allLines reads to the end of the stream.
func allLines(r *Reader, max int) []lineResult {
	var got []lineResult
	for range 1000 {
		line, err := r.ReadLine(max)
		got = append(got, lineResult{string(line), err})
		if fault := Error(0); err != nil && (!errors.As(err, &fault) || !fault.InStep()) {
			return got
		}
	}
	return got
}

// TestS05_Lines: only CRLF ends a line; a faulty line is one line and one error.
func TestS05_Lines(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []lineResult
	}{
		{"", []lineResult{{"", io.EOF}}},
		{"EHLO a\r\n\r\nQUIT\r\n", []lineResult{{"EHLO a", nil}, {"", nil}, {"QUIT", nil}, {"", io.EOF}}},
		{"half", []lineResult{{"", io.ErrUnexpectedEOF}}},
		{"half\r", []lineResult{{"", io.ErrUnexpectedEOF}}},
		{"\n", []lineResult{{"", io.ErrUnexpectedEOF}}},
		{"MAIL FROM:<a@b>\nRCPT TO:<c@d>\r\nQUIT\r\n", []lineResult{{"MAIL FROM:<a@b>\nRCPT TO:<c@d>", ErrBareLF}, {"QUIT", nil}, {"", io.EOF}}},
		{"MAIL\rRCPT\r\nQUIT\r\n", []lineResult{{"MAIL\rRCPT", ErrBareCR}, {"QUIT", nil}, {"", io.EOF}}},
		{"a\r\r\nb\r\n", []lineResult{{"a\r", ErrBareCR}, {"b", nil}, {"", io.EOF}}},
		{"\n\r\nb\r\n", []lineResult{{"\n", ErrBareLF}, {"b", nil}, {"", io.EOF}}},
		{"\n\rb\r\n", []lineResult{{"\n\rb", ErrBareLF}, {"", io.EOF}}},
		{"NO\x00OP\r\nb\r\n", []lineResult{{"NO\x00OP", ErrNUL}, {"b", nil}, {"", io.EOF}}},
		{"NO\x00\nOP\r\n", []lineResult{{"NO\x00\nOP", ErrBareLF}, {"", io.EOF}}},
		{"8\xffbit\r\n", []lineResult{{"8\xffbit", nil}, {"", io.EOF}}},
		{"123456789012\r\nb\r\n", []lineResult{{"123456789012", nil}, {"b", nil}, {"", io.EOF}}},                    // at the limit
		{"1234567890123\r\nb\r\n", []lineResult{{"1234567890123", ErrLineTooLong}, {"b", nil}, {"", io.EOF}}},       // and beyond
		{"1234567890123\nb\r\nc\r\n", []lineResult{{"1234567890123\nb", ErrLineTooLong}, {"c", nil}, {"", io.EOF}}}, // one line, not two
	} {
		max := 12
		if strings.HasPrefix(c.in, "MAIL FROM") {
			max = 100
		}
		require.Equal(t, c.want, allLines(NewReader(strings.NewReader(c.in)), max), "%q", c.in)
		for cut := 1; cut < len(c.in); cut++ {
			r := NewReader(&cutReader{s: c.in, cut: cut})
			got := allLines(r, max)
			for i := range got { // of a too long line only the beginning is promised
				if got[i].err == ErrLineTooLong {
					require.True(t, strings.HasPrefix(c.want[i].line, got[i].line[:max]))
					got[i].line = c.want[i].line
				}
			}
			require.Equal(t, c.want, got, "%q cut at %d", c.in, cut)
		}
	}
}

// TestS10_LineLimit: lines at and over the limit around every buffer size, in reads of all kinds.
func TestS10_LineLimit(t *testing.T) {
	for _, max := range []int{0, 1, 510, 1022, 1023, 1024, 1025, 4094, 4096, 8190, 8192, 12288, 16384, 65534, 65536, 70000, 200000} {
		for n := max - 1; n <= max+2; n++ {
			if n < 0 {
				continue
			}
			line := strings.Repeat("x", n)
			raw := "NOOP\r\n" + line + "\r\nQUIT\r\n"
			for name, src := range map[string]io.Reader{
				"whole": strings.NewReader(raw), "half": iotest.HalfReader(strings.NewReader(raw)),
				"data+EOF": iotest.DataErrReader(strings.NewReader(raw)), "1021": &chopReader{r: strings.NewReader(raw), n: 1021},
			} {
				r := NewReader(src)
				got := allLines(r, max)
				if max < 4 {
					got = got[1:] // NOOP and QUIT are too long as well
					require.Equal(t, n > max, got[0].err == ErrLineTooLong)
					continue
				}
				require.Equal(t, lineResult{"NOOP", nil}, got[0])
				if n <= max {
					require.Equal(t, lineResult{line, nil}, got[1], "%s: %d of %d", name, n, max)
				} else {
					require.Equal(t, ErrLineTooLong, got[1].err, "%s: %d of %d", name, n, max)
					require.Equal(t, line[:len(got[1].line)], got[1].line)
				}
				require.Equal(t, lineResult{"QUIT", nil}, got[2])
				require.Equal(t, io.EOF, got[3].err)
			}
		}
	}
}

// chopReader returns n octets at a time.
type chopReader struct {
	r io.Reader
	n int
}

func (c *chopReader) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

// endless is a peer that never ends its line. It counts what was read.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.n += int64(len(p))
	return len(p), nil
}

// TestS10_SkipLimit: a line is skipped up to MaxSkip, and not a buffer further; the error stays.
func TestS10_SkipLimit(t *testing.T) {
	for limit, want := range map[int64]int64{0: DefaultMaxSkip, 5000: 5000} {
		src := new(endless)
		r := NewReader(src)
		r.MaxSkip = limit
		for range 2 {
			_, err := r.ReadLine(512)
			require.Equal(t, ErrSkipLimit, err)
		}
		require.False(t, ErrSkipLimit.InStep())
		require.InDelta(t, want, src.n, bulkBuffer)
		require.Less(t, len(r.buf), 8<<10+1, "the buffer grew")
	}
	// At the limit and one more, octet for octet.
	for n, ok := range map[int]bool{2000: true, 2001: false} {
		r := NewReader(iotest.OneByteReader(strings.NewReader(strings.Repeat("x", n) + "\r\nQUIT\r\n")))
		r.MaxSkip = 2001 // the CR is skipped as well
		_, err := r.ReadLine(100)
		if !ok {
			require.Equal(t, ErrSkipLimit, err)
			continue
		}
		require.Equal(t, ErrLineTooLong, err)
		line, err := r.ReadLine(100)
		require.NoError(t, err)
		require.Equal(t, "QUIT", string(line))
	}
	// A negative limit is none.
	r := NewReader(strings.NewReader(strings.Repeat("x", 3<<20) + "\r\n"))
	r.MaxSkip = -1
	_, err := r.ReadLine(100)
	require.Equal(t, ErrLineTooLong, err)
}

// TestSkipInConstantMemory: S10.
func TestSkipInConstantMemory(t *testing.T) {
	r := NewReader(nil)
	long := strings.NewReader("")
	raw := strings.Repeat("x", 1<<20) + "\r\n"
	var err error
	allocs := testing.AllocsPerRun(10, func() {
		long.Reset(raw)
		r.Reset(long)
		r.MaxSkip = 2 << 20
		_, err = r.ReadLine(4096)
	})
	require.Equal(t, ErrLineTooLong, err)
	require.LessOrEqual(t, allocs, 1.0)
}

// flaky fails with a timeout before each octet.
type flaky struct {
	s    string
	turn bool
}

func (f *flaky) Read(p []byte) (int, error) {
	if f.turn = !f.turn; f.turn {
		return 0, os.ErrDeadlineExceeded
	}
	if f.s == "" {
		return 0, io.EOF
	}
	n := copy(p[:1], f.s)
	f.s = f.s[n:]
	return n, nil
}

// again calls f until it fails otherwise than by a timeout.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// TestTimeoutsLoseNothing: every kind of read may be interrupted at every octet and taken up again.
func TestTimeoutsLoseNothing(t *testing.T) {
	r := NewReader(&flaky{s: "NOOP\r\n" + strings.Repeat("y", 2000) + "\r\nBDAT 5\r\n12345..X\r\n"})
	var line []byte
	read := func() (err error) { line, err = r.ReadLine(100); return err }
	require.NoError(t, again(r.Wait))
	require.NoError(t, again(read))
	require.Equal(t, "NOOP", string(line))
	require.Equal(t, ErrLineTooLong, again(read))
	require.GreaterOrEqual(t, len(line), 100)
	require.Equal(t, strings.Repeat("y", len(line)), string(line))
	require.NoError(t, again(read))
	x := NewRawReader(r, 5)
	var chunk []byte
	for x.Left() > 0 {
		require.NoError(t, again(func() error {
			p := make([]byte, 2)
			n, err := x.Read(p)
			chunk = append(chunk, p[:n]...)
			return err
		}))
	}
	require.Equal(t, "12345", string(chunk))
	require.NoError(t, again(func() error { _, err := r.Discard(1); return err }))
	require.NoError(t, again(read))
	require.Equal(t, ".X", string(line))
	require.Equal(t, io.EOF, again(read))
	require.Equal(t, io.EOF, again(r.Wait))
}

func TestBufferedAndPeek(t *testing.T) {
	// T01: octets behind STARTTLS can be seen before the switch.
	r := NewReader(strings.NewReader("STARTTLS\r\nMAIL FROM:<x>\r\n"))
	_, err := r.ReadLine(512)
	require.NoError(t, err)
	require.Equal(t, 15, r.Buffered())
	require.Equal(t, "MAIL FROM:<x>\r\n", string(r.Peek()))
	r.Reset(strings.NewReader("EHLO\r\n"))
	require.Zero(t, r.Buffered())
	line, err := r.ReadLine(512)
	require.NoError(t, err)
	require.Equal(t, "EHLO", string(line))
}

// TestRawReader: chunks and literals, followed by lines, in all splits.
func TestRawReader(t *testing.T) {
	const raw = "BDAT 7\r\n\r\n.\r\n\x00\nNOOP\r\nBDAT 3\r\nabcQUIT\r\n"
	for cut := range len(raw) {
		r := NewReader(&cutReader{s: raw, cut: cut})
		_, err := r.ReadLine(512)
		require.NoError(t, err)
		x := NewRawReader(r, 7)
		got, err := io.ReadAll(x)
		require.NoError(t, err)
		require.Equal(t, "\r\n.\r\n\x00\n", string(got))
		require.NoError(t, x.Discard())
		for range 2 {
			_, err = r.ReadLine(512)
			require.NoError(t, err)
		}
		x.Reset(r, 3)
		_, err = io.ReadFull(x, make([]byte, 1))
		require.NoError(t, err)
		require.EqualValues(t, 2, x.Left())
		require.NoError(t, x.Discard())
		require.Zero(t, x.Left())
		line, err := r.ReadLine(512)
		require.NoError(t, err)
		require.Equal(t, "QUIT", string(line))
	}
	// S09: the stream ends within.
	x := NewRawReader(NewReader(strings.NewReader("abc")), 4)
	_, err := io.ReadAll(x)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	x.Reset(NewReader(strings.NewReader("abc")), 4)
	require.ErrorIs(t, x.Discard(), io.ErrUnexpectedEOF)
	require.EqualValues(t, 1, x.Left())
	// S07: a negative size is no data; it never wraps round.
	x.Reset(NewReader(strings.NewReader("abc")), -1)
	n, err := x.Read(make([]byte, 5))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
	require.NoError(t, x.Discard())
	// Data and error together, and a large read around the buffer.
	x.Reset(NewReader(iotest.DataErrReader(strings.NewReader(strings.Repeat("x", 5000)))), 5000)
	got, err := io.ReadAll(x)
	require.NoError(t, err)
	require.Len(t, got, 5000)
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

func TestNoProgress(t *testing.T) {
	_, err := NewReader(nothing{}).ReadLine(10)
	require.Equal(t, io.ErrNoProgress, err)
	_, err = NewDotWriter(io.Discard, Reject).ReadFrom(nothing{})
	require.Equal(t, io.ErrNoProgress, err)
}

// TestBuffersAreGivenBack: after a long line and a large message the Reader waits with its small buffer again.
func TestBuffersAreGivenBack(t *testing.T) {
	long := strings.Repeat("x", 50000)
	r := NewReader(strings.NewReader(long + "\r\n" + long + "\r\n.\r\nQUIT\r\n"))
	_, err := r.ReadLine(60000)
	require.NoError(t, err)
	require.Len(t, r.buf, bulkBuffer)
	d := NewDotReader(r, TextOptions{})
	n, err := io.Copy(io.Discard, d)
	require.NoError(t, err)
	require.EqualValues(t, 50002, n)
	_, err = r.ReadLine(100)
	require.NoError(t, err)
	require.Equal(t, io.EOF, r.Wait())
	require.Len(t, r.buf, smallBuffer)
	require.Nil(t, r.big)
}

// TestSlowMessageStaysSmall: a peer that trickles its message does not get the large buffer.
func TestSlowMessageStaysSmall(t *testing.T) {
	r := NewReader(&chopReader{strings.NewReader(strings.Repeat("line\r\n", 1000) + ".\r\n"), 100})
	_, err := io.Copy(io.Discard, NewDotReader(r, TextOptions{}))
	require.NoError(t, err)
	require.Nil(t, r.big)
}

// TestNoAllocations: lines, messages in and out, chunks.
func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("pools are random under the race detector")
	}
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n.y\r\n", 1000)
	raw := strings.Repeat("RCPT TO:<a@example.org>\r\n", 100) + stuffed(body)
	src := strings.NewReader("")
	var (
		r   Reader
		d   DotReader
		w   = NewWriter(sink{})
		out DotWriter
		tr  TextReader
		buf = make([]byte, 4096)
	)
	run := func() {
		src.Reset(raw)
		r.Reset(src)
		for range 100 {
			if _, err := r.ReadLine(512); err != nil {
				panic(err)
			}
		}
		d.Reset(&r, TextOptions{})
		out.Reset(w, Reject)
		if n, err := d.WriteTo(&out); err != nil || n != int64(len(body)) {
			panic(err)
		}
		if out.Close() != nil || w.Flush() != nil {
			panic("write")
		}
		src.Reset(body)
		tr.Reset(src, TextOptions{})
		for {
			if _, err := tr.Read(buf); err != nil {
				break
			}
		}
		src.Reset(body)
		out.Reset(w, Normalise)
		_, _ = out.ReadFrom(src)
	}
	run()
	require.Zero(t, int(testing.AllocsPerRun(50, run))) // a collection may empty a pool: below one on average
}

// TestIdleCost: what ten thousand waiting Readers and Writers hold.
func TestIdleCost(t *testing.T) {
	const n = 10000
	held := make([]*Reader, n)
	writers := make([]*Writer, n)
	src := new(bytes.Reader)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range held {
		src.Reset([]byte(strings.Repeat("x", 3000) + "\r\n"))
		held[i], writers[i] = NewReader(src), NewWriter(sink{})
		_, err := held[i].ReadLine(4096)
		require.NoError(t, err)
		require.Equal(t, io.EOF, held[i].Wait())
		_, _ = writers[i].WriteString("250 ok\r\n")
		require.NoError(t, writers[i].Flush())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d octets per idle Reader and Writer", per)
	require.Less(t, per, int64(1500))
	runtime.KeepAlive(held)
	runtime.KeepAlive(writers)
}

func TestErrorTexts(t *testing.T) {
	for e := ErrBareLF; e <= ErrDrainLimit; e++ {
		require.NotEmpty(t, e.Error())
		require.NotEqual(t, Error(0).Error(), e.Error())
	}
	require.Equal(t, "malformed text", Error(200).Error())
	require.ErrorIs(t, &os.PathError{Err: ErrBareCR}, ErrBareCR)
}
