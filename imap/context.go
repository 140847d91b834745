package imap

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/goniec-mail/goniec/mailbox"
)

// CONTEXT=SEARCH (RFC 5267 §4): a search whose result the client is kept informed of, as long as the mailbox is selected. With
// NOTIFY it is informed while it is silent, else in IDLE and at the end of its commands.

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
}

// contextNews is what an Update has changed in a result, until it is told.
type contextNews struct {
	ctx         context.Context // of the poll
	gone        mailbox.UIDSet  // expunged
	goneNumbers []mailbox.UID   // the numbers that they had
	lost, added mailbox.UIDSet
	fresh       mailbox.UIDSet // those of added that are new in the mailbox
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

// keepUpdated makes a context of a search.
func (c *conn) keepUpdated(s *searching, found mailbox.UIDSet) {
	if s.returns&returnUpdate == 0 {
		return
	}
	if len(c.box.contexts) >= maxContexts {
		c.noUpdate(c.tag, "too many contexts")
		return
	}
	c.box.contexts = append(c.box.contexts, &searchContext{tag: c.tag, by: s.by, key: s.key, items: s.items, found: found})
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
	c.box.contexts = slices.DeleteFunc(c.box.contexts, func(x *searchContext) bool {
		matching, err := x.among(ctx, c, touched)
		if err != nil {
			c.log.LogAttrs(ctx, slog.LevelWarn, "context not updated", slog.String("user", c.user), slog.String("error", err.Error()))
			c.noUpdate(x.tag, "the result is not known any more")
			return true
		}
		x.update(ctx, u, touched, matching)
		return false
	})
}

// among returns which of some messages match.
func (x *searchContext) among(ctx context.Context, c *conn, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	if uids.Empty() {
		return nil, nil
	}
	key := x.key
	key.Of = append([]mailbox.Criterion{{Key: mailbox.KeyUIDs, UIDs: uids}}, key.Of...) // a program is a KeyAnd
	res, err := mailbox.Search(ctx, c.source(searchFields(&key)), key)
	if err != nil {
		err = fmt.Errorf("search: %w", err)
	}
	return res.UIDs, err
}

func (x *searchContext) update(ctx context.Context, u *mailbox.Update, touched, matching mailbox.UIDSet) {
	n := contextNews{ctx: ctx, gone: x.found.Intersect(u.Vanished)}
	if !n.gone.Empty() {
		n.goneNumbers = goneNumbers(u, n.gone)
	}
	n.lost = x.found.Intersect(touched).Subtract(matching)
	n.added = matching.Subtract(x.found)
	n.fresh = n.added.Intersect(u.Added)
	x.found = x.found.Subtract(n.gone).Subtract(n.lost).Union(n.added)
	x.news = n
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
		for _, change := range []struct {
			name string
			uids mailbox.UIDSet
		}{{" REMOVEFROM (0 ", n.lost}, {" ADDTO (0 ", n.added}} {
			if !change.uids.Empty() {
				c.enc.Raw(change.name)
				c.numbers(x.by, change.uids)
				c.enc.Raw(")")
			}
		}
		c.enc.CRLF()
	}
}

func (c *conn) contextHead(x *searchContext) {
	c.enc.Raw(`* ESEARCH (TAG "` + x.tag + `")`)
	if x.by == byUID {
		c.enc.Raw(" UID")
	}
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
