package mbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/mbox"
)

func ExampleReader() {
	const file = "From ann@example.org Sat Jan  3 01:05:34 1998\nSubject: one\n\n>From here on\n\n" +
		"From bob@example.org Sun Jan  4 10:00:00 1998\nSubject: two\n\nbye\n\n"
	r := mbox.NewReader(strings.NewReader(file), mbox.Auto)
	for m, err := range r.Messages() {
		if err != nil {
			fmt.Println(err)
			return
		}
		text, _ := io.ReadAll(r)
		fmt.Printf("%d %s %s %q\n", m.Offset, m.Sender, m.Date.Format(time.DateOnly), text)
	}
	fmt.Println(r.Report().Messages)
	// Output:
	// 0 ann@example.org 1998-01-03 "Subject: one\r\n\r\nFrom here on\r\n"
	// 75 bob@example.org 1998-01-04 "Subject: two\r\n\r\nbye\r\n"
	// 2
}

func ExampleWriter() {
	var file bytes.Buffer
	w := mbox.NewWriter(&file, mbox.MboxRD)
	from := mbox.FromLine{Sender: "ann@example.org", Date: time.Date(1998, 1, 3, 1, 5, 34, 0, time.UTC)}
	if _, err := w.Write(context.Background(), from, strings.NewReader("Subject: one\r\n\r\nFrom here on\r\n")); err != nil {
		fmt.Println(err)
	}
	fmt.Print(file.String())
	// Output:
	// From ann@example.org Sat Jan  3 01:05:34 1998
	// Subject: one
	//
	// >From here on
}
