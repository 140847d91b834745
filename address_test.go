package goniec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

func TestParseAddress(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for _, c := range []struct{ in, local, domain, out string }{
		{"user@example.org", "user", "example.org", ""},
		{"First.Last+tag@EXAMPLE.org", "First.Last+tag", "EXAMPLE.org", ""},
		{`"a b"@example.org`, "a b", "example.org", ""},
		{`"user"@example.org`, "user", "example.org", "user@example.org"},
		{`"a\"b\\c"@example.org`, `a"b\c`, "example.org", ""},
		{`"a..b"@example.org`, "a..b", "example.org", ""},
		{`"@"@example.org`, "@", "example.org", ""},
		{`"t@example.com> ORCPT=a@b"@example.com`, "t@example.com> ORCPT=a@b", "example.com", ""}, // P01
		{`"x@evil x"@in.example`, "x@evil x", "in.example", ""},
		{"u@[192.0.2.1]", "u", "[192.0.2.1]", ""},
		{"u@[IPv6:2001:db8::1]", "u", "[IPv6:2001:db8::1]", ""},
		{"u@[ipv6:::ffff:192.0.2.1]", "u", "[ipv6:::ffff:192.0.2.1]", ""},
		{"Postmaster", "Postmaster", "", ""},
		{"żółw@przykład.pl", "żółw", "przykład.pl", ""},
		{"u@xn--przykad-rjb.pl", "u", "xn--przykad-rjb.pl", ""},
		{"u@under_score.example", "u", "under_score.example", ""},
		{"u%far@us.example", "u%far", "us.example", ""},
		{"!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x", ""},
		{strings.Repeat("l", 64) + "@x", strings.Repeat("l", 64), "x", ""},
		{"u@" + label63 + ".x", "u", label63 + ".x", ""},
	} {
		t.Run(c.in, func(t *testing.T) {
			a, err := goniec.ParseAddress(c.in)
			require.NoError(t, err)
			require.Equal(t, c.local, a.Local())
			require.Equal(t, c.domain, a.Domain())
			if c.out == "" {
				c.out = c.in
			}
			require.Equal(t, c.out, a.String())
			again, err := goniec.ParseAddress(a.String())
			require.NoError(t, err)
			require.Equal(t, a, again)
		})
	}
}

// P01, P03, P05: what must not become an address.
func TestP05_ParseAddressRefuses(t *testing.T) {
	for _, in := range []string{
		"", "@", "user", "user@", "@example.org", "a@b@c", "a b@c", "a@b c", "<a@b>", "a@b>", "a@b,c@d",
		".a@b", "a.@b", "a..b@c", `"a@b`, `"a"b@c`, `a"b"@c`, `"a\`, `"a\"@b`, `""@x`, "\"a\rb\"@c", "\"a\nb\"@c", "\"a\x00b\"@c", "\"a\x7fb\"@c", "\"\u0085\"@c",
		"a\r@b", "a\n@b", "a\x00@b", "a@b\r\n", "a@b\x00", "\xff@b", "a@\xff",
		"a@.b", "a@b.", "a@b..c", "a@-b", "a@b-", "a@b..", "a@b\u3002c", "a@b\uff0ec", "a@xn--a", "a@xn--zzzzzzzzz99999",
		"a@[192.0.2.1", "a@[192.0.2.256]", "a@[192.0.2.01]", "a@[2001:db8::1]", "a@[IPv6:192.0.2.1]", "a@[IPv6:fe80::1%eth0]", "a@[IPv6:]", "a@[]", "a@[tag:x]",
		strings.Repeat("l", 65) + "@x", "u@" + strings.Repeat("a", 64) + ".x", "u@" + strings.Repeat("a.", 127) + "aa",
		"=?utf-8?q?x?= <a@b>", "a(comment)@b", "sub\"x\"@y",
	} {
		a, err := goniec.ParseAddress(in)
		require.Errorf(t, err, "%q gave %q", in, a)
		require.ErrorIs(t, err, goniec.ErrAddress)
		require.Less(t, len(err.Error()), 400)
	}
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct{ in, want, rest string }{
		{"<>", "", ""},
		{"<> SIZE=1", "", " SIZE=1"},
		{"<a@b> BODY=8BITMIME", "a@b", " BODY=8BITMIME"},
		{"<@r1,@r2:a@b>", "a@b", ""},
		{`<"x> y"@b> SIZE=3`, `"x> y"@b`, " SIZE=3"},
		{"<postmaster>", "postmaster", ""},
		{"<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", ""},
	} {
		a, rest, err := goniec.ParsePath(c.in)
		require.NoError(t, err, c.in)
		require.Equal(t, c.want, a.String(), c.in)
		require.Equal(t, c.rest, rest, c.in)
	}
	for _, in := range []string{"", "a@b", "<a@b", "< a@b>", "<a@b >", "<@r>", "<@r a@b>", "<r:a@b>", "<@-r:a@b>", "<<a@b>>", "<a@b,c@d>"} {
		_, _, err := goniec.ParsePath(in)
		require.ErrorIs(t, err, goniec.ErrAddress, in)
	}
}

func TestAddressComparison(t *testing.T) {
	a, b := goniec.MustAddress("u@PRZYKŁAD.pl"), goniec.MustAddress("u@xn--przykad-rjb.PL")
	require.NotEqual(t, a, b)
	require.Equal(t, a.Key(), b.Key())
	require.True(t, goniec.SameDomain("EXAMPLE.org", "example.ORG"))
	require.True(t, goniec.SameDomain("[IPv6:2001:DB8:0::1]", "[ipv6:2001:db8::1]"))
	require.False(t, goniec.SameDomain("a.example", "b.example"))
	require.NotEqual(t, goniec.MustAddress("A@b").Key(), goniec.MustAddress("a@b").Key(), "the local part's case is its owner's")
	require.True(t, goniec.MustAddress("u@b").IsASCII())
	require.False(t, a.IsASCII())
	ip, ok := goniec.MustAddress("u@[192.0.2.1]").Literal()
	require.True(t, ok)
	require.Equal(t, "192.0.2.1", ip.String())
}

func TestNewAddress(t *testing.T) {
	a, err := goniec.NewAddress("a@b c", "d")
	require.NoError(t, err)
	require.Equal(t, `"a@b c"@d`, a.String())
	for _, c := range [][2]string{{"", "d"}, {"a", ""}, {"a\n", "d"}, {"a", "d\n"}, {"a", "d e"}, {"a", "@d"}} {
		_, err := goniec.NewAddress(c[0], c[1])
		require.ErrorIs(t, err, goniec.ErrAddress)
	}
	var u goniec.Address
	require.NoError(t, u.UnmarshalText([]byte("x@y")))
	require.NoError(t, u.UnmarshalText(nil))
	require.True(t, u.IsZero())
	require.Equal(t, "<>", u.Path())
	require.Error(t, u.UnmarshalText([]byte("nothing")))
	require.Panics(t, func() { goniec.MustAddress("nothing") })
}

// FuzzParseAddress: whatever parses, prints to something that parses to the same value and holds
// no octet that could end a command (P01).
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@c`, `"\"\\"@c`, "u@[IPv6:::1]", "postmaster", "ż@ó.pl", "<@a:b@c> X", "a@b\r\nRCPT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := goniec.ParseAddress(s)
		if err == nil {
			out := a.String()
			require.NotContains(t, out, "\r")
			require.NotContains(t, out, "\n")
			require.NotContains(t, out, "\x00")
			again, err := goniec.ParseAddress(out)
			require.NoError(t, err)
			require.Equal(t, a, again)
			viaPath, rest, err := goniec.ParsePath(a.Path() + " X=1")
			require.NoError(t, err)
			require.Equal(t, a, viaPath)
			require.Equal(t, " X=1", rest)
			_ = a.Key()
		}
		if _, rest, err := goniec.ParsePath(s); err == nil && !strings.HasSuffix(s, rest) {
			t.Fatalf("rest %q is no end of %q", rest, s)
		}
	})
}

func BenchmarkParsePath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := goniec.ParsePath("<someone.else@mail.example.org> SIZE=1000"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAddressErrorsSayWhat(t *testing.T) {
	_, err := goniec.ParseAddress("a@b..c")
	require.EqualError(t, err, `invalid mail address "a@b..c": domain has an empty label`)
	require.True(t, errors.Is(err, goniec.ErrAddress))
}

// P05: a domain that only mapping makes a valid one is refused, since the next hop may read it otherwise.
func TestP05_OnlyULabels(t *testing.T) {
	for _, ok := range []string{
		"münchen.de", "MÜNCHEN.de", "Ü.example", "faß.de", "xn--mnchen-3ya.ü.de", "XN--MNCHEN-3YA.de", "przykład.pl", "例え.jp", "пример.рф", "ελλάδας.gr",
	} {
		a, err := goniec.ParseAddress("a@" + ok)
		require.NoError(t, err, ok)
		again, err := goniec.ParseAddress("a@" + a.ASCIIDomain())
		require.NoError(t, err, ok)
		require.Equal(t, a.Key(), again.Key())
	}
	for _, bad := range []string{"\uff42.c", "b\u00adc.d", "b\u200bc", "u\u0308.de", "xn--mnchen-3ya.\uff42", "\u2460.de", "\ufb01.de", "ü\u00ad.de", "ü..de"} {
		_, err := goniec.ParseAddress("a@" + bad)
		require.ErrorIs(t, err, goniec.ErrAddress, "%q", bad)
		require.False(t, goniec.SameDomain(bad, "b.c"), "%q", bad)
	}
}
