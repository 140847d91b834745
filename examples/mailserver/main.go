// Mailserver is a whole mail server composed of the packages of this module: it receives by SMTP and
// takes submissions into a durable queue, delivers into Maildirs or to other servers, takes LMTP, and
// lets people read by IMAP and POP3.
//
//	go run ./examples/mailserver
//
// Without arguments it is a demo on loopback with two accounts; its folder ./goniec-demo can be
// deleted to start afresh. "mailserver queue list" and other verbs look after its queue. With -users it serves the users of a passwd-file, and sends mail for other
// domains by MX or to -next-hop.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command, args := run, os.Args[1:]
	if len(args) > 0 && args[0] == "queue" {
		command, args = queueCommand, args[1:]
	}
	err := command(ctx, args, os.Stdout, os.Stderr)
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
	useThreads()
	sys, err := compose(o, stdout)
	if err != nil {
		return err
	}
	return sys.run(ctx, o, stdout)
}

// minThreads is how many threads may run Go code at least.
const minThreads = 4

// useThreads lets more threads run than a small machine has cores: those that wait for a disk count until the
// runtime notices, and with two cores two flushes would hold everybody up. (On two cores delivery into
// Maildirs is faster by 40 % with four.) The environment variable GOMAXPROCS goes first.
func useThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), minThreads))
	}
}
