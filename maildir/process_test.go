package maildir_test

import (
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/goniec-mail/goniec/maildir"
)

// The suite's two processes on one Maildir.
func TestTwoProcessesOfTheSuite(t *testing.T) {
	mailboxtest.TestTwoProcesses(t, func(t *testing.T, place string) mailbox.Store {
		s := &maildir.Store{Root: place}
		t.Cleanup(func() { s.Close() })
		return s
	})
}
