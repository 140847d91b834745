package imap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goniec-mail/goniec/mailbox"
)

// MULTISEARCH (RFC 7377): ESEARCH searches several mailboxes one after the other, and tells what was found in each as soon as
// it is known. Mailboxes that are not there, or that the user may not read, are passed over without a word (§2.2).

// maxSearched limits the mailboxes of one ESEARCH: NO [LIMIT] beyond.
const maxSearched = 10_000

// searchSource is one mailbox specifier (RFC 5465 §6, RFC 7377 §2.2).
type searchSource struct {
	eventGroup
	selected bool
	oneLevel bool // of a subtree
}

// searchSources is the IN of an ESEARCH.
type searchSources struct {
	list  []searchSource
	names int
}

// only reports whether the selected mailbox is all that is searched.
func (in *searchSources) only() bool {
	return !slices.ContainsFunc(in.list, func(s searchSource) bool { return !s.selected })
}

// any reports whether a specifier is among them.
func (in *searchSources) any(is func(*searchSource) bool) bool {
	return slices.ContainsFunc(in.list, func(s searchSource) bool { return is(&s) })
}

// eSearch answers ESEARCH.
func (c *conn) eSearch(ctx context.Context) (err error) {
	s, in := c.newSearch(byUID), searchSources{}
	defer func() { c.saveNothing(&s, err) }()
	s.returns = returnExtended // §2.1: the answer is ESEARCH in any case
	c.dec.SP()
	if c.peekWord("IN") {
		c.dec.Keyword()
		c.dec.SP()
		c.searchSources(&in)
		c.dec.SP()
	} else {
		in.list = []searchSource{{selected: true}}
	}
	if err := c.searchArguments(&s); err != nil {
		return err
	}
	if s.returns == returnExtended && !s.hinted {
		s.returns |= returnAll
	}
	if err := c.searchable(&s, &in); err != nil {
		return err
	}
	names, err := c.searchedNames(ctx, &in)
	if err != nil {
		return failed(err)
	}
	return c.searchAll(ctx, &s, names)
}

// searchSources reads "(" source-mbox ")". §4: there are no scope options.
func (c *conn) searchSources(in *searchSources) {
	c.dec.List(func() {
		if c.dec.Peek() == '(' {
			c.dec.Fail("unknown scope option")
			return
		}
		in.add(c)
	})
	if len(in.list) == 0 {
		c.dec.Fail("no mailboxes")
	}
}

// add reads a mailbox specifier.
func (in *searchSources) add(c *conn) {
	var s searchSource
	switch name := c.dec.Keyword(); name {
	case "SELECTED":
		s.selected = true
	case "INBOXES", "PERSONAL":
		s.filter = filterPersonal
	case "SUBSCRIBED":
		s.filter = filterSubscribed
	case "SUBTREE", "SUBTREE-ONE":
		s.filter, s.oneLevel = filterSubtree, name == "SUBTREE-ONE"
		s.names = c.someMailboxes(&in.names)
	case "MAILBOXES":
		s.filter = filterMailboxes
		s.names = c.someMailboxes(&in.names)
	default:
		c.dec.Fail("unknown mailbox specifier " + name)
	}
	if len(in.list) <= maxEventGroups {
		in.list = append(in.list, s)
	}
}

// searchable refuses what can not be searched (§2.2).
func (c *conn) searchable(s *searching, in *searchSources) error {
	switch {
	case c.box == nil && in.any(func(s *searchSource) bool { return s.selected }):
		return bad("no mailbox is selected")
	case c.box == nil && s.returns&returnUpdate != 0:
		return bad("UPDATE needs a selected mailbox")
	case !in.only() && s.returns&returnSave != 0:
		return bad("SAVE is for the selected mailbox alone")
	case len(in.list) > maxEventGroups, in.names > maxNotifyNames:
		return no("LIMIT", "too many mailbox specifiers or names")
	case c.box != nil:
		return c.updatable(s)
	}
	return nil
}

// searchedNames returns the mailboxes that are meant, each once. Those that the client does not name are those that are
// listed: the user has the right "l".
func (c *conn) searchedNames(ctx context.Context, in *searchSources) (names []string, err error) {
	listed, err := c.listedNames(ctx, in)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	add := func(all ...string) {
		for _, name := range all {
			if !known[name] {
				known[name] = true
				names = append(names, name)
			}
		}
	}
	spaces := mailbox.NamespacesOf(c.account)
	for i := range in.list {
		s := &in.list[i]
		if s.selected {
			add(c.box.name)
			continue
		}
		add(s.names...)
		for _, f := range listed {
			if s.means(f.name, f.subscribed, spaces) {
				add(f.name)
			}
		}
	}
	if len(names) > maxSearched {
		return nil, no("LIMIT", "more than %d mailboxes", maxSearched)
	}
	return names, nil
}

// means reports whether a mailbox that is listed is among those of a specifier.
func (s *searchSource) means(name string, subscribed bool, spaces mailbox.Namespaces) bool {
	if !s.oneLevel {
		return s.concerns(name, subscribed, spaces)
	}
	for parent := range parents(name) {
		return slices.Contains(s.names, parent)
	}
	return false
}

// listedName is a mailbox of the list that can be selected.
type listedName struct {
	name       string
	subscribed bool
}

// listedNames returns the list of mailboxes as far as specifiers need it, INBOX first.
func (c *conn) listedNames(ctx context.Context, in *searchSources) (listed []listedName, err error) {
	if !in.any(func(s *searchSource) bool { return !s.selected && s.filter != filterMailboxes }) {
		return nil, nil
	}
	options := listOptions(extended)
	if in.any(func(s *searchSource) bool { return s.filter == filterSubscribed }) {
		options |= returnSubscribed
	}
	all, err := c.folders(ctx, options)
	for _, name := range slices.SortedFunc(maps.Keys(all), inboxFirst) {
		if f := all[name]; f.exists && !f.noSelect {
			listed = append(listed, listedName{name, f.subscribed})
		}
	}
	return listed, err
}

// searchAll searches mailboxes. One that can not be searched makes the command fail, after the others were.
func (c *conn) searchAll(ctx context.Context, s *searching, names []string) (failure error) {
	if s.returns&returnUpdate != 0 && !slices.Contains(names, c.box.name) {
		c.noUpdate(c.tag, "the selected mailbox is not searched") // §2.2: it alone can be kept up to date
	}
	for _, name := range names {
		if s.time.up() && failure == nil { // the one before was done with the last of the time: this one is not searched
			failure = s.time.over()
		}
		if s.time.up() {
			return failure
		}
		err := c.searchOne(ctx, s, name)
		if err != nil && failure == nil {
			failure = err
		}
		var r *reply
		if ctx.Err() != nil || err != nil && !errors.As(err, &r) {
			return failure
		}
	}
	return failure
}

// searchOne searches a mailbox and tells what was found.
func (c *conn) searchOne(ctx context.Context, s *searching, name string) error {
	place, err := c.placeOf(ctx, s, name)
	if place == nil || err != nil {
		return err
	}
	selected := c.box != nil && c.box.name == name
	if !selected {
		defer place.mb.Close()
	}
	key, res, err := c.find(ctx, s, place)
	if err != nil {
		return err
	}
	if s.returns&returnSave != 0 {
		c.box.saved = s.save(res.UIDs)
	}
	if selected {
		c.keepUpdated(s, &searchContext{key: key, found: res.UIDs, named: true})
	}
	if res.UIDs.Empty() {
		return nil // §2.1: also with COUNT
	}
	if err := c.esearch(ctx, s, foundIn{res, place, name}); err != nil {
		return err
	}
	s.time.told()
	return c.flush()
}

// placeOf opens a mailbox for a search; nil for one that is to be passed over. In the selected mailbox is what the client knows of it.
func (c *conn) placeOf(ctx context.Context, s *searching, name string) (place *searchPlace, err error) {
	if c.box != nil && c.box.name == name {
		place = c.selectedPlace()
		place.lax = true
		return place, nil
	}
	err = s.time.spend(ctx, func(ctx context.Context) (err error) {
		if c.mayRead(ctx, name) {
			place, err = openPlace(ctx, c.account, name)
		}
		return err
	})
	switch {
	case errors.Is(err, mailbox.ErrNotFound), errors.Is(err, mailbox.ErrForbidden), errors.Is(err, mailbox.ErrName):
		return nil, nil
	case err != nil:
		return nil, failed(fmt.Errorf("search: %w", err))
	}
	return place, nil
}

// mayRead asks for the right to read a mailbox of somebody else, before it is opened.
func (c *conn) mayRead(ctx context.Context, name string) bool {
	if !c.controlled() || mailbox.NamespacesOf(c.account).Personal(name) {
		return true // the store decides
	}
	r, err := mailbox.MyRights(ctx, c.account, name)
	return err == nil && r.Has(mailbox.RightRead)
}

func openPlace(ctx context.Context, a mailbox.Account, name string) (*searchPlace, error) {
	mb, err := a.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	view, err := mailbox.OpenView(ctx, mb)
	if err != nil {
		_ = mb.Close()
		return nil, err
	}
	return &searchPlace{mb: mb, view: view, lax: true}, nil
}
