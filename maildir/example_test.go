package maildir_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// A message is delivered, and read where it then lies.
func Example() {
	root, _ := os.MkdirTemp("", "maildir-example-*")
	defer os.RemoveAll(root)
	ctx := context.Background()

	store := &maildir.Store{Root: root + "/{domain}/{local}/Maildir"}
	defer store.Close()
	msg := strings.NewReader("Subject: hello\r\n\r\nHello, Alice.\r\n")
	if err := store.Deliver(ctx, "alice@example.org", "INBOX", msg, mailbox.AppendOptions{}); err != nil {
		fmt.Println(err) // nothing is stored
		return
	}

	account, _ := store.Account(ctx, "alice@example.org")
	defer account.Close()
	inbox, _ := account.Open(ctx, "INBOX")
	defer inbox.Close()
	for m, err := range inbox.Read(ctx, mailbox.AllUIDs()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		text, _ := io.ReadAll(goniec.NewReader(m.Content))
		fmt.Printf("UID %d, %d octets: %q\n", m.UID, m.Size, text)
	}
	// Output: UID 1, 33 octets: "Subject: hello\r\n\r\nHello, Alice.\r\n"
}

// A message for several users is written once; the others get links to it.
func ExampleStore_DeliverAll() {
	root, _ := os.MkdirTemp("", "maildir-example-*")
	defer os.RemoveAll(root)
	store := &maildir.Store{Root: root}
	defer store.Close()

	to := []mailbox.Target{{User: "alice"}, {User: "bob"}, {User: "../etc/passwd"}, {User: "carol", Name: "no such folder"}}
	msg := strings.NewReader("Subject: all\r\n\r\nHello, all.\r\n")
	for i, err := range store.DeliverAll(context.Background(), to, msg, mailbox.AppendOptions{}) {
		fmt.Println(to[i].User, err == nil)
	}
	// Output:
	// alice true
	// bob true
	// ../etc/passwd true
	// carol false
}

// Check looks at an account's files, and repairs what can be.
func ExampleAccount_Check() {
	root, _ := os.MkdirTemp("", "maildir-example-*")
	defer os.RemoveAll(root)
	ctx := context.Background()
	store := &maildir.Store{Root: root}
	defer store.Close()
	account, _ := store.Account(ctx, "alice")
	defer account.Close()

	_ = os.Mkdir(root+"/alice/.not.a..folder", 0o700)
	problems, err := account.(*maildir.Account).Check(ctx, true)
	for _, p := range problems {
		fmt.Println(p)
	}
	fmt.Println(err)
	// Output:
	// ".not.a..folder": not the name of a folder: not canonical modified UTF-7
	// <nil>
}
