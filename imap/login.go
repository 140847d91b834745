package imap

import (
	"context"
	"errors"
	"fmt"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/crlf"
)

func (c *conn) noop(context.Context) error { return c.end() }

// logout ends the session (RFC 9051 §6.1.3).
func (c *conn) logout(context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	c.bye("", "goodbye")
	return &reply{status: statusOK, text: "LOGOUT done", err: errQuit, bye: true}
}

// authConn says what mechanisms need to know of the connection.
func (c *conn) authConn() *auth.Conn {
	return &auth.Conn{
		Protocol: "imap", Remote: c.net.Remote(), Local: c.net.Local(), TLS: c.net.TLS(), Host: c.name,
		AllowInsecureAuth: c.AllowInsecureAuth,
	}
}

// startTLS goes over to TLS (RFC 9051 §6.2.1). Nothing that was said before counts any more.
func (c *conn) startTLS(ctx context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	switch {
	case c.TLSConfig == nil:
		return bad("STARTTLS is not available")
	case c.net.TLS() != nil:
		return bad("TLS is active already")
	case c.deflate != nil: // after UNAUTHENTICATE: TLS would be inside, and what was sent ahead of it in the decompressor
		return bad("STARTTLS is not possible under compression")
	case c.in.Buffered() > 0:
		// Commands behind STARTTLS were put in by somebody in between (T01): none of them is run.
		return errors.New("commands behind STARTTLS")
	}
	c.done.text = "begin TLS"
	c.tagged(&c.done)
	if err := c.flushAll(); err != nil {
		return err
	}
	if err := c.net.StartTLS(ctx, c.in.Buffered()); err != nil {
		return err
	}
	c.errors, c.junk = 0, 0
	return errReplied
}

// errReplied says that a handler has written its tagged reply itself.
var errReplied = errors.New("replied")

// login is the password command (RFC 9051 §6.2.3).
func (c *conn) login(ctx context.Context) error {
	d := &c.dec
	d.SP()
	name := d.AString()
	d.SP()
	password := auth.NewSecret(d.AString())
	if err := c.end(); err != nil {
		return err
	}
	id, err := auth.PasswordLogin(ctx, c.authConn(), c.authenticator(), "LOGIN", name, password)
	if err != nil {
		return authFailed(err)
	}
	return c.enter(ctx, id)
}

// authenticator is Auth behind the Login function.
func (c *conn) authenticator() auth.Authenticator {
	if c.Login == nil {
		return c.Auth
	}
	return auth.Intercept(c.Auth, func(ctx context.Context, _ auth.Op, at *auth.Attempt, next func(context.Context, *auth.Attempt) error) error {
		return next(ctx, at.WithUser(c.Login(at.User, at.Local)))
	})
}

// authenticate runs a SASL exchange (RFC 9051 §6.2.2), with or without initial response (RFC 4959).
func (c *conn) authenticate(ctx context.Context) error {
	d := &c.dec
	d.SP()
	name := d.Keyword()
	initial := ""
	if d.Try(' ') {
		if initial = d.Text(); initial == "" {
			return bad("initial response is missing")
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	x, err := auth.Begin(name, c.mechs, c.authConn(), c.authenticator())
	if err != nil {
		return authFailed(err)
	}
	var broken error // of the connection, not of the exchange
	id, err := auth.Run(ctx, x, initial, func(challenge string) (string, error) {
		line, err := c.challenge(challenge)
		broken = err
		return line, err
	})
	switch {
	case broken != nil:
		return grammarLine(broken)
	case err != nil:
		return authFailed(err)
	}
	return c.enter(ctx, id)
}

// grammarLine makes a reply of a response line that could not be read.
func grammarLine(err error) error {
	var fault crlf.Error
	if errors.As(err, &fault) && fault.InStep() {
		return bad("response refused: %s", fault)
	}
	return err
}

// challenge sends one and reads the response.
func (c *conn) challenge(text string) (string, error) {
	c.enc.Raw("+ " + text + "\r\n")
	if err := c.flush(); err != nil {
		return "", err
	}
	c.startCommand()
	line, err := c.in.ReadLine(auth.MaxLine)
	return string(line), err
}

// enter opens the account of an identity. What the connection may do is told with the OK, so that
// clients need not ask (RFC 9051 §6.2.2).
func (c *conn) enter(ctx context.Context, id auth.Identity) error {
	account, err := c.Store.Account(ctx, id.Account())
	if err != nil {
		return failed(fmt.Errorf("open account: %w", err))
	}
	c.account, c.user, c.offers = account, id.Account(), probe(ctx, account)
	c.errors, c.junk = 0, 0
	c.enterAuthenticated()
	c.done.code, c.done.text = c.capabilities(), "logged in"
	return nil
}

// unauthenticate ends the login, not the connection (RFC 8437): for proxies that serve one user after
// another. Nothing of the session is left.
func (c *conn) unauthenticate(context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	c.logOut()
	c.user, c.offers, c.enabled = "", 0, 0
	c.enc.UTF8, c.dec.UTF8 = false, false
	c.enterLogin()
	c.done.code = c.capabilities()
	return nil
}
