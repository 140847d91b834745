package imap

import (
	"context"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"unique"
)

// notifiedList is the list of mailboxes as the client knows it. Names are shared by all sessions of the process: a mailbox
// costs a session some 30 octets.
type notifiedList map[unique.Handle[string]]listedMailbox

type listedMailbox struct {
	id                 unique.Handle[string]
	exists, subscribed bool
}

// subscribed reports whether a name is; false where the list was not needed.
func (l notifiedList) subscribed(name string) bool { return l[unique.Make(name)].subscribed }

// listFor is what a notifier needs to know of mailboxes.
const listFor = extended | returnSubscribed

// needsList reports whether changes of the list of mailboxes are of interest.
func (n *notifier) needsList() bool {
	return n.all()&listEvents != 0 || n.uses(filterSubscribed)
}

// readList takes in the list of mailboxes.
func (c *conn) readList(ctx context.Context, n *notifier) error {
	if !n.needsList() {
		return nil
	}
	all, err := c.folders(ctx, listFor)
	if err == nil {
		n.list = listOf(all)
	}
	return err
}

func listOf(all map[string]*folder) notifiedList {
	l := make(notifiedList, len(all))
	for name, f := range all {
		if f.exists || f.subscribed {
			l[unique.Make(name)] = listedMailbox{unique.Make(f.id), f.exists, f.subscribed}
		}
	}
	return l
}

// tellList tells which mailboxes were made, renamed, deleted, subscribed (RFC 5465 §5.4, §5.5). A renamed one is known
// by its identity.
func (c *conn) tellList(ctx context.Context) {
	n := c.notifier
	if !n.needsList() {
		return
	}
	all, err := c.folders(ctx, listFor)
	if err != nil {
		c.log.LogAttrs(ctx, slog.LevelWarn, "mailboxes not known", slog.String("user", c.user), slog.String("error", err.Error()))
		return
	}
	old, now := n.list, listOf(all)
	n.list = now
	names := make(map[string]bool)
	for _, l := range []notifiedList{old, now} {
		for name := range l {
			names[name.Value()] = true
		}
	}
	renames := renamed(old, now)
	for to, name := range renames.from {
		if s, known := n.states[name]; known { // what the client knows of a mailbox goes with it
			n.states[to] = s
			delete(n.states, name)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(names), inboxFirst) {
		c.tellListed(name, renames, all[name], old[unique.Make(name)], now[unique.Make(name)])
	}
}

// tellListed tells what happened to one name.
func (c *conn) tellListed(name string, renames renaming, f *folder, old, now listedMailbox) {
	wanted := c.notifier.of(name, now.subscribed || old.subscribed)
	oldName := ""
	switch {
	case now.exists && !old.exists && wanted&mailboxName != 0:
		oldName = renames.from[name]
	case old.exists && !now.exists && wanted&mailboxName != 0:
		to, ok := renames.to[name]
		if ok && c.notifier.of(to, c.notifier.list.subscribed(to))&mailboxName != 0 {
			return // OLDNAME tells
		}
	case old.subscribed != now.subscribed && wanted&subscriptionChange != 0:
	default:
		return
	}
	if f == nil {
		f = &folder{}
	}
	c.enc.Raw("* LIST (" + strings.Join(f.attributes(listFor), " ") + `) "/" `)
	c.enc.Mailbox(name)
	if oldName != "" {
		c.enc.Raw(` ("OLDNAME" (`)
		c.enc.Mailbox(oldName)
		c.enc.Raw("))")
	}
	c.enc.CRLF()
}

// renaming is which mailboxes have another name than before.
type renaming struct{ from, to map[string]string }

func renamed(old, now notifiedList) renaming {
	r := renaming{make(map[string]string), make(map[string]string)}
	gone := make(map[unique.Handle[string]]string)
	for name, m := range old {
		if m.exists && !now[name].exists && m.id.Value() != "" {
			gone[m.id] = name.Value()
		}
	}
	for name, m := range now {
		if from, ok := gone[m.id]; ok && m.exists && !old[name].exists {
			r.from[name.Value()], r.to[from] = from, name.Value()
		}
	}
	return r
}

// ownList takes in what this client has done to names itself, and to those below them: it need not be told (§5).
func (c *conn) ownList(ctx context.Context, names ...string) {
	n := c.notifier
	if n == nil || !n.needsList() {
		return
	}
	all, err := c.folders(ctx, listFor)
	if err != nil {
		return // then it is told
	}
	own := func(h unique.Handle[string]) bool {
		return slices.ContainsFunc(names, func(root string) bool { return isBelow(h.Value(), root) })
	}
	maps.DeleteFunc(n.list, func(h unique.Handle[string], _ listedMailbox) bool { return own(h) })
	for h, m := range listOf(all) {
		if own(h) {
			n.list[h] = m
		}
	}
}

// metadataSums are hashes of the annotations that a client knows, by mailbox and entry.
type metadataSums struct {
	seed maphash.Seed
	sums map[string]map[string]uint64
}

// metadataChanges takes in the annotations of a mailbox, "" being the server, and returns which are others than before.
func (c *conn) metadataChanges(ctx context.Context, n *notifier, name string) (entries []string, err error) {
	all, err := c.annotationsOf(ctx, name)
	if err != nil {
		return nil, err
	}
	m := &n.metadata
	if m.sums == nil {
		m.seed, m.sums = maphash.MakeSeed(), make(map[string]map[string]uint64)
	}
	old, now := m.sums[name], make(map[string]uint64, len(all))
	for entry, value := range all {
		now[entry] = maphash.Bytes(m.seed, value)
		if sum, ok := old[entry]; !ok || sum != now[entry] {
			entries = append(entries, entry)
		}
	}
	for entry := range old {
		if _, ok := now[entry]; !ok {
			entries = append(entries, entry)
		}
	}
	if delete(m.sums, name); len(now) > 0 {
		m.sums[name] = now
	}
	slices.Sort(entries)
	return entries, nil
}

// tellMetadataChanges names the annotations that changed (RFC 5465 §5.6, §5.7; RFC 5464 §4.4.2).
func (c *conn) tellMetadataChanges(ctx context.Context, name string) {
	entries, err := c.metadataChanges(ctx, c.notifier, name)
	if err != nil || len(entries) == 0 {
		return // a mailbox that is gone is told by MailboxName
	}
	c.enc.Raw("* METADATA ")
	c.enc.Mailbox(name)
	for _, entry := range entries {
		c.enc.SP()
		c.enc.String(entry)
	}
	c.enc.CRLF()
}

// ownMetadata takes in what this client has annotated itself.
func (c *conn) ownMetadata(ctx context.Context, name string) {
	n := c.notifier
	if n == nil {
		return
	}
	wanted := n.all() & serverMetadataChange
	if name != "" {
		wanted = n.of(name, n.list.subscribed(name)) & mailboxMetadataChange
	}
	if wanted != 0 {
		_, _ = c.metadataChanges(ctx, n, name) // else it is told
	}
}
