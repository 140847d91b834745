package mailbox_test

import (
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
)

func TestMemory(t *testing.T) {
	mailboxtest.TestStore(t, func(*testing.T) mailbox.Store { return mailbox.NewMemory() })
}

// TestMemoryCore: the same without any optional interface, as the smallest possible store.
func TestMemoryCore(t *testing.T) {
	mailboxtest.TestStore(t, func(*testing.T) mailbox.Store { return mailboxtest.Core(mailbox.NewMemory()) })
}

// TestMemoryForgetful: a store that remembers no expunges.
func TestMemoryForgetful(t *testing.T) {
	mailboxtest.TestStore(t, func(*testing.T) mailbox.Store { return &mailbox.Memory{HistoryLimit: -1, KeywordLimit: 3} })
}
