package imap

import (
	"context"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// NOTIFY (RFC 5465): a client says once what it wants to know of which mailboxes, and is told while it is silent, in IDLE,
// and at the end of its commands. This file reads the command; notify_tell.go tells.

// events is a set of what can happen (RFC 5465 §5).
type events uint8

const (
	messageNew events = 1 << iota
	messageExpunge
	flagChange
	annotationChange // of messages (RFC 5257), which no store of ours has
	mailboxName
	subscriptionChange
	mailboxMetadataChange
	serverMetadataChange
	unknownEvent = 0

	newAndExpunge = messageNew | messageExpunge
	messageEvents = newAndExpunge | flagChange | annotationChange
	listEvents    = mailboxName | subscriptionChange
)

var eventNames = [...]string{
	"MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange", "MailboxName", "SubscriptionChange",
	"MailboxMetadataChange", "ServerMetadataChange",
}

// Limits of NOTIFY SET: NO [NOTIFICATIONOVERFLOW] beyond.
const (
	maxEventGroups = 100
	maxNotifyNames = 1000 // of mailboxes, in all groups
)

// mailboxFilter says which mailboxes a group is about (RFC 5465 §6).
type mailboxFilter uint8

const (
	filterPersonal mailboxFilter = iota // the user's own; and inboxes: mail may be delivered into each of those (§6.3)
	filterSubscribed
	filterSubtree
	filterMailboxes
)

// eventGroup is what a client wants to know of some mailboxes that are not selected.
type eventGroup struct {
	filter mailboxFilter
	names  []string
	events events // 0 = NONE: groups behind this one are not about these mailboxes
}

// interest is what a client wants to know. The zero value is NOTIFY NONE.
type interest struct {
	selected events      // in the selected mailbox
	delayed  bool        // expunges of it only when a command or IDLE permits them
	items    []fetchItem // of new messages in it
	groups   []eventGroup
	spaces   mailbox.Namespaces
}

// notifying is one NOTIFY SET.
type notifying struct {
	interest
	status   bool   // tell the STATUS of the mailboxes first
	chosen   bool   // there is a group for the selected mailbox
	wanted   events // of all groups
	unknown  bool   // an event that we do not know
	names    int
	problems string // what makes the command BAD although its grammar is good
}

// notify answers NOTIFY.
func (c *conn) notify(ctx context.Context) error {
	d := &c.dec
	d.SP()
	switch d.Keyword() {
	case "NONE":
		if err := c.end(); err != nil {
			return err
		}
		c.setNotifier(newNotifier(c, interest{}))
		return nil
	case "SET":
		return c.notifySet(ctx)
	}
	return bad("NOTIFY needs SET or NONE")
}

func (c *conn) notifySet(ctx context.Context) error {
	var n notifying
	d := &c.dec
	d.SP()
	if c.peekWord("STATUS") {
		d.Keyword()
		d.SP()
		n.status = true
	}
	for n.group(c); d.Try(' '); {
		n.group(c)
	}
	if err := c.end(); err != nil {
		return err
	}
	if err := n.check(c.notifiable()); err != nil {
		return err
	}
	return c.beginNotify(ctx, &n)
}

// group reads an event group.
func (n *notifying) group(c *conn) {
	d := &c.dec
	d.Expect('(')
	var g eventGroup
	switch filter := d.Keyword(); filter {
	case "SELECTED", "SELECTED-DELAYED":
		n.selectedGroup(c, filter == "SELECTED-DELAYED")
		d.Expect(')')
		return
	case "INBOXES", "PERSONAL":
		g.filter = filterPersonal
	case "SUBSCRIBED":
		g.filter = filterSubscribed
	case "SUBTREE":
		g.filter, g.names = filterSubtree, c.someMailboxes(&n.names)
	case "MAILBOXES":
		g.filter, g.names = filterMailboxes, c.someMailboxes(&n.names)
	default:
		d.Fail("unknown mailbox specifier " + filter)
	}
	g.events = n.events(c, nil)
	d.Expect(')')
	if len(n.groups) <= maxEventGroups {
		n.groups = append(n.groups, g)
	}
}

// selectedGroup reads what is wanted of the selected mailbox.
func (n *notifying) selectedGroup(c *conn, delayed bool) {
	if n.chosen {
		n.problems = "the selected mailbox can have one event group only" // RFC 5465 §6.1
	}
	n.chosen, n.delayed = true, delayed
	n.selected = n.events(c, &n.items)
	if n.selected&^messageEvents != 0 {
		n.problems = "the selected mailbox has message events only"
	}
}

// someMailboxes reads one or more names, and counts them. Those beyond maxNotifyNames are not kept.
func (c *conn) someMailboxes(count *int) (names []string) {
	d := &c.dec
	d.SP()
	add := func() {
		name := d.Mailbox()
		if *count++; *count <= maxNotifyNames {
			names = append(names, name)
		}
	}
	if d.Peek() == '(' {
		before := *count
		if d.List(add); *count == before {
			d.Fail("no mailboxes")
		}
		return names
	}
	add()
	return names
}

// events reads the events of a group, and what is to be fetched of new messages, where items is not nil.
func (n *notifying) events(c *conn, items *[]fetchItem) (set events) {
	d := &c.dec
	d.SP()
	if d.Peek() != '(' {
		if d.Keyword() != "NONE" {
			d.Fail("events are a list or NONE")
		}
		return 0
	}
	count := 0
	d.List(func() {
		count++
		e := eventOf(d.Keyword())
		set |= e
		n.unknown = n.unknown || e == unknownEvent
		if e == messageNew && items != nil && d.PeekPair(" (") {
			d.SP()
			*items = c.notifyItems()
		}
	})
	if count == 0 {
		d.Fail("no events")
	}
	n.wanted |= set
	n.checkSet(set)
	return set
}

// notifyItems reads the FETCH items of MessageNew. None of them sets \Seen: nobody has read the message.
func (c *conn) notifyItems() []fetchItem {
	var f fetching
	c.dec.List(func() { f.add(c.dec.Fail, c.fetchItem()) })
	for i := range f.items {
		f.items[i].peek = true
	}
	return f.items
}

// pushedItems are the items of a FETCH response that no command has asked for: it names the message by UID, and tells its
// mod-sequence to those who count them (RFC 7162 §3.1, §3.2.4).
func (c *conn) pushedItems(items []fetchItem) []fetchItem {
	f := fetching{items: items}
	if c.has(condStore) {
		f.ensure(fetchItem{kind: itemModSeq, name: "MODSEQ"})
	}
	if !c.has(uidOnly) {
		f.ensure(fetchItem{kind: itemUID, name: "UID"})
	}
	return f.items
}

func eventOf(name string) events {
	for i, n := range eventNames {
		if strings.EqualFold(n, name) {
			return 1 << i
		}
	}
	return unknownEvent
}

// checkSet keeps RFC 5465 §5: MessageNew and MessageExpunge come together, the other message events with them.
func (n *notifying) checkSet(set events) {
	if set&messageEvents != 0 && set&newAndExpunge != newAndExpunge {
		n.problems = "MessageNew and MessageExpunge belong together, and to other message events"
	}
}

// check refuses what can not be done.
func (n *notifying) check(can events) error {
	switch {
	case n.problems != "":
		return bad("%s", n.problems)
	case n.unknown || n.wanted&^can != 0: // RFC 5465 §3.1: NO, with all events that are supported
		var names []string
		for i, name := range eventNames {
			if can&(1<<i) != 0 {
				names = append(names, name)
			}
		}
		return no("BADEVENT ("+strings.Join(names, " ")+")", "event is not supported")
	case len(n.groups) > maxEventGroups, n.names > maxNotifyNames:
		return no("NOTIFICATIONOVERFLOW", "too many event groups or mailboxes")
	}
	return nil
}

// notifiable returns the events that the store can tell.
func (c *conn) notifiable() events {
	can := newAndExpunge | flagChange | listEvents
	if c.offers&annotations != 0 {
		can |= mailboxMetadataChange
	}
	if c.keepsMetadata() {
		can |= serverMetadataChange
	}
	return can
}

// all is the events of all groups.
func (i *interest) all() (set events) {
	for _, g := range i.groups {
		set |= g.events
	}
	return set
}

// uses reports whether a group has a filter.
func (i *interest) uses(f mailboxFilter) bool {
	return slices.ContainsFunc(i.groups, func(g eventGroup) bool { return g.filter == f })
}

// of returns what is wanted of a mailbox that is not selected. Several groups may be about it (RFC 5465 §6).
func (i *interest) of(name string, subscribed bool) (set events) {
	for _, g := range i.groups {
		if !g.concerns(name, subscribed, i.spaces) {
			continue
		}
		if g.events == 0 {
			break
		}
		set |= g.events
	}
	return set
}

func (g *eventGroup) concerns(name string, subscribed bool, spaces mailbox.Namespaces) bool {
	switch g.filter {
	case filterPersonal: // RFC 5465 §6.2: of the personal namespaces
		return spaces.Personal(name)
	case filterSubscribed:
		return subscribed
	case filterSubtree:
		return slices.ContainsFunc(g.names, func(root string) bool { return isBelow(name, root) })
	}
	return slices.Contains(g.names, name)
}

// isBelow reports whether a name is root or stands below it in the hierarchy.
func isBelow(name, root string) bool {
	rest, ok := strings.CutPrefix(name, root)
	return ok && (rest == "" || strings.HasPrefix(rest, delimiter))
}

// keepsMetadata reports whether the account has annotations of its own.
func (c *conn) keepsMetadata() bool {
	_, ok := mailbox.As[mailbox.Metadata](c.account)
	return ok
}
