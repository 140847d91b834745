package mime

import (
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// headerEnds are messages whose header ends in an odd way, cut with "|" where the body begins.
var headerEnds = []string{
	"", "|body\n", "A: b\r\n\r\n|body", "A: b\n\n|\nbody", "A: b", "A: b\r\n",
	"A: b\r\n|no colon here\r\nC: d\r\n\r\nbody",                  // the body begins without an empty line
	"A: b\r\nbadly wrapped\r\nMessage-ID: <c>\r\n\r\n|body",       // a field that belongs into headers follows
	"A: b\r\nbadly wrapped\r\nReceived: c\r\n again\r\n\r\n|body", //
	"A: b\r\n|badly wrapped\r\nX-Unknown: c\r\n\r\nbody",          //
	"A: b\r\n|two\r\nlines\r\nMessage-ID: c\r\n\r\nbody",          //
	"From x Mon Jan  1 10:00:00 2024\nA: b\n\n|body",              // of an mbox
	">From x\nA: b\n\n|body", " \tblank\r\nA: b\r\n\r\n|body",     //
	"A: b\nFrom: c\n|From x Mon\nD: e\n\nbody",                   //
	"|--\r\nA: b\r\n", "A: b\r\n c\r\n\td\r\n|: no name\r\n\r\n", //
	"A : b\r\n|C d : e\r\n\r\n", "A: b\r\n \r\n\r\n|", "\r\n|A: b", //
}

// ReadHeader, Reader and Parse agree where the header of a message ends, and a search finds the same in a header whichever
// read it.
func TestHeaderEnds(t *testing.T) {
	for _, c := range headerEnds {
		head, body, cut := strings.Cut(c, "|")
		require.Equal(t, head, endsAlike(t, head+body))
		require.True(t, cut || body == "")
	}
	long := "A: b\r\nX: " + strings.Repeat("x", 2*windowSize) + "\r\n y\r\n"
	for _, rest := range []string{"\r\n", "odd\r\n", "odd\r\nMIME-Version: 1.0\r\n\r\n", strings.Repeat("z", 2*windowSize) + "\r\nMIME-Version: 1.0\r\n\r\n"} {
		endsAlike(t, long+rest)
	}
}

// endsAlike returns the header by all who read headers.
func endsAlike(t *testing.T, msg string) string {
	h, err := ReadHeader(strings.NewReader(msg), Options{})
	require.NoError(t, err)
	chopped, err := ReadHeader(iotest.OneByteReader(strings.NewReader(msg)), Options{})
	require.NoError(t, err)
	require.Equal(t, h, chopped)
	r := NewReader(strings.NewReader(msg), Options{})
	defer r.Close()
	_, err = r.Next()
	require.NoError(t, err)
	require.Equal(t, string(r.Header().Bytes()), string(h.Bytes()), "%q", msg)
	require.EqualValues(t, r.Structure().Parts[0].BodyStart, len(h.Bytes()), "%q", msg)
	return string(h.Bytes())
}

// FuzzHeaderEnds: they agree on anything.
func FuzzHeaderEnds(f *testing.F) {
	for _, c := range headerEnds {
		f.Add(strings.Replace(c, "|", "", 1))
	}
	f.Fuzz(func(t *testing.T, msg string) {
		if len(msg) < 64<<10 {
			endsAlike(t, msg)
		}
	})
}
