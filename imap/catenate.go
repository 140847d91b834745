package imap

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/goniec-mail/goniec/mailbox"
)

// CATENATE (RFC 4469): APPEND and REPLACE make a message of literals and of parts of messages that the account has already. It
// is streamed into the store part by part; when one can not be had, the message is not stored.

// maxCatenate limits the parts of one message.
const maxCatenate = 1000

// catenation is a message that is made of parts. Its Read reads the command.
type catenation struct {
	c     *conn
	ctx   context.Context
	parts int
	size  int64
	part  io.Reader // nil: between two parts
	end   func()    // ends the part
	err   error     // io.EOF behind the last part
}

// beginCatenate reads up to the first part.
func (c *conn) beginCatenate(ctx context.Context) *catenation {
	c.dec.SP()
	c.dec.Expect('(')
	return &catenation{c: c, ctx: ctx}
}

// Read implements io.Reader.
func (cat *catenation) Read(p []byte) (n int, err error) {
	for cat.err == nil && n == 0 && len(p) > 0 {
		if cat.part == nil {
			cat.err = cat.next()
			continue
		}
		n, err = cat.part.Read(p)
		switch {
		case err == io.EOF:
			cat.close()
		case err != nil:
			cat.err = err
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, cat.err
}

// close ends the part that is being read.
func (cat *catenation) close() {
	if cat.part != nil {
		cat.part = nil
		cat.end()
	}
}

// fault is why the message could not be made.
func (cat *catenation) fault() error {
	if cat.err == io.EOF {
		return nil
	}
	return cat.err
}

// next reads the head of the next part; io.EOF behind the last one.
func (cat *catenation) next() error {
	d := &cat.c.dec
	if cat.parts > 0 {
		if d.Try(')') {
			return io.EOF
		}
		d.SP()
	}
	if cat.parts++; cat.parts > maxCatenate {
		return no("LIMIT", "too many parts in a message")
	}
	kind := d.Keyword()
	d.SP()
	switch kind {
	case "TEXT":
		return cat.literal(d.CloseLiteral)
	case "UTF8": // RFC 6855 §4
		d.Expect('(')
		return cat.literal(func() { d.CloseLiteral(); d.Expect(')') })
	case "URL":
		return cat.url(d.AString())
	}
	d.Fail("unknown part of a message")
	return d.Err()
}

func (cat *catenation) literal(end func()) error {
	lit := cat.c.dec.LiteralHead()
	if err := cat.c.dec.Err(); err != nil {
		return err
	}
	if err := cat.admit(lit.Size); err != nil {
		return err
	}
	cat.part, cat.end = lit.Open(), end
	return cat.c.dec.Err()
}

// admit refuses a part before it is read.
func (cat *catenation) admit(size int64) error {
	if limit := cat.c.MaxMessageBytes; limit >= 0 && size > limit-cat.size {
		return no("TOOBIG", "message is larger than %d octets", limit)
	}
	cat.size += size
	return nil
}

// url opens a part that is there already. Whatever is wrong with it, the client is told no more than which it is: not whether a
// mailbox exists that it may not see.
func (cat *catenation) url(text string) error {
	if err := cat.c.dec.Err(); err != nil {
		return err
	}
	if len(text) > maxURL {
		return no("LIMIT", "URL is longer than %d octets", maxURL)
	}
	base, validity := "", uint32(0)
	if box := cat.c.box; box != nil {
		base, validity = box.name, box.view.State().UIDValidity
	}
	err := error(mailbox.ErrNotFound)
	if u, ok := parseMessageURL(text, base); ok {
		if u.mailbox == base && u.validity == 0 {
			u.validity = validity // the client means the mailbox that it knows, not another that has taken its name
		}
		err = cat.open(&u)
	}
	for _, is := range []error{mailbox.ErrNotFound, mailbox.ErrForbidden, mailbox.ErrName, mailbox.ErrGone} {
		if errors.Is(err, is) {
			return no("BADURL "+urlText(text), "no such message or part")
		}
	}
	return err
}

// open makes the message or part of an URL the next part.
func (cat *catenation) open(u *messageURL) error {
	mb, err := cat.c.account.Open(cat.ctx, u.mailbox)
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(mb.Read(cat.ctx, mailbox.UIDs(u.uid)))
	end := func() { stop(); _ = mb.Close() }
	r, err := cat.find(u, mb, next)
	if err != nil {
		end()
		return err
	}
	cat.part, cat.end = r, end
	return nil
}

// find locates the octets of an URL. \Seen is not set (RFC 4469 §3).
func (cat *catenation) find(u *messageURL, mb mailbox.Mailbox, next func() (mailbox.Message, error, bool)) (io.Reader, error) {
	ch, err := mb.Changes(cat.ctx, mailbox.Latest)
	if err == nil && u.validity != 0 && u.validity != ch.State.UIDValidity {
		err = mailbox.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	msg, err, ok := next()
	if !ok {
		err = mailbox.ErrGone
	}
	if err != nil {
		return nil, err
	}
	p, ok, err := u.section.find(&message{ctx: cat.ctx, mb: mb, uid: u.uid, content: msg.Content})
	if err == nil && !ok {
		err = mailbox.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	offset, count := u.section.cut(p.size())
	return p.reader(msg.Content, offset, count), cat.admit(count)
}
