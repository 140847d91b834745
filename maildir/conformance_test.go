package maildir_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/goniec-mail/goniec/maildir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	mailboxtest.Suite{
		Open: func(t *testing.T) mailbox.Store {
			s := &maildir.Store{Root: fastDir(t)}
			t.Cleanup(func() { s.Close() })
			return s
		},
		Reopen: func(_ *testing.T, s mailbox.Store) mailbox.Store {
			old := s.(*maildir.Store)
			old.Close()
			return &maildir.Store{Root: old.Root}
		},
	}.Run(t)
}

// The same over the file system in memory that crash tests use, with CRLF files.
func TestConformanceInMemory(t *testing.T) {
	mailboxtest.Suite{
		Open: func(*testing.T) mailbox.Store {
			return &maildir.Store{Root: "/mail", FS: faultfs.NewCrash(1), CRLF: true}
		},
		Reopen: func(_ *testing.T, s mailbox.Store) mailbox.Store {
			old := s.(*maildir.Store)
			return &maildir.Store{Root: old.Root, FS: old.FS}
		},
	}.Run(t)
}
