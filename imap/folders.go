package imap

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// create makes a mailbox (RFC 9051 §6.3.4), perhaps with a special use (RFC 6154 §3).
func (c *conn) create(ctx context.Context) error {
	d := &c.dec
	d.SP()
	name := d.Mailbox()
	var opts mailbox.CreateOptions
	if d.Try(' ') {
		d.List(func() {
			if name := d.Keyword(); name != "USE" {
				d.Fail("unknown parameter " + name)
			}
			d.SP()
			d.List(func() { opts.SpecialUse = oneUse(opts.SpecialUse, d.Flag(), d.Fail) })
		})
	}
	if err := c.end(); err != nil {
		return err
	}
	// RFC 9051 §6.3.4: a trailing delimiter says that children will be made, which every mailbox of ours
	// can have.
	name = mailbox.CanonicalName(strings.TrimSuffix(name, delimiter))
	if opts.SpecialUse == "?" {
		return no("USEATTR", "no such special use")
	}
	err := c.changeName(name, func() error { return c.account.Create(ctx, name, opts) })
	if opts.SpecialUse != "" && errors.Is(err, mailbox.ErrCannot) {
		return no("USEATTR", "the special use is taken, or not kept by this store")
	}
	if err != nil {
		return failed(err)
	}
	c.ownList(ctx, name)
	c.mailboxID(ctx, name)
	return nil
}

// delimiter separates the levels of a name.
const delimiter = "/"

// oneUse reads the special uses of CREATE; a mailbox of ours has one at the most. "?" stands for
// what is none.
func oneUse(have mailbox.SpecialUse, name string, fail func(string)) mailbox.SpecialUse {
	if have != "" {
		fail("a mailbox has one special use at the most")
	}
	for _, use := range []mailbox.SpecialUse{
		mailbox.UseAll, mailbox.UseArchive, mailbox.UseDrafts, mailbox.UseFlagged, mailbox.UseImportant,
		mailbox.UseJunk, mailbox.UseSent, mailbox.UseTrash,
	} {
		if strings.EqualFold(string(use), name) {
			return use
		}
	}
	return "?"
}

// mailboxID tells the identity of a new mailbox (RFC 8474 §4.1), where the store has one.
func (c *conn) mailboxID(ctx context.Context, name string) {
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return
	}
	defer mb.Close()
	if ch, err := mb.Changes(ctx, mailbox.Latest); err == nil && ch.State.ID != "" {
		c.done.code = "MAILBOXID (" + ch.State.ID + ")"
	}
}

// changeName checks a name before the store sees it: what no store may use is refused here (I08).
func (c *conn) changeName(name string, change func() error) error {
	if err := mailbox.CheckName(name); err != nil {
		return err
	}
	if strings.ContainsAny(name, "*%") { // could never be listed on its own
		return mailbox.ErrName
	}
	return change()
}

// deleteBox removes a mailbox (RFC 9051 §6.3.5).
func (c *conn) deleteBox(ctx context.Context) error {
	c.dec.SP()
	name := c.dec.Mailbox()
	if err := c.end(); err != nil {
		return err
	}
	if err := c.account.Delete(ctx, name); err != nil {
		return failed(err)
	}
	c.ownList(ctx, name)
	if c.box != nil && c.box.name == name {
		c.deselect()
		c.untagged("OK", "CLOSED", "the selected mailbox is gone")
	}
	return nil
}

// rename renames a mailbox with its children (RFC 9051 §6.3.6).
func (c *conn) rename(ctx context.Context) error {
	d := &c.dec
	d.SP()
	from := d.Mailbox()
	d.SP()
	to := d.Mailbox()
	if err := c.end(); err != nil {
		return err
	}
	to = strings.TrimSuffix(to, delimiter)
	err := c.changeName(to, func() error { return mailbox.Rename(ctx, c.account, from, to) })
	if err != nil {
		return failed(err)
	}
	c.ownList(ctx, from, to)
	if c.box != nil && from != "INBOX" {
		if c.box.name == from || strings.HasPrefix(c.box.name, from+delimiter) {
			return c.followRename(ctx, to+strings.TrimPrefix(c.box.name, from))
		}
	}
	return nil
}

// followRename keeps the selected mailbox selected under its new name: a handle on the old one may be
// of no more use. What changed in between is told as usual.
func (c *conn) followRename(ctx context.Context, name string) error {
	old := c.box.view
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return failed(err)
	}
	ch, err := mb.Changes(ctx, 0)
	if err != nil {
		_ = mb.Close()
		return failed(err)
	}
	_ = c.box.mb.Close()
	c.box.name, c.box.mb, c.box.view = name, mb, mailbox.NewView(mb, ch)
	c.dropContexts()
	gone := old.UIDSet().Subtract(c.box.view.UIDSet())
	c.tellExpunged(gone, func(yield func(uint32) bool) {
		for _, r := range slices.Backward(old.Numbers(gone)) {
			for n := r.Last; n >= r.First && yield(n); n-- { // numbers begin at 1
			}
		}
	})
	if c.box.view.Len() != old.Len()-gone.Len() {
		c.exists()
	}
	return nil
}

func (c *conn) subscribe(ctx context.Context) error   { return c.subscription(ctx, true) }
func (c *conn) unsubscribe(ctx context.Context) error { return c.subscription(ctx, false) }

// subscription changes the list of subscribed names (RFC 9051 §6.3.7). They need not exist.
func (c *conn) subscription(ctx context.Context, on bool) error {
	c.dec.SP()
	name := c.dec.Mailbox()
	if err := c.end(); err != nil {
		return err
	}
	if err := c.changeName(name, func() error { return mailbox.Subscribe(ctx, c.account, name, on) }); err != nil {
		return failed(err)
	}
	c.ownList(ctx, name)
	return nil
}

// namespace answers NAMESPACE (RFC 9051 §6.3.10): one personal namespace, without prefix.
func (c *conn) namespace(context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	c.enc.Raw(`* NAMESPACE (("" "/")) NIL NIL` + "\r\n")
	return nil
}
