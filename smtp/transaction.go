package smtp

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
)

// mail is MAIL FROM:<reverse-path> [parameters] (RFC 5321 §4.1.1.2).
func (c *conn) mail(arg string) (reply, error) {
	path, ok := cutKeyword(arg, "FROM:")
	if !ok {
		return "", c.fault(501, goniec.EnhancedCode{5, 5, 4}, "syntax: MAIL FROM:<address> [parameters]")
	}
	if c.transactions++; over(c.transactions, c.set.MaxTransactions) {
		return "", goniec.NewStatus(421, goniec.EnhancedCode{4, 7, 0}, "too many messages on one connection")
	}
	c.failed = true
	if err := c.parseMail(path); err != nil {
		return "", err
	}
	err := c.ask(func(ctx context.Context) error { return c.session.Mail(ctx, &c.env) })
	if err != nil {
		c.logRefusal("sender refused", err)
		return "", err
	}
	c.open, c.state, c.tried, c.failed = true, inMail, 0, false
	return "250 2.1.0 sender OK\r\n", nil
}

// parseMail fills a new envelope.
func (c *conn) parseMail(path string) error {
	now := time.Now()
	c.env = goniec.Envelope{ID: goniec.NewID(), To: c.env.To[:0], Received: now}
	from, params, err := goniec.ParsePath(path)
	if err != nil {
		return c.fault(501, goniec.EnhancedCode{5, 1, 7}, errorText(err))
	}
	c.env.From = from
	if err := parseMailParams(params, &c.env, c.offered, now); err != nil {
		return c.badParam(err)
	}
	if !from.IsASCII() && !c.env.UTF8 {
		return c.fault(553, goniec.EnhancedCode{5, 6, 7}, "sender needs SMTPUTF8")
	}
	if err := c.bounds.check(&c.env); err != nil {
		return c.badParam(err)
	}
	if max := c.set.MaxMessageBytes; max >= 0 && c.env.Size > max {
		return goniec.NewStatus(552, goniec.EnhancedCode{5, 3, 4}, "message is larger than the limit")
	}
	// RFC 4954 §5: what a client that we don't trust says counts as "<>".
	if c.env.AuthSender != "" && !c.authenticated {
		c.env.AuthSender = "<>"
	}
	c.fillOrigin()
	return nil
}

// fillOrigin says where the transaction comes from.
func (c *conn) fillOrigin() {
	o := &c.env.Origin
	o.Remote, o.Local, o.Helo, o.RDNS = c.remote, c.local, c.helo, c.rdns
	if c.forward != nil {
		c.forward.apply(o)
		c.forward = nil
	}
	o.Protocol = c.set.dialect.with(c.extended, &c.env, c.tls != nil, c.authenticated)
	if c.tls != nil {
		o.TLSVersion, o.TLSCipher = tlsNames(c.tls)
	}
	if c.authenticated {
		o.User = c.identity.Account()
	}
}

// rcptTo is RCPT TO:<forward-path> [parameters] (RFC 5321 §4.1.1.3).
func (c *conn) rcptTo(arg string) (reply, error) {
	path, ok := cutKeyword(arg, "TO:")
	if !ok {
		return "", c.fault(501, goniec.EnhancedCode{5, 5, 4}, "syntax: RCPT TO:<address> [parameters]")
	}
	c.tried++
	if over(len(c.env.To)+1, c.set.MaxRecipients) {
		return "", c.countDeferred(goniec.NewStatus(452, goniec.EnhancedCode{4, 5, 3}, "too many recipients"))
	}
	if err := c.parseRcpt(path); err != nil {
		return "", err
	}
	err := c.ask(func(ctx context.Context) error { return c.session.Rcpt(ctx, &c.env, &c.rcpt) })
	if err != nil {
		return "", c.rcptRefused(err)
	}
	c.env.To = append(c.env.To, c.rcpt)
	c.state = inRcpt
	return "250 2.1.5 recipient OK\r\n", nil
}

// parseRcpt fills rcpt.
func (c *conn) parseRcpt(path string) error {
	to, params, err := goniec.ParsePath(path)
	if err == nil && to.IsZero() {
		err = errors.New("recipient is empty")
	}
	if err != nil {
		return c.fault(501, goniec.EnhancedCode{5, 1, 3}, errorText(err))
	}
	c.rcpt = goniec.Recipient{Address: to}
	if err := parseRcptParams(params, &c.rcpt, c.offered); err != nil {
		return c.badParam(err)
	}
	if !to.IsASCII() && !c.env.UTF8 {
		return c.fault(553, goniec.EnhancedCode{5, 6, 7}, "recipient needs SMTPUTF8")
	}
	return nil
}

// rcptRefused counts a recipient that the Session does not take: a client that asks for very many looks for addresses.
func (c *conn) rcptRefused(err error) error {
	c.logRefusal("recipient refused", err, rcptAttr(c.rcpt.Address))
	if goniec.Permanent(err) {
		return c.countRefused(err)
	}
	return c.countDeferred(err)
}

// countDeferred counts recipients who may come again: a client that goes on and on costs as much as one who guesses addresses.
func (c *conn) countDeferred(err error) error {
	if c.deferred++; over(c.deferred, c.set.MaxDeferred) {
		return goniec.NewStatus(421, goniec.EnhancedCode{4, 7, 0}, "too many deferred recipients")
	}
	return err
}

// countRefused counts what is refused because of a policy.
func (c *conn) countRefused(err error) error {
	if c.refused++; over(c.refused, c.set.MaxRefused) {
		return goniec.NewStatus(421, goniec.EnhancedCode{4, 7, 0}, "too many refused recipients")
	}
	return err
}

// badParam is the reply for a parameter: RFC 5321 §4.1.1.11 has 555 for one that is not recognised.
func (c *conn) badParam(err error) error {
	code := 501
	if errors.Is(err, errNoParam) {
		code = 555
	}
	return c.fault(code, goniec.EnhancedCode{5, 5, 4}, err.Error())
}

// cutKeyword cuts "FROM:" or "TO:" off, and the spaces that many clients put behind it.
func cutKeyword(arg, keyword string) (string, bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", false
	}
	return strings.TrimLeft(arg[len(keyword):], " "), true
}

// errorText is an address error for the client: without the chain's head, which names our type of error.
func errorText(err error) string {
	_, text, ok := strings.Cut(err.Error(), goniec.ErrAddress.Error()+" ")
	if !ok {
		return err.Error()
	}
	return "address " + text
}

// rset is RSET (RFC 5321 §4.1.1.5).
func (c *conn) rset(string) (reply, error) {
	c.abandonAndLog(ErrReset)
	return "250 2.0.0 OK\r\n", nil
}
