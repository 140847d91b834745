package mime

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestParseContentType(t *testing.T) {
	tests := []struct {
		in, typ string
		params  Params
		ok      bool
	}{
		{"text/plain", "text/plain", nil, true},
		{"TEXT/Html; Charset=UTF-8", "text/html", Params{{"charset", "UTF-8"}}, true},
		{`text/plain; charset="us-ascii" (comment)`, "text/plain", Params{{"charset", "us-ascii"}}, true},
		{"text/plain; charset=us-ascii (Plain text)", "text/plain", Params{{"charset", "us-ascii"}}, true},
		{"text / plain ; a = b", "text/plain", Params{{"a", "b"}}, true},
		{`multipart/mixed; boundary="a\"b;c"`, "multipart/mixed", Params{{"boundary", `a"b;c`}}, true},
		{"multipart/mixed; boundary=----=_NextPart_000", "multipart/mixed", Params{{"boundary", "----=_NextPart_000"}}, true},
		{"text/plain;", "text/plain", nil, true},
		{"text/plain;; a=b;", "text/plain", Params{{"a", "b"}}, true},
		{"text/plain; a=b; a=c", "text/plain", Params{{"a", "b"}, {"a", "c"}}, true},
		{"text/plain charset=utf-8", "text/plain", Params{{"charset", "utf-8"}}, true},
		{"text/plain; a=b c=d", "text/plain", Params{{"a", "b"}, {"c", "d"}}, true},
		{`text/plain; a="b" c=d`, "text/plain", Params{{"a", "b"}, {"c", "d"}}, true},
		{"text/plain; name=my file (1).txt; x=y", "text/plain", Params{{"name", "my file (1).txt"}, {"x", "y"}}, false},
		{`text/plain; a="b`, "text/plain", Params{{"a", "b"}}, false},
		{"text/plain; charset", "text/plain", nil, false},
		{"text/plain; a=", "text/plain", Params{{"a", ""}}, true},
		{"text", "text/plain", nil, false},
		{"", "text/plain", nil, true},
		{"text/", "text/plain", nil, false},
		{"charset=utf-8", "text/plain", Params{{"charset", "utf-8"}}, false},
		{"tex t/plain", "text/plain", nil, false},
		{"application/x-stuff; title*0*=us-ascii'en'This%20is", "application/x-stuff", Params{{"title*0*", "us-ascii'en'This%20is"}}, true},
	}
	for _, test := range tests {
		ct, err := ParseContentType(test.in)
		require.Equal(t, test.typ, ct.String(), "%q", test.in)
		require.Equal(t, test.params, ct.Params, "%q", test.in)
		require.Equal(t, test.ok, err == nil, "%q: %v", test.in, err)
	}
	ct, _ := ParseContentType("Text/HTML; charset=x")
	require.True(t, ct.Is("text"))
	require.True(t, ct.Is("text/html"))
	require.False(t, ct.Is("text/plain"))
	require.Equal(t, "x", ct.Charset())
}

func TestParseDisposition(t *testing.T) {
	d, ps, err := ParseDisposition(`ATTACHMENT; filename="x y.txt"; size=12`)
	require.NoError(t, err)
	require.Equal(t, "attachment", d)
	require.Equal(t, "x y.txt", ps.Get("FileName"))
	d, _, err = ParseDisposition(`; filename=x`)
	require.Error(t, err)
	require.Equal(t, "attachment", d)
}

func TestParamsGet(t *testing.T) {
	for in, want := range map[string]string{
		"filename=plain":                                             "plain",
		"filename*=utf-8''Gr%C3%BC%C3%9Fe":                           "Grüße",
		"filename*=iso-8859-1'de'Gr%FC":                              "Grü",
		"filename=fallback; filename*=utf-8''b%C3%A4st":              "bäst",
		"filename*0=a; filename*1=b; filename*2=c":                   "abc",
		"filename*1=b; filename*0=a":                                 "ab",
		"filename*0*=utf-8''a%20; filename*1=b%20; filename*2*=%20c": "a b%20 c",
		"filename*0=a; filename*2=c":                                 "a", // M03: gap
		"filename*0=a; filename*0=b":                                 "a", // duplicate
		"filename*1=b":                                               "",
		"filename*0=a; filename*9223372036854775808=b":               "a",
		"filename*01=a; filename=p":                                  "p",
		"filename*-1=a; filename=p":                                  "p",
		"filename*0**=a; filename=p":                                 "p",
		"filename*x=a; filename=p":                                   "p",
		"filename*=plain%20text":                                     "plain text",
		"filename*=utf-8'%20":                                        "utf-8' ",
		"filename*=nonsense''%FC":                                    "ü",
		"filename*=utf-7''+ADw-":                                     "+ADw-",
		"filename*=utf-8''a%0D%0Ab":                                  "a\r\nb", // Filename cleans
		"filename=Gr\xfc":                                            "Grü",
		"filename*=utf-8''%":                                         "%",
		"filenamex=a":                                                "",
	} {
		_, ps, _ := ParseDisposition("attachment; " + in)
		require.Equal(t, want, ps.Get("filename"), in)
	}
}

// TestM03_Limits: parameters and continuations at the limit and beyond.
func TestM03_Limits(t *testing.T) {
	list := func(n int) string {
		var b strings.Builder
		b.WriteString("text/plain")
		for i := range n {
			fmt.Fprintf(&b, "; name*%d=%c", i, 'a'+i%26)
		}
		return b.String()
	}
	ct, err := ParseContentType(list(DefaultMaxParams))
	require.NoError(t, err)
	require.Len(t, ct.Params, DefaultMaxParams)
	require.Len(t, ct.Params.Get("name"), maxContinuations)
	for _, n := range []int{DefaultMaxParams + 1, 100_000} {
		ct, err = ParseContentType(list(n))
		require.Error(t, err)
		require.Len(t, ct.Params, DefaultMaxParams)
	}
	s := parse(t, "Content-Type: "+list(1000)+"\r\n\r\n", Options{MaxParams: -1})
	require.Len(t, s.Parts[0].Type.Params, 1000)
	require.Len(t, s.Parts[0].Type.Params.Get("name"), maxContinuations)
	s = parse(t, "Content-Type: "+list(4)+"\r\n\r\n", Options{MaxParams: 3})
	require.Equal(t, []WarningKind{WarnParams}, kinds(s))
}

// TestM03_Filenames: the clean name is safe to create, the raw one is what was sent.
func TestM03_Filenames(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "a.txt", "../../x": "x", `..\..\x`: "x", `C:\dir\f.exe`: "f.exe", "a\x00.exe": "a.exe", "/etc/passwd": "passwd",
		"..": "", ".": "", "/": "", "": "", ".hidden": "hidden", "a/": "a", "con|x?": "con_x_", "txt.\u202eexe": "txt.exe", "  sp  ": "sp",
		"a\r\nb": "ab", "Grüße.pdf": "Grüße.pdf", "\xff\xfe": "", "x.": "x", " .. ": "", "NUL": "_NUL", "com1.txt": "_com1.txt", "com10": "com10", "console": "console",
	} {
		require.Equal(t, want, CleanFilename(in), "%q", in)
	}
	long := CleanFilename(strings.Repeat("ä", 300) + ".pdf")
	require.LessOrEqual(t, len(long), maxFilename)
	require.True(t, utf8.ValidString(long))
	require.True(t, strings.HasSuffix(long, ".pdf"))
	require.Len(t, CleanFilename(strings.Repeat("x", maxFilename)), maxFilename)

	clean, raw := Filename(nil, Params{{"name", "=?utf-8?q?Gr=C3=BC=2Fx.pdf?="}})
	require.Equal(t, "x.pdf", clean)
	require.Equal(t, "=?utf-8?q?Gr=C3=BC=2Fx.pdf?=", raw)
	clean, _ = Filename(Params{{"filename", "d"}}, Params{{"name", "n"}})
	require.Equal(t, "d", clean)
}

// FuzzParams checks that cleaned names stay in their folder and that decoding stays within its bounds.
func FuzzParams(f *testing.F) {
	for _, s := range []string{`text/plain; name="x"`, "a/b; name*0*=utf-8''x; name*1=y", "attachment; filename*=utf-16''%00", "x;=;\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ct, _ := ParseContentType(s)
		require.True(t, isToken(ct.Type) && isToken(ct.Subtype))
		_, ps, _ := ParseDisposition(s)
		for _, p := range append(ps, ct.Params...) {
			v := ps.Get(p.Name)
			require.True(t, utf8.ValidString(v))
			require.LessOrEqual(t, len(v), 4*len(s)+4)
		}
		clean, _ := Filename(ps, ct.Params)
		require.NotContains(t, clean, "/")
		require.NotContains(t, clean, "\\")
		require.NotContains(t, []string{".", ".."}, clean)
		require.Equal(t, clean, CleanFilename(clean))
	})
}
