package benchpeers

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	stdmime "mime"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"
	"github.com/jhillyerd/enmime/v2"
	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mime"
)

func crlf(s string) string { return strings.ReplaceAll(strings.TrimPrefix(s, "\n"), "\n", "\r\n") }

// attachment returns n octets in base64 lines.
func attachment(n int) string {
	raw := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	var b strings.Builder
	for enc := base64.StdEncoding.EncodeToString(raw); enc != ""; {
		k := min(76, len(enc))
		b.WriteString(enc[:k] + "\r\n")
		enc = enc[k:]
	}
	return b.String()
}

// bigMessage has one attachment that makes it 14 MB.
func bigMessage() []byte {
	return []byte(crlf(`
From: a@example.org
Subject: big
Content-Type: multipart/mixed; boundary="=_b"

--=_b
Content-Type: text/plain; charset=utf-8

hello
--=_b
Content-Type: application/octet-stream; name=x.bin
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename=x.bin

`) + attachment(14<<20*76/78*3/4) + "\r\n--=_b--\r\n")
}

// smallMessage has 3 KB: text and HTML in quoted-printable, and an attachment.
func smallMessage() []byte {
	text := strings.Repeat("Der Fluss tr=C3=A4gt das Boot, und der Wind steht gut heute.=20\r\n", 9)
	html := "<html><body>\r\n" + strings.Repeat("<p>Der Fluss tr=C3=A4gt das <b class=3D\"x\">Boot</b>.</p>\r\n", 14) + "</body></html>\r\n"
	return []byte(crlf(`
Received: from mx.example.com (mx.example.com [192.0.2.1])
	by in.example.org (Postfix) with ESMTPS id 4F2A11
	for <bob@example.org>; Tue, 14 Nov 2023 22:13:20 +0000
From: "Ada Example" <ada@example.com>
To: Bob <bob@example.org>,
	Carol <carol@example.org>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from the river
Date: Tue, 14 Nov 2023 22:13:20 +0000
Message-ID: <abc.1@example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer_abcdefghij"

This is a multi-part message in MIME format.
--outer_abcdefghij
Content-Type: multipart/alternative; boundary="alt_abcdefghij"

--alt_abcdefghij
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

`) + text + "\r\n--alt_abcdefghij\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + html +
		"\r\n--alt_abcdefghij--\r\n\r\n--outer_abcdefghij\r\nContent-Type: application/octet-stream; name=\"file.bin\"\r\nContent-Disposition: attachment; filename=\"file.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		attachment(450) + "\r\n--outer_abcdefghij--\r\n")
}

func ours(p []byte) error {
	c := bytes.NewReader(p)
	s, err := mime.Parse(c, mime.Options{})
	if err != nil {
		return err
	}
	for i := range s.Parts {
		if s.Parts[i].Kind == mime.Leaf {
			if _, err := io.Copy(io.Discard, s.Decoded(c, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func oursStreaming(p []byte) error {
	r := mime.NewReader(bytes.NewReader(p), mime.Options{})
	for {
		if _, err := r.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r.Decoded()); err != nil {
			return err
		}
	}
}

func goMessage(p []byte) error {
	e, err := gomessage.Read(bytes.NewReader(p))
	if err != nil {
		return err
	}
	return e.Walk(func(_ []int, e *gomessage.Entity, err error) error {
		if err == nil && e.MultipartReader() == nil {
			_, err = io.Copy(io.Discard, e.Body)
		}
		return err
	})
}

func enmimeParts(p []byte) error {
	_, err := enmime.ReadParts(bytes.NewReader(p))
	return err
}

// BenchmarkMIME parses a message, walks its parts and decodes every body into nothing.
func BenchmarkMIME(b *testing.B) {
	for _, m := range []struct {
		name string
		msg  []byte
	}{{"3KB", smallMessage()}, {"14MB", bigMessage()}} {
		for _, lib := range []struct {
			name string
			do   func([]byte) error
		}{{"goniec", ours}, {"goniec-stream", oursStreaming}, {"go-message", goMessage}, {"enmime", enmimeParts}} {
			b.Run(m.name+"/"+lib.name, func(b *testing.B) {
				b.SetBytes(int64(len(m.msg)))
				b.ReportAllocs()
				for b.Loop() {
					if err := lib.do(m.msg); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(m.name+"/goniec-structure", func(b *testing.B) {
			c := bytes.NewReader(m.msg)
			b.SetBytes(int64(len(m.msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := mime.Parse(c, mime.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMIMEHeader reads a header block and decodes each field.
func BenchmarkMIMEHeader(b *testing.B) {
	msg := smallMessage()
	block := msg[:bytes.Index(msg, []byte("\r\n\r\n"))+4]
	b.Run("goniec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, f := range mime.ParseHeader(block).All() {
				_ = f.Text()
			}
		}
	})
	b.Run("go-message", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h, err := textproto.ReadHeader(newBufio(block))
			if err != nil {
				b.Fatal(err)
			}
			mh := gomessage.Header{Header: h}
			for f := mh.Fields(); f.Next(); {
				_, _ = f.Text()
			}
		}
	})
	b.Run("goniec-envelope", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h := mime.ParseHeader(block)
			_, _ = h.Addresses("From")
			_, _ = h.Addresses("To")
			_, _ = h.Date()
			_ = h.Text("Subject")
			_ = h.MessageIDs("Message-ID")
		}
	})
	b.Run("go-message-envelope", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h, err := textproto.ReadHeader(newBufio(block))
			if err != nil {
				b.Fatal(err)
			}
			mh := mail.Header{Header: gomessage.Header{Header: h}}
			_, _ = mh.AddressList("From")
			_, _ = mh.AddressList("To")
			_, _ = mh.Date()
			_, _ = mh.Subject()
			_, _ = mh.MessageID()
		}
	})
}

// A part as both sides report it: type and the hash of its decoded octets.
type part struct{ typ, sum string }

func sum(p []byte) string {
	h := sha256.Sum256(bytes.TrimRight(bytes.ReplaceAll(p, []byte("\r\n"), []byte("\n")), "\n"))
	return hex.EncodeToString(h[:4])
}

// oursParts lists the leaves, an embedded message as the leaf that go-message takes it for.
func oursParts(t *testing.T, p []byte) (out []part) {
	c := bytes.NewReader(p)
	s, err := mime.Parse(c, mime.Options{})
	require.NoError(t, err)
	for i := 0; i < len(s.Parts); i++ {
		q := &s.Parts[i]
		if q.Kind == mime.Multipart {
			continue
		}
		body, err := io.ReadAll(s.Decoded(c, i))
		require.NoError(t, err)
		out = append(out, part{q.Type.String(), sum(body)})
		if q.Kind == mime.Embedded {
			for first := i; i+1 < len(s.Parts) && s.Parts[i+1].Parent >= first; {
				i++
			}
		}
	}
	return out
}

// goMessageParts lists the leaves of go-message. Its own charset conversion is off: message.CharsetReader is nil.
func goMessageParts(p []byte) (out []part, err error) {
	e, err := gomessage.Read(bytes.NewReader(p))
	if err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
		return nil, err
	}
	err = e.Walk(func(_ []int, e *gomessage.Entity, err error) error {
		if err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
			return err
		}
		if e.MultipartReader() != nil {
			return nil
		}
		typ, _, terr := e.Header.ContentType()
		if terr != nil || !strings.Contains(typ, "/") {
			typ, _, _ = stdmime.ParseMediaType("text/plain")
		}
		body, err := io.ReadAll(e.Body)
		out = append(out, part{strings.ToLower(typ), sum(body)})
		return err
	})
	return out, err
}

// goMessageDiffers names the messages of the corpora that go-message reads, but otherwise, and why ours is right.
var goMessageDiffers = map[string]string{
	"cpython-email/msg_02.txt":                       digest,
	"cpython-email/msg_30.txt":                       digest,
	"cpython-email/msg_34.txt":                       digest,
	"mail-parser/rfc/004.eml":                        digest,
	"enmime/mail/mime-bad-8bit-filename.raw":         malformed,
	"enmime/parts/malformed-content-type-params.raw": malformed,
	"enmime/parts/missing-closing-param-quote.raw":   malformed,
	"enmime/parts/unquoted-ctype-param-special.raw":  malformed,
	"mail-parser/rfc/001.eml":                        malformed,
}

const (
	digest    = "a part of a multipart/digest without a type is message/rfc822 (RFC 2046 section 5.1.5), there text/plain"
	malformed = "a Content-Type whose parameters are malformed: the type is kept here, text/plain there"
)

// TestOracleGoMessage compares the messages of the corpora with go-message. It refuses broken ones, which are counted apart.
func TestOracleGoMessage(t *testing.T) {
	root := peertest.Corpora(t)
	equal, refused, different := 0, 0, 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		name = filepath.ToSlash(name)
		if ext := filepath.Ext(name); !slices.Contains([]string{".eml", ".raw", ".msg"}, ext) && !strings.HasPrefix(name, "cpython-email/msg_") && (!strings.HasPrefix(name, "zbateson-emails/emails/") || filepath.Ext(name) == ".md") {
			return nil
		}
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		theirs, err := goMessageParts(raw)
		us := oursParts(t, raw)
		why, known := goMessageDiffers[name]
		switch {
		case err != nil:
			refused++
			t.Logf("%s: go-message refuses it: %v", name, err)
		case slices.Equal(us, theirs):
			equal++
			if known {
				t.Errorf("%s: equal, which the list of differences denies", name)
			}
		case known:
			different++
			t.Logf("%s: differs: %s", name, why)
		default:
			different++
			t.Errorf("%s:\n\tours   %v\n\ttheirs %v", name, us, theirs)
		}
		return nil
	})
	require.NoError(t, err)
	t.Logf("%d equal, %d different for a known reason, %d refused by go-message", equal, different, refused)
}

// TestGoMessageReadsWhatWeBuild builds messages of every kind and reads them with go-message.
func TestGoMessageReadsWhatWeBuild(t *testing.T) {
	from, err := mime.ParseAddresses("=?utf-8?q?J=C3=BCrgen?= <j@example.org>")
	require.NoError(t, err)
	from[0].Name = from[0].Text()
	long := strings.Repeat("Überlange Zeile ", 100)
	m := mime.Message{
		From: from, To: from, Subject: "Grüße 日本 " + long, Text: "Grüße\n" + long, HTML: "<p>x</p>",
		Inline:      []mime.File{{Name: "p.png", Type: "image/png", ContentID: "c@x", Body: strings.NewReader("\x89PNG")}},
		Attachments: []mime.File{{Name: strings.Repeat("ä", 60) + ".pdf", Body: strings.NewReader("%PDF")}, {Message: strings.NewReader("Subject: x\r\n\r\ny\r\n")}},
	}
	var b bytes.Buffer
	_, err = m.WriteTo(&b)
	require.NoError(t, err)
	theirs, err := goMessageParts(b.Bytes())
	require.NoError(t, err)
	require.Equal(t, oursParts(t, b.Bytes()), theirs)

	r, err := mail.CreateReader(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	subject, err := r.Header.Subject()
	require.NoError(t, err)
	require.Equal(t, m.Subject, subject)
	as, err := r.Header.AddressList("From")
	require.NoError(t, err)
	require.Equal(t, "Jürgen", as[0].Name)
	found := 0
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if h, ok := p.Header.(*mail.AttachmentHeader); ok {
			if name, _ := h.Filename(); name == strings.Repeat("ä", 60)+".pdf" {
				found++
			}
		}
	}
	require.Equal(t, 1, found, fmt.Sprint("attachment with its name"))
}

func newBufio(p []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(p)) }
