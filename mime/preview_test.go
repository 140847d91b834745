package mime

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestPreview(t *testing.T) {
	for msg, want := range map[string]string{
		"\r\nHello\r\n\r\n  world\t!\r\n":          "Hello world !",
		"\r\n> quoted\r\nanswer\r\n":               "answer",
		"\r\n":                                     "",
		"Content-Type: image/png\r\n\r\nx":         "",
		"Content-Disposition: attachment\r\n\r\nx": "",
		"Content-Type: text/html\r\n\r\n<head><title>T</title></head><style>p{}</style><P>a&amp;b<br>c<!-- no --></P><script>x<y</script>d": "a&b c d",
		"Content-Type: text/html\r\n\r\n1 < 2 and <b":                     "1 < 2 and b",
		"Content-Type: text/html\r\n\r\n<style>never closed":              "never closed",
		"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe": "Grüße",
		"\r\nesc\x1b[2J\u202e":                                            "esc [2J",
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n \r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html\r\n--b--": "html",
	} {
		s := parse(t, msg, Options{})
		got, err := s.Preview(strings.NewReader(msg), 0)
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", msg)
	}
	long := "\r\n" + strings.Repeat("ä ", 1000)
	s := parse(t, long, Options{})
	got, err := s.Preview(strings.NewReader(long), 0)
	require.NoError(t, err)
	require.Equal(t, 199, utf8.RuneCountInString(got)) // no space at the end
	got, _ = s.Preview(strings.NewReader(long), 3)
	require.Equal(t, "ä ä", got)
}

func FuzzStripMarkup(f *testing.F) {
	f.Add("<p>a<style>x</style>")
	f.Fuzz(func(t *testing.T, s string) {
		w := previewWriter{left: 50}
		w.add(stripMarkup(s))
		got := w.b.String()
		require.True(t, utf8.ValidString(got))
		require.LessOrEqual(t, utf8.RuneCountInString(got), 50)
		require.Equal(t, strings.TrimSpace(Display(got)), got)
	})
}
