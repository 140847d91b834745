package mime_test

import (
	"fmt"
	"io"
	"strings"

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
