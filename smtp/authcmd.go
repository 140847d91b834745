package smtp

import (
	"context"
	"errors"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/crlf"
)

// maxAuthLine is the longest line of an AUTH exchange, without its CRLF (RFC 4954 §4).
const maxAuthLine = auth.MaxLine

var noIdentity auth.Identity

// canAuth reports whether a line may be the beginning of an exchange.
func (c *conn) canAuth() bool { return c.offered.has(extAuth) && !c.authenticated }

// authConn is what mechanisms need to know about the connection.
func (c *conn) authConn() *auth.Conn {
	return &auth.Conn{
		Protocol: c.set.dialect.Name, Remote: c.remote, Local: c.local, TLS: c.tls,
		Host: c.set.name, AllowInsecureAuth: c.set.AllowInsecureAuth,
	}
}

// auth is AUTH mechanism [initial-response] (RFC 4954 §4). The table allows it between transactions only.
func (c *conn) auth(arg string) (reply, error) {
	switch {
	case c.set.Auth == nil, c.extended && !c.offered.has(extAuth) && len(c.mechanisms()) > 0: // the Session does not want it
		return "", c.fault(502, goniec.EnhancedCode{5, 5, 1}, "AUTH is not offered")
	case c.authenticated:
		return "", c.fault(503, goniec.EnhancedCode{5, 5, 1}, "already authenticated")
	case arg == "":
		return "", c.fault(501, goniec.EnhancedCode{5, 5, 4}, "syntax: AUTH mechanism [initial-response]")
	}
	name, initial, _ := strings.Cut(arg, " ")
	id, err := c.exchange(name, initial)
	if err != nil {
		if c.parted {
			return "", nil
		}
		c.errors++
		c.logRefusal("login refused", auth.StatusOf(err)) // with the cause, which the reply does not tell
		return "", auth.StatusOf(err)
	}
	c.identity, c.authenticated = id, true
	c.log = c.log.With(keyUser, logText(id.Account()))
	return "235 2.7.0 authentication successful\r\n", nil
}

// exchange runs the mechanism, and then asks the Session whether it wants that user.
func (c *conn) exchange(name, initial string) (id auth.Identity, err error) {
	x, err := auth.Begin(name, c.set.mechs, c.authConn(), c.set.Auth)
	if err != nil {
		return id, err
	}
	err = c.ask(func(ctx context.Context) (err error) {
		id, err = auth.Run(ctx, x, initial, c.challenge)
		if err != nil {
			return err
		}
		return CheckAuth(ctx, c.session, id)
	})
	return id, err
}

// challenge asks the client, in whose time the Handler's stage does not run.
func (c *conn) challenge(text string) (string, error) {
	c.endStage()
	c.say("334 ")
	c.say(text)
	c.say("\r\n")
	line, err := c.readCommand(maxAuthLine)
	c.beginStage(c.set.StageTimeout)
	c.traceLine(TraceLine{Text: masked})
	var f crlf.Error
	switch {
	case err == nil:
		return string(line), nil
	case errors.As(err, &f) && f == crlf.ErrLineTooLong:
		return "", auth.ErrTooLong
	case errors.As(err, &f) && f.InStep():
		return "", auth.ErrMalformed
	}
	c.hangUp(err)
	return "", err
}
