package lmtp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"
)

// Each recipient has an outcome, and each outcome is a reply.
func ExampleServer() {
	store := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
		_, err := io.Copy(io.Discard, msg)
		outcomes := make(goniec.RcptErrors, len(env.To))
		for i, to := range env.To {
			if to.Address.Local() == "bob" {
				outcomes[i] = goniec.NewStatus(452, goniec.EnhancedCode{4, 2, 2}, "mailbox full")
			}
		}
		if err != nil {
			return err
		}
		return outcomes.Err()
	})
	srv := &lmtp.Server{Addr: "127.0.0.1:0", Hostname: "store.example.org", Handler: smtp.DeliverTo(store, "example.org")}
	go srv.ListenAndServe()
	<-srv.Ready()
	defer srv.Close()

	c, err := net.Dial("tcp", srv.ListenAddr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(line string, replies int) {
		_, _ = io.WriteString(c, line+"\r\n")
		for range replies {
			s, _ := r.ReadString('\n')
			code, _, _ := strings.Cut(strings.TrimSpace(s), " ")
			fmt.Println(code)
		}
	}
	say("LHLO client.example.org", 9)
	say("MAIL FROM:<>", 1)
	say("RCPT TO:<alice@example.org>", 1)
	say("RCPT TO:<bob@example.org>", 1)
	say("DATA", 1)
	say("Subject: hello\r\n\r\n.", 2)
	// Output:
	// 220
	// 250-store.example.org
	// 250-PIPELINING
	// 250-SIZE
	// 250-8BITMIME
	// 250-ENHANCEDSTATUSCODES
	// 250-SMTPUTF8
	// 250-CHUNKING
	// 250
	// 250
	// 250
	// 250
	// 354
	// 250
	// 452
}
