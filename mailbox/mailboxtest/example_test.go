package mailboxtest_test

import (
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
)

// A store proves itself in three lines: put your own in the place of NewMemory.
func ExampleTestStore() {
	_ = func(t *testing.T) {
		mailboxtest.TestStore(t, func(*testing.T) mailbox.Store { return mailbox.NewMemory() })
	}
}
