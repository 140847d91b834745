package smtp

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
)

// maxHelo is the longest name that a client may give itself: a domain's 255 octets (RFC 5321 §4.5.3.1.2).
const maxHelo = 255

// validHelo accepts printable ASCII without spaces and brackets of another kind than an address literal's. RFC 5321 §4.1.1.1
// wants a domain or a literal; §4.1.4 forbids to refuse mail because the name is not the client's. What goes into logs and
// header fields must be harmless.
func validHelo(name string) error {
	if name == "" || len(name) > maxHelo {
		return errors.New("name is empty or too long")
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || strings.IndexByte(`<>()"\;,@`, c) >= 0 {
			return errors.New("name is neither a domain nor an address literal")
		}
	}
	return nil
}

// heloBasic is HELO.
func (c *conn) heloBasic(arg string) (reply, error) {
	if err := c.greeting(arg, false); err != nil {
		return "", err
	}
	return "250 " + c.set.name + "\r\n", nil
}

// ehlo is EHLO, or LHLO.
func (c *conn) ehlo(arg string) (reply, error) {
	if err := c.greeting(arg, true); err != nil {
		return "", err
	}
	lines, err := c.offer()
	if err != nil {
		return "", err
	}
	c.say("250")
	for i, line := range append([]string{c.set.name}, lines...) {
		if i > 0 {
			c.say("\r\n250")
		}
		if i == len(lines) {
			c.say(" ")
		} else {
			c.say("-")
		}
		c.say(line)
	}
	return "\r\n", nil
}

// greeting is what all greetings have in common. RFC 5321 §4.1.4: it also resets the session.
func (c *conn) greeting(name string, extended bool) error {
	// The EHLO of some clients has further words; the first is the name.
	name, _, _ = strings.Cut(name, " ")
	if err := validHelo(name); err != nil {
		return c.fault(501, goniec.EnhancedCode{5, 5, 4}, err.Error())
	}
	c.abandonAndLog(ErrReset)
	if err := c.ask(func(ctx context.Context) error { return CheckHelo(ctx, c.session, name) }); err != nil {
		return err
	}
	c.helo, c.extended, c.offered = name, extended, 0
	c.state = greeted
	return nil
}

// offer makes the lines of the EHLO reply and remembers what they promise. When the Session panics the connection ends: a client that
// heard of a passing error would go on with HELO, and without TLS.
func (c *conn) offer() ([]string, error) {
	var lines []string
	err := c.ask(func(context.Context) error {
		lines = ExtensionsOf(c.session, c.ownExtensions())
		return nil
	})
	if err != nil {
		return nil, goniec.NewStatus(421, goniec.EnhancedCode{4, 3, 0}, "temporary failure, try again later").WithCause(err)
	}
	kept := lines[:0:0]
	c.offered, c.bounds = 0, bounds{}
	for _, line := range lines {
		e, params := parseExtension(line)
		if e == 0 || c.offered.has(e) || !c.mayOffer(e) || hasControl(line) {
			continue
		}
		c.offered |= e
		c.bounds.set(e, params)
		kept = append(kept, line)
	}
	if c.authenticated { // no second AUTH, but MAIL's AUTH parameter is in order (RFC 4954 §5)
		c.offered |= extAuth
	}
	return kept, nil
}

// mayOffer keeps a Session from promising what the engine can not do.
func (c *conn) mayOffer(e extension) bool {
	switch e {
	case extStartTLS:
		return c.canStartTLS()
	case extAuth:
		return len(c.mechanisms()) > 0
	case extRequireTLS:
		return c.tls != nil // RFC 8689 §2
	case extBinaryMIME:
		return c.offered.has(extChunking) // RFC 3030 §3
	case extXClient, extXForward:
		return c.mayXClient()
	}
	return true
}

// ownExtensions are those that need nothing of the Session.
func (c *conn) ownExtensions() []string {
	lines := []string{"PIPELINING", c.sizeLine(), "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "CHUNKING"}
	if c.canStartTLS() {
		lines = append(lines, "STARTTLS")
	}
	if names := c.mechanisms(); len(names) > 0 {
		lines = append(lines, "AUTH "+strings.Join(names, " "))
	}
	if limits := c.limitsLine(); limits != "" {
		lines = append(lines, limits)
	}
	if c.mayXClient() {
		lines = append(lines, xclientLine, xforwardLine)
	}
	return lines
}

// sizeLine is SIZE with our limit; 0 means that there is none (RFC 1870 §4).
func (c *conn) sizeLine() string {
	return "SIZE " + strconv.FormatInt(max(c.set.MaxMessageBytes, 0), 10)
}

// limitsLine is LIMITS (RFC 9422 §4), "" without limits.
func (c *conn) limitsLine() string {
	var b strings.Builder
	b.WriteString("LIMITS")
	for _, l := range [...]struct {
		name string
		n    int
	}{{"MAILMAX", c.set.MaxTransactions}, {"RCPTMAX", c.set.MaxRecipients}} {
		if l.n > 0 {
			b.WriteString(" " + l.name + "=" + strconv.Itoa(l.n))
		}
	}
	if b.Len() == len("LIMITS") {
		return ""
	}
	return b.String()
}

// mechanisms are the names for AUTH, none once the client is authenticated.
func (c *conn) mechanisms() []string {
	if c.set.Auth == nil || c.authenticated {
		return nil
	}
	return slices.Clip(auth.Offer(c.set.mechs, c.authConn(), c.set.Auth))
}
