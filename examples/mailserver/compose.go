package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/passwd"
	"github.com/goniec-mail/goniec/delivery"
	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/internal/console"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/goniec-mail/goniec/pop3"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
	"github.com/goniec-mail/goniec/smtp"
)

// compose plugs the server together: the whole of it is on this screen.
func compose(o *options, log io.Writer) (_ *system, err error) {
	logger := slog.New(console.NewHandler(log))
	tlsConfig, err := o.certificate()
	if err != nil {
		return nil, err
	}
	users := &passwd.File{Path: o.users, Logger: logger}
	if err := users.Load(); err != nil {
		return nil, fmt.Errorf("-users: %w", err)
	}
	directory, err := delivery.OpenFiles(delivery.FilesConfig{
		Domains: o.domains, RelayDomains: o.relayDomains, Users: o.users, Delimiter: "+", Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	road, policies, err := o.road(logger)
	if err != nil {
		return nil, err
	}
	shares, err := mailbox.OpenShareFiles(nil, filepath.Join(o.data, "shares"))
	if err != nil {
		return nil, err
	}
	spool, history, err := o.openQueue(logger)
	if err != nil {
		return nil, err
	}
	files := &maildir.Store{Root: o.mail, Logger: logger}
	mail := mailbox.WithFolders(files, mailbox.UsualFolders()...)
	store := mailbox.WithSharing(mail, mailbox.Sharing{
		Index: shares, PublicUser: o.public, Canonical: auth.FoldName, Exists: exists(directory),
	})
	local := delivery.Router{Directory: directory, Store: store, Postmaster: o.postmaster, Logger: logger}
	router := local
	router.Relay, router.MayRelay = road, delivery.Trusted(o.trusted...)
	q := &queue.Queue{
		Store: spool, Deliverer: &router, Hostname: o.hostname, Logger: logger,
		Postmaster: o.postmaster, Notices: o.notices, MinBackoff: o.backoff, Limits: o.limits, History: history,
	}
	refusals := tellRefusals(q)
	local.MayRelay = func(*goniec.Envelope) bool { return false }

	hands := &control.Server{Queue: q, Logger: logger}
	return &system{queue: q, spool: spool, history: history, shares: shares, files: files, control: hands, policies: policies, socket: o.control, hold: o.hold, services: listening(
		service{"receive", "smtp", o.smtp, &smtp.Server{
			Addr: o.smtp, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger, BareNewlines: o.bareNewlines,
			Handler: smtp.DeliverTo(q), Trace: refusals,
		}},
		service{"submit", "smtp", o.submission, &smtp.Server{
			Addr: o.submission, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger, BareNewlines: o.bareNewlines,
			Auth: users, AllowInsecureAuth: o.insecureAuth, Trace: refusals,
			Handler: smtp.Chain(smtp.DeliverTo(q), smtp.RequireAuth(), smtp.SenderLogin(delivery.SenderOwners(directory)),
				smtp.Offer(queue.Promises()...), smtp.FutureRelease(longestHold)),
		}},
		service{"deliver", "lmtp", o.lmtp, &lmtp.Server{
			Addr: o.lmtp, Hostname: o.hostname, Logger: logger,
			Handler: smtp.DeliverTo(&local),
		}},
		service{"read", "imap", o.imap, &imap.Server{
			Addr: o.imap, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger,
			Store: store, Auth: users, AllowInsecureAuth: o.insecureAuth, MaxConnsPerIP: o.perAddress,
		}},
		service{"read", "imaps", o.imaps, implicitTLS{&imap.Server{
			Addr: o.imaps, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger,
			Store: store, Auth: users, MaxConnsPerIP: o.perAddress,
		}}},
		service{"read", "pop3", o.pop3, &pop3.Server{
			Addr: o.pop3, Hostname: o.hostname, TLSConfig: tlsConfig, Logger: logger,
			Store: store, Auth: users, AllowInsecureAuth: o.insecureAuth, MaxConnsPerIP: o.perAddress,
		}},
	)}, nil
}

// exists tells whether mail for a name gets into an account of that name: whether folders can be shared with it.
func exists(d delivery.Directory) func(ctx context.Context, user string) (bool, error) {
	return func(ctx context.Context, user string) (bool, error) {
		addr, err := goniec.ParseAddress(user)
		if err != nil {
			return false, nil
		}
		e, err := d.Lookup(ctx, addr)
		if errors.Is(err, delivery.ErrNotFound) {
			return false, nil
		}
		return e.User == user, err
	}
}

// implicitTLS serves TLS from the first octet.
type implicitTLS struct{ *imap.Server }

// ListenAndServe replaces the method of the Server inside.
func (s implicitTLS) ListenAndServe() error { return s.ListenAndServeTLS() }

// longestHold is how long users may have their mail wait.
const longestHold = 30 * 24 * time.Hour

// demoBackoff is the time to the second try in the demo, so that a retry can be watched.
const demoBackoff = 5 * time.Second
