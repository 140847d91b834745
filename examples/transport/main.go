// Transport gives another way of delivery than SMTP the queue's retry, reports and inspection: here a
// folder into which messages are dropped, as fax programs and the like want it. A Deliverer is all it takes.
//
//	go run ./examples/transport -spool ./fax
//	printf 'Subject: hello\n\nIt works.\n' > hello.eml
//	curl smtp://127.0.0.1:2525 --mail-from you@example.org --mail-rcpt 48123456789@fax.test --crlf -T hello.eml
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

// folder drops each message into a file named after the queue's ID and the recipient's number.
type folder struct{ dir faultfs.Dir }

// Deliver implements goniec.Deliverer. nil must mean that nothing can be lost any more, so the files are written durably, and
// appear whole. An error is temporary: the queue tries again.
func (f folder) Deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	text, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	for _, to := range env.To {
		name := env.ID + "-" + filepath.Base(to.Address.Local())
		if err := faultfs.WriteFile(f.dir, name, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	spool := flag.String("spool", "fax", "`folder` for the messages")
	queued := flag.String("queue", "fax-queue", "`folder` for the queue")
	listen := flag.String("listen", "127.0.0.1:2525", "`address` to accept mail at")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Transport accepts mail for fax.test, queues it, and drops it into a folder.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q: everything is a flag, see -h", flag.Arg(0))
	}
	if err := run(*spool, *queued, *listen); err != nil {
		log.Fatal(err)
	}
}

// run serves until Ctrl-C.
func run(spool, queued, listen string) error {
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return fmt.Errorf("-spool: %w", err)
	}
	dir, err := faultfs.OS{}.OpenDir(spool)
	if err != nil {
		return fmt.Errorf("-spool: %w", err)
	}
	defer dir.Close()
	store, err := queue.OpenFiles(queued, queue.FileOptions{})
	if err != nil {
		return fmt.Errorf("-queue: %w", err)
	}
	defer store.Close()
	q := &queue.Queue{Store: store, Deliverer: folder{dir}, Hostname: "fax.test", Logger: slog.Default()}
	accept := goniec.DelivererFunc(q.Deliver) // no RcptVerifier: the domain decides
	server := &smtp.Server{Addr: listen, Handler: smtp.DeliverTo(accept, "fax.test")}

	ended := make(chan error, 2)
	go func() { ended <- q.Run(context.Background()) }()
	go func() { ended <- server.ListenAndServe() }()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	select {
	case err = <-ended:
	case <-server.Ready():
		log.Println("listening on", server.ListenAddr())
		select {
		case err = <-ended:
		case <-ctx.Done():
		}
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(grace), q.Shutdown(grace)) // first no more comes in, then none is under way
}
