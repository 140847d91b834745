// Transport gives another way of delivery than SMTP the queue's retry, reports and inspection: here a
// folder into which messages are dropped, as fax programs and the like want it. A Deliverer is all it takes.
//
//	go run ./examples/transport -spool ./fax
//	printf 'Subject: hello\n\nIt works.\n' > hello.eml
//	curl smtp://127.0.0.1:2525 --mail-from you@example.org --mail-rcpt 48123456789@fax.test --crlf -T hello.eml
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"

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
	spool := flag.String("spool", "fax", "folder for the messages")
	flag.Parse()
	err := os.MkdirAll(*spool, 0o700)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := faultfs.OS{}.OpenDir(*spool)
	if err != nil {
		log.Fatal(err)
	}
	store, err := queue.OpenFiles("fax-queue", queue.FileOptions{})
	if err != nil {
		log.Fatal(err)
	}
	q := &queue.Queue{Store: store, Deliverer: folder{dir}, Hostname: "fax.test", Logger: slog.Default()}
	go func() { log.Fatal(q.Run(context.Background())) }()
	accept := goniec.DelivererFunc(q.Deliver) // no RcptVerifier: the domain decides
	log.Println("listening on 127.0.0.1:2525")
	log.Fatal((&smtp.Server{Addr: "127.0.0.1:2525", Handler: smtp.DeliverTo(accept, "fax.test")}).ListenAndServe())
}
