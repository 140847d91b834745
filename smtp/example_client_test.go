package smtp_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// exampleServer takes mail for example.org, but not for nobody.
func exampleServer() (host goniec.RouteHost, stop func()) {
	users := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
		_, err := io.Copy(io.Discard, msg)
		return err
	})
	srv := &smtp.Server{Addr: "127.0.0.1:0", Hostname: "mx.example.org", Handler: smtp.DeliverTo(users, "example.org")}
	go srv.ListenAndServe()
	<-srv.Ready()
	return hostAt(srv.ListenAddr(), goniec.TLSNone), func() { srv.Close() }
}

// One message over one connection. The level of TLS is none because the server is on loopback; Dial would want a valid certificate.
func ExampleDialer() {
	host, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	d := &smtp.Dialer{Hostname: "client.example.com"}
	c, err := d.DialHost(ctx, host)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Quit(ctx)
	env := &goniec.Envelope{
		From: goniec.MustAddress("alice@example.com"),
		To: []goniec.Recipient{
			{Address: goniec.MustAddress("bob@example.org")},
			{Address: goniec.MustAddress("carol@elsewhere.example")},
		},
	}
	res, err := c.Send(ctx, env, strings.NewReader("Subject: hello\r\n\r\nHello, Bob!\r\n"))
	for i, err := range res.Rcpts {
		fmt.Println(env.To[i].Address, "taken:", err == nil, "permanent:", goniec.Permanent(err))
	}
	fmt.Println("all taken:", err == nil)
	// Output:
	// bob@example.org taken: true permanent: false
	// carol@elsewhere.example taken: false permanent: true
	// all taken: false
}

// A relay is a Deliverer: all mail goes to one host over a few connections that are used again.
func ExampleRelay() {
	host, stop := exampleServer()
	defer stop()
	relay := &smtp.Relay{Router: smtp.Smarthost(host)}
	defer relay.Close()

	env := &goniec.Envelope{From: goniec.MustAddress("alice@example.com"), To: []goniec.Recipient{{Address: goniec.MustAddress("bob@example.org")}}}
	for range 3 {
		fmt.Println(relay.Deliver(context.Background(), env, strings.NewReader("Subject: hello\r\n\r\nHello, Bob!\r\n")))
	}
	// Output:
	// <nil>
	// <nil>
	// <nil>
}
