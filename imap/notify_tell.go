package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/goniec-mail/goniec/mailbox"
)

// notifier is NOTIFY in force. What stores tell is kept as a set of names until the session can write; what has happened to
// each is found out then. So however much happens, no more waits than there are mailboxes.
type notifier struct {
	interest
	limit  int // of mailboxes, negative = none
	cancel context.CancelFunc
	tell   func() // for the idler: tells what waits

	mu       sync.Mutex
	waiting  map[string]bool // mailboxes with news; "" = the list of mailboxes has
	overflow bool            // there were more than limit

	// The rest belongs to the session, as the conn does.
	idling   bool           // in IDLE: all may be told
	own      mailbox.UIDSet // what the command has put into the selected mailbox
	states   map[string]toldState
	closed   map[string]bool // told to be \NoAccess
	list     notifiedList
	metadata metadataSums
}

// toldState is what a client was told of a mailbox that is not selected.
type toldState struct {
	validity uint32
	next     mailbox.UID
	messages int
	modSeq   mailbox.ModSeq
}

func newNotifier(c *conn, i interest) *notifier {
	return &notifier{
		interest: i, limit: c.MaxNotify, cancel: func() {}, tell: func() {},
		waiting: make(map[string]bool), states: make(map[string]toldState), closed: make(map[string]bool),
	}
}

// setNotifier puts another one in force; nil ends NOTIFY.
func (c *conn) setNotifier(n *notifier) {
	if c.notifier != nil {
		c.notifier.cancel()
	}
	c.notifier = n
}

// beginNotify puts NOTIFY SET in force.
func (c *conn) beginNotify(ctx context.Context, set *notifying) error {
	if c.box != nil {
		// RFC 5465 §3.1: what has accumulated is told, as by NOOP.
		u, err := c.poll(ctx, mailbox.Everything)
		if err != nil {
			return err
		}
		c.tell(u)
	}
	set.spaces = mailbox.NamespacesOf(c.account)
	n := newNotifier(c, set.interest)
	watch, cancel := context.WithCancel(ctx)
	n.cancel, n.tell = cancel, func() { c.tellWaiting(watch) }
	err := mailbox.WatchAccount(watch, c.account, func(name string) {
		n.add(name)
		c.idler.wake()
	})
	if err == nil {
		err = c.notifyBaseline(ctx, n, set.status)
	}
	if err != nil {
		cancel()
		return failed(fmt.Errorf("notify: %w", err))
	}
	c.setNotifier(n)
	return nil
}

// notifyBaseline takes in what the client knows from now on, and tells what it asked to be told first.
func (c *conn) notifyBaseline(ctx context.Context, n *notifier, status bool) error {
	if err := c.readList(ctx, n); err != nil {
		return err
	}
	all := n.all()
	if !status && all&(mailboxMetadataChange|serverMetadataChange) == 0 && !c.watchesOthers(n) {
		return nil
	}
	if all&serverMetadataChange != 0 {
		if _, err := c.metadataChanges(ctx, n, ""); err != nil {
			return err
		}
	}
	var names []string
	for info, err := range c.account.Mailboxes(ctx) {
		if err != nil {
			return err
		}
		if !info.NoSelect {
			names = append(names, info.Name)
		}
	}
	slices.SortFunc(names, inboxFirst)
	for _, name := range names {
		wanted := n.of(name, n.list.subscribed(name))
		if wanted&mailboxMetadataChange != 0 {
			if _, err := c.metadataChanges(ctx, n, name); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
				return err
			}
		}
		switch {
		case wanted&messageEvents == 0, c.box != nil && name == c.box.name:
		case status:
			c.tellState(ctx, n, name, wanted, func(s mailbox.State) bool { n.changed(name, s, wanted); return true })
		case !c.readable(ctx, n, name):
			c.tellAccess(n, name, false)
		}
	}
	return nil
}

// add notes that a mailbox has news. Stores call it, from anywhere.
func (n *notifier) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.limit >= 0 && len(n.waiting) >= n.limit && !n.waiting[name] {
		n.overflow = true
	}
	if !n.overflow {
		n.waiting[name] = true
	}
}

// take returns the names that wait, the list of mailboxes first.
func (n *notifier) take() (names []string, overflow bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	names = slices.SortedFunc(maps.Keys(n.waiting), func(a, b string) int {
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		return inboxFirst(a, b)
	})
	clear(n.waiting)
	return names, n.overflow
}

// listen lets news reach the client while its session waits for input. Nothing else may be written until the idler was
// stopped.
func (c *conn) listen() {
	switch {
	case c.notifier != nil:
		c.idler.start(c.notifier.tell)
	case c.idling != nil:
		c.idler.start(c.idling.tell)
	}
}

// tellWaiting tells what waits while the session's goroutine waits for input.
func (c *conn) tellWaiting(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			c.net.Recovered(v)
			_ = c.net.Close()
		}
	}()
	if ctx.Err() != nil {
		return
	}
	c.sendTold(c.tellNews(ctx))
}

// tellNews tells what waits, of the selected mailbox and of others. Its error ends the session.
func (c *conn) tellNews(ctx context.Context) error {
	names, overflow := c.notifier.take()
	if overflow {
		return c.overflow()
	}
	for _, name := range names {
		if c.box != nil && (name == c.box.name || name == "") { // it may have been deleted, or its rights withdrawn
			if err := c.tellSelected(ctx); err != nil {
				return err
			}
		}
		if err := c.tellMailbox(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// overflow gives NOTIFY up (RFC 5465 §5.8).
func (c *conn) overflow() error {
	c.untagged("OK", "NOTIFICATIONOVERFLOW", "too many notifications: there are none any more")
	c.setNotifier(newNotifier(c, interest{}))
	return nil
}

// tellSelected tells what happened in the selected mailbox between commands and in IDLE. With "selected" the numbers of messages may
// change at any time: its client works with UIDs (RFC 5465 §5.3).
func (c *conn) tellSelected(ctx context.Context) error {
	n := c.notifier
	if n.selected == 0 {
		return nil
	}
	what := mailbox.Everything
	if n.delayed && !n.idling {
		what = mailbox.HoldExpunges
	}
	u, err := c.poll(ctx, what)
	if err != nil {
		return err
	}
	return c.tellUpdate(ctx, u)
}

// tellUpdate tells an Update as far as it is wanted: flags with their UID (§5.1), new messages with what is to be fetched
// of them (§5.2).
func (c *conn) tellUpdate(ctx context.Context, u *mailbox.Update) error {
	if u == nil || u.Empty() {
		return nil
	}
	n := c.notifier
	c.byUID = true
	c.tellMessages(u, func(mailbox.Meta) bool { return n.selected&flagChange == 0 })
	fresh := u.Added.Subtract(n.own) // §5.2: the client knows what it has put there itself
	if len(n.items) > 0 && !fresh.Empty() {
		err := newFetchWriter(c, c.pushedItems(n.items)).run(ctx, fresh)
		if endsSession(err) {
			return err
		}
		if err != nil {
			c.log.LogAttrs(ctx, slog.LevelWarn, "new messages not fetched", slog.String("user", c.user), slog.String("error", err.Error()))
		}
	}
	c.tellContexts() // RFC 5465 §5.2: after FETCH
	return nil
}

// announceNotified is announce with NOTIFY in force. Without events for the selected mailbox its state stands still for
// the client (§5), but for commands that remove messages themselves.
func (c *conn) announceNotified(ctx context.Context, cmd *command) error {
	n := c.notifier
	defer func() { n.own = nil }()
	switch {
	case cmd.flags&quiet != 0:
		return nil
	case c.box == nil:
	case n.selected != 0:
		what := mailbox.Everything
		if cmd.flags&holds != 0 {
			what = mailbox.HoldExpunges
		}
		u, err := c.poll(ctx, what)
		if err == nil {
			err = c.tellUpdate(ctx, u)
		}
		if err != nil {
			return err
		}
		if !c.box.view.Held().Empty() && !n.delayed {
			n.add(c.box.name) // to be told as soon as the client is silent
			c.idler.wake()
		}
	case cmd.flags&removes != 0:
		u, err := c.poll(ctx, mailbox.Everything)
		if err != nil {
			return err
		}
		c.tell(u)
	}
	return c.tellNews(ctx)
}

// tellMailbox tells what happened in a mailbox beside messages of the selected one; "" is the list of mailboxes and the account.
func (c *conn) tellMailbox(ctx context.Context, name string) error {
	n := c.notifier
	if name == "" {
		if n.all()&serverMetadataChange != 0 {
			c.tellMetadataChanges(ctx, "")
		}
		c.tellList(ctx)
		c.tellAccesses(ctx)
		return nil
	}
	wanted := n.of(name, n.list.subscribed(name))
	if wanted&mailboxMetadataChange != 0 {
		c.tellMetadataChanges(ctx, name)
	}
	if c.box != nil && name == c.box.name || wanted&messageEvents == 0 {
		return nil
	}
	if _, known := n.states[name]; !known && n.limit >= 0 && len(n.states)+len(n.closed) >= n.limit {
		return c.overflow()
	}
	c.tellState(ctx, n, name, wanted, func(s mailbox.State) bool { return n.changed(name, s, wanted) })
	return nil
}

// notifyStatus are the items told of a mailbox: RFC 5465 §3.1 and §5 want UNSEEN not, but clients show it.
func (c *conn) notifyStatus(wanted events) statusItems {
	items := statusMessages | statusUIDNext | statusUIDValidity | statusUnseen
	if wanted&flagChange != 0 || c.has(condStore) {
		items |= statusHighestModSeq
	}
	return items
}

// tellState tells the state of a mailbox that is not selected. With news it must have changed.
func (c *conn) tellState(ctx context.Context, n *notifier, name string, wanted events, news func(s mailbox.State) bool) {
	items := c.notifyStatus(wanted)
	s, _, err := c.stateOf(ctx, name, items)
	switch {
	case err == nil:
		c.tellAccess(n, name, true)
		if news(s) {
			c.writeStatus(name, items, s, 0)
		}
	case withdrawn(err):
		delete(n.states, name)
		c.tellAccess(n, name, false)
	default: // what is gone is told by other events
		delete(n.states, name)
		delete(n.closed, name)
		if ctx.Err() == nil && !errors.Is(err, mailbox.ErrNotFound) {
			c.log.LogAttrs(ctx, slog.LevelWarn, "news not known", slog.String("user", c.user), slog.String("error", err.Error()))
			c.askAgain(n, name)
		}
	}
}

// changed takes in the state of a mailbox and reports whether something changed in it of what is wanted.
func (n *notifier) changed(name string, s mailbox.State, wanted events) bool {
	old, known := n.states[name]
	now := toldState{s.UIDValidity, s.UIDNext, s.Messages, s.ModSeq}
	n.states[name] = now
	if !known {
		return now.next > 1 // a new mailbox in which nothing ever was is told as a name
	}
	if wanted&flagChange == 0 {
		old.modSeq = now.modSeq
	}
	return now != old
}
