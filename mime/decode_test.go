package mime

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func decodeAll(t testing.TB, encoding, in string) (string, WarningKind) {
	t.Helper()
	d := NewDecoder(strings.NewReader(in), encoding)
	out, err := io.ReadAll(d)
	require.NoError(t, err)
	var b bytes.Buffer
	size := 1
	if len(in) > 10_000 {
		size = 997
	}
	chopped := NewDecoder(&pieces{strings.NewReader(in), size}, encoding)
	_, err = chopped.WriteTo(&b)
	require.NoError(t, err)
	require.Equal(t, string(out), b.String(), "chopped: %q", in[:min(len(in), 100)])
	require.Equal(t, d.Warning(), chopped.Warning(), "%s %q", encoding, in[:min(len(in), 100)])
	return string(out), d.Warning()
}

// TestM06_Base64 is about what is not quite base64.
func TestM06_Base64(t *testing.T) {
	for in, want := range map[string]struct {
		out  string
		warn WarningKind
	}{
		"":                      {"", 0},
		"YWJj":                  {"abc", 0},
		"YW\r\nJj\r\n":          {"abc", 0},
		"YWI=":                  {"ab", 0},
		"YQ==\r\n":              {"a", 0},
		"YQ=\r\n=":              {"a", 0},
		"YQ":                    {"a", WarnBase64},
		"YWI":                   {"ab", WarnBase64},
		"Y":                     {"", WarnBase64},
		"Y===":                  {"", WarnBase64},
		"YW!Jj":                 {"abc", WarnBase64},
		"YWJjYWJjYWJjYW*JjYWJj": {"abcabcabcabcabc", WarnBase64},
		"YQ==YQ==":              {"aa", WarnBase64}, // two texts, one after the other
		"-- \r\n":               {"", WarnBase64},
	} {
		out, warn := decodeAll(t, "base64", in)
		require.Equal(t, want.out, out, "%q", in)
		require.Equal(t, want.warn, warn, "%q", in)
	}
}

// TestM06_QuotedPrintable is about soft breaks, escapes that are none, and white space.
func TestM06_QuotedPrintable(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for in, want := range map[string]struct {
		out  string
		warn WarningKind
	}{
		"":                  {"", 0},
		"a=C3=BC\r\n":       {"aü\r\n", 0},
		"a=c3=bc":           {"aü", 0},
		"a=\r\nb":           {"ab", 0},
		"a= \t\r\nb":        {"ab", 0},
		"a=\nb\n":           {"ab\n", 0},
		"a  \t\r\nb ":       {"a\r\nb", 0},
		"a=20\r\n":          {"a \r\n", 0},
		"a=":                {"a", WarnQuotedPrintable},
		"a=0":               {"a=0", WarnQuotedPrintable},
		"a=ZZ=\r\n":         {"a=ZZ", WarnQuotedPrintable},
		"a==41":             {"a=A", WarnQuotedPrintable},
		"\r\n\r\n":          {"\r\n\r\n", 0},
		"\r\r\r":            {"\r\r\r", 0},
		long + "=41" + long: {long + "A" + long, 0},
		long + "  \r\n":     {long + "\r\n", 0},
	} {
		out, warn := decodeAll(t, "quoted-printable", in)
		require.Equal(t, want.out, out, "%.50q", in)
		require.Equal(t, want.warn, warn, "%.50q", in)
	}
	for i := range 40 { // an escape at every place of the window's edge
		in := strings.Repeat("x", half-20+i) + "=41=42= \r\nend"
		out, _ := decodeAll(t, "quoted-printable", in)
		require.Equal(t, strings.Repeat("x", half-20+i)+"ABend", out)
	}
}

func TestUuencode(t *testing.T) {
	out, warn := decodeAll(t, "x-uuencode", "junk\r\nbegin 644 x\r\n#86)C\r\n`\r\nend\r\nafter\r\n")
	require.Equal(t, "abc", out)
	require.Zero(t, warn)
	out, warn = decodeAll(t, "x-uuencode", "begin 644 x\n$86)C\nend")
	require.Equal(t, "abc", out)
	require.Equal(t, WarnUuencode, warn)
}

func TestUnknownEncodingIsBinary(t *testing.T) {
	out, warn := decodeAll(t, "x-none", "as =41 is")
	require.Equal(t, "as =41 is", out)
	require.Equal(t, WarnEncoding, warn)
	out, warn = decodeAll(t, "8bit", "as =41 is")
	require.Equal(t, "as =41 is", out)
	require.Zero(t, warn)
}

func TestDecoderErrors(t *testing.T) {
	d := NewDecoder(io.MultiReader(strings.NewReader("YWJj"), iotest.ErrReader(io.ErrClosedPipe)), "base64")
	out, err := io.ReadAll(d)
	require.Equal(t, "abc", string(out))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = NewDecoder(strings.NewReader("YWJj"), "base64").WriteTo(failing{})
	require.Error(t, err)
	_, err = NewDecoder(stuck{}, "base64").WriteTo(io.Discard)
	require.ErrorIs(t, err, io.ErrNoProgress)
	d = NewDecoder(strings.NewReader("YWJj"), "base64")
	_, _ = d.Read(make([]byte, 1))
	require.NoError(t, d.Close())
	_, err = d.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	d = NewDecoder(strings.NewReader("YWJj"), "")
	require.NoError(t, d.Close())
	_, err = d.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// FuzzDecoders encodes with the standard library and decodes here, whole and chopped, and decodes arbitrary octets.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte("abc"), 1)
	f.Add([]byte("=\r\n =\x00\xff"), 7)
	f.Fuzz(func(t *testing.T, raw []byte, width int) {
		for _, encoding := range []string{"base64", "quoted-printable", "x-uuencode"} {
			decodeAll(t, encoding, string(raw))
		}
		enc := base64.StdEncoding.EncodeToString(raw)
		width = 1 + width&127
		var lines strings.Builder
		for len(enc) > width {
			lines.WriteString(enc[:width] + "\r\n")
			enc = enc[width:]
		}
		out, warn := decodeAll(t, "base64", lines.String()+enc)
		require.Equal(t, string(raw), out)
		require.Zero(t, warn)

		var qp bytes.Buffer
		w := quotedprintable.NewWriter(&qp)
		w.Binary = true
		_, _ = w.Write(raw)
		_ = w.Close()
		out, warn = decodeAll(t, "quoted-printable", qp.String())
		require.Equal(t, string(raw), out)
		require.Zero(t, warn)
	})
}

func TestTextCharsets(t *testing.T) {
	for in, want := range map[string]string{
		"charset=iso-8859-1\r\n\r\nGr\xfc\xdfe":        "Grüße",
		"charset=utf-8\r\n\r\nGrüße":                   "Grüße",
		"charset=utf-8\r\n\r\nGr\xfc\xdfe ü":           "Grüße ü", // neither: repaired octet by octet
		"charset=us-ascii\r\n\r\nGr\xfce":              "Grüe",
		"x=y\r\n\r\nGr\xfce":                           "Grüe",
		"charset=made-up\r\n\r\nGr\xfce":               "Grüe",
		"charset=iso-2022-jp\r\n\r\n\x1b$BF|K\\\x1b(B": "日本",
		"charset=koi8-r\r\n\r\n\xc1":                   "а",
		"charset=utf-7\r\n\r\n+ADw-script+AD4-":        "+ADw-script+AD4-", // M04
		"charset=utf-8\r\n\r\n\xe2\x82":                "â‚",
		"charset=utf-16le\r\n\r\na\x00b\x00":           "ab",
	} {
		msg := "Content-Type: text/plain; " + in
		s := parse(t, msg, Options{})
		r := s.Text(strings.NewReader(msg), 0)
		out, err := io.ReadAll(iotest.OneByteReader(r))
		require.NoError(t, err)
		require.Equal(t, want, string(out), in)
		require.NoError(t, r.Close())
	}
}
