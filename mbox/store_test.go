package mbox_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/goniec-mail/goniec/mbox"
)

// TestConformance runs over the file system in memory: the suite syncs thousands of times.
func TestConformance(t *testing.T) {
	for _, d := range []mbox.Dialect{mbox.MboxRD, mbox.MboxCL2} {
		t.Run(d.String(), func(t *testing.T) {
			mailboxtest.Suite{
				Open: func(*testing.T) mailbox.Store {
					return &mbox.Store{Root: "/mail/{user}", FS: faultfs.NewCrash(1), Dialect: d}
				},
				Reopen: func(_ *testing.T, s mailbox.Store) mailbox.Store {
					old := s.(*mbox.Store)
					old.Close()
					return &mbox.Store{Root: old.Root, FS: old.FS, Dialect: d}
				},
			}.Run(t)
		})
	}
}

// TestConformanceOneFile: one file for each user, and no other folders.
func TestConformanceOneFile(t *testing.T) {
	mailboxtest.Suite{
		Lacks: mailboxtest.LacksFolders,
		Open: func(t *testing.T) mailbox.Store {
			return &mbox.Store{Inbox: "/var/mail/{user}", FS: faultfs.NewCrash(1), Dialect: mbox.Auto}
		},
		Reopen: func(_ *testing.T, s mailbox.Store) mailbox.Store {
			old := s.(*mbox.Store)
			return &mbox.Store{Inbox: old.Inbox, FS: old.FS}
		},
	}.Run(t)
}

func TestF08_StoreTwoProcesses(t *testing.T) {
	mailboxtest.TestTwoProcesses(t, func(_ *testing.T, place string) mailbox.Store {
		return &mbox.Store{Root: filepath.Join(place, "{user}")}
	})
}

var _ = []any{os.Args, time.Now, require.NoError}
