package auth_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

var errUnfinished = errors.New("exchange is not finished")

// L01: whatever prints a Secret, or something that holds one, shows no letter of it.
func TestL01_SecretNeverPrints(t *testing.T) {
	const text = "hunter2"
	s := auth.NewSecret(text)
	type hidden struct {
		name string
		pw   auth.Secret
	}
	held := []any{s, &s, hidden{"u", s}, &hidden{"u", s}, []auth.Secret{s}, map[string]any{"k": s}, &auth.Attempt{User: "u", Secret: s}, auth.PlainClient{Password: s}}
	for i, v := range held {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3v", "%T"} {
			out := fmt.Sprintf(verb, v)
			require.NotContains(t, out, text, "%d %s", i, verb)
			require.NotContains(t, out, fmt.Sprintf("%x", text), "%d %s", i, verb)
		}
		var buf bytes.Buffer
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "v", v)
		require.NotContains(t, buf.String(), text)
		js, _ := json.Marshal(v)
		require.NotContains(t, string(js), text)
		x, _ := xml.Marshal(v)
		require.NotContains(t, string(x), text)
	}
	require.Equal(t, "***", fmt.Sprint(s))
	require.Equal(t, text, s.Reveal())
}

func TestSecretEqual(t *testing.T) {
	require.True(t, auth.NewSecret("a").Equal(auth.NewSecret("a")))
	require.False(t, auth.NewSecret("a").Equal(auth.NewSecret("b")))
	require.False(t, auth.NewSecret("a").Equal(auth.Secret{}))
	require.True(t, auth.NewSecret("").Equal(auth.Secret{}))
	require.True(t, auth.NewSecret("").Empty())
	require.Empty(t, auth.Secret{}.Reveal())
}
