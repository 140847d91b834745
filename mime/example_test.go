package mime_test

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/mime"
)

const message = "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n" +
	"Subject: two parts\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n" +
	"\r\n" +
	"--b\r\n" +
	"Content-Type: text/plain; charset=iso-8859-1\r\n" +
	"Content-Transfer-Encoding: quoted-printable\r\n" +
	"\r\n" +
	"Gr=FC=DFe\r\n" +
	"--b\r\n" +
	"Content-Type: application/pdf\r\n" +
	"Content-Disposition: attachment; filename*=utf-8''%C3%A4.pdf\r\n" +
	"Content-Transfer-Encoding: base64\r\n" +
	"\r\n" +
	"JVBERg==\r\n" +
	"--b--\r\n"

func ExampleParse() {
	c := strings.NewReader(message)
	s, err := mime.Parse(c, mime.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Parts[0].Envelope.From()[0].Text())
	for i := range s.Parts {
		if p := &s.Parts[i]; p.Kind == mime.Leaf {
			name, _ := p.Filename()
			text, _ := io.ReadAll(s.Text(c, i))
			fmt.Printf("%v %s %q %q\n", s.Path(i), p.Type, name, text)
		}
	}
	// Output:
	// Jürgen
	// [1] text/plain "" "Grüße"
	// [2] application/pdf "ä.pdf" "%PDF"
}

func ExampleParseHeader() {
	h := mime.ParseHeader([]byte("Received: by mx\r\nSubject: hello\r\n\r\n"))
	f, err := mime.NewField("X-Spam", "no")
	if err != nil {
		fmt.Println(err)
		return
	}
	h.Prepend(f)
	fmt.Printf("%q\n", h.Bytes())
	// Output: "X-Spam: no\r\nReceived: by mx\r\nSubject: hello\r\n\r\n"
}

func ExampleMessage() {
	from, _ := mime.ParseAddresses("Ada <ada@example.org>")
	to, _ := mime.ParseAddresses("bob@example.org")
	m := mime.Message{
		From: from, To: to, Subject: "Grüße", MessageID: "1@example.org",
		Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Text: "Hello Bob\n",
	}
	var b strings.Builder
	if _, err := m.WriteTo(&b); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.ReplaceAll(b.String(), "\r\n", "\n"))
	// Output:
	// Date: Fri, 02 Jan 2026 03:04:05 +0000
	// From: Ada <ada@example.org>
	// To: bob@example.org
	// Message-ID: <1@example.org>
	// Subject: =?utf-8?b?R3LDvMOfZQ==?=
	// MIME-Version: 1.0
	// Content-Type: text/plain; charset=utf-8
	//
	// Hello Bob
}

func ExampleDSN() {
	dsn := mime.DSN{
		Text:         "Your message did not reach bob@example.com.\r\n",
		ReportingMTA: mime.Typed{Value: "mx.example.org"},
		Recipients: []mime.DSNRecipient{{
			FinalRecipient: mime.Typed{Value: "bob@example.com"},
			Action:         "failed",
			Status:         "5.1.1",
			Diagnostic:     mime.Typed{Value: "550 5.1.1 no such user"},
		}},
	}
	body, err := dsn.Entity()
	if err != nil {
		fmt.Println(err)
		return
	}
	from, _ := mime.ParseAddresses("MAILER-DAEMON@mx.example.org")
	var b strings.Builder
	if _, err := (&mime.Message{From: from, Subject: "Undelivered mail", Body: body}).WriteTo(&b); err != nil {
		fmt.Println(err)
		return
	}
	c := strings.NewReader(b.String())
	s, _ := mime.Parse(c, mime.Options{})
	read, _ := s.ReadDSN(c)
	fmt.Println(read.Recipients[0].Action, read.Recipients[0].FinalRecipient, read.Recipients[0].Diagnostic)
	// Output: failed rfc822; bob@example.com smtp; 550 5.1.1 no such user
}

func ExampleReader() {
	r := mime.NewReader(strings.NewReader(message), mime.Options{})
	defer r.Close()
	for {
		part, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		n, _ := io.Copy(io.Discard, r.Decoded())
		fmt.Println(part.Type, n)
	}
	// Output:
	// multipart/mixed 0
	// text/plain 5
	// application/pdf 4
}

func ExampleDowngrade() {
	msg := "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
	r, err := mime.Downgrade(strings.NewReader(msg), "7bit")
	if err != nil {
		fmt.Println(err)
		return
	}
	out, _ := io.ReadAll(r)
	fmt.Printf("%q\n", out)
	// Output: "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n"
}
