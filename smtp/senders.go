package smtp

import (
	"context"
	"io"
	"slices"

	"github.com/goniec-mail/goniec"
)

// NullSender sets rules for mail from <>, which is for bounces and other notifications: they go to one recipient, the sender of one
// message, so that one with several is junk (550 5.5.3). Authenticated users have no reason to send from <> (RFC 6409 §6.1 lets a
// submission server refuse it): with forbidUsers they get 550 5.7.1.
func NullSender(forbidUsers bool) Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return nullSender{Wrapped{s}, c, forbidUsers} })
}

type nullSender struct {
	Wrapped
	c           *Conn
	forbidUsers bool
}

func (s nullSender) Mail(ctx context.Context, env *goniec.Envelope) error {
	if _, user := s.c.Identity(); user && s.forbidUsers && env.From.IsZero() {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "give your address as the sender")
	}
	return s.Session.Mail(ctx, env)
}

// Data refuses here and not at the second RCPT, which a prober could use to learn who exists.
func (s nullSender) Data(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	if env.From.IsZero() && len(env.To) > 1 {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 5, 3}, "mail from <> has one recipient")
	}
	return s.Session.Data(ctx, env, msg)
}

// SenderLogin lets authenticated users send only from addresses that owns says are theirs, and lets nobody else send from an address that
// has an owner: 553 5.7.1. owners returns the users of an address, none for one that everybody may use; its error defers the mail.
func SenderLogin(owners func(ctx context.Context, from goniec.Address) (users []string, err error)) Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return senderLogin{Wrapped{s}, c, owners} })
}

type senderLogin struct {
	Wrapped
	c      *Conn
	owners func(context.Context, goniec.Address) ([]string, error)
}

func (s senderLogin) Mail(ctx context.Context, env *goniec.Envelope) error {
	if env.From.IsZero() {
		return s.Session.Mail(ctx, env)
	}
	owners, err := s.owners(ctx, env.From)
	if err != nil {
		return err
	}
	id, user := s.c.Identity()
	switch {
	case user && !slices.Contains(owners, id.Account()):
		return goniec.NewStatus(553, goniec.EnhancedCode{5, 7, 1}, "this sender address is not yours")
	case !user && len(owners) > 0:
		return goniec.NewStatus(553, goniec.EnhancedCode{5, 7, 1}, "authenticate to use this sender address")
	}
	return s.Session.Mail(ctx, env)
}

// OneDomain makes each transaction one destination: recipients of another domain than the first get 452 4.5.3, and the client sends them
// in a transaction of their own. A gateway that passes mail on synchronously can then give the next hop's verdict as its own.
func OneDomain() Middleware {
	return WrapSession(func(_ *Conn, s Session) Session { return oneDomain{Wrapped{s}} })
}

type oneDomain struct{ Wrapped }

func (s oneDomain) Rcpt(ctx context.Context, env *goniec.Envelope, to *goniec.Recipient) error {
	if len(env.To) > 0 && !goniec.SameDomain(env.To[0].Address.Domain(), to.Address.Domain()) {
		return goniec.NewStatus(452, goniec.EnhancedCode{4, 5, 3}, "one domain at a time, send this one separately")
	}
	return s.Session.Rcpt(ctx, env, to)
}
