package mime

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// crlf turns a readable test message into network form.
func crlf(s string) string { return strings.ReplaceAll(strings.TrimPrefix(s, "\n"), "\n", "\r\n") }

const nested = `
From: Ada <ada@example.org>
To: Bob <bob@example.org>
Subject: nested
Date: Fri, 21 Nov 1997 09:55:06 -0600
Message-ID: <1@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe

--inner
Content-Type: text/html; charset=us-ascii

<p>x</p>
--inner--
inner epilogue
--outer
Content-Type: message/rfc822
Content-Description: forwarded

From: Carol <carol@example.org>
Subject: inside
Content-Type: multipart/mixed; boundary=fwd

--fwd

plain one
--fwd
Content-Type: application/pdf; name="a.pdf"
Content-Disposition: attachment; filename="a.pdf"; size=3
Content-ID: <cid@x>
Content-Language: en, de
Content-Location: http://example.org/a.pdf
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Transfer-Encoding: base64

YWJj
--fwd--
--outer
Content-Type: message/rfc822

Subject: leaf inside

body
--outer--
epilogue
`

func parse(t testing.TB, msg string, o Options) *Structure {
	t.Helper()
	s, err := Parse(strings.NewReader(msg), o)
	require.NoError(t, err)
	checkTree(t, s, msg)
	return s
}

// checkTree verifies what holds for every structure of any input: parts lie in order within their parents, do not overlap, and
// with the gaps between them make up the message (M05).
func checkTree(t testing.TB, s *Structure, msg string) {
	t.Helper()
	require.EqualValues(t, len(msg), s.Size)
	require.NotEmpty(t, s.Parts)
	root := &s.Parts[0]
	require.Equal(t, -1, root.Parent)
	require.EqualValues(t, 0, root.HeaderStart)
	require.EqualValues(t, len(msg), root.BodyEnd)
	lastEnd := make(map[int]int64)
	for i := range s.Parts {
		p := &s.Parts[i]
		require.LessOrEqual(t, p.HeaderStart, p.BodyStart)
		require.LessOrEqual(t, p.BodyStart, p.BodyEnd)
		want := int64(strings.Count(msg[p.BodyStart:p.BodyEnd], "\n"))
		if p.BodyEnd > p.BodyStart && msg[p.BodyEnd-1] != '\n' {
			want++
		}
		require.Equal(t, want, p.Lines, "lines of part %d", i)
		if i == 0 {
			continue
		}
		parent := &s.Parts[p.Parent]
		require.Less(t, p.Parent, i)
		require.NotEqual(t, Leaf, parent.Kind)
		require.GreaterOrEqual(t, p.HeaderStart, max(parent.BodyStart, lastEnd[p.Parent]))
		require.LessOrEqual(t, p.BodyEnd, parent.BodyEnd)
		lastEnd[p.Parent] = p.BodyEnd
		if parent.Kind == Embedded {
			require.Equal(t, parent.BodyStart, p.HeaderStart)
			require.Equal(t, parent.BodyEnd, p.BodyEnd)
		}
	}
}

// outline is a tree in one line a part.
func outline(s *Structure, msg string) string {
	var b strings.Builder
	for i := range s.Parts {
		p := &s.Parts[i]
		body := msg[p.BodyStart:p.BodyEnd]
		if p.Kind != Leaf {
			body = "..."
		}
		fmt.Fprintf(&b, "%s[%s] %s %q\n", strings.Repeat(" ", depth(s, i)), pathString(s.Path(i)), p.Type, body)
	}
	return b.String()
}

func depth(s *Structure, i int) int {
	n := 0
	for ; s.Parts[i].Parent >= 0; i = s.Parts[i].Parent {
		n++
	}
	return n
}

func pathString(path []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(path), "[]"), " ", ".")
}

func TestParseNested(t *testing.T) {
	msg := crlf(nested)
	s := parse(t, msg, Options{Strict: true})
	require.Equal(t, strings.TrimPrefix(`
[] multipart/mixed "..."
 [1] multipart/alternative "..."
  [1.1] text/plain "Gr=C3=BC=C3=9Fe\r\n"
  [1.2] text/html "<p>x</p>"
 [2] message/rfc822 "..."
  [2] multipart/mixed "..."
   [2.1] text/plain "plain one"
   [2.2] application/pdf "YWJj"
 [3] message/rfc822 "..."
  [3.1] text/plain "body"
`, "\n"), outline(s, msg))
	pdf := &s.Parts[7]
	require.Equal(t, "attachment", pdf.Disposition)
	require.Equal(t, Params{{"filename", "a.pdf"}, {"size", "3"}}, pdf.DispositionParams)
	require.Equal(t, "<cid@x>", pdf.ID)
	require.Equal(t, []string{"en", "de"}, pdf.Language)
	require.Equal(t, "http://example.org/a.pdf", pdf.Location)
	require.Equal(t, "Q2hlY2sgSW50ZWdyaXR5IQ==", pdf.MD5)
	require.Equal(t, "forwarded", s.Parts[4].Description)
	require.Equal(t, "inside", s.Parts[5].Envelope.Subject())
	require.Nil(t, s.Parts[4].Envelope)
	require.Equal(t, "1997-11-21", s.Parts[0].Envelope.Date().Format("2006-01-02"))
	for i := range s.Parts {
		if s.Parts[i].Kind == Multipart && i > 0 && s.Parts[s.Parts[i].Parent].Kind == Embedded {
			continue // shares its parent's number
		}
		at, ok := s.Find(s.Path(i)...)
		require.True(t, ok)
		require.Equal(t, i, at)
	}
	for _, bad := range [][]int{{0}, {4}, {1, 3}, {1, 1, 1}, {3, 2}, {3, 1, 1}, {-1}} {
		_, ok := s.Find(bad...)
		require.False(t, ok, bad)
	}
}

func TestFindInSinglePartMessages(t *testing.T) {
	s := parse(t, "Subject: x\r\n\r\nbody", Options{})
	i, ok := s.Find(1)
	require.True(t, ok)
	require.Equal(t, 0, i)
	_, ok = s.Find(1, 1)
	require.False(t, ok)

	s = parse(t, "Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nbody", Options{})
	i, ok = s.Find(1)
	require.True(t, ok)
	require.Equal(t, 0, i)
	i, ok = s.Find(1, 1)
	require.True(t, ok)
	require.Equal(t, 1, i)
	require.Equal(t, []int{1, 1}, s.Path(1))
}

func TestBodies(t *testing.T) {
	msg := crlf(nested)
	s := parse(t, msg, Options{})
	c := strings.NewReader(msg)
	text, err := io.ReadAll(s.Text(c, 2))
	require.NoError(t, err)
	require.Equal(t, "Grüße\r\n", string(text))
	pdf, err := io.ReadAll(s.Decoded(c, 7))
	require.NoError(t, err)
	require.Equal(t, "abc", string(pdf))
	h, err := s.Header(c, 7)
	require.NoError(t, err)
	require.Equal(t, 7, h.Len())
	clean, raw := s.Parts[7].Filename()
	require.Equal(t, "a.pdf", clean)
	require.Equal(t, "a.pdf", raw)
}

// TestChopped reads a message in pieces of every size: the tree is the same.
func TestChopped(t *testing.T) {
	msg := crlf(nested)
	want := parse(t, msg, Options{})
	for _, r := range []io.Reader{
		iotest.OneByteReader(strings.NewReader(msg)),
		iotest.HalfReader(strings.NewReader(msg)),
		iotest.DataErrReader(strings.NewReader(msg)),
	} {
		got, err := ParseStream(r, Options{})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestBinaryRoundTrip(t *testing.T) {
	for _, msg := range []string{crlf(nested), "", "\r\n", "Content-Type: multipart/mixed; boundary=\r\n\r\nx", nestedMultiparts(101)} {
		s := parse(t, msg, Options{})
		b, err := s.MarshalBinary()
		require.NoError(t, err)
		var got Structure
		require.NoError(t, got.UnmarshalBinary(b))
		require.Equal(t, s, &got)
		for i := range b {
			require.ErrorIs(t, new(Structure).UnmarshalBinary(b[:i]), ErrFormat)
		}
		require.ErrorIs(t, new(Structure).UnmarshalBinary(append(slices.Clone(b), 0)), ErrFormat)
	}
}

// TestM05_Boundaries: what counts as a delimiter.
func TestM05_Boundaries(t *testing.T) {
	head := func(b string) string { return "Content-Type: multipart/mixed; boundary=" + b + "\r\n\r\n" }
	long := strings.Repeat("x", 71)
	tests := []struct {
		name, msg string
		want      []string // bodies of the leaves
		warning   WarningKind
	}{
		{"plain", head("b") + "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", []string{"one", "two"}, 0},
		{"bare LF", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n", []string{"one"}, 0},
		{"transport padding", head("b") + "--b \t\r\n\r\none\r\n--b-- \r\n", []string{"one"}, 0},
		{"prefix of another", head("b") + "--b\r\n\r\none\r\n--bc\r\nx\r\n--b--\r\n", []string{"one\r\n--bc\r\nx"}, 0},
		{"longer than 70", head(long) + "--" + long + "\r\n\r\none\r\n--" + long + "--", []string{"one"}, 0},
		{"empty", head(`""`) + "--\r\n\r\none\r\n----\r\n", []string{"--\r\n\r\none\r\n----\r\n"}, WarnBoundary},
		{"too long", head(strings.Repeat("y", 1001)) + "x", []string{"x"}, WarnBoundary},
		{"regular expression", head(`".*"`) + "--b\r\n\r\n--.*\r\n\r\none\r\n--.*--", []string{"one"}, 0},
		{"not closed", head("b") + "--b\r\n\r\none\r\n", []string{"one\r\n"}, WarnNotClosed},
		{"never there", head("b") + "one\r\n", nil, WarnNoParts},
		{"in a header", head("b") + "--b\r\nSubject: x\r\n--b\r\n\r\ntwo\r\n--b--", []string{"", "two"}, WarnMissingBlankLine},
		{"in the preamble only at line start", head("b") + "x --b\r\n--b\r\n\r\none\r\n--b--", []string{"one"}, 0},
		{"empty body", head("b") + "--b\r\n\r\n--b--", []string{""}, 0},
		{"empty part", head("b") + "--b\r\n--b--", []string{""}, WarnMissingBlankLine},
		{"after the close", head("b") + "--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\nlost\r\n", []string{"one"}, 0},
		{"CR before it", head("b") + "--b\r\n\r\none\r\r\n--b--", []string{"one\r"}, 0},
		{"trailing text", head("b") + "--b\r\n\r\none\r\n--b x\r\n--b--", []string{"one\r\n--b x"}, 0},
		{"no header", head("b") + "--b\r\nHello world\r\n--b--", []string{"Hello world"}, WarnMissingBlankLine},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := parse(t, test.msg, Options{})
			var got []string
			for i := range s.Parts {
				if p := &s.Parts[i]; p.Kind == Leaf {
					got = append(got, test.msg[p.BodyStart:p.BodyEnd])
				}
			}
			require.Equal(t, test.want, got)
			if test.warning == 0 {
				require.Empty(t, s.Warnings)
			} else {
				require.NotEmpty(t, s.Warnings)
				require.Equal(t, test.warning, s.Warnings[0].Kind)
			}
			chopped, err := ParseStream(iotest.OneByteReader(strings.NewReader(test.msg)), Options{})
			require.NoError(t, err)
			require.Equal(t, s, chopped)
		})
	}
}

// TestM05_OuterBoundaryEndsInner: a part that misses its close delimiter ends where its parent says.
func TestM05_OuterBoundaryEndsInner(t *testing.T) {
	msg := crlf(`
Content-Type: multipart/mixed; boundary=o

--o
Content-Type: multipart/mixed; boundary=i

--i

one
--o

two
--o--
`)
	s := parse(t, msg, Options{})
	require.Equal(t, "[] multipart/mixed \"...\"\n [1] multipart/mixed \"...\"\n  [1.1] text/plain \"one\"\n [2] text/plain \"two\"\n", outline(s, msg))
	require.Equal(t, []Warning{{Kind: WarnNotClosed, Offset: s.Parts[1].BodyEnd, Part: 1}}, s.Warnings)
}

// TestM05_SameBoundaryInside: the innermost multipart owns a boundary that is used twice; nothing is lost.
func TestM05_SameBoundaryInside(t *testing.T) {
	part := "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
	msg := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat(part, 20) + "--b--\r\n"
	parse(t, msg, Options{})
}

// M01: the limits of parts and depth, at the limit and one beyond.
func TestM01_Parts(t *testing.T) {
	build := func(n int) string { // with the multipart itself n parts
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", n-1) + "--b--\r\n"
	}
	s := parse(t, build(50), Options{MaxParts: 50})
	require.Len(t, s.Parts, 50)
	require.Empty(t, s.Warnings)
	s = parse(t, build(52), Options{MaxParts: 50})
	require.Len(t, s.Parts, 50)
	require.Equal(t, WarnParts, s.Warnings[0].Kind)
	require.EqualValues(t, len(build(52)), s.Parts[49].BodyEnd)
	require.Len(t, parse(t, build(DefaultMaxParts+5), Options{}).Parts, DefaultMaxParts)
	require.Len(t, parse(t, build(DefaultMaxParts+5), Options{MaxParts: -1}).Parts, DefaultMaxParts+5)
}

func nestedMultiparts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String()
}

func TestM01_Depth(t *testing.T) {
	deepest := func(s *Structure) (d int) {
		for i := range s.Parts {
			if s.Parts[i].Kind != Leaf {
				d = max(d, depth(s, i)+1)
			}
		}
		return d
	}
	s := parse(t, nestedMultiparts(DefaultMaxDepth), Options{})
	require.Equal(t, DefaultMaxDepth, deepest(s))
	require.NotContains(t, kinds(s), WarnDepth)
	s = parse(t, nestedMultiparts(10_001), Options{})
	require.Equal(t, DefaultMaxDepth, deepest(s))
	require.Contains(t, kinds(s), WarnDepth)
	s = parse(t, strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 5000), Options{})
	require.Equal(t, DefaultMaxDepth, deepest(s))
	require.Len(t, s.Parts, DefaultMaxDepth+1)
}

func kinds(s *Structure) []WarningKind {
	var out []WarningKind
	for _, w := range s.Warnings {
		out = append(out, w.Kind)
	}
	return out
}

// M02: header limits, at the limit and one beyond.
func TestM02_HeaderLimits(t *testing.T) {
	msg := "A: 1\r\nSubject: x\r\n\r\n"
	head := int64(len("A: 1\r\nSubject: x\r\n"))
	s := parse(t, msg, Options{MaxHeaderBytes: head})
	require.Equal(t, "x", s.Parts[0].Envelope.Subject())
	require.Empty(t, s.Warnings)
	require.False(t, s.Truncated)
	for _, o := range []Options{{MaxHeaderBytes: head - 1}, {MaxHeaderFields: 1}, {MaxTotalHeaderBytes: head - 1}} {
		s = parse(t, msg, o)
		_, ok := s.Parts[0].Envelope.Lookup("subject")
		require.False(t, ok)
		require.Equal(t, []WarningKind{WarnHeaderBytes}, kinds(s))
		require.True(t, s.Truncated)
		_, err := Parse(strings.NewReader(msg), Options{MaxHeaderBytes: o.MaxHeaderBytes, MaxHeaderFields: o.MaxHeaderFields, MaxTotalHeaderBytes: o.MaxTotalHeaderBytes, Strict: true})
		var w *Warning
		require.ErrorAs(t, err, &w)
	}
	_, err := ReadHeader(strings.NewReader(msg), Options{MaxHeaderBytes: head + 2})
	require.NoError(t, err)
	_, err = ReadHeader(strings.NewReader(msg), Options{MaxHeaderBytes: head - 1})
	require.Error(t, err)
	_, err = ReadHeader(strings.NewReader(msg), Options{MaxHeaderFields: 1})
	require.Error(t, err)
}

// TestM02_LongField: a field larger than the window is read whole, wherever its lines and the window end.
func TestM02_LongField(t *testing.T) {
	for _, size := range []int{windowSize - 20, windowSize - 1, windowSize, windowSize + 1, 3 * windowSize} {
		for _, line := range []string{"a", "bb, ccc,\r\n ", strings.Repeat("d", 1000) + "\r\n\t"} {
			value := strings.TrimRight(strings.Repeat(line, size/len(line)), " \t\r\n")
			msg := "To: " + value + "\r\nSubject: after\r\n\r\nbody"
			s := parse(t, msg, Options{})
			to, _ := s.Parts[0].Envelope.Lookup("To")
			require.Equal(t, strings.ReplaceAll(value, "\r\n", ""), to)
			require.Equal(t, "after", s.Parts[0].Envelope.Subject())
			require.Empty(t, s.Warnings)
			h, err := ReadHeader(iotest.HalfReader(strings.NewReader(msg)), Options{})
			require.NoError(t, err)
			require.Equal(t, "after", h.Value("subject"))
		}
	}
}

// TestM07 is about fields that occur twice or are malformed: all are there, in order; the first counts.
func TestM07_DuplicateAndMalformedFields(t *testing.T) {
	msg := " leading\r\nSubject: one\r\nsubject: two\r\nFrom : a@b\r\nX: nul\x00here\r\nContent-Type: text/html\r\nContent-Type: image/png\r\n\r\n"
	s := parse(t, msg, Options{})
	require.Equal(t, "text/html", s.Parts[0].Type.String())
	require.Equal(t, "one", s.Parts[0].Envelope.Subject())
	require.Equal(t, "a@b", s.Parts[0].Envelope.From()[0].Addr())
	require.Equal(t, []WarningKind{WarnMalformedField, WarnDuplicateField, WarnDuplicateField}, kinds(s))

	h := ParseHeader([]byte(msg))
	require.Equal(t, 7, h.Len())
	require.Equal(t, "", h.Field(0).Name())
	var subjects []string
	for _, f := range h.Fields("SUBJECT") {
		subjects = append(subjects, f.Value())
	}
	require.Equal(t, []string{"one", "two"}, subjects)
	require.Equal(t, 2, h.Count("content-type"))
	require.Equal(t, "one", h.Value("Subject"))
	require.Equal(t, "a@b", h.Value("from"))
	require.Equal(t, "nul\x00here", h.Value("X"))
	require.Equal(t, "nul here", h.Text("X"))
	require.Equal(t, msg, string(h.Bytes())) // M08
}

func TestMboxSeparatorBeforeHeader(t *testing.T) {
	for _, line := range []string{"From x@y Mon Jan  2 2006\r\n", ">From x@y Mon Jan  2 2006\r\n"} {
		s := parse(t, line+"Subject: x\r\n\r\nbody", Options{})
		require.Equal(t, "x", s.Parts[0].Envelope.Subject())
	}
}

func TestHeaderEndsAtFirstLineThatIsNoField(t *testing.T) {
	msg := "Subject: x\r\nno field\r\nTo: a\r\n\r\nrest"
	s := parse(t, msg, Options{})
	require.Equal(t, "no field\r\nTo: a\r\n\r\nrest", msg[s.Parts[0].BodyStart:])
	require.Equal(t, []WarningKind{WarnMissingBlankLine}, kinds(s))
}

func TestBadlyWrappedLineInHeader(t *testing.T) {
	for _, tail := range []string{"Content-Transfer-Encoding: base64\r\n", "mime-version: 1.0\r\nContent-Transfer-Encoding: base64\r\n"} {
		msg := "Content-Type: application/zip;\r\nname=\"x.zip\"\r\n and more\r\n" + tail + "\r\nYWJj"
		s := parse(t, msg, Options{})
		require.Equal(t, "base64", s.Parts[0].Encoding)
		require.Equal(t, "YWJj", msg[s.Parts[0].BodyStart:])
		require.Equal(t, []WarningKind{WarnMalformedField}, kinds(s))
		chopped, err := ParseStream(iotest.OneByteReader(strings.NewReader(msg)), Options{})
		require.NoError(t, err)
		require.Equal(t, s, chopped)
	}
}

func TestDigestDefaultsToMessages(t *testing.T) {
	msg := "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: one\r\n\r\nx\r\n--b--\r\n"
	s := parse(t, msg, Options{})
	require.Equal(t, "message/rfc822", s.Parts[1].Type.String())
	require.Equal(t, "one", s.Parts[2].Envelope.Subject())
}

func TestEncodedMessageIsALeaf(t *testing.T) {
	msg := "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA=="
	s := parse(t, msg, Options{})
	require.Equal(t, Leaf, s.Parts[0].Kind)
	require.Equal(t, []WarningKind{WarnEncoding}, kinds(s))
}

func TestUnknownCharsetIsAWarning(t *testing.T) {
	for charset, want := range map[string][]WarningKind{"utf-8": nil, "KOI8-R": nil, "made-up": {WarnCharset}, "utf-7": {WarnCharset}} {
		require.Equal(t, want, kinds(parse(t, "Content-Type: text/plain; charset="+charset+"\r\n\r\n", Options{})), charset)
	}
}

func TestReadErrors(t *testing.T) {
	_, err := ParseStream(io.MultiReader(strings.NewReader("Subject: x"), iotest.ErrReader(io.ErrClosedPipe)), Options{})
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = Parse(short{strings.NewReader("Subject: x")}, Options{})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = ParseStream(stuck{}, Options{})
	require.ErrorIs(t, err, io.ErrNoProgress)
}

type short struct{ *strings.Reader }

func (s short) Size() int64 { return s.Reader.Size() + 1 }

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestOptionsNegativeIsNoLimit(t *testing.T) {
	msg := nestedMultiparts(300)
	s := parse(t, msg, Options{MaxDepth: -1})
	require.Len(t, s.Parts, 301)
	require.Len(t, parse(t, msg, Options{MaxWarnings: 3}).Warnings, 3)
}

func TestM08_HeaderRoundTrip(t *testing.T) {
	for _, s := range []string{
		"", "\r\n", "A: b\r\n\r\n", "A: b", "A: b\n\n", "x\r\n y\r\n\r\n", ": a\r\n", " a\r\n\r\n", "A:\r\n \r\n b\r\n\r\n",
	} {
		require.Equal(t, s, string(ParseHeader([]byte(s)).Bytes()))
	}
	require.Equal(t, "A: b\r\n\r\n", string(ParseHeader([]byte("A: b\r\n\r\nbody")).Bytes()))
}

func TestWarningTexts(t *testing.T) {
	for k := WarnMalformedField; k <= WarnCharset; k++ {
		require.NotContains(t, k.String(), "WarningKind")
	}
	require.Contains(t, WarningKind(200).String(), "200")
	require.Equal(t, "mime: too many parts in part 2 at offset 9", (&Warning{Kind: WarnParts, Part: 2, Offset: 9}).Error())
}

func TestEnvelope(t *testing.T) {
	msg := "From: a@x\r\nCc: c@x\r\nBcc: b@x\r\nTo:\r\nReply-To: \r\nIn-Reply-To: <1@x>\r\nReferences: <0@x> <1@x>\r\nMessage-ID: <2@x>\r\nDate: never\r\n\r\n"
	e := parse(t, msg, Options{}).Parts[0].Envelope
	require.Equal(t, "a@x", e.Sender()[0].Addr())
	require.Equal(t, "a@x", e.ReplyTo()[0].Addr())
	require.Equal(t, "c@x", e.Cc()[0].Addr())
	require.Equal(t, "b@x", e.Bcc()[0].Addr())
	require.Equal(t, "<1@x>", e.InReplyTo())
	require.Equal(t, []string{"0@x", "1@x"}, e.References())
	require.Equal(t, "<2@x>", e.MessageID())
	require.True(t, e.Date().IsZero())
	v, ok := e.Lookup("TO")
	require.True(t, ok)
	require.Empty(t, v)
	for _, missing := range []string{"Subject", "X-Other", "Content-Type", ""} {
		_, ok = e.Lookup(missing)
		require.False(t, ok)
	}
	require.Empty(t, (*Envelope)(nil).From())
}

func TestSectionsFromContent(t *testing.T) {
	msg := crlf(nested)
	s, err := Parse(bytes.NewReader([]byte(msg)), Options{})
	require.NoError(t, err)
	raw, err := io.ReadAll(s.Body(strings.NewReader(msg), 3))
	require.NoError(t, err)
	require.Equal(t, "<p>x</p>", string(raw))
	_, err = s.Header(strings.NewReader("short"), 3)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
