package imap

import (
	"context"
	"maps"
	"slices"

	"github.com/goniec-mail/goniec/mailbox"
)

// Rights under NOTIFY (RFC 5465 §3.1, §5.9): what happens in a mailbox is told to who may list and read it. Rights on
// others' mailboxes come and go meanwhile.

// watchesOthers reports whether mailboxes of others may be among those of the groups.
func (c *conn) watchesOthers(n *notifier) bool {
	return c.controlled() && slices.ContainsFunc(n.groups, func(g eventGroup) bool { return g.filter != filterPersonal })
}

// readable reports whether a mailbox that is listed may be read too. The user's own may.
func (c *conn) readable(ctx context.Context, n *notifier, name string) bool {
	if !c.controlled() || n.spaces.Personal(name) {
		return true
	}
	r, err := mailbox.MyRights(ctx, c.account, name)
	return err != nil || r.Has(mailbox.RightRead)
}

// tellAccess tells, when it has changed, whether a mailbox that is listed may be read.
func (c *conn) tellAccess(n *notifier, name string, may bool) {
	if n.closed[name] == !may {
		return
	}
	attribute := ""
	if may {
		delete(n.closed, name)
	} else {
		n.closed[name], attribute = true, `\NoAccess`
	}
	c.enc.Raw("* LIST (" + attribute + `) "/" `)
	c.enc.Mailbox(name)
	c.enc.CRLF()
}

// tellAccesses looks at the mailboxes of others that the client knows something of, when rights may have changed.
func (c *conn) tellAccesses(ctx context.Context) {
	n := c.notifier
	known := make(map[string]bool)
	for name := range n.states {
		known[name] = true
	}
	maps.Copy(known, n.closed)
	maps.DeleteFunc(known, func(name string, _ bool) bool { return n.spaces.Personal(name) })
	for _, name := range slices.Sorted(maps.Keys(known)) {
		r, err := mailbox.MyRights(ctx, c.account, name)
		if err == nil && r.Has(mailbox.RightRead) == !n.closed[name] {
			continue
		}
		wanted := n.of(name, n.list.subscribed(name))
		c.tellState(ctx, n, name, wanted, func(s mailbox.State) bool { return n.changed(name, s, wanted) })
	}
}

// ownArrivals takes in what the client has put into a mailbox itself: it need not be told (§5). That nothing else happened
// there is sure when the state is the former one and these messages; flags of others may have changed all the same, so that
// with FlagChange it is told.
func (c *conn) ownArrivals(ctx context.Context, name string, uids mailbox.UIDSet) {
	n := c.notifier
	if n == nil || uids.Empty() {
		return
	}
	if c.box != nil && name == c.box.name {
		n.own = uids
		return
	}
	old, known := n.states[name]
	if !known || n.of(name, n.list.subscribed(name))&flagChange != 0 {
		return
	}
	s, _, err := c.stateOf(ctx, name, 0)
	count := uids.Len()
	if err == nil && s.UIDValidity == old.validity && uids.Min() == old.next && uids.Max()+1 == s.UIDNext &&
		int(s.UIDNext-old.next) == count && s.Messages == old.messages+count {
		n.states[name] = toldState{s.UIDValidity, s.UIDNext, s.Messages, s.ModSeq}
	}
}
