package mbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
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

// BenchmarkIndexFile opens a file of 1 GB (10⁹ octets) of another program through Store: messages found, summed, and the
// index written.
func BenchmarkIndexFile(b *testing.B) {
	const size = 1_000_000_000
	path := filepath.Join(b.TempDir(), "ann")
	part := benchFile(b, 64<<20)
	f, err := os.Create(path)
	require.NoError(b, err)
	written := 0
	for written < size {
		_, err := f.Write(part)
		require.NoError(b, err)
		written += len(part)
	}
	require.NoError(b, f.Close())
	b.SetBytes(int64(written))
	b.ReportAllocs()
	for b.Loop() {
		_ = os.Remove(filepath.Join(filepath.Dir(path), indexName("ann")))
		s := &Store{Inbox: filepath.Join(filepath.Dir(path), "{user}")}
		m, err := openInbox(b.Context(), s)
		require.NoError(b, err)
		ch, err := m.Changes(b.Context(), mailbox.Latest)
		require.NoError(b, err)
		require.Greater(b, ch.State.Messages, size/10_000)
		require.NoError(b, m.Close())
	}
}

// BenchmarkStoreRead reads all messages of a folder through Store, which copies each.
func BenchmarkStoreRead(b *testing.B) {
	for _, readOnly := range []bool{true, false} {
		b.Run(fmt.Sprintf("readonly=%t", readOnly), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "ann")
			file := benchFile(b, 16<<20)
			require.NoError(b, os.WriteFile(path, file, 0o600))
			s := &Store{Inbox: filepath.Join(filepath.Dir(path), "{user}"), ReadOnly: readOnly}
			m, err := openInbox(b.Context(), s)
			require.NoError(b, err)
			defer m.Close()
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				for _, err := range m.Read(b.Context(), mailbox.AllUIDs()) {
					require.NoError(b, err)
					n++
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
