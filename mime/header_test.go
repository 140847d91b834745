package mime

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeaderEdit(t *testing.T) {
	block := "Received: x\r\n\ty\r\nSubject:  odd   spacing \r\nX-A: 1\r\nx-a: 2\r\nTo: z\r\n\r\n"
	h := ParseHeader([]byte(block))
	f, err := NewField("X-New", "v")
	require.NoError(t, err)
	h.Prepend(f)
	require.Equal(t, "X-New: v\r\n"+block, string(h.Bytes()))
	require.Equal(t, 1, h.Delete("x-new"))
	require.Equal(t, block, string(h.Bytes()))

	f, _ = NewField("X-A", "3")
	h.Replace(f)
	require.Equal(t, strings.Replace(block, "X-A: 1\r\nx-a: 2\r\n", "X-A: 3\r\n", 1), string(h.Bytes()))
	require.Equal(t, 0, h.Delete("missing"))
	f, _ = NewField("Last", "one")
	h.Replace(f)
	require.True(t, strings.HasSuffix(string(h.Bytes()), "To: z\r\nLast: one\r\n\r\n"))

	h = ParseHeader([]byte("A: cut"))
	h.Append(f)
	require.Equal(t, "A: cut\r\nLast: one\r\n", string(h.Bytes()))
}

func TestHeaderReaders(t *testing.T) {
	h := ParseHeader([]byte("From: a@b\r\nDate: 21 Nov 1997 09:55:06 -0600\r\nReferences: <a@b>\r\n <c@d>\r\nContent-Type: image/png\r\nSubject: =?utf-8?q?=C3=BC?=\r\n\r\n"))
	as, err := h.Addresses("from")
	require.NoError(t, err)
	require.Equal(t, "a@b", as[0].String())
	d, err := h.Date()
	require.NoError(t, err)
	require.Equal(t, 1997, d.Year())
	require.Equal(t, []string{"a@b", "c@d"}, h.MessageIDs("References"))
	ct, err := h.ContentType()
	require.NoError(t, err)
	require.Equal(t, "image/png", ct.String())
	require.Equal(t, "ü", h.Text("subject"))
	require.Equal(t, "", h.Text("missing"))
	require.Equal(t, "Subject: =?utf-8?q?=C3=BC?=\r\n", h.Field(4).Raw())
	n := 0
	for range h.All() {
		n++
		break
	}
	require.Equal(t, 1, n)
}

// TestP02_NoInjection: no name or value can begin a line of its own.
func TestP02_NoInjection(t *testing.T) {
	evil := []string{"\r", "\n", "\r\n", "\x00", "\u2028", "\u2029", "\u0085", "\x0b", "\x1b", "\xff", "\r\n\r\n", "\r\nBcc: x"}
	for _, e := range evil {
		_, err := NewField("Subject", "a"+e+"b")
		var ve *ValueError
		require.ErrorAs(t, err, &ve, "%q", e)
		_, err = NewField("Sub"+e+"ject", "a")
		require.ErrorAs(t, err, &ve, "%q", e)
	}
	for _, name := range []string{"", "a b", "a:b", "ü"} {
		_, err := NewField(name, "x")
		require.Error(t, err)
	}
	f, err := NewField("Subject", "\u760a") // its low octet is LF
	require.NoError(t, err)
	require.Equal(t, "Subject: \u760a\r\n", f.Raw())
	f, err = NewField("X", "already\r\n folded")
	require.NoError(t, err)
	require.Equal(t, "X: already\r\n folded\r\n", f.Raw())
}

func TestFold(t *testing.T) {
	for _, v := range []string{
		"", "short", strings.Repeat("word ", 60) + "end", strings.Repeat("x", 200), "a" + strings.Repeat(" ", 200) + "b", strings.Repeat("word ", 60),
		strings.Repeat("y", 70) + " " + strings.Repeat("z", 77), "  leading",
	} {
		f, err := NewField("X-Long", v)
		require.NoError(t, err)
		require.Equal(t, strings.Trim(v, " "), f.Value())
		lines := strings.Split(strings.TrimSuffix(f.Raw(), "\r\n"), "\r\n")
		for i, line := range lines {
			if i > 0 {
				require.True(t, isWSP(line[0]))
				require.NotEmpty(t, strings.Trim(line, " \t"), "%q", f.Raw())
			}
			if !strings.Contains(v, strings.Repeat("x", 99)) && !strings.Contains(v, "  ") {
				require.LessOrEqual(t, len(line), maxLine)
			}
		}
	}
}

func TestHeaderWriteError(t *testing.T) {
	h := ParseHeader([]byte("A: b\r\n\r\n"))
	_, err := h.WriteTo(failing{})
	require.Error(t, err)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }
