package imap

import (
	"context"
	"errors"

	"github.com/goniec-mail/goniec/mailbox"
)

// numberedSet reads the set that a command works on. It is resolved only when the whole command was
// read, by messages.
type numberedSet struct {
	numbers mailbox.NumSet
	saved   bool // "$"
	by      numbering
}

func (c *conn) readSet(by numbering) numberedSet {
	c.dec.SP()
	set, saved := c.dec.NumSet()
	return numberedSet{set, saved, by}
}

// resolve returns the messages of a set. Numbers that no message has are an error; UIDs that no
// message has are not (RFC 9051 §6.4.9).
func (c *conn) resolve(s numberedSet) (mailbox.UIDSet, error) {
	switch {
	case s.saved:
		return c.box.saved.Intersect(c.box.view.UIDSet()), nil
	case s.by == byUID:
		return c.box.view.KnownUIDs(s.numbers), nil
	}
	uids, err := c.box.view.UIDs(s.numbers)
	if err != nil {
		return nil, bad("%s", err)
	}
	return uids, nil
}

// writable refuses changes of a mailbox that is open for reading only.
func (c *conn) writable() error {
	if c.box.readOnly {
		return no("NOPERM", "mailbox is selected read-only")
	}
	return nil
}

func (c *conn) store(ctx context.Context) error    { return c.storeBy(ctx, byNumber) }
func (c *conn) uidStore(ctx context.Context) error { return c.storeBy(ctx, byUID) }

// storing is one STORE command.
type storing struct {
	set    numberedSet
	change mailbox.FlagChange
	silent bool
}

// storeBy changes flags (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
func (c *conn) storeBy(ctx context.Context, by numbering) error {
	s := c.storeArguments(by)
	if err := c.end(); err != nil {
		return err
	}
	uids, err := c.resolve(s.set)
	if err != nil {
		return err
	}
	if err := c.writable(); err != nil {
		return err
	}
	if uids.Empty() {
		return nil
	}
	// What others did before is known first, so that it is not taken for our own, and so that we know what is gone.
	earlier, err := c.poll(ctx, mailbox.HoldExpunges)
	if err != nil {
		return err
	}
	gone := by == byNumber && !c.box.view.Held().Intersect(uids).Empty()
	res, err := c.box.mb.SetFlags(ctx, uids, s.change)
	if err != nil {
		c.tell(earlier)
		return failed(err)
	}
	// Of the messages concerned only the flags that they have now are told: older ones would undo in the client what it has
	// just asked for. What a conditional STORE has left alone is told as it is.
	c.tellBut(earlier, func(m mailbox.Meta) bool { return uids.Contains(m.UID) && !res.Modified.Contains(m.UID) })
	if err := c.tellStored(ctx, uids, s, res, changedIn(earlier, uids)); err != nil {
		return err
	}
	c.tellModified(res.Modified, by)
	if gone {
		return no("EXPUNGEISSUED", "some of the messages were expunged") // RFC 2180 §4.2
	}
	return nil
}

func (c *conn) storeArguments(by numbering) (s storing) {
	d := &c.dec
	s.set = c.readSet(by)
	d.SP()
	if d.Try('(') {
		if name := d.Keyword(); name != "UNCHANGEDSINCE" {
			d.Fail("unknown modifier " + name)
		}
		d.SP()
		since := mailbox.ModSeq(d.Number64())
		s.change.UnchangedSince = &since
		d.Expect(')')
		d.SP()
		c.turnOn(condStore)
	}
	s.change.Op, s.silent = c.storeItem()
	d.SP()
	if d.Peek() == '(' {
		s.change.Flags = d.Flags()
		return s
	}
	for d.AddFlag(&s.change.Flags); d.Try(' '); {
		d.AddFlag(&s.change.Flags)
	}
	return s
}

func (c *conn) storeItem() (op mailbox.FlagOp, silent bool) {
	switch name := c.dec.Keyword(); name {
	case "FLAGS":
		return mailbox.FlagsReplace, false
	case "FLAGS.SILENT":
		return mailbox.FlagsReplace, true
	case "+FLAGS":
		return mailbox.FlagsAdd, false
	case "+FLAGS.SILENT":
		return mailbox.FlagsAdd, true
	case "-FLAGS":
		return mailbox.FlagsRemove, false
	case "-FLAGS.SILENT":
		return mailbox.FlagsRemove, true
	default:
		c.dec.Fail("unknown item " + name)
		return 0, false
	}
}

// changedIn returns the messages of uids that others have changed.
func changedIn(u *mailbox.Update, uids mailbox.UIDSet) mailbox.UIDSet {
	if u == nil {
		return nil
	}
	var b mailbox.UIDSetBuilder
	for _, m := range u.Changed() {
		if uids.Contains(m.UID) {
			b.Add(m.UID)
		}
	}
	return b.Set()
}

// tellStored tells the outcome of STORE and all other changes. Of a silent one the client learns the mod-sequence only, if
// it counts them (RFC 7162 §3.1.3); what somebody else changed, before or since, is told whole.
func (c *conn) tellStored(ctx context.Context, uids mailbox.UIDSet, s storing, res mailbox.FlagResult, others mailbox.UIDSet) error {
	what := mailbox.HoldExpunges
	if s.set.by == byUID {
		what = mailbox.Everything
	}
	u, err := c.poll(ctx, what)
	if err != nil || u == nil {
		return err
	}
	silent := func(m mailbox.Meta) bool {
		return s.silent && m.ModSeq <= res.ModSeq && res.Changed.Contains(m.UID) && !others.Contains(m.UID)
	}
	c.tellBut(u, silent)
	rest := uids.Subtract(res.Changed).Subtract(res.Modified)
	if s.silent {
		c.tellModSeqs(u, silent)
		rest = others.Subtract(res.Changed).Subtract(res.Modified)
	}
	// RFC 9051 §6.4.6: the value is told also where it was so before.
	return c.tellFlagsOf(ctx, rest)
}

// tellModSeqs tells the mod-sequences that a silent STORE has given.
func (c *conn) tellModSeqs(u *mailbox.Update, silent func(mailbox.Meta) bool) {
	if !c.has(condStore) {
		return
	}
	for n, m := range u.Changed() {
		if silent(m) {
			c.fetchHead(&c.enc, n, m.UID)
			c.enc.Raw("(")
			if !c.has(uidOnly) {
				c.enc.Raw("UID ")
				c.enc.Number(uint64(m.UID))
				c.enc.SP()
			}
			c.modSeqItem(m.ModSeq)
			c.enc.Raw(")\r\n")
		}
	}
}

// tellFlagsOf tells the present flags of messages.
func (c *conn) tellFlagsOf(ctx context.Context, uids mailbox.UIDSet) error {
	if uids.Empty() {
		return nil
	}
	ch, err := c.box.mb.Changes(ctx, 0)
	if err != nil {
		return failed(err)
	}
	c.newKeywords(ch.State)
	for m := range ch.Messages {
		if m.UID > uids.Max() {
			return nil
		}
		if n := c.box.view.Number(m.UID); n > 0 && uids.Contains(m.UID) {
			c.fetchFlags(n, m, ch.State.Keywords)
		}
	}
	return nil
}

// newKeywords tells keywords before they are used in a response.
func (c *conn) newKeywords(s mailbox.State) {
	if len(s.Keywords) > c.box.keywords {
		c.tellKeywords(s)
	}
}

// tellModified says which messages a conditional STORE left alone.
func (c *conn) tellModified(uids mailbox.UIDSet, by numbering) {
	if uids.Empty() {
		return
	}
	list := uids.String()
	if by == byNumber {
		list = c.box.view.Numbers(uids).String()
	}
	c.done.code, c.done.text = "MODIFIED "+list, "some messages were changed by others"
}

// expunge removes all messages with \Deleted (RFC 9051 §6.4.3).
func (c *conn) expunge(ctx context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	return c.expungeOf(ctx, mailbox.AllUIDs())
}

// uidExpunge removes those of a set (RFC 4315 §2.1).
func (c *conn) uidExpunge(ctx context.Context) error {
	set := c.readSet(byUID)
	if err := c.end(); err != nil {
		return err
	}
	uids, err := c.resolve(set)
	if err != nil {
		return err
	}
	return c.expungeOf(ctx, uids)
}

func (c *conn) expungeOf(ctx context.Context, uids mailbox.UIDSet) error {
	if err := c.writable(); err != nil {
		return err
	}
	if err := c.need(ctx, mailbox.RightExpunge); err != nil {
		return err
	}
	state, err := c.expungeDeleted(ctx, uids)
	if err != nil {
		return failed(err)
	}
	if c.has(qresync) && state > 0 { // RFC 7162 §3.2.7
		u, err := c.poll(ctx, mailbox.Everything)
		if err != nil {
			return err
		}
		c.tell(u)
		c.done.code = modSeqCode(c.box.view.ModSeq())
	}
	return nil
}

// expungeDeleted removes the messages of uids that have \Deleted. It returns how many.
func (c *conn) expungeDeleted(ctx context.Context, uids mailbox.UIDSet) (int, error) {
	ch, err := c.box.mb.Changes(ctx, 0)
	if err != nil || ch.State.Deleted == 0 {
		return 0, err
	}
	known := c.box.view.UIDSet() // never what the client has not seen
	var b mailbox.UIDSetBuilder
	for m := range ch.Messages {
		if m.Flags&mailbox.Deleted != 0 && uids.Contains(m.UID) && known.Contains(m.UID) {
			b.Add(m.UID)
		}
	}
	set := b.Set()
	if set.Empty() {
		return 0, nil
	}
	gone, err := c.box.mb.Expunge(ctx, set)
	return gone.Len(), err
}

func (c *conn) copy(ctx context.Context) error    { return c.copyBy(ctx, byNumber) }
func (c *conn) uidCopy(ctx context.Context) error { return c.copyBy(ctx, byUID) }
func (c *conn) move(ctx context.Context) error    { return c.moveBy(ctx, byNumber) }
func (c *conn) uidMove(ctx context.Context) error { return c.moveBy(ctx, byUID) }

// copyArguments reads the arguments of COPY and MOVE.
func (c *conn) copyArguments(by numbering) (uids mailbox.UIDSet, to string, err error) {
	set := c.readSet(by)
	c.dec.SP()
	to = c.dec.Mailbox()
	if err := c.end(); err != nil {
		return nil, "", err
	}
	uids, err = c.resolve(set)
	return uids, to, err
}

// copyBy copies messages, all or none (RFC 9051 §6.4.7).
func (c *conn) copyBy(ctx context.Context, by numbering) error {
	uids, to, err := c.copyArguments(by)
	if err != nil {
		return err
	}
	if uids.Empty() {
		return c.destination(ctx, to)
	}
	if err := c.saveLimited(uids.Len()); err != nil {
		return err
	}
	stop := c.working()
	res, err := mailbox.Copy(ctx, c.account, c.box.name, c.box.view.State().UIDValidity, uids, to)
	stop()
	if err != nil {
		return c.copyFailed(ctx, err)
	}
	c.done.code = copyUID(res)
	c.ownArrivals(ctx, to, mailbox.UIDs(res.Dest...))
	return nil
}

// copyFailed tells a destination that lacks from a source that does. The store finds the source by its name, too: where somebody
// has renamed or deleted the selected mailbox, perhaps made another of its name, the session is at its end.
func (c *conn) copyFailed(ctx context.Context, err error) error {
	lost := errors.Is(err, mailbox.ErrUIDValidity)
	if errors.Is(err, mailbox.ErrNotFound) {
		mb, e := c.account.Open(ctx, c.box.name)
		if e == nil {
			_ = mb.Close()
		}
		lost = errors.Is(e, mailbox.ErrNotFound)
	}
	if lost {
		c.bye("", "the selected mailbox was renamed or deleted")
		return mailbox.ErrNotFound
	}
	return tryCreate(err)
}

// destination checks that a mailbox is there although nothing goes into it.
func (c *conn) destination(ctx context.Context, name string) error {
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return tryCreate(err)
	}
	return mb.Close()
}

// moveBy moves messages (RFC 6851). COPYUID is told before the expunges, untagged, as §4.3 wants.
func (c *conn) moveBy(ctx context.Context, by numbering) error {
	uids, to, err := c.copyArguments(by)
	if err != nil {
		return err
	}
	if err := c.writable(); err != nil {
		return err
	}
	if uids.Empty() {
		return c.destination(ctx, to)
	}
	if to == c.box.name {
		return no("CANNOT", "source and destination are the same mailbox")
	}
	stop := c.working()
	res, err := mailbox.Move(ctx, c.account, c.box.name, c.box.view.State().UIDValidity, uids, to)
	stop()
	if err != nil {
		return c.copyFailed(ctx, err)
	}
	if code := copyUID(res); code != "" {
		c.untagged("OK", code, "moved")
		c.ownArrivals(ctx, to, mailbox.UIDs(res.Dest...))
	}
	if c.has(qresync) {
		u, err := c.poll(ctx, mailbox.Everything)
		if err != nil {
			return err
		}
		c.tell(u)
		c.done.code = modSeqCode(c.box.view.ModSeq())
	}
	return nil
}
