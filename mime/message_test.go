package mime

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func address(s string) Addresses {
	as, err := ParseAddresses(s)
	if err != nil {
		panic(err)
	}
	return as
}

func write(t testing.TB, m *Message) string {
	t.Helper()
	var b bytes.Buffer
	n, err := m.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	require.NotContains(t, strings.ReplaceAll(b.String(), "\r\n", ""), "\n")
	return b.String()
}

func testMessage() *Message {
	return &Message{
		From:    address(`"Ada" <ada@example.org>`),
		To:      address("bob@example.org"),
		Subject: "Grüße",
		Date:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func TestMessagePlain(t *testing.T) {
	m := testMessage()
	m.MessageID = "1@example.org"
	m.Text = "hello\n"
	m.InReplyTo = []string{"0@example.org"}
	m.References = []string{"00@example.org", "0@example.org"}
	f, err := NewField("Auto-Submitted", "auto-generated")
	require.NoError(t, err)
	m.Fields = []Field{f}
	require.Equal(t, crlf(`
Date: Fri, 02 Jan 2026 03:04:05 +0000
From: Ada <ada@example.org>
To: bob@example.org
Message-ID: <1@example.org>
In-Reply-To: <0@example.org>
References: <00@example.org> <0@example.org>
Subject: =?utf-8?b?R3LDvMOfZQ==?=
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

hello
`), write(t, m))
}

func TestMessageDefaults(t *testing.T) {
	m := &Message{From: address("a@example.org"), Now: func() time.Time { return time.Unix(0, 0).UTC() }}
	s := parse(t, write(t, m), Options{Strict: true})
	require.Equal(t, int64(0), s.Parts[0].Envelope.Date().Unix())
	require.True(t, strings.HasSuffix(s.Parts[0].Envelope.MessageID(), "@example.org>"))
	require.NotEqual(t, write(t, m), write(t, m)) // the id is random
	_, err := (&Message{}).WriteTo(io.Discard)
	require.Error(t, err)
	id, err := NewMessageID("", strings.NewReader("0123456789abcdef"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(id, "30313233343536373839616263646566@"))
	_, err = NewMessageID("", strings.NewReader("short"))
	require.Error(t, err)
}

// TestMessageTree builds everything at once and reads it back.
func TestMessageTree(t *testing.T) {
	m := testMessage()
	m.Text = "Grüße\n"
	m.HTML = "<p>Grüße <img src=\"cid:pic@x\"></p>"
	m.Inline = []File{{Name: "p.png", Type: "image/png", ContentID: "pic@x", Body: strings.NewReader("\x89PNG")}}
	long := strings.Repeat("sehr-länger-name-", 8) + ".pdf"
	inner := "From: x@y\r\nSubject: \xfc\r\n\r\nG\xfc\r\n"
	m.Attachments = []File{
		{Name: long, Type: "application/pdf", Body: strings.NewReader("%PDF")},
		{Name: "fwd.eml", Message: strings.NewReader(inner)},
		{Name: "empty.bin"},
		{Name: "with space.txt", Type: "text/plain", Body: strings.NewReader("lf\nonly\n")},
	}
	msg := write(t, m)
	s := parse(t, msg, Options{Strict: true})
	require.Equal(t, `[] multipart/mixed
[1] multipart/alternative
[1.1] text/plain
[1.2] multipart/related
[1.2.1] text/html
[1.2.2] image/png
[2] application/pdf
[3] message/rfc822
[3.1] text/plain
[4] application/octet-stream
[5] text/plain
`, types(s))
	require.Equal(t, "8bit", s.Parts[0].Encoding) // because of the embedded message
	c := strings.NewReader(msg)
	read := func(i int) string {
		b, err := io.ReadAll(s.Text(c, i))
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, "Grüße\r\n", read(2))
	require.Equal(t, "lf\nonly\n", read(10))
	require.Equal(t, "<pic@x>", s.Parts[5].ID)
	require.Equal(t, "inline", s.Parts[5].Disposition)
	raw, err := io.ReadAll(s.Decoded(c, 5))
	require.NoError(t, err)
	require.Equal(t, "\x89PNG", string(raw))
	clean, _ := s.Parts[6].Filename()
	require.Equal(t, long, clean)
	clean, _ = s.Parts[10].Filename()
	require.Equal(t, "with space.txt", clean)
	require.Equal(t, inner, msg[s.Parts[7].BodyStart:s.Parts[7].BodyEnd])
	for line := range strings.SplitSeq(msg, "\r\n") {
		require.LessOrEqual(t, len(line), maxLine, line)
	}
}

func types(s *Structure) string {
	var b strings.Builder
	for i := range s.Parts {
		if i == 0 || s.Parts[s.Parts[i].Parent].Kind != Embedded || s.Parts[i].Kind != Multipart {
			fmt.Fprintf(&b, "[%s] %s\n", pathString(s.Path(i)), s.Parts[i].Type)
		}
	}
	return b.String()
}

func TestTextEncodings(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n":                        "",
		"":                               "",
		"From here\n":                    "quoted-printable",
		"x\nFrom here\n":                 "quoted-printable",
		"Grüße, liebe Leserinnen\n":      "quoted-printable",
		"日本語日本語\n":                       "base64",
		strings.Repeat("x", 998):         "",
		strings.Repeat("x", 999):         "quoted-printable",
		"nul \x00 and some more text ok": "quoted-printable",
		"bare\rcr":                       "",
		"\xff\xfe not utf-8 but a string of some length": "base64",
		"trailing space \n.\n":                           "",
	} {
		m := testMessage()
		m.Text = text
		msg := write(t, m)
		s := parse(t, msg, Options{Strict: true})
		require.Equal(t, want, s.Parts[0].Encoding, "%q", text)
		raw, err := io.ReadAll(s.Decoded(strings.NewReader(msg), 0))
		require.NoError(t, err)
		got := string(raw)
		if want == "" {
			got = strings.TrimSuffix(got, "\r\n")
		}
		require.Equal(t, strings.TrimSuffix(canonicalText(text), "\r\n"), strings.TrimSuffix(got, "\r\n"))
	}
}

// TestP02_MessageFields puts line ends, NUL and their look-alikes into each field of a message: an error, and nothing is written.
func TestP02_MessageFields(t *testing.T) {
	sets := map[string]func(m *Message, v string){
		"From":            func(m *Message, v string) { m.From[0].Name = v },
		"From domain":     func(m *Message, v string) { m.From[0].Domain = v },
		"From local":      func(m *Message, v string) { m.From[0].Local = v },
		"Cc group":        func(m *Message, v string) { m.Cc = Addresses{{Kind: GroupStart, Name: v}, {Kind: GroupEnd}} },
		"Subject":         func(m *Message, v string) { m.Subject = v },
		"MessageID":       func(m *Message, v string) { m.MessageID = v },
		"InReplyTo":       func(m *Message, v string) { m.InReplyTo = []string{v} },
		"References":      func(m *Message, v string) { m.References = []string{v} },
		"file name":       func(m *Message, v string) { m.Attachments[0].Name = v },
		"file type":       func(m *Message, v string) { m.Attachments[0].Type = v },
		"file subtype":    func(m *Message, v string) { m.Attachments[0].Type = "a/" + v },
		"content id":      func(m *Message, v string) { m.Attachments[0].ContentID = v },
		"description":     func(m *Message, v string) { m.Body = &Entity{Description: v} },
		"disposition":     func(m *Message, v string) { m.Body = &Entity{Disposition: v} },
		"parameter name":  func(m *Message, v string) { m.Body = &Entity{Type: ContentType{"a", "b", Params{{v, "x"}}}} },
		"parameter value": func(m *Message, v string) { m.Body = &Entity{Type: ContentType{"a", "b", Params{{"x", v}}}} },
		"raw field":       func(m *Message, v string) { m.Fields = []Field{parseField("X: " + v)} },
	}
	for name, set := range sets {
		for _, evil := range []string{"a\rb", "a\nb", "a\r\nBcc: x@y", "a\x00b", "a\u2028b", "a\u2029b", "a\x1bb"} {
			m := testMessage()
			m.Attachments = []File{{Name: "x"}}
			set(m, evil)
			var b bytes.Buffer
			_, err := m.WriteTo(&b)
			var ve *ValueError
			if name == "raw field" && evil == "a\r\nBcc: x@y" {
				require.NoError(t, err) // unfolding has made one line of it
				require.NotContains(t, b.String(), "\nBcc")
				continue
			}
			if name == "raw field" && evil == "a\nb" {
				continue
			}
			require.ErrorAs(t, err, &ve, "%s %q", name, evil)
			require.Zero(t, b.Len())
		}
		m := testMessage()
		m.Attachments = []File{{Name: "x"}}
		set(m, "a\u760ab")
		var b bytes.Buffer
		if _, err := m.WriteTo(&b); err == nil {
			parse(t, b.String(), Options{Strict: true})
			require.Equal(t, 1, strings.Count(b.String(), "MIME-Version"), name)
		}
	}
}

func TestMessageRefusesOwnFields(t *testing.T) {
	for _, name := range []string{"From", "subject", "MIME-version", "Content-Type", "Content-Transfer-Encoding", "Message-ID"} {
		f, err := NewField(name, "x")
		require.NoError(t, err)
		m := testMessage()
		m.Fields = []Field{f}
		_, err = m.WriteTo(io.Discard)
		require.Error(t, err, name)
	}
}

func TestMessageErrors(t *testing.T) {
	m := testMessage()
	m.Text = strings.Repeat("x\n", 1000)
	for n := range 3 {
		_, err := m.WriteTo(&limitedWriter{n: n * 300})
		require.Error(t, err)
	}
	m.Attachments = []File{{Body: io.MultiReader(strings.NewReader("a"), errReader{})}}
	_, err := m.WriteTo(io.Discard)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	m.Rand = strings.NewReader("")
	_, err = m.WriteTo(io.Discard)
	require.Error(t, err)
	deep := &Entity{Text: "x"}
	for range DefaultMaxDepth {
		deep = multipart("mixed", deep)
	}
	_, err = (&Message{From: address("a@b"), Body: deep}).WriteTo(io.Discard)
	require.Error(t, err)
	_, err = (&Message{From: address("a@b"), Body: deep.Parts[0]}).WriteTo(io.Discard)
	require.NoError(t, err)
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

type limitedWriter struct{ n int }

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.n -= len(p); l.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestClassify(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for in, want := range map[string]string{
		"": "7bit", "abc": "7bit", "abc\r\n": "7bit", "\xc3\xbc\r\n": "8bit",
		"a\nb": "binary", "a\rb": "binary", "a\r": "binary", "a\x00": "binary", "\r\r\n": "binary",
		x(998) + "\r\n": "7bit", x(998): "7bit", x(999): "binary", x(999) + "\r\n": "binary", x(998) + "\r": "binary",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), oneByte{strings.NewReader(in)}} {
			got, err := Classify(r)
			require.NoError(t, err)
			require.Equal(t, want, got, "%.20q", in)
		}
	}
	_, err := Classify(errReader{})
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// FuzzMessage builds a message of arbitrary values and reads them back.
func FuzzMessage(f *testing.F) {
	f.Add("subject", "text\n", "name.txt", []byte("data"))
	f.Add("Grüße", "From \n.\n", "sehr lang ä.pdf", []byte{0, 13, 10})
	f.Fuzz(func(t *testing.T, subject, text, name string, data []byte) {
		m := testMessage()
		m.Subject, m.Text = subject, text
		m.Attachments = []File{{Name: name, Body: bytes.NewReader(data)}}
		var b bytes.Buffer
		if _, err := m.WriteTo(&b); err != nil {
			require.Zero(t, b.Len())
			return
		}
		s := parse(t, b.String(), Options{Strict: true})
		require.Len(t, s.Parts, 3)
		require.Equal(t, strings.Trim(subject, " \t"), strings.Trim(DecodeText(s.Parts[0].Envelope.Subject()), " \t"))
		c := bytes.NewReader(b.Bytes())
		raw, err := io.ReadAll(s.Decoded(c, 2))
		require.NoError(t, err)
		require.Equal(t, string(data), string(raw))
		got, err := io.ReadAll(s.Decoded(c, 1))
		require.NoError(t, err)
		require.Equal(t, canonicalText(text), string(got))
		if _, sent := s.Parts[2].Filename(); utf8.ValidString(name) {
			require.Equal(t, name, sent)
		}
	})
}
