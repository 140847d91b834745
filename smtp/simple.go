package smtp

import (
	"context"
	"errors"

	"github.com/goniec-mail/goniec"
)

// noop is NOOP, whose argument means nothing (RFC 5321 §4.1.1.9).
func (c *conn) noop(string) (reply, error) { return "250 2.0.0 OK\r\n", nil }

// quitCmd is QUIT (RFC 5321 §4.1.1.10).
func (c *conn) quitCmd(string) (reply, error) {
	c.abandonAndLog(ErrReset)
	c.quit, c.closing = true, true
	return "221 2.0.0 bye\r\n", nil
}

// vrfy is VRFY. RFC 5321 §3.5.3: 252 is the answer that gives nothing away.
func (c *conn) vrfy(arg string) (reply, error) {
	if arg == "" {
		return "", c.fault(501, goniec.EnhancedCode{5, 5, 4}, "syntax: VRFY address")
	}
	v, ok := As[Verifier](c.session)
	if !ok {
		return noVerify, nil
	}
	err := c.ask(func(ctx context.Context) error { return v.Verify(ctx, arg) })
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return noVerify, nil
	case err != nil:
		return "", err
	}
	return string(appendReply(nil, goniec.NewStatus(250, goniec.EnhancedCode{2, 1, 5}, arg))), nil
}

const noVerify = "252 2.5.2 cannot verify, but will take a message and try\r\n"

// expn is EXPN, which tells strangers who reads a list.
func (c *conn) expn(string) (reply, error) {
	return "", goniec.NewStatus(502, goniec.EnhancedCode{5, 5, 1}, "EXPN is not available")
}

// help is HELP.
func (c *conn) help(string) (reply, error) {
	return "214 2.0.0 " + c.set.dialect.Extended + " " + verbs + "\r\n", nil
}
