package imap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/goniec-mail/goniec/mailbox"
)

// CONTEXT=SEARCH and CONTEXT=SORT (RFC 5267 §4): a search whose result the client is kept informed of, as long as the mailbox is
// selected. With NOTIFY it is informed while it is silent, else in IDLE and at the end of its commands. contextsort.go keeps
// results of SORT in order.

// maxContexts limits the searches of a session whose results are kept up to date; each costs its set of UIDs.
const maxContexts = 10

// searchContext is one of them. Sequence numbers and "$" in its keys mean what they meant when it began.
type searchContext struct {
	tag   string
	by    numbering
	key   mailbox.Criterion
	items []fetchItem // of new messages in the result (RFC 5465 §7)
	found mailbox.UIDSet
	news  contextNews
	named bool // of ESEARCH: responses name the mailbox

	order  []mailbox.SortOrder // of SORT; nil = that of the mailbox
	sorted []mailbox.UID       // found in this order
}

// contextNews is what an Update has changed in a result, until it is told.
type contextNews struct {
	ctx         context.Context // of the poll
	gone        mailbox.UIDSet  // expunged
	goneNumbers []mailbox.UID   // the numbers that they had
	lost, added mailbox.UIDSet
	fresh       mailbox.UIDSet // those of added that are new in the mailbox
	moves       contextMoves   // of SORT
}

// updatable refuses a tag by which the client could not tell two contexts apart (RFC 5267 §4.3).
func (c *conn) updatable(s *searching) error {
	if s.returns&returnUpdate != 0 && c.contextOf(c.tag) >= 0 {
		return bad("tag is in use by another search with UPDATE")
	}
	return nil
}

func (c *conn) contextOf(tag string) int {
	return slices.IndexFunc(c.box.contexts, func(x *searchContext) bool { return x.tag == tag })
}

// keepUpdated makes a context of a search that asks for it.
func (c *conn) keepUpdated(s *searching, x *searchContext) {
	if s.returns&returnUpdate == 0 {
		return
	}
	x.tag, x.by, x.items = c.tag, s.by, s.items
	switch {
	case len(c.box.contexts) >= maxContexts:
		c.noUpdate(x.tag, "too many contexts")
	case len(x.sorted) > maxSortedContext:
		c.noUpdate(x.tag, tooManySorted)
	default:
		c.box.contexts = append(c.box.contexts, x)
	}
}

func (c *conn) noUpdate(tag, text string) { c.untagged("NO", `NOUPDATE "`+tag+`"`, text) }

// updateContexts finds out what an Update changes in the results.
func (c *conn) updateContexts(ctx context.Context, u *mailbox.Update) {
	if u.Empty() || len(c.box.contexts) == 0 {
		return
	}
	var b mailbox.UIDSetBuilder
	for _, m := range u.Changed() {
		b.Add(m.UID)
	}
	touched := b.Set().Union(u.Added)
	left := c.searchTime()
	c.box.contexts = slices.DeleteFunc(c.box.contexts, func(x *searchContext) bool {
		err := left.limit(ctx, func(ctx context.Context) error { return x.update(ctx, c.box.mb, u, touched) })
		if errors.Is(err, errTooManySorted) {
			c.noUpdate(x.tag, tooManySorted)
			return true
		}
		if err != nil {
			c.log.LogAttrs(ctx, slog.LevelWarn, "context not updated", slog.String("user", c.user), slog.String("error", err.Error()))
			c.noUpdate(x.tag, "the result is not known any more")
			return true
		}
		x.news.ctx = ctx
		return false
	})
}

// among returns which of some messages match.
func (x *searchContext) among(ctx context.Context, mb mailbox.Mailbox, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	if uids.Empty() {
		return nil, nil
	}
	res, err := searchAmong(ctx, mb, uids, x.key)
	if err != nil {
		err = fmt.Errorf("search: %w", err)
	}
	return res.UIDs, err
}

// update finds out what has changed in the result.
func (x *searchContext) update(ctx context.Context, mb mailbox.Mailbox, u *mailbox.Update, touched mailbox.UIDSet) error {
	matching, err := x.among(ctx, mb, touched)
	if err != nil {
		return err
	}
	n := contextNews{gone: x.found.Intersect(u.Vanished)}
	if !n.gone.Empty() {
		n.goneNumbers = goneNumbers(u, n.gone)
	}
	n.lost = x.found.Intersect(touched).Subtract(matching)
	n.added = matching.Subtract(x.found)
	n.fresh = n.added.Intersect(u.Added)
	x.found = x.found.Subtract(n.gone).Subtract(n.lost).Union(n.added)
	x.news = n
	if x.order != nil {
		return x.move(ctx, mb)
	}
	return nil
}

// goneNumbers returns the numbers that expunged messages had: Vanished and Expunged name the same messages.
func goneNumbers(u *mailbox.Update, gone mailbox.UIDSet) (numbers []mailbox.UID) {
	all := slices.Collect(u.Expunged()) // the highest first
	slices.Reverse(all)
	i := 0
	for uid := range u.Vanished.All() {
		if gone.Contains(uid) {
			numbers = append(numbers, mailbox.UID(all[i]))
		}
		i++
	}
	return numbers
}

// tellContextsGone tells what is expunged, before its numbers are gone (RFC 5267 §4.3.4).
func (c *conn) tellContextsGone() {
	for _, x := range c.box.contexts {
		if x.news.gone.Empty() {
			continue
		}
		c.contextHead(x)
		if x.order != nil {
			c.tellMoves("REMOVEFROM", x.news.moves.gone, x.goneNumber())
			c.enc.CRLF()
			continue
		}
		c.enc.Raw(" REMOVEFROM (0 ")
		if x.by == byUID {
			c.enc.UIDSet(x.news.gone)
		} else {
			c.enc.UIDs(x.news.goneNumbers)
		}
		c.enc.Raw(")\r\n")
	}
}

// tellContexts tells the other changes, after EXISTS and FETCH (RFC 5267 §4.3.3, RFC 5465 §7).
func (c *conn) tellContexts() {
	for _, x := range c.box.contexts {
		n := x.news
		x.news = contextNews{}
		if len(x.items) > 0 && !n.fresh.Empty() {
			w := newFetchWriter(c, c.pushedItems(x.items))
			if err := w.run(n.ctx, n.fresh); endsSession(err) {
				_ = c.net.Close() // a response is half written
				return
			}
		}
		if n.lost.Empty() && n.added.Empty() {
			continue
		}
		c.contextHead(x)
		if x.order != nil {
			c.tellMoves("REMOVEFROM", n.moves.lost, c.numberBy(x.by))
			c.tellMoves("ADDTO", n.moves.added, c.numberBy(x.by))
		} else {
			c.tellSet("REMOVEFROM", x.by, n.lost)
			c.tellSet("ADDTO", x.by, n.added)
		}
		c.enc.CRLF()
	}
}

// tellSet tells a change of a result in the order of the mailbox: position 0.
func (c *conn) tellSet(item string, by numbering, uids mailbox.UIDSet) {
	if !uids.Empty() {
		c.enc.Raw(" " + item + " (0 ")
		c.numbers(by, uids)
		c.enc.Raw(")")
	}
}

func (c *conn) contextHead(x *searchContext) {
	name := ""
	if x.named {
		name = c.box.name
	}
	c.esearchHead(x.tag, name, c.box.view.State().UIDValidity, x.by)
}

// cancelUpdate ends contexts (RFC 5267 §4.3.5). Tags that have none are passed over.
func (c *conn) cancelUpdate(context.Context) error {
	var tags []string
	for first := true; first || !c.dec.AtEnd(); first = false {
		c.dec.SP()
		tags = append(tags, c.dec.String())
	}
	if err := c.end(); err != nil {
		return err
	}
	c.box.contexts = slices.DeleteFunc(c.box.contexts, func(x *searchContext) bool { return slices.Contains(tags, x.tag) })
	return nil
}

// dropNumbered ends the contexts of SEARCH by number: under UIDONLY there are none to tell.
func (c *conn) dropNumbered() {
	c.box.contexts = slices.DeleteFunc(c.box.contexts, func(x *searchContext) bool {
		if x.by == byNumber {
			c.noUpdate(x.tag, "there are no message sequence numbers under UIDONLY")
		}
		return x.by == byNumber
	})
}

// dropContexts ends all contexts: what changed in their results can not be found out.
func (c *conn) dropContexts() {
	for _, x := range c.box.contexts {
		c.noUpdate(x.tag, "the mailbox was opened anew")
	}
	c.box.contexts = nil
}
