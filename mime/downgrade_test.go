package mime

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func downgrade(t testing.TB, msg, to string) string {
	t.Helper()
	r, err := Downgrade(strings.NewReader(msg), to)
	require.NoError(t, err)
	out, err := io.ReadAll(iotest.HalfReader(r))
	require.NoError(t, err)
	r, err = Downgrade(strings.NewReader(msg), to)
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = io.Copy(&b, r)
	require.NoError(t, err)
	require.Equal(t, string(out), b.String())
	return string(out)
}

// leaves returns the decoded bodies.
func leaves(t testing.TB, msg string) (out []string) {
	s := parse(t, msg, Options{MaxDepth: -1, MaxParts: -1})
	for i := range s.Parts {
		if s.Parts[i].Kind == Leaf {
			b, err := io.ReadAll(s.Decoded(strings.NewReader(msg), i))
			require.NoError(t, err)
			out = append(out, string(b))
		}
	}
	return out
}

func TestDowngrade(t *testing.T) {
	msg := crlf(`
Subject: 8-bit
Content-Type: multipart/mixed; boundary=b
Content-Transfer-Encoding: 8bit

pre Ü
--b
Content-Type: text/plain; charset=utf-8
content-transfer-encoding: 8bit

Grüße = x 
--b
Content-Type: text/plain

seven
--b
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: innen ü
Content-Type: application/octet-stream; name="ä.bin"

ÿ
--b
Content-Type: application/x-qp
Content-Transfer-Encoding: quoted-printable

a=C3=BC
--b
Hellö without a header
--b--
`)
	out := downgrade(t, msg, "7bit")
	class, err := Classify(strings.NewReader(out))
	require.NoError(t, err)
	require.Equal(t, "7bit", class)
	require.Equal(t, leaves(t, msg), leaves(t, out))
	s := parse(t, out, Options{})
	require.Equal(t, "7bit", s.Parts[0].Encoding)
	require.Equal(t, "quoted-printable", s.Parts[1].Encoding)
	require.Equal(t, "", s.Parts[2].Encoding)
	require.Equal(t, "base64", s.Parts[4].Encoding)
	require.Equal(t, "innen ü", DecodeText(s.Parts[4].Envelope.Subject()))
	require.Equal(t, "ä.bin", s.Parts[4].Type.Params.Get("name"))
	require.Contains(t, out, "pre ??\r\n")
	require.Equal(t, out, downgrade(t, out, "7bit")) // nothing left to do
	require.Contains(t, downgrade(t, strings.Replace(msg, "--b\r\nHell", "--b\r\nX-N\xe4me: \xfc\r\nContent-Disposition: inline; filename=\xfc\r\n\r\nHell", 1), "7bit"), "X-N?me: ?\r\nContent-Disposition: inline; filename*=utf-8''%C3%BC\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHell=C3=B6")
	require.Equal(t, msg, downgrade(t, msg, "8bit")) // nothing to do
}

func TestDowngradeBinary(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	msg := "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\n" + long + "\r\n" +
		"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\r\n\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nkurz ü\r\n--b--\r\n"
	for _, to := range []string{"8bit", "7bit"} {
		out := downgrade(t, msg, to)
		class, err := Classify(strings.NewReader(out))
		require.NoError(t, err)
		require.Equal(t, to, class)
		require.Equal(t, leaves(t, msg), leaves(t, out))
	}
	single := "Content-Transfer-Encoding: binary\r\n\r\na\x00b"
	out := downgrade(t, single, "7bit")
	require.True(t, strings.HasSuffix(out, "YQBi\r\n"))
}

func TestDowngradeRefuses(t *testing.T) {
	for _, msg := range []string{
		"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n",
		"Content-Type: multipart/mixed\r\n\r\nü\r\n",
		"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nü\r\n",
	} {
		_, err := Downgrade(strings.NewReader(msg), "7bit")
		require.ErrorIs(t, err, ErrCannotDowngrade, msg)
	}
	for _, msg := range []string{nestedMultiparts(DefaultMaxDepth+1) + "\r\nü", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", maxDowngradeParts) + "ü"} {
		_, err := Downgrade(strings.NewReader(msg), "7bit")
		require.ErrorIs(t, err, ErrCannotDowngrade)
	}
	_, err := Downgrade(strings.NewReader(""), "binary")
	require.Error(t, err)
	_, err = Downgrade(short{strings.NewReader("x")}, "7bit")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// FuzzDowngrade checks that what comes out is narrow enough and says the same.
func FuzzDowngrade(f *testing.F) {
	f.Add(crlf(nested))
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n")
	f.Add("Content-Transfer-Encoding: base64\r\n\r\n\xffYWJj")
	f.Fuzz(func(t *testing.T, msg string) {
		r, err := Downgrade(strings.NewReader(msg), "7bit")
		if err != nil {
			require.ErrorIs(t, err, ErrCannotDowngrade)
			return
		}
		out, err := io.ReadAll(r)
		require.NoError(t, err)
		s := parse(t, string(out), Options{})
		for i := range s.Parts {
			if s.Parts[i].Kind == Leaf {
				require.True(t, isASCII(string(out[s.Parts[i].BodyStart:s.Parts[i].BodyEnd])))
			}
		}
	})
}
