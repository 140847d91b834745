// Sendqueue is an application that sends mail through a queue of its own: it enqueues each letter with an
// idempotency key, so that it may crash and start over at any point and every letter is sent exactly once.
//
//	go run ./examples/sendqueue -server 127.0.0.1:2525 -to alice@demo.test -count 10
//
// Kill it, start it again with the same arguments: what is queued goes on, what was sent is not sent again.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

func main() {
	server := flag.String("server", "127.0.0.1:2525", "`host:port` that takes the mail")
	to := flag.String("to", "alice@demo.test", "recipient")
	count := flag.Int("count", 10, "letters to send")
	dir := flag.String("queue", "sendqueue-spool", "folder of the queue")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *server, *to, *count, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends count letters and returns when all are sent.
func run(ctx context.Context, dir, server, to string, count int, out io.Writer) error {
	rcpt, err := goniec.ParseAddress(to)
	if err != nil {
		return err
	}
	host, err := smtp.ParseHost(server, 25)
	if err != nil {
		return err
	}
	host.TLS = goniec.TLSOpportunistic
	store, err := queue.OpenFiles(dir, queue.FileOptions{})
	if err != nil {
		return err
	}
	defer store.Close()
	var mu sync.Mutex
	sent := make(chan struct{}, count)
	q := &queue.Queue{
		Store: store, Deliverer: &smtp.Relay{Router: smtp.Smarthost(host)}, Hostname: "localhost",
		Event: func(e queue.Event) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(out, e.Text())
			if e.Kind == queue.Delivered {
				sent <- struct{}{}
			}
		},
	}
	waiting, err := queued(ctx, store)
	if err != nil {
		return err
	}
	for i := range count {
		key := fmt.Sprintf("letter-%d", i)
		env := &goniec.Envelope{From: rcpt, To: []goniec.Recipient{{Address: rcpt}}}
		letter := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n\r\nHello.\r\n", rcpt, rcpt, key)
		before := waiting
		if _, err := q.Enqueue(ctx, env, strings.NewReader(letter), queue.Options{Key: key}); err != nil {
			return err
		}
		if waiting, err = queued(ctx, store); err != nil {
			return err
		}
		if waiting == before {
			fmt.Fprintln(out, key, "was taken before")
		}
	}
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	for range waiting {
		select {
		case <-sent:
		case err := <-done:
			return err
		}
	}
	return q.Shutdown(ctx)
}

// queued counts what waits in the queue.
func queued(ctx context.Context, store queue.Store) (n int, err error) {
	for _, err := range store.Entries(ctx, queue.Filter{}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}
