package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/dnsmx"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
)

// patience is how long work in progress may go on after Ctrl-C.
const patience = 1500 * time.Millisecond

// refreshEvery is how often MTA-STS policies are looked after.
const refreshEvery = 12 * time.Hour

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

// system is all that runs.
type system struct {
	services []service
	queue    *queue.Queue
	spool    *queue.FileStore
	shares   io.Closer
	history  *queue.FileHistory
	files    *maildir.Store
	control  *control.Server
	policies *dnsmx.STS // nil = none
	socket   string
	hold     bool
}

// run serves until ctx ends or a service fails.
func (s *system) run(ctx context.Context, o *options, out io.Writer) (err error) {
	defer func() { err = errors.Join(err, s.spool.Close(), s.history.Close(), s.shares.Close(), s.files.Close()) }()
	if len(s.services) == 0 {
		return errors.New("nothing to serve: every address is empty")
	}
	failed := make(chan error, len(s.services)+2)
	var running sync.WaitGroup
	defer running.Wait()
	background, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, svc := range s.services {
		running.Go(func() {
			failed <- fmt.Errorf("%s %s: %w", svc.purpose, svc.protocol, svc.ListenAndServe())
		})
		select {
		case <-svc.Ready():
		case err := <-failed:
			s.stop()
			return err
		}
	}
	if err := s.serveControl(&running, failed); err != nil {
		s.stop()
		return err
	}
	if !s.hold {
		running.Go(func() { failed <- s.queue.Run(context.WithoutCancel(ctx)) })
	}
	if s.policies != nil {
		running.Go(func() { refresh(background, s.policies) })
	}
	banner(o, s.services, out)
	select {
	case <-ctx.Done():
		cut := s.stop()
		fmt.Fprintln(out, farewell(cut, s.queued()))
		return nil
	case err := <-failed:
		s.stop()
		return err
	}
}

// refresh keeps MTA-STS policies from expiring while no mail goes to their domains.
func refresh(ctx context.Context, policies *dnsmx.STS) {
	for {
		_ = policies.Refresh(ctx) // what goes wrong is in the log
		select {
		case <-time.After(refreshEvery):
		case <-ctx.Done():
			return
		}
	}
}

// serveControl serves the socket through which the command line looks after the queue.
func (s *system) serveControl(running *sync.WaitGroup, failed chan<- error) error {
	l, err := control.Listen(s.socket)
	if err != nil {
		return fmt.Errorf("control socket: %w: choose another path with -control", err)
	}
	running.Go(func() { failed <- s.control.Serve(l) })
	return nil
}

// stop shuts everything down at once, and returns how many parts did not finish in time.
func (s *system) stop() int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results := make(chan error, len(s.services)+2)
	for _, svc := range s.services {
		go func() { results <- svc.Shutdown(ctx) }()
	}
	go func() { results <- s.control.Shutdown(ctx) }()
	go func() { results <- s.queue.Shutdown(ctx) }()
	cut := 0
	for range cap(results) {
		if <-results != nil {
			cut++
		}
	}
	return cut
}

// queued counts the messages that stay in the queue.
func (s *system) queued() int {
	n := 0
	for _, err := range s.spool.Entries(context.Background(), queue.Filter{}) {
		if err == nil {
			n++
		}
	}
	return n
}

// farewell says what was finished and what stays.
func farewell(cut, queued int) string {
	text := "stopped"
	if cut > 0 {
		text += fmt.Sprintf("; %d service(s) had work in progress that was cut: its senders try again", cut)
	}
	switch queued {
	case 0:
		return text + "; everything accepted is delivered, nothing is queued"
	case 1:
		return text + "; 1 message stays in the queue for the next start"
	}
	return text + fmt.Sprintf("; %d messages stay in the queue for the next start", queued)
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
		addr[s.purpose+" "+s.protocol] = s.ListenAddr().String()
		fmt.Fprintf(out, "  %-8s %-5s %s\n", s.purpose, s.protocol, s.ListenAddr())
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
	if a, ok := addr["receive smtp"]; ok {
		try("printf 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n' > hello.eml")
		try("curl smtp://%s --mail-from you@example.org --mail-rcpt alice@demo.test -T hello.eml", a)
	}
	if a, ok := addr["submit smtp"]; ok {
		try("swaks --server %s --auth-user alice@demo.test --auth-password alice --from alice@demo.test --to bob@demo.test", a)
	}
	if a, ok := addr["read imap"]; ok {
		try(`curl "imap://%s/INBOX;MAILINDEX=1" -u alice@demo.test:alice`, a)
	}
	if a, ok := addr["read pop3"]; ok {
		try("curl pop3://%s/1 -u alice@demo.test:alice", a)
	}
	fmt.Fprintln(out, "      send to bob@later.test to watch a retry, bob@gone.test to get a bounce")
}

// relative shows a folder as people type it.
func relative(path string) string {
	if strings.HasPrefix(path, "/") || strings.HasPrefix(path, ".") {
		return path
	}
	return "./" + path
}
