package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// patience is how long work in progress may go on after Ctrl-C.
const patience = 1500 * time.Millisecond

// server is the shape that all protocols share.
type server interface {
	ListenAndServe() error
	Shutdown(ctx context.Context) error
	ListenAddr() net.Addr
	Ready() <-chan struct{}
}

// service is a server with what it is for.
type service struct {
	purpose, protocol, addr string
	server
}

// listening leaves out services that were turned off.
func listening(all ...service) []service {
	var on []service
	for _, s := range all {
		if s.addr != "" {
			on = append(on, s)
		}
	}
	return on
}

// serve runs all services until ctx ends or one fails.
func serve(ctx context.Context, o *options, services []service, out io.Writer) error {
	if len(services) == 0 {
		return fmt.Errorf("nothing to serve: every address is empty")
	}
	failed := make(chan error, len(services))
	running := 0
	defer func() {
		for ; running > 0; running-- {
			<-failed
		}
	}()
	for _, s := range services {
		running++
		go func() { failed <- s.ListenAndServe() }()
		select {
		case <-s.Ready():
		case err := <-failed:
			running--
			stop(services, patience)
			return fmt.Errorf("%s %s: %w", s.purpose, s.protocol, err)
		}
	}
	banner(o, services, out)
	select {
	case <-ctx.Done():
		cut := stop(services, patience)
		if cut > 0 {
			fmt.Fprintf(out, "stopped; %d service(s) had work in progress that was cut: its senders try again\n", cut)
		} else {
			fmt.Fprintln(out, "stopped; everything accepted is delivered, nothing is queued")
		}
		return nil
	case err := <-failed:
		running--
		stop(services, patience)
		return err
	}
}

// stop shuts all services down at once, and returns how many did not finish in time.
func stop(services []service, patience time.Duration) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results := make(chan error, len(services))
	for _, s := range services {
		go func() { results <- s.Shutdown(ctx) }()
	}
	cut := 0
	for range services {
		if <-results != nil {
			cut++
		}
	}
	return cut
}

// banner says what listens where, and what to try.
func banner(o *options, services []service, out io.Writer) {
	addr := map[string]string{}
	mode := ""
	if o.demo {
		mode = " (demo)"
	}
	fmt.Fprintf(out, "goniec mailserver%s: data in %s.", mode, relative(o.data))
	if o.demo {
		fmt.Fprint(out, " Loopback only; nothing leaves this machine.")
	}
	fmt.Fprintln(out)
	for _, s := range services {
		addr[s.purpose] = s.ListenAddr().String()
		fmt.Fprintf(out, "  %-8s %s %s\n", s.purpose, s.protocol, addr[s.purpose])
	}
	if !o.demo {
		return
	}
	fmt.Fprintln(out, "  accounts alice@demo.test / alice        bob@demo.test / bob")
	label := "Try: "
	try := func(format string, args ...any) {
		fmt.Fprintf(out, "%s %s\n", label, fmt.Sprintf(format, args...))
		label = "     "
	}
	if a, ok := addr["receive"]; ok {
		try("printf 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n' > hello.eml")
		try("curl smtp://%s --mail-from you@example.org --mail-rcpt alice@demo.test -T hello.eml", a)
	}
	if a, ok := addr["submit"]; ok {
		try("swaks --server %s --auth-user alice@demo.test --auth-password alice --from alice@demo.test --to bob@demo.test", a)
	}
	if a, ok := addr["read"]; ok {
		try("curl pop3://%s/1 -u alice@demo.test:alice", a)
	}
}

// relative shows a folder as people type it.
func relative(path string) string {
	if strings.HasPrefix(path, "/") || strings.HasPrefix(path, ".") {
		return path
	}
	return "./" + path
}
