package crlf

import (
	"bufio"
	"bytes"
	"io"
	"net/textproto"
	"strings"
	"testing"
)

// sink takes what is written and has no ReadFrom, unlike io.Discard.
type sink struct{}

func (sink) Write(p []byte) (int, error) { return len(p), nil }

// bodies are the shapes that cost differently.
var bodies = []struct {
	name string
	body string
}{
	{"mail75KB", strings.Repeat(strings.Repeat("x", 74)+"\r\n", 1000)},
	{"empty-lines", strings.Repeat("\r\n", 36<<10)},
	{"1-octet-lines", strings.Repeat("a\r\n", 24<<10)},
	{"8-octet-lines", strings.Repeat("abcdefgh\r\n", 7500)},
	{"dots", strings.Repeat(".\r\n", 24<<10)},
	{"dot-lines", strings.Repeat("."+strings.Repeat("x", 73)+"\r\n", 1000)},
	{"one-line-1MB", strings.Repeat("x", 1<<20) + "\r\n"},
}

func stuffed(body string) string {
	return strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n..")[2:] + ".\r\n"
}

func BenchmarkDotReader(b *testing.B) {
	for _, c := range bodies {
		raw := stuffed(c.body)
		src := strings.NewReader(raw)
		b.Run(c.name+"/crlf-WriteTo", func(b *testing.B) {
			benchDotReader(b, raw, src, TextOptions{}, func(d *DotReader) { _, _ = d.WriteTo(sink{}) })
		})
		buf := make([]byte, 32<<10)
		read := func(d *DotReader) {
			for {
				if _, err := d.Read(buf); err != nil {
					return
				}
			}
		}
		b.Run(c.name+"/crlf-Read", func(b *testing.B) { benchDotReader(b, raw, src, TextOptions{}, read) })
		b.Run(c.name+"/crlf-Normalise", func(b *testing.B) { benchDotReader(b, raw, src, TextOptions{Bare: Normalise}, read) })
		b.Run(c.name+"/textproto", func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(raw)
				r := textproto.NewReader(bufio.NewReaderSize(src, 64<<10)).DotReader()
				for {
					if _, err := r.Read(buf); err != nil {
						break
					}
				}
			}
		})
	}
}

func benchDotReader(b *testing.B, raw string, src *strings.Reader, o TextOptions, read func(d *DotReader)) {
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	var r Reader
	var d DotReader
	for b.Loop() {
		src.Reset(raw)
		r.Reset(src)
		d.Reset(&r, o)
		read(&d)
		if d.Err() != nil || !d.Ended() {
			b.Fatal(d.Err())
		}
	}
}

func BenchmarkDotWriter(b *testing.B) {
	for _, c := range bodies {
		body := []byte(c.body)
		lf := bytes.ReplaceAll(body, newline, []byte("\n"))
		w := NewWriter(sink{})
		var d DotWriter
		run := func(name string, body []byte, bare Bare) {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					d.Reset(w, bare)
					_, _ = d.Write(body)
					if d.Close() != nil || w.Flush() != nil {
						b.Fatal("not written")
					}
				}
			})
		}
		run("crlf", body, Reject)
		run("crlf-from-LF", lf, Normalise)
		bw := bufio.NewWriter(sink{})
		b.Run(c.name+"/textproto", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			tw := textproto.NewWriter(bw)
			for b.Loop() {
				d := tw.DotWriter()
				_, _ = d.Write(body)
				_ = d.Close()
			}
		})
	}
}

func BenchmarkTextReader(b *testing.B) {
	buf := make([]byte, 32<<10)
	for _, c := range bodies {
		src := strings.NewReader(c.body)
		var t TextReader
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(c.body)
				t.Reset(src, TextOptions{})
				for {
					if _, err := t.Read(buf); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkReadLine(b *testing.B) {
	raw := strings.Repeat("RCPT TO:<somebody@example.org>\r\n", 1000)
	src := strings.NewReader(raw)
	var r Reader
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(raw)
		r.Reset(src)
		for range 1000 {
			if _, err := r.ReadLine(4096); err != nil {
				b.Fatal(err)
			}
		}
	}
}
