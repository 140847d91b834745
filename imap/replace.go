package imap

import (
	"context"

	"github.com/goniec-mail/goniec/mailbox"
)

func (c *conn) replace(ctx context.Context) error    { return c.replaceBy(ctx, byNumber) }
func (c *conn) uidReplace(ctx context.Context) error { return c.replaceBy(ctx, byUID) }

// replaceBy stores a message and removes the one that it replaces (RFC 8508): a draft that is saved again. The old one
// goes when the new one is stored; when it cannot go, the new one is taken back.
func (c *conn) replaceBy(ctx context.Context, by numbering) error {
	set := c.readSet(by)
	if len(set.numbers) != 1 || set.numbers[0].First != set.numbers[0].Last {
		c.dec.Fail("REPLACE takes one message")
	}
	if err := c.dec.Err(); err != nil {
		return grammar(err)
	}
	old, err := c.resolve(set)
	if err != nil {
		return err
	}
	if err := c.writable(); err != nil {
		return err
	}
	if err := c.need(ctx, mailbox.RightDeleted|mailbox.RightExpunge); err != nil { // what MOVE needs
		return err
	}
	if old.Empty() {
		return no("NONEXISTENT", "no such message")
	}
	to, err := c.appendTarget(ctx)
	if err != nil {
		return err
	}
	defer to.Close()
	metas, err := c.appendAll(ctx, to.Mailbox, 1)
	if e := c.dec.Err(); e != nil {
		return grammar(e)
	}
	if err != nil {
		return tryCreate(err)
	}
	gone, err := c.box.mb.Expunge(ctx, old)
	if err != nil {
		_, _ = to.Expunge(context.WithoutCancel(ctx), mailbox.UIDs(metas[0].UID))
		return failed(err)
	}
	c.untagged("OK", c.appended(ctx, to, metas), "stored")
	if gone.Empty() {
		return no("EXPUNGEISSUED", "the message was expunged meanwhile; its replacement is stored")
	}
	return nil
}
