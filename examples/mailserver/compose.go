package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth/passwd"
	"github.com/goniec-mail/goniec/delivery"
	"github.com/goniec-mail/goniec/internal/console"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/goniec-mail/goniec/pop3"
	"github.com/goniec-mail/goniec/smtp"
)

// compose plugs the server together: the whole of it is on this screen.
func compose(o *options, log io.Writer) ([]service, error) {
	logger := slog.New(console.NewHandler(log))
	tlsConfig, err := o.certificate()
	if err != nil {
		return nil, err
	}
	users := &passwd.File{Path: o.users, Logger: logger}
	if err := users.Load(); err != nil {
		return nil, err
	}
	directory, err := delivery.OpenFiles(delivery.FilesConfig{Domains: o.domains, Users: o.users, Delimiter: "+", Logger: logger})
	if err != nil {
		return nil, err
	}
	store := &maildir.Store{Root: o.mail, Logger: logger}
	router := func(mayRelay func(*goniec.Envelope) bool) *delivery.Router {
		return &delivery.Router{Directory: directory, Store: store, MayRelay: mayRelay, Logger: logger}
	}
	nobody := func(*goniec.Envelope) bool { return false }

	return listening(
		service{"receive", "smtp", o.smtp, &smtp.Server{
			Addr: o.smtp, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger, BareNewlines: o.bareNewlines,
			Handler: smtp.DeliverTo(router(delivery.Trusted(o.trusted...))),
		}},
		service{"submit", "smtp", o.submission, &smtp.Server{
			Addr: o.submission, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger,
			Auth: users, AllowInsecureAuth: o.insecureAuth, BareNewlines: o.bareNewlines,
			Handler: smtp.Chain(smtp.DeliverTo(router(delivery.Authenticated)), smtp.WrapSession(requireAuth)),
		}},
		service{"deliver", "lmtp", o.lmtp, &lmtp.Server{
			Addr: o.lmtp, Hostname: o.hostname, Logger: logger,
			Handler: smtp.DeliverTo(router(nobody)),
		}},
		service{"read", "pop3", o.pop3, &pop3.Server{
			Addr: o.pop3, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger,
			Store: store, Auth: users, AllowInsecureAuth: o.insecureAuth,
		}},
	), nil
}

// requireAuth refuses mail from clients that have not logged in.
func requireAuth(c *smtp.Conn, s smtp.Session) smtp.Session {
	return needsAuth{smtp.Wrapped{Session: s}, c}
}

type needsAuth struct {
	smtp.Wrapped
	c *smtp.Conn
}

func (n needsAuth) Mail(ctx context.Context, env *goniec.Envelope) error {
	if _, ok := n.c.Identity(); !ok {
		return goniec.NewStatus(530, goniec.EnhancedCode{5, 7, 0}, "authentication required")
	}
	return n.Session.Mail(ctx, env)
}
