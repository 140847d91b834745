package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/goniec-mail/goniec/auth"
)

// Limits of AUTH.
const (
	maxAuthRounds  = 16  // challenges of one exchange
	maxAuthInitial = 510 // octets of AUTH with its initial response (RFC 4954 §4: the limit of a command line)
)

// authenticate runs the strongest mechanism that both sides have. There is no second try with a weaker one: that is what somebody
// who wants the password would bring about.
func (c *Client) authenticate(ctx context.Context) error {
	if len(c.mechs) == 0 {
		return nil
	}
	if !c.offered.has(extAuth) {
		hint := ""
		if c.tls == nil {
			hint = ", perhaps because the connection is not encrypted"
		}
		return c.failed(StageAuth, fmt.Errorf("%w: server does not offer AUTH%s", auth.ErrNoMechanism, hint))
	}
	offered := strings.Fields(c.param(extAuth) + " " + c.authOld)
	m, conn, err := auth.Choose(offered, c.authConn(), c.mechs)
	if err != nil {
		return c.failed(StageAuth, err)
	}
	x, initial, err := m.Start(conn)
	if err != nil {
		return c.failed(StageAuth, err)
	}
	c.line = append(append(c.line[:0], "AUTH "...), m.Name()...)
	shown := string(c.line)
	if initial != nil {
		text := auth.EncodeInitial(initial)
		if len(c.line)+1+len(text) <= maxAuthInitial {
			c.line = append(append(c.line, ' '), text...)
			shown += " " + masked
		} else {
			x = auth.Delay(x, initial)
		}
	}
	return c.authExchange(ctx, m.Name(), shown, x)
}

// authConn is what the mechanisms learn of the connection.
func (c *Client) authConn() *auth.Conn {
	return &auth.Conn{
		Protocol: c.dialect.Name, Remote: addrPort(c.raw.RemoteAddr()), Local: addrPort(c.raw.LocalAddr()),
		TLS: c.tls, Host: c.serverName(), AllowInsecureAuth: c.d.AllowInsecureAuth,
	}
}

// authExchange sends the command in c.line and answers challenges to the end.
func (c *Client) authExchange(ctx context.Context, name, shown string, x auth.ClientExchange) error {
	for range maxAuthRounds {
		s, err := c.exchange(ctx, c.limits.Command, shown)
		if err != nil {
			return c.failed(StageAuth, err)
		}
		switch {
		case s.Code == 235:
			if err := x.Done(); err != nil {
				return c.failed(StageAuth, err)
			}
			c.authed = true
			return nil
		case s.Code != 334:
			e := c.refused(StageAuth, s)
			e.Err = fmt.Errorf("%s failed: %w", name, e.Err)
			return e
		}
		resp, err := auth.Answer(x, s.Text)
		if err == nil && len(resp) > maxAuthLine {
			err = errors.New("response is too long")
		}
		if err != nil {
			return c.cancelAuth(ctx, err)
		}
		c.line, shown = append(c.line[:0], resp...), masked
	}
	return c.failed(StageAuth, fmt.Errorf("%s: more than %d challenges", name, maxAuthRounds))
}

// cancelAuth ends an exchange that the client can not go on with (RFC 4954 §4).
func (c *Client) cancelAuth(ctx context.Context, cause error) error {
	c.line = append(c.line[:0], '*')
	if _, err := c.exchange(ctx, c.limits.Command, "*"); err != nil {
		cause = errors.Join(cause, err)
	}
	return c.failed(StageAuth, cause)
}
