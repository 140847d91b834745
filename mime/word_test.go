package mime

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDecodeText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"plain":                              "plain",
		" trimmed\t":                         "trimmed",
		"=?utf-8?q?Gr=C3=BC=C3=9Fe?=":        "Grüße",
		"=?UTF-8?B?R3LDvMOfZQ==?=":           "Grüße",
		"=?utf-8?B?R3LDvMOfZQ?=":             "Grüße", // padding missing
		"=?iso-8859-1?q?a_b=E9?=":            "a bé",
		"=?iso-8859-1*en?q?a?=":              "a", // RFC 2231 §5
		"=?utf-8?q?a?= =?utf-8?q?b?=":        "ab",
		"=?utf-8?q?a?=\r\n =?utf-8?q?b?=":    "ab",
		"=?utf-8?q?a?= b =?utf-8?q?c?=":      "a b c",
		"x =?utf-8?q?a?=":                    "x a",
		"=?utf-8?q?=C3?= =?utf-8?q?=BC?=":    "ü", // a character in two words
		"=?utf-8?q?=C3?= =?koi8-r?q?=C1?=":   "Ãа",
		"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=": "日本",
		"=?gb2312?b?1tDOxA==?=":              "中文",
		"=?big5?b?pKSk5Q==?=":                "中文",
		"=?windows-1252?q?=80?=":             "€",
		"=?cp1252?q?=80?=":                   "€",
		"=?cp850?q?=81?=":                    "ü",
		"=?win-1250?q?=E8?=":                 "č",
		"=?unknown-x?q?=80?=":                "=?unknown-x?q?=80?=",
		"=?utf-7?q?+ADw-script?=":            "=?utf-7?q?+ADw-script?=", // M04
		"=?utf-8?q?a=ZZ?=":                   "a=ZZ",
		"=?utf-8?q?a b?=":                    "a b", // not allowed, frequent
		"=?utf-8?x?a?=":                      "=?utf-8?x?a?=",
		"=?utf-8?q?a":                        "=?utf-8?q?a",
		"=?utf-8?q?broken =?utf-8?q?ok?=":    "=?utf-8?q?broken ok",
		"=?=?utf-8?q?a?=":                    "=?a",
		"=??q?a?=":                           "=??q?a?=",
		"=?utf-8?q??=":                       "",
		"=?utf-8?q?=0D=0ABcc:_x?=":           "Bcc: x",
		"=?utf-8?q?a=E2=80=AEb?=":            "a b",      // U+202E
		"=?utf-8?q?=ED=A0=80?=":              "í\u00a0€", // a lone surrogate is no UTF-8
		"raw Grüße":                          "raw Grüße",
		"raw Gr\xfc\xdfe":                    "raw Grüße",
		"nul\x00esc\x1b":                     "nul esc",
	} {
		require.Equal(t, want, DecodeText(in), "%q", in)
	}
}

func TestEncodeText(t *testing.T) {
	for _, s := range []string{
		"", "plain", "Grüße", "日本語のとても長い件名です。日本語のとても長い件名です。日本語のとても長い件名です。",
		"=?utf-8?q?looks_encoded?=", "a =? b", strings.Repeat("ä ", 100) + "x", "🚚", "tab-free \u760a \u4e00",
	} {
		enc := EncodeText(s)
		require.Equal(t, s, DecodeText(enc))
		for word := range strings.SplitSeq(enc, " ") {
			if strings.HasPrefix(word, "=?") {
				require.LessOrEqual(t, len(word), 75)
			}
		}
	}
	require.Equal(t, "=?utf-8?q?a=C3=A4_bcd?=", EncodeText("aä bcd"))
	require.Equal(t, "=?utf-8?b?w6TDpMOk?=", EncodeText("äää"))
	// P02: characters whose low octet is a line end, and line separators, do not become one.
	for _, s := range []string{"\u760a", "\u2028", "a\r\nb", "a\x00b"} {
		require.NotContains(t, EncodeText("x"+s), "\n")
		require.NotContains(t, EncodeText("x"+s), "\r")
		require.NotContains(t, EncodeText("x"+s), "\x00")
	}
}

// TestM04_Flood: neither a flood of words nor one of beginnings makes decoding slow; see also TestLinear.
func TestM04_Flood(t *testing.T) {
	require.Len(t, DecodeText(strings.Repeat("=?utf-8?q?a?= ", 50_000)), 50_000)
	_ = DecodeText(strings.Repeat("=?utf-8?q?", 50_000))
	_ = DecodeText(strings.Repeat("=?a?b", 50_000) + "?=")
}

func FuzzDecodeText(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?a?=", "=?iso-2022-jp?b?GyRC?=", "=?utf-7?b?AAAA?=", "=?gb18030?b?gTCBMA==?=", "=?utf-16?b?/v8A?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := DecodeText(s)
		require.True(t, utf8.ValidString(out))
		require.LessOrEqual(t, len(out), 4*len(s))
		require.Equal(t, Display(out), out)
		if utf8.ValidString(s) && Display(s) == s && strings.Trim(s, " \t\r\n") == s {
			require.Equal(t, s, DecodeText(EncodeText(s)))
		}
	})
}

func TestDisplay(t *testing.T) {
	require.Equal(t, "a b c\uFFFD", Display("a\tb\u202ec\xff"))
	require.Equal(t, "é", Display("é"))
}
