package mime_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mime"
)

func TestConvert(t *testing.T) {
	in := strings.NewReader("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nżółw\r\n")
	out, err := mime.Convert(t.Context(), in, goniec.Body7Bit)
	require.NoError(t, err)
	defer out.(io.Closer).Close()
	text, err := io.ReadAll(goniec.NewReader(out))
	require.NoError(t, err)
	require.Contains(t, string(text), "Content-Transfer-Encoding: quoted-printable\r\n")
	require.Contains(t, string(text), "\r\n\r\n=C5=BC")

	same, err := mime.Convert(t.Context(), in, goniec.Body8BitMIME)
	require.NoError(t, err)
	defer same.(io.Closer).Close()
	text, err = io.ReadAll(goniec.NewReader(same))
	require.NoError(t, err)
	require.Contains(t, string(text), "\r\n\r\nżółw\r\n")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = mime.Convert(ctx, in, goniec.Body7Bit)
	require.ErrorIs(t, err, context.Canceled)
}
