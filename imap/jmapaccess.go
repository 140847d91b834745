package imap

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

// JMAPACCESS (RFC 9698): the same mail can be had over JMAP (RFC 8620), and where.

// offersJMAP reports whether the client may be told. RFC 9698 §3: identities of messages are the same there, so that there must be
// some here.
func (c *conn) offersJMAP() bool { return c.JMAPSession != "" && c.offers&objectIDs != 0 }

// getJMAPAccess tells the address of the JMAP session resource (RFC 9698 §4).
func (c *conn) getJMAPAccess(context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	if !c.offersJMAP() {
		return no("CANNOT", "there is no JMAP server")
	}
	c.enc.Raw("* JMAPACCESS ")
	c.enc.String(c.JMAPSession)
	c.enc.CRLF()
	return nil
}

// checkJMAPSession refuses a setting that no client could use.
func checkJMAPSession(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("imap: Server.JMAPSession is no http address")
	}
	return nil
}
