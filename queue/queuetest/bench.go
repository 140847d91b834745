package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/queue"
)

// BenchmarkStore measures durable Puts of 2 KB messages by 1, 8 and 32 writers, beside a bare loop of append
// and fdatasync in a file for each writer, in the directory dir and in the same run. Each store subtest
// reports its rate and, behind it, the share of the bare loop's.
func BenchmarkStore(b *testing.B, dir string, open func(b *testing.B, dir string) queue.Store) {
	for _, writers := range []int{1, 8, 32} {
		var bare float64
		b.Run(fmt.Sprintf("bare-%d", writers), func(b *testing.B) {
			bare = bareLoop(b, dir, writers)
			b.ReportMetric(bare, "msg/s")
		})
		b.Run(fmt.Sprintf("store-%d", writers), func(b *testing.B) {
			s := open(b, filepath.Join(dir, fmt.Sprintf("store-%d-%d", writers, b.N)))
			body := strings.Repeat("0123456789abcdef0123456789abcde\r\n", 60)
			rate := parallel(b, writers, func(int) error {
				m := Message("", "a@x.example")
				m.Body = strings.NewReader(body)
				_, err := s.Put(context.Background(), m)
				return err
			})
			b.ReportMetric(rate, "msg/s")
			if bare > 0 {
				b.ReportMetric(100*rate/bare, "%bare")
			}
		})
	}
}

func bareLoop(b *testing.B, dir string, writers int) float64 {
	d, err := faultfs.OS{}.OpenDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	files := make([]faultfs.File, writers)
	for i := range files {
		name := fmt.Sprintf("bare-%d-%d-%d", writers, i, b.N)
		if files[i], err = d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			b.Fatal(err)
		}
		defer d.Remove(name)
		defer files[i].Close()
	}
	data := bytes.Repeat([]byte("x"), 2048)
	return parallel(b, writers, func(w int) error {
		if _, err := files[w].Write(data); err != nil {
			return err
		}
		return files[w].Datasync()
	})
}

// parallel runs b.N calls by several goroutines and returns the rate.
func parallel(b *testing.B, writers int, f func(writer int) error) float64 {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := f(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	return float64(b.N) / b.Elapsed().Seconds()
}
