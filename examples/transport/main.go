// Transport gives another way of delivery than SMTP the queue's retry, reports and inspection: here a
// folder into which messages are dropped, as fax programs and the like want it. A Deliverer is all it takes.
//
//	go run ./examples/transport -spool ./fax
//	curl smtp://127.0.0.1:2525 --mail-from you@example.org --mail-rcpt 48123456789@fax.test --crlf -T hello.eml
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

// folder drops each message into a file named after the queue's ID and the recipient's number.
type folder string

// Deliver implements goniec.Deliverer. An error is temporary: the queue tries again.
func (f folder) Deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	text, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	for _, to := range env.To {
		name := env.ID + "-" + filepath.Base(to.Address.Local())
		if err := os.WriteFile(filepath.Join(string(f), name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	spool := flag.String("spool", "fax", "folder for the messages")
	flag.Parse()
	store, err := queue.OpenFiles("fax-queue", queue.FileOptions{})
	if err != nil {
		log.Fatal(err)
	}
	q := &queue.Queue{Store: store, Deliverer: folder(*spool), Hostname: "fax.test"}
	go func() { log.Fatal(q.Run(context.Background())) }()
	accept := goniec.DelivererFunc(q.Deliver) // no RcptVerifier: the domain decides
	log.Fatal((&smtp.Server{Addr: "127.0.0.1:2525", Handler: smtp.DeliverTo(accept, "fax.test")}).ListenAndServe())
}
