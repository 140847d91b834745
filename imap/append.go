package imap

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mailbox"
)

// maxMultiAppend limits the messages of one APPEND where Server.SaveLimit does not.
const maxMultiAppend = 1000

// appendMessages stores messages (RFC 9051 §6.3.12), several in one command all or none (RFC 3502).
// Literals are streamed into the store; nothing is asked for before it is known that the mailbox is
// there and the size allowed.
func (c *conn) appendMessages(ctx context.Context) error {
	d := &c.dec
	d.Limits.Literals = max(c.appendLimit(), maxMultiAppend) + 1
	defer func() { d.Limits.Literals = 0 }()
	to, err := c.appendTarget(ctx)
	if err != nil {
		return err
	}
	defer to.Close()
	metas, err := c.appendAll(ctx, to.Mailbox, c.appendLimit())
	if e := d.Err(); e != nil {
		return grammar(e)
	}
	if err != nil {
		return tryCreate(err)
	}
	c.done.code, c.done.text = c.appended(ctx, to, metas), "stored"
	return nil
}

// appendTarget is the mailbox that messages go into.
type appendTarget struct {
	mailbox.Mailbox
	name     string
	validity uint32 // 0: the UIDs of what is put there are not told
}

// appendTarget reads the name of the mailbox and opens it, before any message is asked for.
func (c *conn) appendTarget(ctx context.Context) (*appendTarget, error) {
	d := &c.dec
	d.SP()
	name := d.Mailbox()
	d.SP()
	if err := d.Err(); err != nil {
		return nil, grammar(err)
	}
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return nil, tryCreate(err)
	}
	ch, err := mb.Changes(ctx, mailbox.Latest)
	if errors.Is(err, mailbox.ErrForbidden) || errors.Is(err, mailbox.ErrNotFound) {
		return c.dropTarget(ctx, mb, name, err)
	}
	if err == nil && ch.State.ReadOnly {
		err = mailbox.ErrReadOnly
	}
	if err != nil {
		_ = mb.Close()
		return nil, failed(err)
	}
	return &appendTarget{mb, name, ch.State.UIDValidity}, nil
}

// dropTarget is a mailbox into which the user may put messages, but not look: their UIDs are not told (RFC 4315 §3).
func (c *conn) dropTarget(ctx context.Context, mb mailbox.Mailbox, name string, cause error) (*appendTarget, error) {
	if r, err := mailbox.MyRights(ctx, c.account, name); err == nil && c.controlled() && r.Has(mailbox.RightInsert) {
		return &appendTarget{mb, name, 0}, nil
	}
	_ = mb.Close()
	return nil, tryCreate(cause)
}

// appendAll streams the messages of the command into mb. A single message, the usual case, takes
// the store's simplest way.
func (c *conn) appendAll(ctx context.Context, mb mailbox.Mailbox, limit int) ([]mailbox.Meta, error) {
	var fault error
	next, stop := iter.Pull2(c.messages(ctx, limit, &fault))
	defer stop()
	first, err, _ := next()
	if err != nil {
		return nil, err
	}
	metas, err := mailbox.AppendAll(ctx, mb, func(yield func(mailbox.NewMessage, error) bool) {
		ok := true
		for msg, err := first, error(nil); ok; msg, err, ok = next() {
			if !yield(msg, err) {
				return
			}
		}
	})
	if stop(); fault != nil {
		return nil, fault // rather than what the store makes of it
	}
	return metas, err
}

// messages yields the messages of the command, limit at the most, as they are read. fault is why one of them could not be
// made of its parts.
func (c *conn) messages(ctx context.Context, limit int, fault *error) iter.Seq2[mailbox.NewMessage, error] {
	d := &c.dec
	return func(yield func(mailbox.NewMessage, error) bool) {
		for n := 0; ; n++ {
			o, data := c.messageHead(ctx)
			err := d.Err()
			if err == nil {
				err = c.admit(data.literal, n, limit)
			}
			if err != nil {
				yield(mailbox.NewMessage{}, err)
				return
			}
			wanted := yield(mailbox.NewMessage{Msg: data.open(), Options: o}, nil)
			*fault = data.close(d, wanted)
			switch {
			case !wanted:
				return
			case *fault != nil, d.AtEnd():
				if err := cmp.Or(d.Err(), *fault); err != nil {
					yield(mailbox.NewMessage{}, err)
				}
				return
			}
			d.SP()
		}
	}
}

// appendData is where the octets of a message come from: a literal, in UTF8 (…) perhaps, or several parts.
type appendData struct {
	literal   wire.Literal
	utf8      bool
	catenated *catenation
}

func (a *appendData) open() io.Reader {
	if a.catenated != nil {
		return a.catenated
	}
	return a.literal.Open()
}

// close reads what is behind the octets, and before that what the store has left of them; unless there is nobody any more who
// wants the next message. It returns why the message could not be made.
func (a *appendData) close(d *wire.Decoder, wanted bool) error {
	if cat := a.catenated; cat != nil {
		defer cat.close()
		if wanted {
			_, _ = io.Copy(io.Discard, cat) // the error is kept
		}
		return cat.fault()
	}
	if wanted {
		d.CloseLiteral()
		if a.utf8 {
			d.Expect(')')
		}
	}
	return nil
}

// messageHead reads what stands before a message's octets.
func (c *conn) messageHead(ctx context.Context) (o mailbox.AppendOptions, data appendData) {
	d := &c.dec
	if d.Peek() == '(' {
		o.Flags = d.Flags()
		d.SP()
	}
	if d.Peek() == '"' {
		o.Date = d.DateTime()
		d.SP()
	}
	if o.Date.Unix() < 0 && !o.Date.IsZero() {
		o.Date = time.Unix(1, 0) // before the epoch of stores
	}
	if next := d.Peek(); next|0x20 == 'u' || next|0x20 == 'c' {
		switch d.Keyword() {
		case "UTF8": // RFC 6855 §4
			d.SP()
			d.Expect('(')
			data.utf8 = true
		case "CATENATE":
			data.catenated = c.beginCatenate(ctx)
			return o, data
		default:
			d.Fail("unknown kind of message data")
		}
	}
	data.literal = d.LiteralHead()
	return o, data
}

// admit refuses a message before it is asked for.
func (c *conn) admit(lit wire.Literal, n, limit int) error {
	if err := c.saveLimited(n + 1); err != nil {
		return err
	}
	switch {
	case n >= limit:
		return no("LIMIT", "too many messages in one command")
	case c.MaxMessageBytes >= 0 && lit.Size > c.MaxMessageBytes:
		return no("TOOBIG", "message is larger than %d octets", c.MaxMessageBytes) // RFC 7889 §5.1
	}
	return nil
}

// appended returns the code for messages that were put into a mailbox; there they are no news to this client.
func (c *conn) appended(ctx context.Context, to *appendTarget, metas []mailbox.Meta) string {
	if to.validity == 0 {
		return ""
	}
	var uids []mailbox.UID
	for _, m := range metas {
		uids = append(uids, m.UID)
	}
	c.ownArrivals(ctx, to.name, mailbox.UIDs(uids...))
	return appendUID(to.validity, uids)
}

// appendUID is the code that tells the UIDs of new messages (RFC 4315 §3).
func appendUID(validity uint32, uids []mailbox.UID) string {
	return "APPENDUID " + strconv.FormatUint(uint64(validity), 10) + " " + uidList(uids)
}

// uidList writes UIDs in their order, runs as ranges.
func uidList(uids []mailbox.UID) string {
	var e wire.Encoder
	var b textBuffer
	e.Reset(&b)
	e.UIDs(uids)
	return string(b)
}

// textBuffer is a wire.Output that collects.
type textBuffer []byte

func (b *textBuffer) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

func (b *textBuffer) WriteString(s string) (int, error) { *b = append(*b, s...); return len(s), nil }
func (b *textBuffer) WriteByte(c byte) error            { *b = append(*b, c); return nil }

// copyUID makes COPYUID of a copy (RFC 4315 §3); nothing when nothing was copied.
func copyUID(r mailbox.CopyResult) string {
	if len(r.Source) == 0 {
		return ""
	}
	if !slices.IsSorted(r.Source) {
		return "" // pairs in an order of their own have no form
	}
	return "COPYUID " + strconv.FormatUint(uint64(r.UIDValidity), 10) + " " + uidList(r.Source) + " " + uidList(r.Dest)
}
