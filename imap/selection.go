package imap

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strconv"

	"github.com/goniec-mail/goniec/mailbox"
)

// selection is the selected mailbox.
type selection struct {
	name     string
	mb       mailbox.Mailbox
	view     *mailbox.View
	readOnly bool           // EXAMINE, or the store's
	saved    mailbox.UIDSet // result of the last SEARCH RETURN (SAVE): "$"
	keywords int            // how many of them the client was told
	contexts []*searchContext
	rights   mailbox.Rights // as the client was told
}

// selectBox and examine open a mailbox (RFC 9051 §6.3.2, §6.3.3).
func (c *conn) selectBox(ctx context.Context) error { return c.open(ctx, false) }
func (c *conn) examine(ctx context.Context) error   { return c.open(ctx, true) }

// resync is the QRESYNC parameter of SELECT (RFC 7162 §3.2.5).
type resync struct {
	given    bool
	validity uint32
	since    mailbox.ModSeq
	known    mailbox.UIDSet // nil = all
	numbers  bool           // message sequence match data were given
}

func (c *conn) open(ctx context.Context, readOnly bool) error {
	c.dec.SP()
	name := c.dec.Mailbox()
	var rs resync
	if c.dec.Try(' ') {
		c.selectParams(&rs)
	}
	if err := c.end(); err != nil {
		return err
	}
	if rs.given && !c.has(qresync) {
		return bad("QRESYNC is not enabled")
	}
	if rs.numbers && c.has(uidOnly) {
		return uidRequired()
	}
	if c.deselect() {
		c.untagged("OK", "CLOSED", "previous mailbox is closed") // RFC 7162 §3.2.11
	}
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return failed(err)
	}
	ch, err := mb.Changes(ctx, 0)
	if err != nil {
		_ = mb.Close()
		return failed(err)
	}
	c.box = &selection{name: name, mb: mb, view: mailbox.NewView(mb, ch), readOnly: readOnly || ch.State.ReadOnly}
	c.state = selectedState
	c.lookAtRights(ctx)
	c.describe(ctx, ch)
	if rs.given {
		err = c.resync(ctx, ch, rs)
	}
	c.done.code = "READ-WRITE"
	if c.box.readOnly {
		c.done.code = "READ-ONLY"
	}
	if err != nil {
		c.deselect()
	}
	return err
}

// selectParams reads the parameters of SELECT (RFC 4466).
func (c *conn) selectParams(rs *resync) {
	d := &c.dec
	d.List(func() {
		switch name := d.Keyword(); name {
		case "CONDSTORE":
			c.enabled |= condStore // HIGHESTMODSEQ is told below
		case "QRESYNC":
			d.SP()
			c.resyncParam(rs)
		default:
			d.Fail("unknown parameter " + name)
		}
	})
}

func (c *conn) resyncParam(rs *resync) {
	d := &c.dec
	d.Expect('(')
	rs.given, rs.validity = true, d.Number()
	d.SP()
	rs.since = mailbox.ModSeq(d.Number64())
	if d.Try(' ') {
		if d.Peek() != '(' {
			rs.known = d.UIDSet()
		}
		// What follows lets a server compress its answer by sequence numbers; ours needs no such help.
		if d.Peek() == ' ' || d.Peek() == '(' {
			d.Try(' ')
			d.Expect('(')
			rs.numbers = true
			d.NumSet()
			d.SP()
			d.NumSet()
			d.Expect(')')
		}
	}
	d.Expect(')')
}

// deselect leaves the selected mailbox, if there is one.
func (c *conn) deselect() bool {
	if c.box == nil {
		return false
	}
	_ = c.box.mb.Close()
	c.box = nil
	c.state = authenticated
	return true
}

// describe answers SELECT.
func (c *conn) describe(ctx context.Context, ch *mailbox.Changes) {
	s := ch.State
	c.tellKeywords(s)
	c.exists()
	if !c.has(rev2) {
		c.enc.Raw("* 0 RECENT\r\n") // RFC 3501 §7.3.2; the flag is given up, the response is still demanded
		c.firstUnseen(ch)
	}
	c.okNumber("UIDVALIDITY", uint64(s.UIDValidity), "UIDs are valid")
	c.okNumber("UIDNEXT", uint64(s.UIDNext), "next UID")
	c.okNumber("HIGHESTMODSEQ", uint64(s.ModSeq), "highest mod-sequence")
	if s.ID != "" {
		c.untagged("OK", "MAILBOXID ("+s.ID+")", "identity")
	}
	if c.has(rev2) { // RFC 9051 §6.3.2
		c.listOne(ctx, c.box.name)
	}
}

// tellKeywords tells the flags that are in use and those that can be set.
func (c *conn) tellKeywords(s mailbox.State) {
	c.box.keywords = len(s.Keywords)
	all := mailbox.SystemFlags
	for i := range s.Keywords {
		all |= mailbox.KeywordBit(i)
	}
	c.enc.Raw("* FLAGS ")
	c.enc.Flags(all, s.Keywords)
	c.enc.Raw("\r\n* OK [PERMANENTFLAGS (")
	permanent, anyKeyword := c.box.permanentFlags(all)
	sep := ""
	if permanent != 0 {
		c.enc.FlagNames(permanent, s.Keywords)
		sep = " "
	}
	if anyKeyword && len(s.Keywords) < s.KeywordLimit {
		c.enc.Raw(sep + `\*`)
	}
	c.enc.Raw(")] can be set\r\n")
}

func (c *conn) exists() {
	c.enc.Raw("* ")
	c.enc.Number(uint64(c.box.view.Len()))
	c.enc.Raw(" EXISTS\r\n")
}

// firstUnseen tells where reading should begin (RFC 3501 §7.1).
func (c *conn) firstUnseen(ch *mailbox.Changes) {
	if ch.State.Unseen == 0 || c.has(uidOnly) {
		return
	}
	for m := range ch.Messages {
		if m.Flags&mailbox.Seen == 0 {
			c.okNumber("UNSEEN", uint64(c.box.view.Number(m.UID)), "first unseen")
			return
		}
	}
}

// okNumber writes an untagged OK with a code that has a number.
func (c *conn) okNumber(code string, n uint64, text string) {
	c.enc.Raw("* OK [")
	c.enc.Raw(code)
	c.enc.SP()
	c.enc.Number(n)
	c.enc.Raw("] ")
	c.enc.Raw(text)
	c.enc.CRLF()
}

// resync tells what happened since the client was here before: what vanished, then what changed.
func (c *conn) resync(ctx context.Context, all *mailbox.Changes, rs resync) error {
	if rs.validity != all.State.UIDValidity {
		return nil // RFC 7162 §3.2.5: the parameter is ignored, the client sees the new UIDVALIDITY
	}
	known := rs.known
	if known == nil {
		known = mailbox.AllUIDs()
	}
	if err := c.vanishedEarlier(ctx, known, rs.since); err != nil {
		return err
	}
	for m := range all.Messages {
		if m.ModSeq > rs.since && known.Contains(m.UID) {
			c.fetchFlags(c.box.view.Number(m.UID), m, all.State.Keywords)
		}
	}
	return nil
}

// vanishedEarlier tells which of uids are gone since a mod-sequence. Where the store has forgotten
// its expunges, it is all UIDs that are not there (RFC 7162 §3.2.5.2 allows it).
func (c *conn) vanishedEarlier(ctx context.Context, uids mailbox.UIDSet, since mailbox.ModSeq) error {
	ch, err := c.box.mb.Changes(ctx, since)
	if err != nil {
		return failed(err)
	}
	gone := uids.Intersect(mailbox.UIDSet{{First: 1, Last: max(ch.State.UIDNext, 2) - 1}})
	if ch.Known {
		gone = gone.Intersect(ch.Expunged)
	}
	gone = gone.Subtract(c.box.view.UIDSet()) // what the view still has is told by announce
	if !gone.Empty() {
		c.enc.Raw("* VANISHED (EARLIER) ")
		c.enc.UIDSet(gone)
		c.enc.CRLF()
	}
	return nil
}

// closeBox expunges silently and leaves the mailbox (RFC 9051 §6.4.1).
func (c *conn) closeBox(ctx context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	if !c.box.readOnly {
		// RFC 4314 §4: who may not expunge closes all the same.
		if _, err := c.expungeDeleted(ctx, mailbox.AllUIDs()); err != nil && !errors.Is(err, mailbox.ErrForbidden) {
			return failed(err)
		}
	}
	c.deselect()
	return nil
}

// unselect leaves the mailbox as it is (RFC 9051 §6.4.2).
func (c *conn) unselect(context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	c.deselect()
	return nil
}

// announce tells, at the end of a command, what changed in the selected mailbox (RFC 9051 §7).
// Its error ends the session.
func (c *conn) announce(ctx context.Context, cmd *command) error {
	if c.notifier != nil {
		return c.announceNotified(ctx, cmd)
	}
	if c.box == nil || cmd.flags&quiet != 0 {
		return nil
	}
	what := mailbox.Everything
	if cmd.flags&holds != 0 {
		what = mailbox.HoldExpunges
	}
	u, err := c.poll(ctx, what)
	if err != nil {
		return err
	}
	c.tell(u)
	return nil
}

// poll asks for changes. A nil Update without error means that they can not be had now.
func (c *conn) poll(ctx context.Context, what mailbox.Announce) (*mailbox.Update, error) {
	u, err := c.box.view.Poll(ctx, what)
	switch {
	case err == nil:
		c.updateContexts(ctx, u)
		if c.lookAtRights(ctx) { // RFC 4314 §5.1.1
			c.tellKeywords(u.State)
		}
		return u, nil
	case errors.Is(err, mailbox.ErrUIDValidity), errors.Is(err, mailbox.ErrNotFound):
		// Nothing that the client knows of the mailbox holds any more.
		c.bye("", "the selected mailbox was deleted or made anew")
		return nil, err
	case withdrawn(err):
		c.bye("", "you may not read the selected mailbox any more")
		return nil, err
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, "changes not known", slog.String("user", c.user), slog.String("error", err.Error()))
	c.askAgain(c.notifier, c.box.name)
	return nil, nil
}

// tell writes an Update, nil being none.
func (c *conn) tell(u *mailbox.Update) { c.tellBut(u, nil) }

// tellBut is tell without the flags of messages for which skip says so.
func (c *conn) tellBut(u *mailbox.Update, skip func(mailbox.Meta) bool) {
	if u == nil || u.Empty() {
		return
	}
	c.tellMessages(u, skip)
	c.tellContexts()
}

// tellMessages is tellBut without the results of searches.
func (c *conn) tellMessages(u *mailbox.Update, skip func(mailbox.Meta) bool) {
	if len(u.State.Keywords) > c.box.keywords {
		c.tellKeywords(u.State)
	}
	c.tellContextsGone()
	c.tellGone(u)
	if !u.Added.Empty() {
		c.exists()
	}
	for n, m := range u.Changed() {
		if skip == nil || !skip(m) {
			c.fetchFlags(n, m, u.State.Keywords)
		}
	}
}

func (c *conn) tellGone(u *mailbox.Update) { c.tellExpunged(u.Vanished, u.Expunged()) }

// tellExpunged tells that messages are gone: their UIDs, or their numbers, highest first.
func (c *conn) tellExpunged(gone mailbox.UIDSet, numbers iter.Seq[uint32]) {
	if gone.Empty() {
		return
	}
	c.box.saved = c.box.saved.Subtract(gone) // RFC 5182 §2.1
	if c.has(qresync | uidOnly) {
		c.enc.Raw("* VANISHED ")
		c.enc.UIDSet(gone)
		c.enc.CRLF()
		return
	}
	for n := range numbers {
		c.enc.Raw("* ")
		c.enc.Number(uint64(n))
		c.enc.Raw(" EXPUNGE\r\n")
	}
}

// fetchFlags tells the flags of a message, and its mod-sequence to those who want it.
func (c *conn) fetchFlags(number uint32, m mailbox.Meta, keywords []string) {
	c.fetchHead(&c.enc, number, m.UID)
	c.enc.Raw("(")
	if !c.has(uidOnly) && (c.byUID || c.has(qresync|rev2)) { // RFC 7162 §3.2.6
		c.enc.Raw("UID ")
		c.enc.Number(uint64(m.UID))
		c.enc.SP()
	}
	c.enc.Raw("FLAGS ")
	c.enc.Flags(m.Flags, keywords)
	if c.has(condStore) {
		c.enc.SP()
		c.modSeqItem(m.ModSeq)
	}
	c.enc.Raw(")\r\n")
}

func (c *conn) modSeqItem(m mailbox.ModSeq) {
	c.enc.Raw("MODSEQ (")
	c.enc.Number(uint64(m))
	c.enc.Raw(")")
}

// modSeqCode is the response code with which a command tells how far the client knows the mailbox.
func modSeqCode(m mailbox.ModSeq) string {
	return "HIGHESTMODSEQ " + strconv.FormatUint(uint64(m), 10)
}
