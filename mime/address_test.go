package mime

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAddresses(t *testing.T) {
	mb := func(name, local, domain string) Address { return Address{Name: name, Local: local, Domain: domain} }
	start := func(name string) Address { return Address{Kind: GroupStart, Name: name} }
	end := Address{Kind: GroupEnd}
	tests := []struct {
		in   string
		want Addresses
		ok   bool
	}{
		{"", nil, true},
		{"a@b", Addresses{mb("", "a", "b")}, true},
		{" <a@b> ", Addresses{mb("", "a", "b")}, true},
		{"Ada Lovelace <ada@example.org>", Addresses{mb("Ada Lovelace", "ada", "example.org")}, true},
		{`"Lovelace, Ada" <ada@example.org>, b@c`, Addresses{mb("Lovelace, Ada", "ada", "example.org"), mb("", "b", "c")}, true},
		{`"a \"b\" c" <x@y>`, Addresses{mb(`a "b" c`, "x", "y")}, true},
		{"John Q. Public <j@x.test>", Addresses{mb("John Q. Public", "j", "x.test")}, true}, // obs-phrase
		{"a@b (Ada)", Addresses{mb("Ada", "a", "b")}, true},
		{`a@b (Ada \(1\))`, Addresses{mb("Ada (1)", "a", "b")}, true},
		{"(c) a (c) @ (c) b (d)", Addresses{mb("d", "a", "b")}, true},
		{`"a b"@c`, Addresses{mb("", "a b", "c")}, true},
		{`"a"."b"@c`, Addresses{mb("", "a.b", "c")}, true},
		{`""@x`, Addresses{mb("", "", "x")}, true}, // P04
		{"a@[192.0.2.1]", Addresses{mb("", "a", "[192.0.2.1]")}, true},
		{"a@b . c", Addresses{mb("", "a", "b.c")}, true}, // obs-domain
		{"<@r1,@r2:a@b>", Addresses{{Route: "@r1,@r2", Local: "a", Domain: "b"}}, true},
		{"g: a@b, c@d;", Addresses{start("g"), mb("", "a", "b"), mb("", "c", "d"), end}, true},
		{"undisclosed-recipients:;", Addresses{start("undisclosed-recipients"), end}, true},
		{"g:a@b;, c@d", Addresses{start("g"), mb("", "a", "b"), end, mb("", "c", "d")}, true},
		{"a@b,,c@d,", Addresses{mb("", "a", "b"), mb("", "c", "d")}, true}, // obs-addr-list
		{"Grüße <ü@exämple.org>", Addresses{mb("Grüße", "ü", "exämple.org")}, true},

		{"MAILER-DAEMON", Addresses{mb("", "MAILER-DAEMON", "")}, false},
		{"Mail Delivery System", Addresses{mb("", "Mail Delivery System", "")}, false},
		{"<>", Addresses{mb("", "", "")}, false},
		{"a b@c", Addresses{mb("", "ab", "c")}, false},
		{"a..b@c", Addresses{mb("", "a..b", "c")}, false},
		{"a@b..c", Addresses{mb("", "a", "b..c")}, false},
		{"@b", Addresses{mb("", "", "b")}, false},
		{"a@", Addresses{mb("", "a", "")}, false},
		{"<a@b", Addresses{mb("", "a", "b")}, false},
		{"x <a@b> y, c@d", Addresses{mb("x", "a", "b"), mb("", "c", "d")}, false},
		{"x <a@b> y <c@d>", Addresses{mb("x", "a", "b"), mb("y", "c", "d")}, false},
		{"a@b <c@d>", Addresses{mb("", "a", "b"), mb("", "c", "d")}, false},
		{"a@b; c@d", Addresses{mb("", "a", "b"), mb("", "c", "d")}, false},
		{"g: a@b", Addresses{start("g"), mb("", "a", "b"), end}, false},
		{`"abc`, Addresses{mb("", "abc", "")}, false},
		{"a@b (c\\", Addresses{mb("c\\", "a", "b")}, false}, // P04: a comment that ends in a backslash
		{"(", nil, false},
		{"a@[1", Addresses{mb("", "a", "[1")}, false},
		{"a@b@c", Addresses{mb("", "a", "b")}, false},
	}
	for _, test := range tests {
		got, err := ParseAddresses(test.in)
		if len(got) == 0 {
			got = nil
		}
		require.Equal(t, test.want, got, "%q", test.in)
		require.Equal(t, test.ok, err == nil, "%q: %v", test.in, err)
		if err != nil {
			require.Regexp(t, `^mime: address: .+ at octet \d+$`, err.Error())
		}
	}
}

// TestP04_DeepComments: nesting costs a counter.
func TestP04_DeepComments(t *testing.T) {
	for _, s := range []string{
		strings.Repeat("(", 100_000) + strings.Repeat(")", 100_000) + "a@b",
		strings.Repeat("(", 100_000),
		"a@b (" + strings.Repeat("\\", 100_001),
	} {
		_, _ = ParseAddresses(s)
	}
	as, err := ParseAddresses(strings.Repeat("(", 100_000) + strings.Repeat(")", 100_000) + "a@b")
	require.NoError(t, err)
	require.Equal(t, "a@b", as[0].Addr())
}

// TestP01_Requoting: a local part is given back quoted, so that it cannot become anything else.
func TestP01_Requoting(t *testing.T) {
	for in, want := range map[string]string{
		`"t@example.com> ORCPT=a@b"@example.com`: `"t@example.com> ORCPT=a@b"@example.com`,
		`"x@evil x"@in.example`:                  `"x@evil x"@in.example`,
		`"end\\"@x`:                              `"end\\"@x`,
		`"a\"b"@x`:                               `"a\"b"@x`,
		`"plain"@x`:                              `plain@x`,
		`""@x`:                                   `""@x`,
		`"a."@x`:                                 `"a."@x`,
	} {
		a, err := ParseAddress(in)
		require.NoError(t, err, in)
		require.Equal(t, want, a.Addr())
		again, err := ParseAddress(a.Addr())
		require.NoError(t, err)
		require.Equal(t, a, again)
	}
	for _, bad := range []string{"\"a\\\rb\"@x", "\"a\\\nb\"@x", "\"a\x00b\"@x", "a\x00@x", "a@x\x00", "\"a\u2028b\"@x", `"a\"@x`, "a@b, c@d", "g:;", "", "a", "a@b c"} {
		_, err := ParseAddress(bad)
		require.Error(t, err, "%q", bad)
	}
}

// TestP03_EncodedWordsCarryNoStructure: words in an address are not decoded, words in a name decode to a name.
func TestP03_EncodedWordsCarryNoStructure(t *testing.T) {
	as, err := ParseAddresses("=?utf-8?q?=61=40evil=3e=00?=foo@good")
	require.NoError(t, err)
	require.Equal(t, "=?utf-8?q?=61=40evil=3e=00?=foo", as[0].Local)
	require.Equal(t, "good", as[0].Domain)

	as, err = ParseAddresses(`=?utf-8?q?=22=2C_x=40evil?= <a@good>`)
	require.NoError(t, err)
	require.Len(t, as, 1)
	require.Equal(t, `", x@evil`, as[0].Text())
	as[0].Name = as[0].Text()
	out, err := FormatAddresses(as)
	require.NoError(t, err)
	again, err := ParseAddresses(out)
	require.NoError(t, err)
	require.Equal(t, as, again)
}

func TestFormatAddresses(t *testing.T) {
	out, err := FormatAddresses(Addresses{
		{Name: "Ada", Local: "ada", Domain: "x.test"},
		{Kind: GroupStart, Name: "Grüße"},
		{Name: "Bö b", Local: "b b", Domain: "x.test"},
		{Local: "c", Domain: "x.test"},
		{Kind: GroupEnd},
		{Name: `q"q`, Local: "d", Domain: "[192.0.2.1]"},
	})
	require.NoError(t, err)
	require.Equal(t, `Ada <ada@x.test>, =?utf-8?b?R3LDvMOfZQ==?=: =?utf-8?b?QsO2IGI=?= <"b b"@x.test>, c@x.test;, "q\"q" <d@[192.0.2.1]>`, out)
	as, err := ParseAddresses(out)
	require.NoError(t, err)
	n := 0
	for range as.Mailboxes() {
		n++
	}
	require.Equal(t, 4, n)
	for _, bad := range []Address{
		{Name: "a\r\nBcc: x@y", Local: "a", Domain: "b"},
		{Local: "a\n", Domain: "b"},
		{Local: "a", Domain: "b\r\n"},
		{Local: "a", Domain: "b>,<c@d"},
		{Local: "a", Domain: "[1]>,<c@d"},
		{Local: "a", Domain: ""},
		{Local: "a\xff", Domain: "b"},
		{Kind: GroupStart, Name: "a\nb"},
	} {
		_, err := FormatAddresses(Addresses{bad})
		var ve *ValueError
		require.ErrorAs(t, err, &ve, "%+v", bad)
	}
}

func TestAddrOfNothing(t *testing.T) {
	as, err := ParseAddresses("MAILER DAEMON <>")
	require.Error(t, err)
	require.Equal(t, "", as[0].Addr())
	require.Equal(t, "MAILER DAEMON <>", as[0].String())
}

func TestMaxAddresses(t *testing.T) {
	list := func(n int) string { return strings.Repeat("a@b,", n) }
	as, err := ParseAddresses(list(MaxAddresses))
	require.NoError(t, err)
	require.Len(t, as, MaxAddresses)
	as, err = ParseAddresses(list(MaxAddresses + 1))
	require.Error(t, err)
	require.Len(t, as, MaxAddresses)
}

// FuzzAddresses checks that what was read and written again reads as the same.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"a@b", `"a b" <"x y"@z>, g: a@b;`, "(c(c))a@b", "<@r:a@b>", `"\`, "a b@c", "x:y:z;;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		as, err := ParseAddresses(s)
		if err != nil {
			return
		}
		for i := range as {
			as[i].Route = ""
			as[i].Name = as[i].Text()
		}
		out, err := FormatAddresses(as)
		if err != nil {
			return
		}
		again, err := ParseAddresses(out)
		require.NoError(t, err, "%q", out)
		for i := range again {
			again[i].Name = again[i].Text()
		}
		require.Equal(t, as, again, "%q", out)
	})
}
