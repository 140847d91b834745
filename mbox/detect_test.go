package mbox

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const mail = "Subject: x\r\n\r\nHello\r\n"

func TestDetect(t *testing.T) {
	from := "Subject: x\r\n\r\nFrom here\r\n"
	separator := "Subject: x\r\n\r\nForwarded:\r\n\r\nFrom a@b Sat Jan  3 01:05:34 1996\r\nSubject: y\r\n\r\nz\r\n"
	deep := "Subject: x\r\n\r\n>From here\r\n"
	for _, tc := range []struct {
		file string
		want Dialect
	}{
		{written(t, MboxRD, mail, from, deep), MboxRD},
		{written(t, MboxRD, mail, mail), MboxRD},
		{written(t, MboxCL, mail, from, mail), MboxCL},
		{written(t, MboxCL2, mail, from, separator, mail), MboxCL2},
		{"", MboxRD},
		{written(t, MboxRD, from) + "From a@b Sat Jan  3 01:05:34 1996\nSubject: x\n\na\nFrom here\n\n", MboxO},
	} {
		rep, err := Detect(strings.NewReader(tc.file), true)
		require.NoError(t, err)
		require.Equal(t, tc.want, rep.Dialect, "%+v\n%s", rep, tc.file)
	}
	_, err := Detect(strings.NewReader("hello\n"), true)
	require.ErrorIs(t, err, ErrFormat)
}

// TestWrongLength: a Content-Length that points into the void, or would swallow the next message's beginning, is
// disregarded.
func TestWrongLength(t *testing.T) {
	for _, n := range []string{"0", "4", "6", "7", "50", "99999999", "99999999999999999999", "-1", "x", ""} {
		file := "From a@b Sat Jan  3 01:05:34 1996\nContent-Length: " + n + "\n\nbody\n\n" +
			"From a@b Sat Jan  3 01:05:34 1996\nContent-Length: 5\n\nnext\n\n"
		r := NewReader(strings.NewReader(file), MboxCL2)
		got := readAll(t, file, r)
		require.Len(t, got, 2, n)
		require.Equal(t, 1, r.Report().Lengths, n)
	}
}

func TestReport(t *testing.T) {
	file := written(t, MboxRD, "S: x\r\n\r\nFrom a\r\n>From b\r\n") + "From a@b Sat Jan  3 01:05:34 1996\n\nFrom here\nx"
	r := NewReader(bytes.NewReader([]byte(file)), MboxRD)
	require.Len(t, readAll(t, file, r), 2)
	require.Equal(t, Report{
		Dialect: MboxRD, Messages: 2, Unescaped: 1, UnescapedAt: int64(strings.Index(file, "From here")), Quoted: 2, Deeper: 1, Torn: true,
	}, r.Report())
}
