package smtp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	netsmtp "net/smtp"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// A receiver for one domain: what to do with mail is a function.
func ExampleServer() {
	print := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
		text, err := io.ReadAll(msg)
		if err != nil {
			return err
		}
		_, body, _ := strings.Cut(string(text), "\r\n\r\n")
		fmt.Printf("%s to %s: %s\n", env.From.Path(), env.To[0].Address.Path(), strings.TrimSpace(body))
		return nil
	})
	srv := &smtp.Server{Addr: "127.0.0.1:0", Hostname: "mx.example.org", Handler: smtp.DeliverTo(print, "example.org")}
	go srv.ListenAndServe()
	<-srv.Ready()
	defer srv.Close()

	addr := srv.ListenAddr().String()
	msg := []byte("Subject: hello\r\n\r\nHello, Bob!\r\n")
	fmt.Println(netsmtp.SendMail(addr, nil, "alice@example.com", []string{"bob@example.org"}, msg))
	fmt.Println(netsmtp.SendMail(addr, nil, "alice@example.com", []string{"bob@elsewhere.example"}, msg))
	// Output:
	// <alice@example.com> to <bob@example.org>: Hello, Bob!
	// <nil>
	// 550 "5.7.1 relaying denied"
}

// refuseSender is a Session that overrides one stage.
type refuseSender struct{ smtp.Wrapped }

func (s refuseSender) Mail(ctx context.Context, env *goniec.Envelope) error {
	if strings.HasPrefix(env.From.Local(), "spam") {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "no, thank you")
	}
	return s.Wrapped.Mail(ctx, env)
}

// Middleware wraps the Session of each client and overrides a stage.
func ExampleMiddleware() {
	noSpam := smtp.WrapSession(func(_ *smtp.Conn, s smtp.Session) smtp.Session { return refuseSender{smtp.Wrapped{Session: s}} })
	srv := &smtp.Server{Handler: smtp.Chain(smtp.DeliverTo(goniec.Discard(), "example.org"), noSpam), Hostname: "mx.example.org"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go srv.Serve(l)
	<-srv.Ready()
	defer srv.Close()

	fmt.Println(netsmtp.SendMail(l.Addr().String(), nil, "spammer@example.com", []string{"bob@example.org"}, nil))
	// Output:
	// 550 "5.7.1 no, thank you"
}
