// Mail2webhook receives mail by SMTP and posts each message to a web application, as one signed JSON
// document. The sender gets its 250 when the application has answered 2xx, and keeps the message
// until then: nothing is stored here and nothing is lost.
//
//	go run ./examples/mail2webhook -domains hooks.example.org -url https://app.example/mail -secret-file hook.secret
//	curl smtp://127.0.0.1:2525 --mail-from you@example.net --mail-rcpt hello@hooks.example.org -T hello.eml
//
// The secret file is made at the first start; the application needs its content to verify signatures. What the
// document looks like, which answers mean what, and how to verify a signature is in the documentation of
// package webhook, which does all of it:
//
//	go doc ./examples/mail2webhook/webhook
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/examples/mail2webhook/webhook"
	"github.com/goniec-mail/goniec/internal/console"
	"github.com/goniec-mail/goniec/smtp"
)

// patience is how long messages in progress may take after Ctrl-C.
const patience = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "mail2webhook:", err)
		os.Exit(1)
	}
}

// run is the program: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	server, hook, err := compose(args, stdout, stderr)
	if err != nil {
		return err
	}
	defer hook.Close()
	done := make(chan error, 1)
	go func() { done <- server.ListenAndServe() }()
	select {
	case <-server.Ready():
	case err := <-done:
		return err
	}
	fmt.Fprintf(stdout, "mail2webhook: receiving on %s\n", server.ListenAddr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if server.Shutdown(end) != nil {
		fmt.Fprintln(stdout, "stopped; messages in progress were cut: their senders try again")
	} else {
		fmt.Fprintln(stdout, "stopped")
	}
	<-done
	return nil
}

// compose reads the flags and plugs the server together.
func compose(args []string, stdout, stderr io.Writer) (*smtp.Server, *webhook.Hook, error) {
	logger := slog.New(console.NewHandler(stdout))
	hook := &webhook.Hook{Logger: logger}
	server := &smtp.Server{Logger: logger}
	var domains, secretFile, cert, key string
	f := flag.NewFlagSet("mail2webhook", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&server.Addr, "listen", "127.0.0.1:2525", "`address` that receives mail; port 0 takes a free one")
	f.StringVar(&server.Hostname, "hostname", "", "our `name` in greetings and Received fields (default the machine's)")
	f.StringVar(&domains, "domains", "", "domains whose mail is taken, a comma-separated `list`")
	f.StringVar(&hook.URL, "url", "", "where messages are posted: https, or http on loopback")
	f.StringVar(&secretFile, "secret-file", "", "`file` with the secret that signs requests; made if it is not there")
	f.BoolVar(&hook.AllowPlainHTTP, "plain-http", false, "let mail go to the hook without TLS, in a network that you trust")
	f.BoolVar(&hook.Raw, "raw", false, "add the message itself to the document")
	f.Int64Var(&hook.MaxMessageBytes, "max-bytes", 0, "largest message in octets (default 50 MiB)")
	f.DurationVar(&hook.Timeout, "timeout", 0, "how long the hook may take for a message (default 5m)")
	f.StringVar(&cert, "cert", "", "PEM `file` with a certificate; turns STARTTLS on")
	f.StringVar(&key, "key", "", "PEM `file` with its key")
	if err := f.Parse(args); err != nil {
		return nil, nil, err
	}
	list := strings.FieldsFunc(domains, func(r rune) bool { return r == ',' || r == ' ' })
	switch {
	case f.NArg() > 0:
		return nil, nil, fmt.Errorf("unexpected argument %q: everything is a flag, see -h", f.Arg(0))
	case len(list) == 0 || hook.URL == "" || secretFile == "":
		return nil, nil, errors.New("-domains, -url and -secret-file are needed, see -h")
	}
	secret, err := webhook.SecretFile(secretFile)
	if err != nil {
		return nil, nil, err
	}
	hook.Secrets = []auth.Secret{secret}
	if err := hook.Check(); err != nil {
		return nil, nil, err
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, nil, fmt.Errorf("certificate: %w", err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	server.MaxMessageBytes = hook.MaxMessageBytes // so that SIZE says it
	server.Handler = smtp.DeliverTo(hook, list...)
	return server, hook, nil
}
