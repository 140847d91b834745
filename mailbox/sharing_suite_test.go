package mailbox_test

import (
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
)

// TestSharedStore: for owners a shared store is the store.
func TestSharedStore(t *testing.T) {
	mailboxtest.TestStore(t, func(*testing.T) mailbox.Store {
		return mailbox.WithSharing(mailbox.NewMemory(), mailbox.Sharing{PublicUser: "public"})
	})
}

// TestSharedCore: a store that keeps no lists comes back as it is.
func TestSharedCore(t *testing.T) {
	mailboxtest.TestStore(t, func(*testing.T) mailbox.Store {
		return mailbox.WithSharing(mailboxtest.Core(mailbox.NewMemory()), mailbox.Sharing{})
	})
}
