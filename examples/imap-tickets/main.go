// Imap-tickets shows a table of support tickets as mail: every mail program becomes a client of it. Each queue is a
// folder, each ticket a message; what is flagged in the mail program is urgent in the table, and a new
// ticket appears at once in every program that is open.
//
//	go run ./examples/imap-tickets
//	curl "imap://127.0.0.1:2143/Open;MAILINDEX=1" -u agent:agent
//	curl http://127.0.0.1:2080/ -d "from=carol@example.org" -d "subject=It is broken" -d "text=Please help."
//
// The table is in memory; a database would stand behind the same five methods (tickets.go):
// docs/your-database-as-a-mailbox.md tells how.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/mailbox"
)

func main() {
	imapAddr := flag.String("imap", "127.0.0.1:2143", "`address` of IMAP")
	webAddr := flag.String("http", "127.0.0.1:2080", "`address` that takes new tickets")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Imap-tickets shows a table of support tickets as mail (name agent, password agent), and takes new ones by HTTP.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q: everything is a flag, see -h", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, *imapAddr, *webAddr, func(string, string) {}); err != nil {
		log.Fatal(err)
	}
}

// serve runs both servers until ctx ends. ready is told their addresses.
func serve(ctx context.Context, imapAddr, webAddr string, ready func(imapAddr, webAddr string)) error {
	if !loopback(imapAddr) {
		return fmt.Errorf("will not listen on %s: the password is public; use a loopback address such as 127.0.0.1:2143", imapAddr)
	}
	t := newTickets()
	t.add("bob@example.org", "Printer on fire", "It was quiet yesterday.\nToday it is not.")
	mail := &imap.Server{Addr: imapAddr, Store: mailbox.FromSource(t), Auth: auth.AuthenticatorFunc(login), AllowInsecureAuth: true}
	web := &http.Server{Handler: http.HandlerFunc(t.take), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 2)
	go func() { ended <- mail.ListenAndServe() }()
	l, err := listen(ctx, webAddr)
	if err != nil {
		_ = mail.Close()
		return err
	}
	go func() { ended <- web.Serve(l) }()
	select {
	case err := <-ended:
		_ = web.Close()
		_ = mail.Close()
		return err
	case <-mail.Ready():
	}
	fmt.Printf("tickets on imap://%s (agent, agent); new ones to http://%s\n", mail.ListenAddr(), l.Addr())
	ready(mail.ListenAddr().String(), l.Addr().String())
	<-ctx.Done()
	_ = web.Close()
	bye, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return mail.Shutdown(bye)
}

// loopback reports whether an address can be reached from this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// login knows one user.
func login(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
	if a.User != "agent" || !a.Secret.Equal(auth.NewSecret("agent")) {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: "agent"}, nil
}
