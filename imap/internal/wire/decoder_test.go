package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/mailbox"
)

// decoder returns a Decoder at the first command of input, and what it asked for literals.
func decoder(input string) (*Decoder, *int) {
	asked := new(int)
	d := &Decoder{Continue: func() error { *asked++; return nil }}
	d.Reset(crlf.NewReader(strings.NewReader(input)))
	return d, asked
}

func begin(t testing.TB, input string) *Decoder {
	d, _ := decoder(input)
	require.NoError(t, d.Begin())
	return d
}

func TestTokens(t *testing.T) {
	d := begin(t, `a.1 LoGin "q \"\\ é" ato]m NIL "x" 42 9223372036854775807 (a (b) ())`+"\r\n")
	require.Equal(t, "a.1", d.Tag())
	d.SP()
	require.Equal(t, "LOGIN", d.Keyword())
	d.SP()
	require.Equal(t, `q "\ é`, d.AString())
	d.SP()
	require.Equal(t, "ato]m", d.AString())
	d.SP()
	_, ok := d.NString()
	require.False(t, ok)
	d.SP()
	s, ok := d.NString()
	require.True(t, ok)
	require.Equal(t, "x", s)
	d.SP()
	require.Equal(t, uint32(42), d.Number())
	d.SP()
	require.Equal(t, int64(1<<63-1), d.Number64())
	d.SP()
	var got []string
	d.List(func() {
		if d.Peek() == '(' {
			d.List(func() { got = append(got, "in "+d.Atom()) })
			return
		}
		got = append(got, d.Atom())
	})
	require.Equal(t, []string{"a", "in b"}, got)
	require.NoError(t, d.End())
}

func TestBadTokens(t *testing.T) {
	for _, tc := range []struct {
		line string
		read func(d *Decoder)
	}{
		{"", func(d *Decoder) { d.Tag() }},
		{"+", func(d *Decoder) { d.Tag() }},
		{"(", func(d *Decoder) { d.Atom() }},
		{"\x80", func(d *Decoder) { d.Atom() }},
		{"\x7f", func(d *Decoder) { d.AString() }},
		{`"open`, func(d *Decoder) { d.AString() }},
		{`"\x"`, func(d *Decoder) { d.AString() }},
		{`"\`, func(d *Decoder) { d.AString() }},
		{"\"\xff\"", func(d *Decoder) { d.AString() }},
		{"x", func(d *Decoder) { _ = d.String() }},
		{"x", func(d *Decoder) { d.NString() }},
		{"x", func(d *Decoder) { d.SP() }},
		{"4294967296", func(d *Decoder) { d.Number() }},
		{"9223372036854775808", func(d *Decoder) { d.Number64() }},
		{"-1", func(d *Decoder) { d.Number() }},
		{"(a b", func(d *Decoder) { d.List(func() { d.Atom() }) }},
		{"(a  b)", func(d *Decoder) { d.List(func() { d.Atom() }) }},
		{"(a )", func(d *Decoder) { d.List(func() { d.Atom() }) }},
		{"a", func(d *Decoder) { d.List(func() { d.Atom() }) }},
		{"0", func(d *Decoder) { d.NumSet() }},
		{"1:", func(d *Decoder) { d.NumSet() }},
		{"1,,2", func(d *Decoder) { d.NumSet() }},
		{"4294967296", func(d *Decoder) { d.NumSet() }},
		{"1:*", func(d *Decoder) { d.UIDSet() }},
		{`\Recent`, func(d *Decoder) { d.AddFlag(&mailbox.FlagList{}) }},
		{`\`, func(d *Decoder) { d.AddFlag(&mailbox.FlagList{}) }},
		{`"32-Jan-2020 00:00:00 +0000"`, func(d *Decoder) { d.DateTime() }},
		{`1-Jan-2020`, func(d *Decoder) { d.DateTime() }},
		{`1-Foo-2020`, func(d *Decoder) { d.Date() }},
		{"x y", func(d *Decoder) { d.Atom() }},
		{"x", func(d *Decoder) { d.LiteralHead() }},
	} {
		d := begin(t, tc.line+"\r\nnext\r\n")
		tc.read(d)
		err := d.End()
		var e *Error
		require.ErrorAs(t, err, &e, tc.line)
		require.False(t, e.Fatal, tc.line)
		require.Zero(t, d.Atom()+d.AString()+d.Text(), "sticky")
		require.NoError(t, d.Skip())
		require.NoError(t, d.Begin())
		require.Equal(t, "next", d.Atom())
	}
}

// I08: only one spelling of a name is read.
func TestI08_MailboxNames(t *testing.T) {
	for raw, want := range map[string]string{
		"INBOX": "INBOX", "inbox": "INBOX", "iNbOx/x": "INBOX/x", "a&-b": "a&b", "&ZeVnLIqe-": "日本語", `"a b"`: "a b", "{3}\r\nx/y": "x/y",
	} {
		d := begin(t, raw+"\r\n")
		require.Equal(t, want, d.Mailbox(), raw)
		require.NoError(t, d.End())
	}
	for _, raw := range []string{"&AC4ALg-", "&AC8-", `"&AAE-` + "\u00e9" + `"`, "&2AA-", "&", "&AGE-", `"é"`} {
		d := begin(t, raw+"\r\n")
		d.Mailbox()
		require.True(t, BadName(d.Err()), raw)
		var e *Error
		require.ErrorAs(t, d.Err(), &e)
		require.NoError(t, d.Skip())
	}
	d := begin(t, `"é&"`+"\r\n")
	d.UTF8 = true
	require.Equal(t, "é&", d.Mailbox())
	require.NoError(t, d.End())
}

func TestSetsFlagsDates(t *testing.T) {
	d := begin(t, `3:1,*,7 $ 4,5:6 (\seen \DELETED $Junk x) "01-Jul-1996 02:44:25 -0700" " 1-Jul-1996 02:44:25 +0000" 1-Feb-1994 "2-Feb-1994"`+"\r\n")
	set, saved := d.NumSet()
	require.False(t, saved)
	require.Equal(t, "3:1,*,7", set.String())
	d.SP()
	_, saved = d.NumSet()
	require.True(t, saved)
	d.SP()
	require.Equal(t, mailbox.UIDSet{{First: 4, Last: 6}}, d.UIDSet())
	d.SP()
	require.Equal(t, mailbox.FlagList{System: mailbox.Seen | mailbox.Deleted, Keywords: []string{"$Junk", "x"}}, d.Flags())
	d.SP()
	require.Equal(t, int64(836214265), d.DateTime().Unix())
	d.SP()
	require.Equal(t, int64(836189065), d.DateTime().Unix())
	d.SP()
	require.Equal(t, "1994-02-01", d.Date().Format("2006-01-02"))
	d.SP()
	require.Equal(t, "1994-02-02", d.Date().Format("2006-01-02"))
	require.NoError(t, d.End())
}

func TestLiterals(t *testing.T) {
	d, asked := decoder("{3}\r\na\r\n {0+}\r\n ~{2}\r\n\x00x (y)\r\nnext\r\n")
	require.NoError(t, d.Begin())
	require.Equal(t, "a\r\n", d.AString())
	d.SP()
	require.Equal(t, "", d.AString())
	d.SP()
	require.Equal(t, "\x00x", d.AString())
	d.SP()
	d.List(func() { require.Equal(t, "y", d.Atom()) })
	require.NoError(t, d.End())
	require.Equal(t, 2, *asked)
	require.NoError(t, d.Begin())
	require.Equal(t, "next", d.Atom())
}

func TestStreamedLiteral(t *testing.T) {
	d, asked := decoder("{5}\r\nhello {3+}\r\nabc\r\nnext\r\n")
	require.NoError(t, d.Begin())
	l := d.LiteralHead()
	require.Equal(t, int64(5), l.Size)
	require.Zero(t, *asked)
	got, err := io.ReadAll(l.Open())
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	d.CloseLiteral()
	d.SP()
	l = d.LiteralHead()
	l.Open()         // not read
	d.CloseLiteral() // skips
	require.NoError(t, d.End())
	require.Equal(t, 1, *asked)
	require.NoError(t, d.Begin())
	require.Equal(t, "next", d.Atom())
}

// Skip finds the end of a command wherever its reading was given up.
func TestSkipStaysInStep(t *testing.T) {
	for _, refused := range []string{
		"bad",
		"bad {3+}\r\nabc",
		"bad {3+}\r\nx\r\n {4+}\r\nA NO (rest",
		"bad {2+}\r\n\r\n\"open {2+}\r\n\r\n",
		"bad {5}", // waits for a continuation that never comes
		"b\nad {5+}\r\n12345",
		"b\x00d ~{5+}\r\n12345",
	} {
		d, asked := decoder(refused + "\r\nnext\r\n")
		_ = d.Begin()
		d.Fail("refused")
		require.NoError(t, d.Skip(), refused)
		require.Zero(t, *asked)
		require.NoError(t, d.Begin())
		require.Equal(t, "next", d.Atom(), refused)
	}
}

// Skip goes on behind a literal that is being read, or was refused for what it holds.
func TestSkipFromLiteral(t *testing.T) {
	for _, read := range []func(d *Decoder){
		func(d *Decoder) { _ = d.String() }, // NUL
		func(d *Decoder) { d.LiteralHead().Open() },
		func(d *Decoder) { _, _ = d.LiteralHead().Open().Read(make([]byte, 2)) },
		func(d *Decoder) { _, _ = io.ReadAll(d.LiteralHead().Open()) },
		func(d *Decoder) { d.LiteralHead() },
	} {
		d, _ := decoder("{3+}\r\na\x00b x {2+}\r\n\r\n\r\nnext\r\n")
		require.NoError(t, d.Begin())
		read(d)
		d.Fail("refused")
		require.NoError(t, d.Skip())
		require.NoError(t, d.Begin())
		require.Equal(t, "next", d.Atom())
	}
}

// I01: literals whose size is malformed or beyond all reason end the connection, and memory follows
// what came.
func TestI01_HostileLiterals(t *testing.T) {
	for _, line := range []string{
		"{99999999999999999999}", "{99999999999999999999+}", "{-100}", "{-100+}", "{1+", "{+}", "{}", "{", "{1+}x", "{1}{2}x",
		"{1 }", "{0x1}", "~{", "{4294967296+}", "{1099511627776+}",
	} {
		d, asked := decoder(line + "\r\n" + strings.Repeat("x", 1000))
		require.NoError(t, d.Begin())
		_ = d.String()
		require.Error(t, d.Err(), line)
		var e *Error
		require.ErrorAs(t, d.Skip(), &e, line)
		require.True(t, e.Fatal, line)
		require.Zero(t, *asked)
	}
}

// I01, I02: limits are kept at their edge, and what is announced is not allocated.
func TestLiteralLimits(t *testing.T) {
	input := "{10}\r\n0123456789 {5+}\r\n01234 x\r\n"
	for limit, good := range map[int64]bool{15: true, 14: false, 10: false, 9: false} {
		d, _ := decoder(input)
		d.Limits.LiteralBytes = limit
		require.NoError(t, d.Begin())
		_ = d.String()
		d.SP()
		_ = d.String()
		d.SP()
		d.Atom()
		require.Equal(t, good, d.End() == nil, "limit %d: %v", limit, d.Err())
		var e *Error
		require.Equal(t, !good, errors.As(d.Err(), &e) && e.TooBig)
	}
	for limit, good := range map[int]bool{2: true, 1: false} {
		d, _ := decoder(input)
		d.Limits.Literals = limit
		require.NoError(t, d.Begin())
		_ = d.String()
		d.SP()
		d.LiteralHead()
		require.Equal(t, good, d.Err() == nil)
	}
	for limit, good := range map[int64]bool{15: true, 14: false} {
		d, _ := decoder("{10+}\r\n0123456789 {5+}\r\n01234 x\r\n")
		d.Limits.Discard = limit
		require.NoError(t, d.Begin())
		require.Equal(t, good, d.Skip() == nil)
	}
	d, _ := decoder("{1000000}\r\nabc")
	require.NoError(t, d.Begin())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_ = d.String()
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, d.Err(), io.ErrUnexpectedEOF)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10))
}

// I03: nesting has a limit, and line length too.
func TestI03_DepthAndLine(t *testing.T) {
	nest := func(d *Decoder) {
		var item func()
		item = func() { d.List(item) }
		item()
	}
	for depth, good := range map[int]bool{100: true, 101: false, 30000: false} {
		d := begin(t, strings.Repeat("(", depth+1)+strings.Repeat(")", depth+1)+"\r\n")
		nest(d) // the innermost list is empty and opens no level
		require.Equal(t, good, d.End() == nil, "depth %d: %v", depth, d.Err())
	}
	for n, good := range map[int]bool{DefaultLine: true, DefaultLine + 1: false} {
		d, _ := decoder(strings.Repeat("a", n) + "\r\n")
		require.Equal(t, good, d.Begin() == nil)
		var e *Error
		require.Equal(t, !good, errors.As(d.Skip(), &e) && e.Fatal)
	}
}

func TestEncoder(t *testing.T) {
	var b bytes.Buffer
	e := &Encoder{}
	e.Reset(&b)
	for _, s := range []string{"", "x", `a"\b`, "é", "a\r\nb", strings.Repeat("x", maxQuoted), strings.Repeat("x", maxQuoted+1)} {
		e.String(s)
		e.SP()
	}
	e.NString("", false)
	e.SP()
	e.UTF8 = true
	e.String("é")
	e.SP()
	e.String("\xff")
	e.SP()
	e.Mailbox("é")
	e.SP()
	e.UTF8 = false
	for _, m := range []string{"INBOX", "a b", "日本語", "nil", "a/b%", "x&y", ""} {
		e.Mailbox(m)
		e.SP()
	}
	e.Flags(mailbox.Seen|mailbox.Draft|mailbox.KeywordBit(1), []string{"a", "b"})
	e.UIDs([]mailbox.UID{5, 6, 7, 3, 9, 8})
	e.SP()
	e.UIDSet(mailbox.UIDSet{{First: 1, Last: 3}, {First: 7, Last: 7}})
	e.CRLF()
	want := `"" "x" "a\"\\b" {2}` + "\r\né {4}\r\na\r\nb \"" + strings.Repeat("x", maxQuoted) + "\" {1001}\r\n" + strings.Repeat("x", 1001) +
		" NIL \"é\" {1}\r\n\xff \"é\" INBOX \"a b\" &ZeVnLIqe- \"nil\" \"a/b%\" x&-y \"\" (\\Seen \\Draft b)5:7,3,9,8 1:3,7\r\n"
	require.Equal(t, want, b.String())
}

// script reads a command with every kind of token, as far as it is there.
func script(d *Decoder) string {
	var out strings.Builder
	for !d.AtEnd() {
		switch c := d.Peek(); {
		case c == '(':
			d.List(func() { fmt.Fprintf(&out, "list %q ", d.AString()) })
		case c == '"' || c == '{':
			fmt.Fprintf(&out, "string %q ", d.String())
		case c == '~' && d.literal8Follows():
			l := d.LiteralHead()
			b, err := io.ReadAll(l.Open())
			d.CloseLiteral()
			fmt.Fprintf(&out, "literal %q %v ", b, err != nil)
		case isDigit(c):
			set, _ := d.NumSet()
			fmt.Fprintf(&out, "set %s ", set)
		case c == '\\':
			fmt.Fprintf(&out, "flag %s ", d.Flag())
		case c == '&':
			fmt.Fprintf(&out, "name %q ", d.Mailbox())
		default:
			fmt.Fprintf(&out, "word %q ", d.Atom())
		}
		if !d.AtEnd() {
			d.SP()
		}
	}
	fmt.Fprintf(&out, "end %v", d.End())
	return out.String()
}

func readAllCommands(r io.Reader) string {
	d := &Decoder{Limits: Limits{Line: 300, LiteralBytes: 200, Literals: 5, Discard: 500, Depth: 5}, Continue: func() error { return nil }}
	d.Reset(crlf.NewReader(r))
	var out strings.Builder
	for range 50 {
		err := d.Begin()
		if err != nil && fatal(err) {
			fmt.Fprintf(&out, "stop %v", err)
			break
		}
		fmt.Fprintf(&out, "%s\n", script(d))
		if err := d.Skip(); err != nil {
			fmt.Fprintf(&out, "skip %v", err)
			break
		}
	}
	return out.String()
}

// However a stream is cut into reads, it is read the same way.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		"a LOGIN x \"y\"\r\n", "a {3}\r\nabc (x \"y\" {2+}\r\n\r\n)\r\n", "~{3+}\r\na\x00b 1:*,3 \\Seen\r\nb\r\n", "x {9+}\r\nshort\r\nz {4}\r\nrest\r\n",
		"((((((((\r\nnext\r\n", "\"\\\r\n", "&AC4ALg- x\r\n", "a\nb {3+}\r\nabcd\r\n", "{600+}\r\n", strings.Repeat("x", 400) + "\r\nq\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		whole := readAllCommands(bytes.NewReader(input))
		require.Equal(t, whole, readAllCommands(iotest.OneByteReader(bytes.NewReader(input))))
		require.Equal(t, whole, readAllCommands(iotest.HalfReader(bytes.NewReader(input))))
	})
}

// What the Encoder writes the Decoder reads back.
func FuzzRoundTrip(f *testing.F) {
	f.Add("x", "INBOX", uint64(7), true)
	f.Add("a\"\\\r\n", "日本語/&", uint64(1<<62), false)
	f.Add("", "nil", uint64(0), true)
	f.Fuzz(func(t *testing.T, s, name string, n uint64, utf8Mode bool) {
		if strings.ContainsRune(s, 0) || strings.ContainsRune(name, 0) {
			t.Skip() // no form but literal8 can hold it
		}
		name = mailbox.CanonicalName(strings.ToValidUTF8(name, "?"))
		n >>= 1
		var b bytes.Buffer
		e := &Encoder{UTF8: utf8Mode}
		e.Reset(&b)
		e.String(s)
		e.SP()
		e.Mailbox(name)
		e.SP()
		e.Number(n)
		e.CRLF()
		d := &Decoder{UTF8: utf8Mode}
		d.Reset(crlf.NewReader(&b))
		require.NoError(t, d.Begin())
		require.Equal(t, s, d.AString())
		d.SP()
		require.Equal(t, name, d.Mailbox())
		d.SP()
		require.Equal(t, int64(n), d.Number64())
		require.NoError(t, d.End())
	})
}

func BenchmarkDecodeFetch(b *testing.B) {
	line := []byte("a1 UID FETCH 1:100,200:* (UID FLAGS INTERNALDATE RFC822.SIZE)\r\n")
	r := bytes.NewReader(line)
	in := crlf.NewReader(r)
	d := &Decoder{}
	d.Reset(in)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(line)
		_ = d.Begin()
		d.Tag()
		d.SP()
		d.Keyword()
		d.SP()
		d.Keyword()
		d.SP()
		d.NumSet()
		d.SP()
		d.List(func() { d.Name() })
		if d.End() != nil {
			b.Fatal(d.Err())
		}
	}
}

func BenchmarkEncodeFetch(b *testing.B) {
	var buf bytes.Buffer
	e := &Encoder{}
	e.Reset(&buf)
	b.ReportAllocs()
	for b.Loop() {
		buf.Reset()
		e.Raw("* ")
		e.Number(123456)
		e.Raw(" FETCH (UID ")
		e.Number(123456)
		e.Raw(" FLAGS ")
		e.Flags(mailbox.Seen|mailbox.Answered, nil)
		e.Raw(")\r\n")
	}
}
