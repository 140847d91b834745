package queuetest_test

import (
	"testing"

	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/queuetest"
)

func BenchmarkFiles(b *testing.B) {
	queuetest.BenchmarkStore(b, b.TempDir(), func(b *testing.B, dir string) queue.Store {
		s, err := queue.OpenFiles(dir, queue.FileOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		return s
	})
}
