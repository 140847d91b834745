// Package gosmtp serves a backend written for github.com/emersion/go-smtp with the server of package smtp, so that a program can move
// step by step: first the server, later its handlers. It is a module of its own.
//
//	b := gosmtp.New(backend)
//	srv := &smtp.Server{Addr: ":25", Handler: b, Auth: b, TLSConfig: tlsConfig}
//	err := srv.ListenAndServe()
//
// lmtp.Server takes it in the same way; an LMTPSession then gives each recipient his own status.
//
// # What is different
//
//   - NewSession gets a *gosmtp.Conn that knows nothing: such a value can not be made from outside of go-smtp. A backend that asks it for
//     the remote address or TLS uses NewFunc, whose function gets our *smtp.Conn.
//   - AUTH is by PLAIN and LOGIN, whose credentials are handed to the PLAIN server of the backend's AuthSession; other
//     mechanisms need an auth.Authenticator. It works over TCP only, since a session is found by its remote address.
//   - Our server puts a Received field before the message, refuses bare CR and LF, and keeps its limits (see package smtp).
//   - An error that is no *gosmtp.SMTPError is temporary (451 4.3.0) and its text stays in the log; go-smtp sends 554 with the text.
//   - A session that was refused by NewSession ends the connection.
package gosmtp

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

// Bridge is a backend as a Handler, and as the Authenticator of its sessions. It is safe for concurrent use if the backend is.
type Bridge struct {
	open     func(c *smtp.Conn) (gosmtp.Session, error)
	mu       sync.Mutex
	sessions map[netip.AddrPort]gosmtp.Session
}

// New returns a Bridge to a backend, whose NewSession gets a Conn that knows nothing.
func New(b gosmtp.Backend) *Bridge {
	return NewFunc(func(*smtp.Conn) (gosmtp.Session, error) { return b.NewSession(new(gosmtp.Conn)) })
}

// NewFunc returns a Bridge to sessions that open makes.
func NewFunc(open func(c *smtp.Conn) (gosmtp.Session, error)) *Bridge {
	return &Bridge{open: open, sessions: map[netip.AddrPort]gosmtp.Session{}}
}

// NewSession implements smtp.Handler.
func (b *Bridge) NewSession(_ context.Context, c *smtp.Conn) (smtp.Session, error) {
	s, err := b.open(c)
	if err != nil {
		return nil, status(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[c.Remote()] = s
	return &session{b, c, s}, nil
}

// maxRounds limits the challenges of a backend's PLAIN server.
const maxRounds = 4

// Authenticate implements auth.Authenticator: it plays the client of PLAIN (RFC 4616) with the session's server.
func (b *Bridge) Authenticate(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
	b.mu.Lock()
	s, ok := b.sessions[a.Remote].(gosmtp.AuthSession)
	b.mu.Unlock()
	if !ok || !slices.Contains(s.AuthMechanisms(), "PLAIN") {
		return auth.Identity{}, goniec.NewStatus(504, goniec.EnhancedCode{5, 5, 4}, "AUTH is not available")
	}
	server, err := s.Auth("PLAIN")
	if err != nil {
		return auth.Identity{}, status(err)
	}
	resp := []byte(a.AuthzID + "\x00" + a.User + "\x00" + a.Secret.Reveal())
	for range maxRounds {
		_, done, err := server.Next(resp)
		switch {
		case errors.Is(err, gosmtp.ErrAuthFailed):
			return auth.Identity{}, auth.ErrCredentials
		case err != nil:
			return auth.Identity{}, status(err)
		case done:
			return auth.Identity{User: a.User}, nil
		}
	}
	return auth.Identity{}, auth.ErrCredentials
}

// session is a backend's session as one of ours.
type session struct {
	b *Bridge
	c *smtp.Conn
	s gosmtp.Session
}

func (x *session) Mail(_ context.Context, env *goniec.Envelope) error {
	return status(x.s.Mail(env.From.String(), mailOptions(env)))
}

func (x *session) Rcpt(_ context.Context, env *goniec.Envelope, to *goniec.Recipient) error {
	return status(x.s.Rcpt(to.Address.String(), rcptOptions(env, to)))
}

// Data hands the message on. go-smtp resets a session after every message, taken or not; our server does when it was not.
func (x *session) Data(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	var err error
	if l, ok := x.s.(gosmtp.LMTPSession); ok && x.c.Protocol() == "lmtp" {
		err = lmtpData(l, env, msg)
	} else {
		err = status(x.s.Data(msg))
	}
	if err == nil {
		x.s.Reset()
	}
	return err
}

func (x *session) Reset(*goniec.Envelope, error) { x.s.Reset() }

func (x *session) Close(error) {
	x.b.mu.Lock()
	if x.b.sessions[x.c.Remote()] == x.s { // after STARTTLS there may be a new one
		delete(x.b.sessions, x.c.Remote())
	}
	x.b.mu.Unlock()
	_ = x.s.Logout() // nobody is left who could be told
}

// collector gathers the status of each recipient, in the order of their RCPT for those with the same address.
type collector struct {
	mu   sync.Mutex
	env  *goniec.Envelope
	set  []bool
	errs goniec.RcptErrors
}

func (c *collector) SetStatus(rcptTo string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, to := range c.env.To {
		if !c.set[i] && to.Address.String() == rcptTo {
			c.set[i], c.errs[i] = true, status(err)
			return
		}
	}
}

func lmtpData(s gosmtp.LMTPSession, env *goniec.Envelope, msg io.Reader) error {
	c := &collector{env: env, set: make([]bool, len(env.To)), errs: make(goniec.RcptErrors, len(env.To))}
	err := s.LMTPData(msg, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, set := range c.set {
		if !set {
			c.errs[i] = status(err)
		}
	}
	return c.errs.Err()
}

// status translates a backend's error.
func status(err error) error {
	var e *gosmtp.SMTPError
	if !errors.As(err, &e) {
		return err
	}
	s := &goniec.Status{Code: e.Code, Text: strings.ReplaceAll(e.Message, "\r", "")}
	switch e.EnhancedCode {
	case gosmtp.NoEnhancedCode:
	case gosmtp.EnhancedCodeNotSet:
		s.Enhanced = goniec.EnhancedCode{uint16(e.Code / 100), 0, 0}
	default:
		for i, n := range e.EnhancedCode {
			s.Enhanced[i] = uint16(n)
		}
	}
	return s
}

func mailOptions(env *goniec.Envelope) *gosmtp.MailOptions {
	o := &gosmtp.MailOptions{
		Size: env.Size, RequireTLS: env.RequireTLS, UTF8: env.UTF8, Return: gosmtp.DSNReturn(env.Ret.String()), EnvelopeID: env.EnvID,
	}
	if env.Body != goniec.Body7Bit {
		o.Body = gosmtp.BodyType(env.Body.String())
	}
	if env.AuthSender != "" {
		sender := strings.TrimSuffix(strings.TrimPrefix(env.AuthSender, "<"), ">")
		o.Auth = &sender
	}
	return o
}

// rcptOptions translates parameters. go-smtp has BY and MT-PRIORITY with RCPT, ours are those of MAIL as the RFCs have it.
func rcptOptions(env *goniec.Envelope, to *goniec.Recipient) *gosmtp.RcptOptions {
	o := &gosmtp.RcptOptions{
		OriginalRecipientType: gosmtp.DSNAddressType(strings.ToUpper(to.ORcpt.Type)), OriginalRecipient: to.ORcpt.Address,
		RequireRecipientValidSince: to.ValidSince,
	}
	if to.Notify != 0 {
		for word := range strings.SplitSeq(to.Notify.String(), ",") {
			o.Notify = append(o.Notify, gosmtp.DSNNotify(word))
		}
	}
	if by := env.DeliverBy; by != nil {
		o.DeliverBy = &gosmtp.DeliverByOptions{Time: time.Until(by.Deadline), Mode: gosmtp.DeliverByNotify, Trace: by.Trace}
		if by.Return {
			o.DeliverBy.Mode = gosmtp.DeliverByReturn
		}
	}
	if env.Priority != 0 {
		n := int(env.Priority)
		o.MTPriority = &n
	}
	return o
}
