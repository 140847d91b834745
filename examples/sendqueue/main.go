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
	to := flag.String("to", "alice@demo.test", "`address` of the recipient, and of the sender")
	count := flag.Int("count", 10, "letters to send")
	dir := flag.String("queue", "sendqueue-spool", "`folder` of the queue")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Sendqueue sends letters through a queue of its own. It may be killed, and started again with the same arguments.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q: everything is a flag, see -h", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *server, *to, *count, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends count letters and returns when all are sent. It is an error when some were refused.
func run(ctx context.Context, dir, server, to string, count int, out io.Writer) error {
	rcpt, err := goniec.ParseAddress(to)
	if err != nil {
		return fmt.Errorf("-to: %w", err)
	}
	host, err := smtp.ParseHost(server, 25)
	if err != nil {
		return fmt.Errorf("-server: %w", err)
	}
	host.TLS = goniec.TLSOpportunistic
	store, err := queue.OpenFiles(dir, queue.FileOptions{})
	if err != nil {
		return fmt.Errorf("-queue: %w", err)
	}
	defer store.Close()
	var mu sync.Mutex
	ended := make(chan queue.EventKind, count)
	q := &queue.Queue{
		Store: store, Deliverer: &smtp.Relay{Router: smtp.Smarthost(host)}, Hostname: "localhost",
		Event: func(e queue.Event) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(out, e.ID, e.Text())
			switch e.Kind {
			case queue.Delivered, queue.Failed, queue.Expired:
				if !e.From.IsZero() { // a report has the null reverse-path, and nobody waits for it here
					ended <- e.Kind
				}
			}
		},
	}
	waiting, err := enqueue(ctx, q, rcpt, count, out)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	refused := 0
	for left := waiting; left > 0; left-- {
		select {
		case kind := <-ended:
			if kind != queue.Delivered {
				refused++
			}
		case err := <-done:
			if ctx.Err() != nil {
				err = fmt.Errorf("stopped: %d letters stay in %s; start again with the same arguments to send them", left, dir)
			}
			return err
		}
	}
	if err := q.Shutdown(ctx); err != nil {
		return err
	}
	if refused > 0 {
		return fmt.Errorf("%d letters were refused for good; they are not tried again", refused)
	}
	return nil
}

// enqueue puts count letters into the queue, but for those that it has had before, and returns how many wait there.
func enqueue(ctx context.Context, q *queue.Queue, rcpt goniec.Address, count int, out io.Writer) (waiting int, err error) {
	for i := range count {
		key := fmt.Sprintf("letter-%d", i)
		env := &goniec.Envelope{From: rcpt, To: goniec.Recipients(rcpt)}
		letter := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n\r\nHello.\r\n", rcpt, rcpt, key)
		var before bool
		if _, err := q.Enqueue(ctx, env, strings.NewReader(letter), queue.Options{Key: key, Repeated: &before}); err != nil {
			return 0, err
		}
		if before {
			fmt.Fprintln(out, key, "was taken before")
		}
	}
	return queued(ctx, q.Store)
}

// queued counts the letters that wait in the queue. Reports to their sender are none.
func queued(ctx context.Context, store queue.Store) (n int, err error) {
	for e, err := range store.Entries(ctx, queue.Filter{}) {
		if err != nil {
			return 0, err
		}
		if e.Kind == queue.KindMail {
			n++
		}
	}
	return n, nil
}
