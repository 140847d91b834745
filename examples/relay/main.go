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
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

func main() {
	var o options
	listen := flag.String("listen", "127.0.0.1:2527", "`address` to accept mail at; senders elsewhere than on this machine are refused")
	flag.StringVar(&o.to, "to", "", "smarthost, `host:port`; 465 means TLS from the first octet")
	flag.StringVar(&o.user, "user", "", "`name` to authenticate as; the password comes from RELAY_PASSWORD")
	flag.StringVar(&o.cert, "cert", "", "`file` with a client certificate and its key, in PEM")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Relay takes mail from programs on this machine and passes it on at once to a smarthost.\n"+
			"  RELAY_PASSWORD=secret relay -to smtp.example.org:587 -user alice@example.org\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	o.password = auth.NewSecret(os.Getenv("RELAY_PASSWORD"))
	o.log = slog.New(slog.NewTextHandler(os.Stderr, nil))

	server, err := newRelay(o)
	if err == nil && flag.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q: everything is a flag, see -h", flag.Arg(0))
	}
	if err != nil {
		o.log.Error("relay", "err", err)
		os.Exit(2)
	}
	server.Addr = *listen
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		<-server.Ready()
		o.log.Info("listening", "addr", server.ListenAddr().String(), "to", o.to)
	}()
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
