package mailbox_test

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec/mailbox"
)

// check ends an example that fails.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

func Example() {
	ctx := context.Background()
	store := mailbox.NewMemory() // or a maildir.Store, or your own
	account, err := store.Account(ctx, "alice@example.org")
	check(err)
	defer account.Close()
	inbox, err := account.Open(ctx, "INBOX")
	check(err)
	defer inbox.Close()

	meta, err := inbox.Append(ctx, strings.NewReader("Subject: hello\r\n\r\nHi Alice!\r\n"), mailbox.AppendOptions{})
	check(err)
	_, err = inbox.SetFlags(ctx, mailbox.UIDs(meta.UID), mailbox.FlagChange{
		Op:    mailbox.FlagsAdd,
		Flags: mailbox.FlagList{System: mailbox.Flagged, Keywords: []string{"$Important"}},
	})
	check(err)

	ch, err := inbox.Changes(ctx, 0) // the list of the folder
	check(err)
	for m := range ch.Messages {
		fmt.Println(m.UID, m.Size, m.Flags.List(ch.State.Keywords).Keywords)
	}
	// Output: 1 29 [$Important]
}

func ExampleView() {
	ctx := context.Background()
	account, err := mailbox.NewMemory().Account(ctx, "alice")
	check(err)
	inbox, err := account.Open(ctx, "INBOX")
	check(err)
	for range 3 {
		_, err = inbox.Append(ctx, strings.NewReader("Subject: x\r\n\r\n"), mailbox.AppendOptions{})
		check(err)
	}
	view, err := mailbox.OpenView(ctx, inbox) // a session selects INBOX
	check(err)
	_, err = inbox.Expunge(ctx, mailbox.UIDs(1, 2)) // another one expunges
	check(err)

	update, err := view.Poll(ctx, mailbox.Everything)
	check(err)
	for n := range update.Expunged() {
		fmt.Printf("* %d EXPUNGE\n", n)
	}
	fmt.Println("now message 1 has UID", view.UID(1))
	// Output:
	// * 2 EXPUNGE
	// * 1 EXPUNGE
	// now message 1 has UID 3
}

func ExampleSearch() {
	ctx := context.Background()
	account, err := mailbox.NewMemory().Account(ctx, "alice")
	check(err)
	inbox, err := account.Open(ctx, "INBOX")
	check(err)
	for _, subject := range []string{"=?utf-8?Q?=C5=BB=C3=B3=C5=82w?=", "hare"} {
		_, err = inbox.Append(ctx, strings.NewReader("Subject: "+subject+"\r\n\r\n"), mailbox.AppendOptions{})
		check(err)
	}
	// UNSEEN SUBJECT "żółw"
	found, err := mailbox.Search(ctx, inbox, mailbox.Criterion{Of: []mailbox.Criterion{
		{Key: mailbox.KeyNot, Of: []mailbox.Criterion{{Key: mailbox.KeyFlags, Flags: mailbox.Seen}}},
		{Key: mailbox.KeyHeader, Field: "Subject", Text: "żółw"},
	}})
	check(err)
	fmt.Println(found.UIDs)
	// Output: 1
}

// Users share folders: joe lets bob read one of his.
func ExampleWithSharing() {
	ctx := context.Background()
	store := mailbox.WithSharing(mailbox.NewMemory(), mailbox.Sharing{}) // or a maildir.Store, with an Index from OpenShareFiles
	joe, err := store.Account(ctx, "joe@example.org")
	check(err)
	defer joe.Close()
	check(joe.Create(ctx, "Projects", mailbox.CreateOptions{}))
	rights, err := mailbox.ParseRights("lrs")
	check(err)
	check(mailbox.ChangeACL(ctx, joe, "Projects", mailbox.ACLChange{
		Op: mailbox.ACLReplace, Entry: mailbox.ACLEntry{ID: "bob@example.org", Rights: rights},
	}))

	bob, err := store.Account(ctx, "bob@example.org")
	check(err)
	defer bob.Close()
	for info, err := range bob.Mailboxes(ctx) {
		check(err)
		rights, err := mailbox.MyRights(ctx, bob, info.Name)
		check(err)
		fmt.Println(info.Name, rights)
	}
	_, err = mailbox.Move(ctx, bob, "Other Users/joe@example.org/Projects", 0, mailbox.AllUIDs(), "INBOX")
	fmt.Println(err)
	// Output:
	// INBOX lrswipkxtea
	// Other Users/joe@example.org/Projects lrs
	// permission denied
}

// A wrapper that is written once counts the operations of any store.
func ExampleInterceptStore() {
	ctx := context.Background()
	var mu sync.Mutex
	counts := map[mailbox.OpKind]int{}
	store := mailbox.InterceptStore(mailbox.NewMemory(), func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		mu.Lock()
		counts[op.Kind]++
		mu.Unlock()
		return next(ctx)
	})
	account, err := store.Account(ctx, "alice")
	check(err)
	inbox, err := account.Open(ctx, "INBOX")
	check(err)
	for range 2 {
		_, err = inbox.Append(ctx, strings.NewReader("Subject: x\r\n\r\n"), mailbox.AppendOptions{})
		check(err)
	}
	_, err = inbox.Expunge(ctx, mailbox.UIDs(1))
	check(err)
	fmt.Println(counts)
	// Output: map[Account:1 Append:2 Expunge:1 Open:1]
}

// A user's mail goes from one store into another.
func ExampleConverter() {
	ctx := context.Background()
	from, err := mailbox.NewMemory().Account(ctx, "alice") // or an mbox.Store's
	check(err)
	inbox, err := from.Open(ctx, "INBOX")
	check(err)
	_, err = inbox.Append(ctx, strings.NewReader("Subject: x\r\n\r\n"), mailbox.AppendOptions{})
	check(err)
	to, err := mailbox.NewMemory().Account(ctx, "alice") // or a maildir.Store's
	check(err)

	c := &mailbox.Converter{From: from, To: to, Verify: true} // with StateDir it can be killed, and goes on at the next Run
	reports, err := c.Run(ctx)
	check(err)
	for _, r := range reports {
		fmt.Println(r.From, r.Messages, "messages,", r.Copied, "copied,", r.Verified, "compared")
	}
	// Output: INBOX 1 messages, 1 copied, 1 compared
}

// An account is a file system to whatever reads one.
func ExampleFS() {
	ctx := context.Background()
	account, err := mailbox.NewMemory().Account(ctx, "ann")
	check(err)
	inbox, err := account.Open(ctx, "INBOX")
	check(err)
	_, err = inbox.Append(ctx, strings.NewReader("Subject: hello\r\n\r\nHello!\r\n"), mailbox.AppendOptions{})
	check(err)
	files := mailbox.FS(ctx, account)
	names, err := fs.Glob(files, "INBOX/*.eml")
	check(err)
	text, err := fs.ReadFile(files, names[0])
	fmt.Printf("%s: %q, %v\n", names[0], text, err)
	// Output: INBOX/0000000001.eml: "Subject: hello\r\n\r\nHello!\r\n", <nil>
}
