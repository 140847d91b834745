package maildir_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

func ExampleStore() {
	dir, err := os.MkdirTemp("", "maildir-example-*")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store := &maildir.Store{Root: dir + "/{domain}/{local}/Maildir"}

	to := []mailbox.Target{{User: "alice@demo.test"}}
	fmt.Println(mailbox.DeliverAll(ctx, store, to, strings.NewReader("Subject: hi\r\n\r\nHello\r\n"), mailbox.AppendOptions{}))

	account, err := store.Account(ctx, "alice@demo.test")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer account.Close()
	inbox, err := account.Open(ctx, "INBOX")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer inbox.Close()
	changes, err := inbox.Changes(ctx, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	for m := range changes.Messages {
		fmt.Println("uid", m.UID, "size", m.Size)
	}
	// Output:
	// [<nil>]
	// uid 1 size 22
}
