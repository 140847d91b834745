package dovecot_test

import (
	"context"
	"log"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/dovecot"
	"github.com/goniec-mail/goniec/auth/passwd"
)

// Users that an existing Dovecot knows, from PAM, LDAP or SQL.
func ExampleClient() {
	var table auth.Authenticator = &dovecot.Client{
		Addr:      "/run/dovecot/auth-client",
		UserDB:    "/run/dovecot/auth-userdb",
		NoPenalty: true, // the guard does it
	}
	table = (&auth.Guard{}).Wrap(table)
	_ = table // hand it to an smtp.Server, a pop3.Server, an imap.Server
}

// Postfix asks our users: smtpd_sasl_type = dovecot, smtpd_sasl_path = /run/goniec/auth.
func ExampleServer() {
	table := &passwd.File{Path: "/etc/goniec/users"}
	s := &dovecot.Server{Authenticator: (&auth.Guard{}).Wrap(table)}
	go func() {
		if err := s.ListenAndServe("unix:/run/goniec/auth"); err != dovecot.ErrServerClosed {
			log.Print(err)
		}
	}()
	defer s.Shutdown(context.Background())
}
