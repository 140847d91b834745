package mime

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
)

// bigMessage is a multipart message with one base64 attachment of n octets before encoding.
func bigMessage(n int) string {
	var b strings.Builder
	b.WriteString(crlf(`
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

`))
	raw := make([]byte, n)
	x := uint32(1)
	for i := range raw {
		x = x*1664525 + 1013904223
		raw[i] = byte(x >> 24)
	}
	enc := base64.StdEncoding.EncodeToString(raw)
	for len(enc) > 76 {
		b.WriteString(enc[:76] + "\r\n")
		enc = enc[76:]
	}
	b.WriteString(enc + "\r\n--=_b--\r\n")
	return b.String()
}

// smallMessage is a usual message of about 3 KB: text and HTML in quoted-printable, and an attachment.
func smallMessage() string {
	text := strings.Repeat("Der Fluss tr=C3=A4gt das Boot, und der Wind steht gut heute.=20\r\n", 9)
	html := "<html><body>\r\n" + strings.Repeat("<p>Der Fluss tr=C3=A4gt das <b class=3D\"x\">Boot</b>.</p>\r\n", 14) + "</body></html>\r\n"
	return crlf(`
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
		strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n", 8) + "\r\n--outer_abcdefghij--\r\n"
}

func BenchmarkParse(b *testing.B) {
	for name, msg := range map[string]string{"14MB": bigMessage(10 << 20), "3KB": smallMessage()} {
		c := bytes.NewReader([]byte(msg))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"-decode", func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				s, err := Parse(c, Options{})
				if err != nil {
					b.Fatal(err)
				}
				for i := range s.Parts {
					if s.Parts[i].Kind == Leaf {
						if _, err := s.Decoded(c, i).WriteTo(io.Discard); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}

// BenchmarkDecoders compares the transfer decodings with those of the standard library.
func BenchmarkDecoders(b *testing.B) {
	raw := bytes.Repeat([]byte("Der Fluss trägt das Boot; und = der Wind steht gut heute.\r\n"), 17_000)
	var qp, b64 bytes.Buffer
	w := quotedprintable.NewWriter(&qp)
	_, _ = w.Write(raw)
	_ = w.Close()
	_ = encodeBase64(&b64, bytes.NewReader(raw))
	run := func(name string, in []byte, decode func(io.Reader) io.Reader) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := io.Copy(io.Discard, decode(bytes.NewReader(in))); err != nil || int(n) != len(raw) {
					b.Fatal(n, err)
				}
			}
		})
	}
	run("quoted-printable", qp.Bytes(), func(r io.Reader) io.Reader { return NewDecoder(r, "quoted-printable") })
	run("quoted-printable-stdlib", qp.Bytes(), func(r io.Reader) io.Reader { return quotedprintable.NewReader(r) })
	run("base64", b64.Bytes(), func(r io.Reader) io.Reader { return NewDecoder(r, "base64") })
	run("base64-stdlib", b64.Bytes(), func(r io.Reader) io.Reader { return base64.NewDecoder(base64.StdEncoding, r) })
}

// BenchmarkWrite builds a usual message with an attachment.
func BenchmarkWrite(b *testing.B) {
	data := make([]byte, 1<<20)
	m := testMessage()
	m.Text = strings.Repeat("Der Fluss trägt das Boot, und der Wind steht gut heute.\n", 20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		m.Attachments = []File{{Name: "x.bin", Body: bytes.NewReader(data)}}
		if _, err := m.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDowngrade converts a message with one wide text.
func BenchmarkDowngrade(b *testing.B) {
	msg := "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + strings.Repeat("Der Fluss trägt das Boot, und der Wind steht gut heute.\r\n", 17_000)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := Downgrade(strings.NewReader(msg), "7bit")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHeaderDecode1000(b *testing.B) {
	var block strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&block, "X-Field-%d: =?utf-8?q?Gr=C3=BC=C3=9Fe_%d?= =?utf-8?b?w6TDtsO8?=\r\n", i, i)
	}
	raw := []byte(block.String())
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		for _, f := range ParseHeader(raw).All() {
			_ = f.Text()
		}
	}
}
