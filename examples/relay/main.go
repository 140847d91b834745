// Relay takes mail from programs on this machine and passes it on to a smarthost, with AUTH over verified TLS. It keeps nothing: what the
// smarthost says is what the program hears.
//
//	RELAY_PASSWORD=secret go run ./examples/relay -to smtp.example.org:587 -user alice@example.org
//	curl smtp://127.0.0.1:2527 --mail-from alice@example.org --mail-rcpt bob@example.net -T hello.eml
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

func main() {
	var o options
	listen := flag.String("listen", "127.0.0.1:2527", "loopback `address` to accept mail at")
	flag.StringVar(&o.to, "to", "", "smarthost, `host:port`; 465 means TLS from the first octet")
	flag.StringVar(&o.user, "user", "", "`name` to authenticate as; the password comes from RELAY_PASSWORD")
	flag.StringVar(&o.cert, "cert", "", "`file` with a client certificate and its key, in PEM")
	flag.Parse()
	o.password = auth.NewSecret(os.Getenv("RELAY_PASSWORD"))
	o.log = slog.New(slog.NewTextHandler(os.Stderr, nil))

	server, err := newRelay(o)
	if err != nil {
		o.log.Error("relay", "err", err)
		os.Exit(2)
	}
	server.Addr = *listen
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	})
	if err := server.ListenAndServe(); !errors.Is(err, smtp.ErrServerClosed) {
		o.log.Error("relay", "err", err)
		os.Exit(1)
	}
}
