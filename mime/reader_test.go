package mime

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// readAllParts reads a message with a Reader and returns headers and raw bodies.
func readAllParts(t testing.TB, r *Reader) (headers, bodies []string) {
	t.Helper()
	for {
		_, err := r.Next()
		if err == io.EOF {
			return headers, bodies
		}
		require.NoError(t, err)
		require.Len(t, headers, r.Index())
		headers = append(headers, string(r.Header().Bytes()))
		body, err := io.ReadAll(r)
		require.NoError(t, err)
		bodies = append(bodies, string(body))
	}
}

func TestReaderIsParse(t *testing.T) {
	for _, msg := range []string{crlf(nested), nested, smallMessage(), "", "no header", nestedMultiparts(5)} {
		want := parse(t, msg, Options{})
		r := NewReader(iotest.HalfReader(strings.NewReader(msg)), Options{})
		headers, bodies := readAllParts(t, r)
		require.Equal(t, want, r.Structure())
		for i := range want.Parts {
			p := &want.Parts[i]
			require.Equal(t, msg[p.HeaderStart:p.BodyStart], headers[i])
			if p.Kind == Leaf {
				require.Equal(t, msg[p.BodyStart:p.BodyEnd], bodies[i])
			} else {
				require.Empty(t, bodies[i])
			}
		}
	}
}

func TestReaderSkipsUnreadBodies(t *testing.T) {
	msg := crlf(nested)
	r := NewReader(strings.NewReader(msg), Options{})
	n := 0
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if n++; p.Type.String() == "application/pdf" {
			one := make([]byte, 1)
			_, err = r.Read(one)
			require.NoError(t, err)
		}
	}
	require.Equal(t, len(parse(t, msg, Options{}).Parts), n)
	_, err := r.Next()
	require.ErrorIs(t, err, io.EOF)
}

func TestReaderDecodes(t *testing.T) {
	r := NewReader(strings.NewReader(crlf(nested)), Options{})
	var got []string
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		var b bytes.Buffer
		if p.Type.Type == "text" {
			_, err = io.Copy(&b, r.Text())
		} else if p.Kind == Leaf {
			_, err = io.Copy(&b, r.Decoded())
		}
		require.NoError(t, err)
		got = append(got, b.String())
	}
	require.Equal(t, []string{"", "", "Grüße\r\n", "<p>x</p>", "", "", "plain one", "abc", "", "body"}, got)
}

func TestReaderWriteTo(t *testing.T) {
	r := NewReader(strings.NewReader("A: b\r\n\r\n"+strings.Repeat("x", 200_000)), Options{})
	_, err := r.Next()
	require.NoError(t, err)
	var b bytes.Buffer
	n, err := io.Copy(&b, r)
	require.NoError(t, err)
	require.EqualValues(t, 200_000, n)
	require.Equal(t, 200_000, b.Len())
	r = NewReader(strings.NewReader("A: b\r\n\r\nbody"), Options{})
	_, _ = r.Next()
	_, err = r.WriteTo(failing{})
	require.Error(t, err)
	require.NoError(t, r.Close())
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestReaderErrors(t *testing.T) {
	r := NewReader(io.MultiReader(strings.NewReader("A: b\r\n\r\nbody"), iotest.ErrReader(io.ErrClosedPipe)), Options{})
	_, err := r.Next()
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = r.Next()
	require.ErrorIs(t, err, io.ErrClosedPipe)

	r = NewReader(strings.NewReader("Content-Type: x\r\n\r\n"), Options{Strict: true})
	_, err = r.Next()
	for err == nil {
		_, err = r.Next()
	}
	var w *Warning
	require.ErrorAs(t, err, &w)
	require.Equal(t, WarnContentType, w.Kind)
}

func TestReaderHeaderLimit(t *testing.T) {
	msg := "A: 1\r\nSubject: " + strings.Repeat("x", 100) + "\r\n\r\nbody"
	r := NewReader(strings.NewReader(msg), Options{MaxHeaderBytes: 50})
	_, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "A: 1\r\n\r\n", string(r.Header().Bytes()))
	require.Equal(t, []WarningKind{WarnHeaderBytes}, kinds(r.Structure()))
}
