package mbox

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

var testDialects = []Dialect{MboxRD, MboxO, MboxCL, MboxCL2}

var testDate = time.Date(1996, 1, 3, 1, 5, 34, 0, time.UTC)

// hostile are messages that the format is tempted to change (F07).
var hostile = []string{
	"", "\r\n", "\n", "\r", "\r\r\n", "\n\r\n\r", "\r\n\r\n\r\n", "\n\n", "a", "a\r\n", "a\n", "a\r", "Subject: x\r\n",
	"Subject: x\r\n\r\nbody", "Subject: x\r\n\r\nbody\r\n", "Subject: x\n\nbody\n",
	"Subject: x\r\n\r\nFrom here\r\n>From there\r\n>>From far\r\n\r\nFrom nowhere\r\n",
	"From a@b Sat Jan  3 01:05:34 1996\r\nSubject: x\r\n\r\nbody\r\n",
	"Subject: x\r\n\r\n\r\nFrom a@b Sat Jan  3 01:05:34 1996\r\n\r\nFrom a@b Sat Jan  3 01:05:34 1996\r\n",
	"Subject: x\n\n\nFrom a@b Sat Jan  3 01:05:34 1996\n\nFrom a@b Sat Jan  3 01:05:34 1996",
	"Content-Length: 3\r\nSubject: x\r\n\r\nbody\r\n", "X: y\r\ncontent-length: 99999\r\n\r\nFrom\r\nFro", "From ", ">", ">F", ">From ", ">>>From \r\n",
	"x\r\n>>>", "x\r\nFrom", "x\r\nFrom \r\n", "F\r\nFr\r\nFro\r\n>F\r\n", "a\x00b\r\n", "\r\n\r\nFrom a@b Sat Jan  3 01:05:34 1996\r\n\r\n",
	"Subject: x\r\n\r\n\r\n\r\n", "Subject: x\r\n\r\n", "\r\nFrom ", "Status: RO\r\nX-Status: A\r\n\r\nb\r\n", "Subject: \xff\r\n\r\n\x80\r\n",
}

func written(t testing.TB, d Dialect, msgs ...string) string {
	var file bytes.Buffer
	w := NewWriter(&file, d)
	for i, m := range msgs {
		n, err := w.Write(context.Background(), FromLine{Sender: "a@b", Date: testDate.Add(time.Duration(i) * time.Second)}, strings.NewReader(m))
		require.NoError(t, err)
		require.Positive(t, n)
	}
	return file.String()
}

// readAll reads a file and checks the offsets.
func readAll(t testing.TB, file string, r *Reader) []string {
	var all []string
	for m, err := range r.Messages() {
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(file[m.Offset:], "From "), "offset %d", m.Offset)
		require.Equal(t, byte('\n'), file[m.Start-1])
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		end, err := r.Skip()
		require.NoError(t, err)
		require.GreaterOrEqual(t, end, m.Start)
		all = append(all, string(text))
	}
	return all
}

// chopped hides ReadAt and gives few octets at once.
func chopped(s string) io.Reader { return iotest.OneByteReader(strings.NewReader(s)) }

// TestF07_RoundTrip: each message alone, and all of them, in every dialect, come back octet by octet.
func TestF07_RoundTrip(t *testing.T) {
	for _, d := range testDialects {
		for _, m := range hostile {
			file := written(t, d, "first\r\n", m, "last\r\n")
			require.Equal(t, []string{"first\r\n", m, "last\r\n"}, readAll(t, file, NewReader(strings.NewReader(file), d)), "%v %q\n%s", d, m, file)
		}
		file := written(t, d, hostile...)
		require.Equal(t, hostile, readAll(t, file, NewReader(strings.NewReader(file), d)), "%v", d)
		require.Equal(t, hostile, readAll(t, file, NewReader(chopped(file), d)), "%v", d)
	}
}

// TestF07_ChunkEdge puts a separator and a quoted line at each place around the edge of the buffer.
func TestF07_ChunkEdge(t *testing.T) {
	for _, d := range testDialects {
		for _, pad := range []int{readerBuffer} {
			for shift := -135; shift < 12; shift += 3 + 2*int(d&1) {
				body := "S: x\r\n\r\n" + strings.Repeat("x", pad+shift) + "\r\n>From y\r\nFrom z\r\n"
				file := written(t, d, body, "next\r\n")
				r := NewReader(struct{ io.Reader }{strings.NewReader(file)}, d)
				first, err := r.Next()
				require.NoError(t, err)
				require.Zero(t, first.Offset)
				text, err := io.ReadAll(r)
				require.NoError(t, err)
				require.True(t, body == string(text), "%v %d", d, shift)
				_, err = r.Next()
				require.NoError(t, err)
			}
		}
	}
}

// TestF07_Corpora: every file of the corpora, whatever its name; mailbox has the same for all stores.
func TestF07_Corpora(t *testing.T) {
	var all []string
	err := filepath.WalkDir(peertest.Corpora(t), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			all = append(all, string(b))
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, d := range testDialects {
		file := written(t, d, all...)
		got := readAll(t, file, NewReader(strings.NewReader(file), d))
		require.Len(t, got, len(all))
		for i := range all {
			require.True(t, all[i] == got[i], "%v: message %d", d, i)
		}
	}
	t.Logf("%d messages", len(all))
}

// FuzzF07_RoundTrip: any two messages come back in any dialect, whole or octet by octet.
func FuzzF07_RoundTrip(f *testing.F) {
	for i, m := range hostile {
		f.Add(m, hostile[(i*7+3)%len(hostile)])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, d := range testDialects {
			file := written(t, d, a, b)
			require.Equal(t, []string{a, b}, readAll(t, file, NewReader(strings.NewReader(file), d)), "%v", d)
			require.Equal(t, []string{a, b}, readAll(t, file, NewReader(chopped(file), d)), "%v", d)
		}
	})
}

// FuzzReader: any file gives the same whole and octet by octet, and what is read can be written and read
// again.
func FuzzReader(f *testing.F) {
	for _, d := range testDialects {
		f.Add(written(f, d, hostile...), uint8(d))
	}
	f.Fuzz(func(t *testing.T, file string, n uint8) {
		d := testDialects[int(n)%2] // those without a look ahead
		whole := &Reader{src: strings.NewReader(file), dialect: d}
		one, oneErr := tryAll(whole)
		two, twoErr := tryAll(NewReader(chopped(file), d))
		require.Equal(t, one, two)
		require.Equal(t, oneErr == nil, twoErr == nil)
		if oneErr == nil {
			again := written(t, MboxRD, one...)
			require.Equal(t, one, readAll(t, again, NewReader(strings.NewReader(again), MboxRD)))
		}
	})
}

func tryAll(r *Reader) (all []string, err error) {
	for _, err := range r.Messages() {
		if err != nil {
			return all, err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return all, err
		}
		all = append(all, string(text))
	}
	return all, nil
}
