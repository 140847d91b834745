package mailboxtest_test

import (
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
)

// A third-party store proves itself in three lines of a test.
func Example() {
	TestConformance := func(t *testing.T) {
		mailboxtest.TestStore(t, func(t *testing.T) mailbox.Store { return mailbox.NewMemory() })
	}
	_ = TestConformance
	// Output:
}
