package pop3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/goniec-mail/goniec/auth"
)

// capa lists what works in this state of this connection (RFC 2449 §5).
func (c *conn) capa(context.Context, string) error {
	c.ok("capabilities follow")
	lines := []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "UTF8 USER", "LANG", "IMPLEMENTATION Goniec"}
	if c.state == authorization {
		a := c.authConn()
		if a.AcceptsPasswords() {
			lines = append(lines, "USER")
		}
		if names := auth.Offer(c.mechs, a, c.Auth); len(names) > 0 {
			lines = append(lines, "SASL "+strings.Join(names, " "))
		}
		if c.TLSConfig != nil && c.net.TLS() == nil {
			lines = append(lines, "STLS")
		}
	}
	for _, l := range lines {
		fmt.Fprintf(&c.out, "%s\r\n", l)
	}
	fmt.Fprint(&c.out, ".\r\n")
	return nil
}

func (c *conn) authConn() *auth.Conn {
	return &auth.Conn{
		Protocol: "pop3", Remote: c.net.Remote(), Local: c.net.Local(), TLS: c.net.TLS(), Host: c.name,
		AllowInsecureAuth: c.AllowInsecureAuth,
	}
}

func (c *conn) user(_ context.Context, arg string) error {
	switch {
	case !c.authConn().AcceptsPasswords():
		return authFailed(auth.ErrEncryptionRequired)
	case arg == "":
		return refuse("USER needs a name")
	}
	c.userName = arg
	c.ok("send PASS") // RFC 1939 §7: the same for names that do not exist
	return nil
}

func (c *conn) pass(ctx context.Context, arg string) error {
	if c.userName == "" {
		return refuse("USER comes first")
	}
	name := c.userName
	c.userName = ""
	id, err := auth.PasswordLogin(ctx, c.authConn(), c.loginNames(), "USER", name, auth.NewSecret(arg))
	if err != nil {
		return authFailed(err)
	}
	return c.enter(ctx, id)
}

// loginNames is Auth behind the Login function.
func (c *conn) loginNames() auth.Authenticator {
	if c.Login == nil {
		return c.Auth
	}
	return auth.AuthenticatorFunc(func(ctx context.Context, a *auth.Attempt) (auth.Identity, error) {
		return c.Auth.Authenticate(ctx, a.WithUser(c.Login(a.User, a.Local)))
	})
}

// auth runs a SASL exchange (RFC 5034); without an argument it lists the mechanisms, as older clients ask.
func (c *conn) auth(ctx context.Context, arg string) error {
	a := c.authConn()
	if arg == "" {
		c.ok("mechanisms follow")
		for _, name := range auth.Offer(c.mechs, a, c.Auth) {
			fmt.Fprintf(&c.out, "%s\r\n", name)
		}
		fmt.Fprint(&c.out, ".\r\n")
		return nil
	}
	name, initial, _ := strings.Cut(arg, " ")
	x, err := auth.Begin(name, c.mechs, a, c.Auth)
	if err != nil {
		return authFailed(err)
	}
	var broken error // of the connection or the line, not of the exchange
	id, err := auth.Run(ctx, x, initial, func(challenge string) (string, error) {
		fmt.Fprintf(&c.out, "+ %s\r\n", challenge)
		line, err := c.readLine(c.LoginTimeout, auth.MaxLine)
		broken = err
		return line, err
	})
	switch {
	case broken != nil:
		return broken
	case err != nil:
		return authFailed(err)
	}
	return c.enter(ctx, id)
}

// stls goes over to TLS (RFC 2595 §4). Nothing that was said before counts any more.
func (c *conn) stls(ctx context.Context, _ string) error {
	switch {
	case c.TLSConfig == nil:
		return refuse("STLS is not available")
	case c.net.TLS() != nil:
		return refuse("TLS is active already")
	case c.in.Buffered() > 0:
		// Commands behind STLS were put in by somebody in between (T01): none of them is run.
		return errors.New("commands behind STLS")
	}
	c.ok("begin TLS")
	if err := c.out.Flush(); err != nil {
		return err
	}
	if err := c.net.StartTLS(ctx, c.in.Buffered()); err != nil {
		return err
	}
	c.userName = ""
	c.errors, c.junk = 0, 0
	return nil
}

// utf8 allows UTF-8 in names and passwords, which are taken as they come anyway, and in what we
// send: messages are never converted (RFC 6856 §2).
func (c *conn) utf8(context.Context, string) error {
	c.ok("UTF-8 it is")
	return nil
}

// lang lists or chooses the language of replies (RFC 6856 §3). A range such as en-GB finds en, as in the look-up of RFC 4647 §3.4.
func (c *conn) lang(_ context.Context, arg string) error {
	tag := strings.ToLower(strings.TrimSpace(arg))
	if language, _, _ := strings.Cut(tag, "-"); language == "en" {
		tag = "en"
	}
	switch tag {
	case "":
		c.ok("languages follow")
		fmt.Fprint(&c.out, "en English\r\n.\r\n")
	case "*", "en", "i-default":
		c.ok("en replies are in English")
	default:
		return refuse("no such language, LANG lists those there are")
	}
	return nil
}

func (c *conn) noop(context.Context, string) error {
	c.ok("nothing done")
	return nil
}

// quit ends the session; in the transaction state it removes what is marked first.
func (c *conn) quit(ctx context.Context, _ string) error {
	if c.state == transaction {
		if err := c.box.update(ctx); err != nil {
			c.err(&reply{code: "SYS/TEMP", text: "messages not removed, they are all still there"})
			return fmt.Errorf("quit: %w", err)
		}
	}
	c.ok("goodbye")
	return errQuit
}
