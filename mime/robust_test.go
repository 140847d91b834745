package mime

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// use does with a message what a server does, and checks what must hold for any input. It is quicker than the require functions,
// since it runs ten thousand times.
func use(t *testing.T, msg string) {
	t.Helper()
	c := strings.NewReader(msg)
	s, err := Parse(c, Options{})
	if err != nil {
		t.Fatalf("%v: %q", err, msg)
	}
	end := int64(0)
	for i := range s.Parts {
		p := &s.Parts[i]
		if p.HeaderStart > p.BodyStart || p.BodyStart > p.BodyEnd || p.BodyEnd > int64(len(msg)) || p.HeaderStart < end {
			t.Fatalf("part %d is out of order: %q", i, msg)
		}
		if p.Kind == Leaf {
			end = p.BodyEnd
			if _, err := io.Copy(io.Discard, s.Text(c, i)); err != nil {
				t.Fatalf("part %d: %v: %q", i, err, msg)
			}
		}
		_, _ = p.Filename()
	}
	if got := allEvents(msg, Options{}); got != msg {
		t.Fatalf("octets lost: %q", msg)
	}
	e := s.Parts[0].Envelope
	for _, a := range e.From() {
		_ = a.Text()
	}
	_ = DecodeText(e.Subject())
	_, _ = s.ReadReport(c)
	if _, err := s.Preview(c, 0); err != nil {
		t.Fatal(err)
	}
}

// corners has a bit of everything that the parsers treat on its own.
const corners = `
From x@y Mon Jan  2 2006
From: "A \"b\" c" (comment (nested)) <"q q"@example.org>, grp: d@e, f@[192.0.2.1];
Subject: =?utf-8?q?=C3=BC?= =?utf-8?b?w7w=?= plain
Content-Type: multipart/mixed; boundary="o u t";
 name*0*=utf-8''%C3%BC; name*1="x"

--o u t
Content-Type: multipart/report; report-type=delivery-status; boundary=in

--in

for people
--in
Content-Type: message/delivery-status

Reporting-MTA: dns; mx

Final-Recipient: rfc822; a@b
Action: failed
Status: 5.1.1
--in
Content-Type: message/rfc822

Subject: inner
Content-Transfer-Encoding: base64

YWJj=
--in--
--o u t 
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

<p>=FC=
</p><!-- x --><style>y</style>=
--o u t--
end
`

// TestCutAtEveryOctet ends a message everywhere.
func TestCutAtEveryOctet(t *testing.T) {
	for _, msg := range []string{crlf(corners), strings.TrimPrefix(corners, "\n"), crlf(nested)} {
		for n := range len(msg) + 1 {
			use(t, msg[:n])
		}
	}
}

// TestBeginAtEveryOctet begins a message everywhere.
func TestBeginAtEveryOctet(t *testing.T) {
	msg := crlf(corners)
	for n := range len(msg) {
		use(t, msg[n:])
	}
}

// TestDamageEveryOctet puts each octet that means something into every place of a message.
func TestDamageEveryOctet(t *testing.T) {
	msg := crlf(corners)
	octets := "\x00\r\n :;,\"\\()<>=?-*%\xff"
	if raceEnabled {
		octets = "\n\"=\xff"
	}
	buf := []byte(msg)
	for i := range buf {
		for _, c := range []byte(octets) {
			buf[i] = c
			use(t, string(buf))
		}
		buf[i] = msg[i]
	}
}

// TestDropEveryLine leaves out each line, and writes it twice.
func TestDropEveryLine(t *testing.T) {
	lines := strings.SplitAfter(crlf(corners), "\n")
	for i := range lines {
		use(t, strings.Join(lines[:i], "")+strings.Join(lines[i+1:], ""))
		use(t, strings.Join(lines[:i+1], "")+strings.Join(lines[i:], ""))
	}
}

// TestFailAtEveryRead lets reading fail after every number of octets: the error comes out, and nothing else happens.
func TestFailAtEveryRead(t *testing.T) {
	msg := crlf(corners)
	broken := errors.New("disk")
	for n := range len(msg) {
		r := io.MultiReader(strings.NewReader(msg[:n]), failingReader{broken})
		if _, err := ParseStream(r, Options{}); !errors.Is(err, broken) {
			t.Fatalf("after %d octets: %v", n, err)
		}
		x := NewReader(io.MultiReader(strings.NewReader(msg[:n]), failingReader{broken}), Options{})
		var err error
		for err == nil {
			if _, err = x.Next(); err == nil {
				_, err = io.Copy(io.Discard, x.Decoded())
			}
		}
		if !errors.Is(err, broken) {
			t.Fatalf("after %d octets: %v", n, err)
		}
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// TestFailAtEveryWrite lets writing a message fail after every number of octets.
func TestFailAtEveryWrite(t *testing.T) {
	m := testMessage()
	m.Text, m.HTML = "Grüße", "<p>x</p>"
	m.Inline = []File{{Name: "i.png", Body: strings.NewReader("x")}}
	m.MessageID = "1@x"
	size := len(write(t, m))
	for n := range size {
		m.Inline[0].Body = strings.NewReader("x")
		if written, err := m.WriteTo(&limitedWriter{n: n}); err == nil || written > int64(n) {
			t.Fatalf("%d of %d octets: %d, %v", n, size, written, err)
		}
	}
}

// TestMessageTrees builds every combination of text, HTML, inline files and attachments.
func TestMessageTrees(t *testing.T) {
	file := func() []File { return []File{{Name: "f", Body: strings.NewReader("x")}} }
	want := map[string]string{
		"":     "text/plain",
		"t":    "text/plain",
		"h":    "text/html",
		"th":   "multipart/alternative(text/plain text/html)",
		"i":    "multipart/mixed(text/plain application/octet-stream)",
		"ti":   "multipart/mixed(text/plain application/octet-stream)",
		"hi":   "multipart/related(text/html application/octet-stream)",
		"thi":  "multipart/alternative(text/plain multipart/related(text/html application/octet-stream))",
		"a":    "multipart/mixed(text/plain application/octet-stream)",
		"ta":   "multipart/mixed(text/plain application/octet-stream)",
		"ha":   "multipart/mixed(text/html application/octet-stream)",
		"tha":  "multipart/mixed(multipart/alternative(text/plain text/html) application/octet-stream)",
		"ia":   "multipart/mixed(text/plain application/octet-stream application/octet-stream)",
		"tia":  "multipart/mixed(text/plain application/octet-stream application/octet-stream)",
		"hia":  "multipart/mixed(multipart/related(text/html application/octet-stream) application/octet-stream)",
		"thia": "multipart/mixed(multipart/alternative(text/plain multipart/related(text/html application/octet-stream)) application/octet-stream)",
	}
	for what, tree := range want {
		m := testMessage()
		if strings.Contains(what, "t") {
			m.Text = "text"
		}
		if strings.Contains(what, "h") {
			m.HTML = "<p>html</p>"
		}
		if strings.Contains(what, "i") {
			m.Inline = file()
		}
		if strings.Contains(what, "a") {
			m.Attachments = file()
		}
		s := parse(t, write(t, m), Options{Strict: true})
		require.Equal(t, tree, shape(s, 0), what)
	}
}

// shape writes a tree in brackets. Trees of this test are shallow.
func shape(s *Structure, i int) string {
	out := s.Parts[i].Type.String()
	var children []string
	for k := range s.Children(i) {
		children = append(children, shape(s, k))
	}
	if children != nil {
		out += "(" + strings.Join(children, " ") + ")"
	}
	return out
}

// FuzzParamRoundTrip writes a parameter and reads it back, whatever is in it.
func FuzzParamRoundTrip(f *testing.F) {
	for _, v := range []string{"", "token", "with space", `q"u\o`, "Grüße", strings.Repeat("lang ", 40), strings.Repeat("ä", 100), "a'b%c*d", "tab\there"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		var w fieldWriter
		w.params("Content-Type", "text/plain", Params{{"charset", "utf-8"}, {"name", v}, {"x", "y"}})
		if w.err != nil {
			require.Error(t, checkValue("", v))
			return
		}
		h := ParseHeader([]byte(w.b.String()))
		require.Equal(t, 1, h.Len())
		ct, err := h.ContentType()
		if len(v) < 2000 {
			require.NoError(t, err, w.b.String())
			require.Equal(t, v, ct.Params.Get("name"), w.b.String())
			require.Equal(t, "y", ct.Params.Get("x"))
		}
		for line := range strings.SplitSeq(w.b.String(), "\r\n") {
			require.LessOrEqual(t, len(line), maxLine)
		}
	})
}

// TestRFC2047Display is the table of RFC 2047 §8.
func TestRFC2047Display(t *testing.T) {
	for in, want := range map[string]string{
		"(=?ISO-8859-1?Q?a?=)":                              "(a)",
		"(=?ISO-8859-1?Q?a?= b)":                            "(a b)",
		"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)":           "(ab)",
		"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)":          "(ab)",
		"(=?ISO-8859-1?Q?a?=\r\n       =?ISO-8859-1?Q?b?=)": "(ab)",
		"(=?ISO-8859-1?Q?a_b?=)":                            "(a b)",
		"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)":          "(a b)",
	} {
		require.Equal(t, want, DecodeText(in))
	}
}

// TestFieldNamesOfEveryOctet: which octets may stand in a name that is written, and in one that is read.
func TestFieldNamesOfEveryOctet(t *testing.T) {
	for c := range 256 {
		name := "X" + string([]byte{byte(c)}) + "Y"
		_, err := NewField(name, "v")
		printable := c > ' ' && c < 0x7f && c != ':'
		require.Equal(t, printable, err == nil, "0x%02x", c)
		f := parseField(name + ": v")
		require.Equal(t, printable || c >= 0x80, f.Name() == name, "0x%02x", c)
	}
}

// TestValuesOfEveryControl: no control character can be written in any value.
func TestValuesOfEveryControl(t *testing.T) {
	for r := rune(0); r < 0x3000; r++ {
		if !isControl(r) {
			continue
		}
		v := fmt.Sprintf("a%cb", r)
		_, err := NewField("X", v)
		require.Equal(t, r == '\t', err == nil, "%U", r)
		_, err = FormatAddresses(Addresses{{Name: v, Local: "a", Domain: "b"}})
		require.Equal(t, r == '\t', err == nil, "%U", r)
		require.NotContains(t, Display(v), string(r))
		require.NotContains(t, CleanFilename(v), string(r))
	}
}
