package mailboxtest_test

import (
	"testing"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/goniec-mail/goniec/maildir"
)

func TestMaildirCrash(t *testing.T) {
	mailboxtest.TestCrash(t, func(fsys faultfs.FS) (mailbox.Store, error) {
		d, err := fsys.OpenDir("/")
		if err == nil {
			d.Close()
		}
		return &maildir.Store{FS: fsys, Root: "/mail/{user}", Host: "h"}, err
	})
}
