// Bulkrelay shows a queue at work: a mailing of 50,000 messages goes through queue.Queue, smtp.Relay and its connection pool to mail
// servers of different tempers, all on this machine. It prints progress, draws rate and window of each destination into an SVG file,
// and closes with a ledger, in which nothing may be lost and nothing sent twice.
//
//	go run ./examples/bulkrelay
//	go run ./examples/bulkrelay -count 5000 -destinations 12 -seed 7 -out plot.svg
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

// options are the flags.
type options struct {
	count, destinations int
	seed                uint64
	out, spool          string
	every, backoff      time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.count, "count", 50_000, "messages to send")
	flag.IntVar(&o.destinations, "destinations", len(tempers), "domains to send to, each with a server whose temper is the next in turn")
	flag.Uint64Var(&o.seed, "seed", 1, "of the moods of the servers and the choice of recipients")
	flag.StringVar(&o.out, "out", "bulkrelay.svg", "`file` for the plot")
	flag.StringVar(&o.spool, "spool", "", "empty `folder` for the queue; without it, a temporary one")
	flag.DurationVar(&o.every, "every", time.Second, "time between two lines of progress")
	flag.DurationVar(&o.backoff, "backoff", time.Second, "time to the second attempt, which doubles up to eight times this")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Bulkrelay sends a mailing through a queue to servers of different tempers, all on this machine, and draws a plot of it.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q: everything is a flag, see -h", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

const home = "bulk.test" // the mailing's sender lives here, and gets the bounces

// run sends the mailing. It is an error when the ledger does not add up.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.count < 1 || o.destinations < 1 {
		return fmt.Errorf("-count %d and -destinations %d: both must be 1 or more", o.count, o.destinations)
	}
	plot, err := os.Create(o.out) // now, and not after a long run
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	defer func() { err = errors.Join(err, plot.Close()) }()
	if o.spool == "" {
		if o.spool, err = os.MkdirTemp("", "bulkrelay"); err != nil {
			return err
		}
		defer os.RemoveAll(o.spool)
	}
	book := newLedger(o.count)
	servers, err := startServers(o.destinations, o.seed, book)
	if err != nil {
		return err
	}
	defer closeAll(servers)
	store, err := queue.OpenFiles(o.spool, queue.FileOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	// The whole road out: the queue hands what is due to homeOrAway, which returns bounces and relays the rest.
	relay := &smtp.Relay{Router: router(servers), Pool: &smtp.Pool{Dialer: &smtp.Dialer{Hostname: home}, MaxConns: 20}}
	defer relay.Pool.Close()
	q := &queue.Queue{
		Store: store, Deliverer: homeOrAway{book, relay}, Hostname: home, Event: book.event,
		MinBackoff: o.backoff, MaxBackoff: 8 * o.backoff,
	}
	start := time.Now()
	if err := enqueue(ctx, q, o, servers); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d messages queued in %v\n", o.count, time.Since(start).Round(time.Millisecond))
	w := &watcher{q: q, book: book, servers: servers, out: out, every: o.every, start: time.Now()}
	running := make(chan error, 1)
	go func() { running <- q.Run(ctx) }()
	if err := w.watch(ctx); err != nil {
		return err
	}
	if err := q.Shutdown(ctx); err != nil {
		return err
	}
	<-running
	took := time.Since(w.start).Seconds()
	fmt.Fprintf(out, "all of them done %.1f s later: %.0f a second\n", took, float64(o.count)/took)
	if _, err := plot.Write(w.plot().svg()); err != nil {
		return err
	}
	fmt.Fprintf(out, "plot: %s\n", o.out)
	return book.close(out)
}

// writers put messages into the queue at the same time, and share its flushes.
const writers = 16

// enqueue puts the mailing into the queue: each message to one recipient of a domain that chance chooses.
func enqueue(ctx context.Context, q *queue.Queue, o options, servers []*server) error {
	from, news := goniec.MustAddress("news@"+home), strings.Repeat("Not much happened.\r\n", 20)
	failed := make(chan error, writers)
	for k := range writers {
		go func() {
			for i := k; i < o.count; i += writers {
				to := goniec.MustAddress(fmt.Sprintf("user%d@%s", i, servers[rand.New(rand.NewPCG(o.seed, uint64(i))).IntN(len(servers))].domain))
				letter := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: The news of the week\r\n\r\n%s", from, to, news)
				env := &goniec.Envelope{From: from, To: goniec.Recipients(to)}
				if err := q.Deliver(ctx, env, strings.NewReader(letter)); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	var err error
	for range writers {
		err = errors.Join(err, <-failed)
	}
	return err
}

// homeOrAway delivers bounces to the ledger and everything else to the world.
type homeOrAway struct {
	book  *ledger
	world goniec.Deliverer
}

// Deliver implements goniec.Deliverer.
func (h homeOrAway) Deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	if env.To[0].Address.ASCIIDomain() != home {
		return h.world.Deliver(ctx, env, msg)
	}
	if _, err := io.Copy(io.Discard, msg); err != nil {
		return err
	}
	h.book.report()
	return nil
}
