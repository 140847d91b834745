// Hello-receive is the smallest receiver of mail: it accepts messages for one domain and prints who
// wrote to whom.
//
//	go run ./examples/hello-receive
//	curl smtp://127.0.0.1:2525 --mail-from you@example.org --mail-rcpt hello@demo.test -T hello.eml
package main

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

func main() {
	receive := func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
		n, err := io.Copy(io.Discard, msg)
		fmt.Printf("%d octets from %s to %s\n", n, env.From, env.To[0].Address)
		return err
	}
	server := &smtp.Server{Addr: "127.0.0.1:2525", Handler: smtp.DeliverTo(goniec.DelivererFunc(receive), "demo.test")}
	log.Fatal(server.ListenAndServe())
}
