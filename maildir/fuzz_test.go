package maildir

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// roundTrip stores a message, and reads it back in pieces.
func roundTrip(t *testing.T, msg string, crlf bool, piece int, oneByte bool) {
	t.Helper()
	c := faultfs.NewCrash(1)
	s := &Store{Root: "/m", FS: c, CRLF: crlf}
	s.init()
	d, err := c.OpenDir("/")
	require.NoError(t, err)
	defer d.Close()
	var r io.Reader = onlyReader{strings.NewReader(msg)}
	if oneByte {
		r = iotest.OneByteReader(r)
	}
	m, err := s.spoolTo(t.Context(), d, r, nil)
	require.NoError(t, err)
	require.Equal(t, int64(len(msg)), m.netSize)
	require.NoError(t, d.Rename(m.tmp, d, m.name()))
	require.NoError(t, d.Link(m.name(), d, "unsized"))
	file, err := openContent(d, m.name())
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, int64(len(msg)), file.Size())
	whole, err := io.ReadAll(goniec.NewReader(file))
	require.NoError(t, err)
	require.Equal(t, msg, string(whole))
	buf := make([]byte, piece)
	for off := max(len(msg)-2*piece, 0); off >= 0; off -= max(piece/2, 1) { // backwards: nothing helps
		n, err := file.ReadAt(buf, int64(off))
		require.Equal(t, msg[off:min(off+piece, len(msg))], string(buf[:n]))
		if n < piece {
			require.Equal(t, io.EOF, err)
		}
		if off > 4*piece {
			off /= 2
		}
	}
	left, err := d.Names()
	require.NoError(t, err)
	require.Len(t, left, 2, "no other file left")
}

type onlyReader struct{ io.Reader }

func FuzzRoundTrip(f *testing.F) {
	for _, msg := range []string{"", "\n", "\r\n", "\r", "a\r\nb\r\n", "a\nb\r\n", "a\r\n\r", "a\r\r\n", "\r\n.\r\n", "x\r\ny\n", "\n\r"} {
		f.Add(msg, uint16(3), false)
	}
	f.Fuzz(func(t *testing.T, msg string, repeat uint16, oneByte bool) {
		if len(msg) > 200 {
			msg = msg[:200]
		}
		// Long enough to cross chunks, the interesting part at both ends.
		long := strings.Repeat("a line\r\n", int(repeat)%20000) + msg
		roundTrip(t, msg, false, 1+int(repeat)%7, oneByte)
		roundTrip(t, long, false, 1+int(repeat)%5000, false)
		roundTrip(t, msg, true, 3, false)
	})
}

// All strings of up to five line ends and letters, and the same at the edge of a chunk.
func TestRoundTripExhaustive(t *testing.T) {
	edge := strings.Repeat("0123456789abcd\r\n", chunkSize/16)
	var walk func(s string, depth int)
	walk = func(s string, depth int) {
		roundTrip(t, s, false, 2, true)
		if depth <= 2 {
			roundTrip(t, edge[:len(edge)-2+depth]+s+edge, false, 1000, false)
		}
		for _, c := range "\r\na" {
			if depth > 0 {
				walk(s+string(c), depth-1)
			}
		}
	}
	walk("", 5)
}

// measuring a file without sizes in its name gives what other programs mean: each LF without a CR is CRLF.
func TestMeasure(t *testing.T) {
	c := faultfs.NewCrash(1)
	d, err := c.OpenDir("/")
	require.NoError(t, err)
	defer d.Close()
	for i, text := range []string{
		"", "a", "\n", "a\nb\n", "a\r\nb\n", "\r", strings.Repeat("x\n", chunkSize), strings.Repeat("x\r\n", chunkSize),
		strings.Repeat("y", chunkSize-1) + "\r" + "\n\n", strings.Repeat("y", chunkSize) + "\n", strings.Repeat("\n", 3*chunkSize+1),
	} {
		name := "f" + string(rune('a'+i))
		file, err := d.Create(name, 0o600)
		require.NoError(t, err)
		_, err = file.Write([]byte(text))
		require.NoError(t, err)
		file.Close()
		want := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
		m, err := openContent(d, name)
		require.NoError(t, err)
		require.Equal(t, int64(len(want)), m.Size())
		got, err := io.ReadAll(goniec.NewReader(m))
		require.NoError(t, err)
		require.True(t, want == string(got))
		for _, off := range []int{len(want) / 2, len(want) - 1, 1, len(want) / 3} {
			if off < 0 || off >= len(want) {
				continue
			}
			one := make([]byte, 1)
			_, err := m.ReadAt(one, int64(off))
			require.NoError(t, err)
			require.Equal(t, want[off], one[0], "offset %d of %d", off, len(want))
		}
		m.Close()
	}
}

// FuzzList: no list makes a panic, UIDs ascend, and reading it in two halves gives the same.
func FuzzList(f *testing.F) {
	f.Add([]byte("3 V1 N2 G000102030405060708090a0b0c0d0e0f\n1 :a\n2 W3 Pid :b:2,S\n"), uint16(50))
	f.Add([]byte("1 5 9\n3 x\n4 y:2,\n"), uint16(3))
	f.Add([]byte("3 V4294967295 N4294967295\n4294967294 :a\n"), uint16(1))
	f.Add([]byte("1\v1 1\n1 0\n"), uint16(2))
	f.Add([]byte(" 1 1 1\n1 0\n"), uint16(2))
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		type line struct {
			uid  uint32
			base string
		}
		read := func(l *listFile, b []byte, header bool) (lines []line, err error) {
			err = l.parse(b, header, func(uid uint32, _, base []byte) {
				lines = append(lines, line{uid, string(base)})
			})
			return lines, err
		}
		var whole listFile
		lines, err := read(&whole, data, true)
		last := uint32(0)
		for _, l := range lines {
			require.Greater(t, l.uid, last)
			require.NotContains(t, l.base, "/")
			last = l.uid
		}
		if err != nil || bytes.HasPrefix(data, []byte("1 ")) {
			return
		}
		at := bytes.IndexByte(data[min(int(cut), len(data)):], '\n') + min(int(cut), len(data)) + 1
		if at <= bytes.IndexByte(data, '\n') || at > len(data) {
			return
		}
		var halves listFile
		first, err := read(&halves, data[:at], true)
		require.NoError(t, err)
		second, err := read(&halves, data[at:], false)
		require.NoError(t, err)
		require.Equal(t, lines, append(first, second...))
		require.Equal(t, whole, halves)
	})
}

// FuzzIndex: no index makes a panic, or a table out of order.
func FuzzIndex(f *testing.F) {
	var s state
	s.t.add(s.t.newRec(3, "name", infoNone, nil))
	s.keywords.names = []string{"k"}
	s.expunged = []expunge{{1, 2}}
	f.Add(appendRecord(nil, recordSnapshot, s.appendSnapshot))
	f.Fuzz(func(t *testing.T, data []byte) {
		// With a checksum that holds, so that the inner decoders are reached too.
		for kind, text := range map[byte][]byte{recordSnapshot: data, recordMessages: data, recordExpunge: data, recordLook: data} {
			var s state
			s.loaded = kind != recordSnapshot
			b := appendRecord(nil, kind, func(b []byte) []byte { return append(b, text...) })
			if _, err := s.replay(b); err == nil { // else the state is thrown away
				checkTable(t, &s)
			}
		}
		var s state
		if _, err := s.replay(data); err == nil {
			checkTable(t, &s)
		}
	})
}

func checkTable(t *testing.T, s *state) {
	last := uint32(0)
	for i := range s.t.recs {
		r := &s.t.recs[i]
		require.Greater(t, r.uid, last)
		last = r.uid
		_ = s.t.file(r)
		_ = s.t.meta(r)
	}
}

// FuzzInfo: flags survive the way into a name and back, and letters that are not ours stay.
func FuzzInfo(f *testing.F) {
	f.Add(":2,S", uint32(3))
	f.Add(":2,DPSxq", uint32(1<<20))
	f.Add(":1,foo", uint32(0))
	f.Fuzz(func(t *testing.T, info string, flags uint32) {
		bits := flagBits(flags) & (1<<(keywordShift+keywordLimit) - 1)
		got, odd := parseInfo(string(appendInfo(nil, bits)))
		require.Equal(t, bits, got)
		require.False(t, odd)
		require.Equal(t, bits, bitsOf(bits.seam()))
		if !strings.HasPrefix(info, infoNone) || strings.ContainsAny(info, "/\x00") {
			return
		}
		changed := changeInfo(info, bits)
		got, _ = parseInfo(changed)
		require.Equal(t, bits, got)
		for _, c := range []byte(info[3:]) {
			if letterBit(c) == 0 {
				require.Contains(t, changed, string([]byte{c}))
			}
		}
	})
}

// FuzzIntent: what is written is read back, and nothing else is believed.
func FuzzIntent(f *testing.F) {
	f.Add([]byte("goniec-intent 1\nC\ta\t:2,S\nend 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		steps, err := parseIntent(string(data))
		if err != nil {
			require.Nil(t, steps)
		}
	})
}

// Sizes and dates at the ends of their ranges.
func TestRecRanges(t *testing.T) {
	var r rec
	for _, n := range []int64{0, 1, 1 << 32, maxSize} {
		r.setSize(n)
		require.Equal(t, n, r.getSize())
	}
	for _, n := range []int64{-1, maxSize + 1} {
		r.setSize(n)
		require.Equal(t, int64(-1), r.getSize())
	}
	for _, d := range []int64{0, 1, -1, -1 << 31, 1 << 32, 4_000_000_000, dateLimit - 1, noDate} {
		r.setDate(d)
		require.Equal(t, d, r.getDate())
	}
	r.setDate(dateLimit)
	require.EqualValues(t, dateLimit-1, r.getDate())
	require.EqualValues(t, 32, recSize)
	b := appendRec(nil, &r)
	require.Len(t, b, recSize)
	require.Equal(t, r, decodeRec(b))
}

// The history of expunges is bounded; beyond it the horizon rises, never past what is kept.
func TestHistoryIsBounded(t *testing.T) {
	var s state
	for i := range uint64(historyLimit + 10) {
		s.noteExpunged(i/2+1, []uint32{uint32(i + 1)})
	}
	require.LessOrEqual(t, len(s.expunged), historyLimit)
	require.NotZero(t, s.horizon)
	require.Greater(t, s.expunged[0].modSeq, s.horizon)
	require.Len(t, s.expungedSince(s.horizon), 1)
	require.Equal(t, len(s.expunged), s.expungedSince(s.horizon).Len())
	_ = mailbox.Latest
}
