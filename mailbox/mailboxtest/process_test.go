package mailboxtest

import (
	"path/filepath"
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

func TestProcesses(t *testing.T) {
	TestTwoProcesses(t, func(t *testing.T, place string) mailbox.Store {
		return &maildir.Store{Root: filepath.Join(place, "{user}")}
	})
}

func BenchmarkMemory(b *testing.B) {
	Benchmark(b, func(*testing.B) mailbox.Store { return mailbox.NewMemory() })
}
