// Mailserver is a whole mail server composed of the packages of this module: it receives by SMTP,
// takes submissions and LMTP, stores in Maildirs, and lets people read by POP3.
//
//	go run ./examples/mailserver
//
// Without arguments it is a demo on loopback with two accounts; its folder ./goniec-demo can be
// deleted to start afresh. With -users it serves the users of a passwd-file. Mail for other
// domains has no road out yet: it is answered 451.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "mailserver:", err)
		os.Exit(1)
	}
}

// run is the program: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	servers, err := compose(o, stdout)
	if err != nil {
		return err
	}
	return serve(ctx, o, servers, stdout)
}
