package crlf_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/goniec-mail/goniec/internal/crlf"
)

// A server reads commands, then a message, then commands again.
func Example() {
	r := crlf.NewReader(strings.NewReader("MAIL FROM:<a@b>\nRCPT TO:<c@d>\r\nDATA\r\nSubject: hi\r\n\r\n..dot\r\n.\r\nQUIT\r\n"))

	_, err := r.ReadLine(4096)
	fmt.Println("500", err)
	line, _ := r.ReadLine(4096)
	fmt.Printf("%s\n", line)

	d := crlf.NewDotReader(r, crlf.TextOptions{MaxBytes: 50 << 20})
	text, err := io.ReadAll(d)
	fmt.Printf("%q %v\n", text, err)

	line, _ = r.ReadLine(4096)
	fmt.Printf("%s\n", line)
	// Output:
	// 500 line feed without carriage return
	// DATA
	// "Subject: hi\r\n\r\n.dot\r\n" <nil>
	// QUIT
}

// A message in the local form goes out in network form.
func ExampleDotWriter() {
	var wire strings.Builder
	w := crlf.NewDotWriter(&wire, crlf.Normalise)
	io.WriteString(w, "Subject: hi\n\n.dot")
	err := w.Close()
	fmt.Printf("%q %v\n", wire.String(), err)
	// Output:
	// "Subject: hi\r\n\r\n..dot\r\n.\r\n" <nil>
}

// A BDAT chunk: its octets are counted, and judged as those of DATA.
func ExampleTextReader() {
	r := crlf.NewReader(strings.NewReader("BDAT 13 LAST\r\nsmuggled\n.\r\nxQUIT\r\n"))
	r.ReadLine(4096)
	chunk := crlf.NewRawReader(r, 13)
	_, err := io.ReadAll(crlf.NewTextReader(chunk, crlf.TextOptions{}))
	fmt.Println(err)
	chunk.Discard() // whatever the reader has left
	line, _ := r.ReadLine(4096)
	fmt.Printf("%s\n", line)
	// Output:
	// line feed without carriage return
	// QUIT
}
