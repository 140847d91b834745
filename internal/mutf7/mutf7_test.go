package mutf7

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestKnownForms(t *testing.T) {
	for plain, coded := range map[string]string{
		"":                   "",
		"INBOX":              "INBOX",
		"&":                  "&-",
		"a&b":                "a&-b",
		"Entwürfe":           "Entw&APw-rfe",
		"台北":                 "&U,BTFw-",
		"~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-", // RFC 3501 §5.1.3
		"😀":                  "&2D3eAA-",
		"ü&ü":                "&APw-&-&APw-",
		"\x7f\x00":           "&AH8AAA-",
	} {
		require.Equal(t, coded, Encode(plain))
		got, err := Decode(coded)
		require.NoError(t, err, coded)
		require.Equal(t, plain, got)
	}
}

// I08: every second spelling of a name is refused.
func TestI08_OnlyCanonicalFormsDecode(t *testing.T) {
	for _, s := range []string{
		"&AC4ALg-", "&AC8-", "&AGE-", "&AAE-\x80", "&2AA-", "&2AA", "&", "a&", "&A-", "&AA-", "&AAA",
		"&AOk-&AOk-", "&APx-", "&AP=-", "&AP/-", "&=-", "&-&AC8-", "ü", "a\r\nb", "\x00", "&3ADYAA-",
		"&2ADYAA-", "&//0=-",
	} {
		_, err := Decode(s)
		require.ErrorIs(t, err, ErrForm, "%q", s)
	}
}

// All strings over a small alphabet: what decodes, encodes back to itself.
func TestDecodeIsInjective(t *testing.T) {
	const letters = "&-A,2a/\x80"
	var walk func(s string, depth int)
	walk = func(s string, depth int) {
		if d, err := Decode(s); err == nil {
			require.Equal(t, s, Encode(d))
		}
		for i := 0; depth > 0 && i < len(letters); i++ {
			walk(s+letters[i:i+1], depth-1)
		}
	}
	walk("", 6)
}

func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"", "a&b", "Entw&APw-rfe", "&2D3eAA-", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := Decode(s); err == nil {
			require.True(t, utf8.ValidString(d))
			require.Equal(t, s, Encode(d))
		}
		if utf8.ValidString(s) {
			d, err := Decode(Encode(s))
			require.NoError(t, err)
			require.Equal(t, s, d)
		}
	})
}
