package imap

import (
	"context"

	"github.com/goniec-mail/goniec/mailbox"
)

// QUOTA (RFC 9208). An account has one quota root, "", for all its mailboxes. Users read their quota; who may
// change it is no question of this protocol: SETQUOTA is refused.

func (c *conn) getQuota(ctx context.Context) error {
	c.dec.SP()
	root := c.dec.AString()
	if err := c.end(); err != nil {
		return err
	}
	if root != "" {
		return no("NONEXISTENT", "no such quota root")
	}
	return c.tellQuota(ctx)
}

func (c *conn) getQuotaRoot(ctx context.Context) error {
	c.dec.SP()
	name := c.dec.Mailbox()
	if err := c.end(); err != nil {
		return err
	}
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return failed(err)
	}
	_ = mb.Close()
	c.enc.Raw("* QUOTAROOT ")
	c.enc.Mailbox(name)
	if !mailbox.NamespacesOf(c.account).Personal(name) { // its quota is the owner's
		c.enc.CRLF()
		return nil
	}
	c.enc.Raw(` ""` + "\r\n")
	return c.tellQuota(ctx)
}

func (c *conn) setQuota(context.Context) error {
	d := &c.dec
	d.SP()
	d.AString()
	d.SP()
	d.List(func() {
		d.Keyword()
		d.SP()
		d.Number64()
	})
	if err := c.end(); err != nil {
		return err
	}
	return no("NOPERM", "quotas are set by the administrator")
}

// tellQuota writes the limits that there are, and what is used of them.
func (c *conn) tellQuota(ctx context.Context) error {
	q, err := mailbox.Quota(ctx, c.account)
	if err != nil {
		return failed(err)
	}
	c.enc.Raw(`* QUOTA "" (`)
	sep := ""
	tell := func(name string, use, limit int64) {
		if limit <= 0 {
			return
		}
		c.enc.Raw(sep + name + " ")
		c.enc.Number(uint64(max(use, 0)))
		c.enc.SP()
		c.enc.Number(uint64(limit))
		sep = " "
	}
	// RFC 9208 §5.1: STORAGE is in units of 1024 octets.
	tell("STORAGE", (q.Octets+1023)/1024, (q.OctetLimit+1023)/1024)
	tell("MESSAGE", q.Messages, q.MessageLimit)
	c.enc.Raw(")\r\n")
	return nil
}
