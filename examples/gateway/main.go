// Gateway stands before a mail server: it accepts mail by SMTP for some domains, filters it, and passes it on at once by SMTP or LMTP.
// The sender hears what the server behind says, so nothing has to be stored or returned here.
//
//	go run ./examples/gateway -domain demo.test -to 127.0.0.1:2424 -lmtp -refuse casino
//	curl smtp://127.0.0.1:2526 --mail-from you@example.org --mail-rcpt alice@demo.test -T hello.eml
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/smtp"
)

func main() {
	var o options
	listen := flag.String("listen", "127.0.0.1:2526", "`address` to accept mail at")
	domains := flag.String("domain", "demo.test", "`domains` to accept mail for, with commas")
	refuse := flag.String("refuse", "", "`words` in a Subject to refuse mail for, with commas")
	flag.StringVar(&o.to, "to", "127.0.0.1:2424", "`address` of the server behind, host:port or unix:/path")
	flag.BoolVar(&o.lmtp, "lmtp", false, "the server behind speaks LMTP")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Gateway accepts mail for some domains, filters it, and passes it on at once by SMTP or LMTP.\n"+
			"  gateway -domain demo.test -to 127.0.0.1:2424 -lmtp -refuse casino\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	o.domains, o.refuse = list(*domains), list(*refuse)
	o.log = slog.New(slog.NewTextHandler(os.Stderr, nil))

	server, err := newGateway(o)
	if err == nil && flag.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q: everything is a flag, see -h", flag.Arg(0))
	}
	if err != nil {
		o.log.Error("gateway", "err", err)
		os.Exit(2)
	}
	server.Addr = *listen
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		<-server.Ready()
		o.log.Info("listening", "addr", server.ListenAddr().String(), "domains", o.domains, "to", o.to)
	}()
	context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	})
	if err := server.ListenAndServe(); !errors.Is(err, smtp.ErrServerClosed) {
		o.log.Error("gateway", "err", err)
		os.Exit(1)
	}
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
