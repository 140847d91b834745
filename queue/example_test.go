package queue_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// An application gives a transport of its own the queue's retries and reports.
func Example() {
	dir, _ := os.MkdirTemp("", "queue")
	defer os.RemoveAll(dir)
	store, err := queue.OpenFiles(dir, queue.FileOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	done := make(chan struct{})
	q := &queue.Queue{
		Store: store,
		Deliverer: goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
			text, err := io.ReadAll(msg)
			fmt.Printf("to %s: %q\n", env.To[0].Address, text)
			return err
		}),
		Event: func(e queue.Event) {
			if e.Kind == queue.Delivered {
				close(done)
			}
		},
	}
	go q.Run(context.Background())

	to, _ := goniec.ParseAddress("ann@example.org")
	env := &goniec.Envelope{To: []goniec.Recipient{{Address: to}}}
	err = q.Deliver(context.Background(), env, strings.NewReader("Subject: hello\r\n\r\nHello\r\n"))
	fmt.Println("durable:", err == nil)
	<-done
	q.Shutdown(context.Background())
	// Unordered output:
	// durable: true
	// to ann@example.org: "Subject: hello\r\n\r\nHello\r\n"
}
