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

// With a History the queue can say what happened to a message that is gone.
func ExampleQueue_Past() {
	dir, _ := os.MkdirTemp("", "history")
	defer os.RemoveAll(dir)
	history, err := queue.OpenHistory(dir, queue.HistoryOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer history.Close()
	done := make(chan struct{})
	q := &queue.Queue{
		Store: &queue.Memory{}, Deliverer: goniec.Discard(), History: history,
		Event: func(e queue.Event) {
			if e.Kind == queue.Delivered {
				close(done)
			}
		},
	}
	ctx := context.Background()
	env := &goniec.Envelope{To: []goniec.Recipient{{Address: goniec.MustAddress("ann@example.org")}}}
	id, err := q.Enqueue(ctx, env, strings.NewReader("Subject: hello\r\n\r\n"), queue.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	go q.Run(ctx)
	<-done
	q.Shutdown(ctx) // the message is delivered and gone
	for e, err := range q.Past(ctx, id) {
		fmt.Println(e.Attempt, e.Kind, err)
	}
	// Output:
	// 0 queued <nil>
	// 1 delivered <nil>
}
