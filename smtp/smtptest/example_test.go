package smtptest_test

import (
	netsmtp "net/smtp"
	"testing"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/smtptest"
)

// greet is the program under test.
func greet(server, user string) error {
	return netsmtp.SendMail(server, nil, "shop@example.com", []string{user}, []byte("Subject: Welcome\r\n\r\nHello!\r\n"))
}

func Example() {
	_ = func(t *testing.T) { // a test of a program that sends mail
		srv := smtptest.NewServer(t)
		if err := greet(srv.Addr(), "bob@example.org"); err != nil {
			t.Fatal(err)
		}
		if to := srv.Wait(1)[0].Envelope.To[0].Address.String(); to != "bob@example.org" {
			t.Errorf("greeted %s", to)
		}

		srv.FailNext(smtp.StageRcpt, goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user"))
		if greet(srv.Addr(), "nobody@example.org") == nil {
			t.Error("an unknown user was greeted")
		}
	}
	// Output:
}
