package mbox

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// benchFile is an mbox of messages of 7 KB, with lines of 72 octets.
func benchFile(b *testing.B, size int) []byte {
	msg := "From: a@example.org\r\nTo: b@example.org\r\nSubject: a message\r\n\r\n" +
		strings.Repeat(strings.Repeat("0123456789abcdef", 4)+"abcdef\r\n", 100)
	one := written(b, MboxRD, msg)
	return bytes.Repeat([]byte(one), size/len(one)+1)
}

// BenchmarkIndex finds the messages.
func BenchmarkIndex(b *testing.B) {
	file := benchFile(b, 64<<20)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		r, n := NewReader(bytes.NewReader(file), MboxRD), 0
		for _, err := range r.Messages() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n < 9000 {
			b.Fatal(n)
		}
	}
}

// BenchmarkRead reads every message in network form.
func BenchmarkRead(b *testing.B) {
	file := benchFile(b, 64<<20)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	buf := make([]byte, 64<<10)
	for b.Loop() {
		r := NewReader(bytes.NewReader(file), MboxRD)
		for _, err := range r.Messages() {
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, readerOnly{r}, buf); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkCopy is what the others are measured against.
func BenchmarkCopy(b *testing.B) {
	file := benchFile(b, 64<<20)
	b.SetBytes(int64(len(file)))
	buf := make([]byte, 1<<20)
	for b.Loop() {
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, readerOnly{bytes.NewReader(file)}, buf); err != nil {
			b.Fatal(err)
		}
	}
}
