package imap

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// listOptions are the selection and return options of LIST (RFC 5258, RFC 5819, RFC 6154).
type listOptions uint8

const (
	selectSubscribed listOptions = 1 << iota
	selectRecursive              // RECURSIVEMATCH
	selectSpecial                // SPECIAL-USE
	returnSubscribed
	extended // the client uses the syntax of RFC 5258
)

// maxPatterns limits the octets of all patterns of one LIST.
const maxPatterns = 4096

// listing is one LIST command.
type listing struct {
	options  listOptions
	status   statusItems // RETURN (STATUS …); 0 = none
	metadata []string    // RETURN (METADATA …)
	patterns []pattern
}

// list answers LIST (RFC 9051 §6.3.9).
func (c *conn) list(ctx context.Context) error {
	l, root, err := c.listArguments()
	if err != nil {
		return err
	}
	if root { // an empty name asks for the delimiter
		c.enc.Raw(`* LIST (\Noselect) "/" ""` + "\r\n")
		return nil
	}
	if l.status&statusHighestModSeq != 0 {
		c.turnOn(condStore)
	}
	return c.listAll(ctx, l)
}

func (c *conn) listArguments() (l listing, root bool, err error) {
	d := &c.dec
	d.SP()
	if d.Peek() == '(' {
		l.options |= extended
		d.List(func() { l.options |= c.selectionOption() })
		d.SP()
	}
	reference := d.Mailbox()
	d.SP()
	octets := 0
	add := func() {
		name := d.ListMailbox()
		root = root || name == ""
		if octets += len(reference) + len(name); octets > maxPatterns {
			d.Fail("patterns are too long")
			return
		}
		l.patterns = append(l.patterns, newPattern(reference, name))
	}
	if d.Peek() == '(' {
		l.options |= extended
		d.List(add)
	} else {
		add()
	}
	if d.Try(' ') {
		c.returnOptions(&l)
	}
	if l.options&(selectRecursive|selectSubscribed) == selectRecursive {
		d.Fail("RECURSIVEMATCH needs another selection option") // RFC 5258 §3
	}
	return l, root && len(l.patterns) == 1, c.end()
}

func (c *conn) selectionOption() listOptions {
	switch name := c.dec.Keyword(); name {
	case "SUBSCRIBED":
		return selectSubscribed | returnSubscribed
	case "RECURSIVEMATCH":
		return selectRecursive
	case "SPECIAL-USE":
		return selectSpecial
	case "REMOTE": // we have none
		return 0
	default:
		c.dec.Fail("unknown selection option " + name)
		return 0
	}
}

func (c *conn) returnOptions(l *listing) {
	l.options |= extended
	if c.dec.Keyword() != "RETURN" {
		c.dec.Fail("RETURN is missing")
		return
	}
	c.dec.SP()
	c.dec.List(func() {
		switch name := c.dec.Keyword(); name {
		case "SUBSCRIBED":
			l.options |= returnSubscribed
		case "CHILDREN", "SPECIAL-USE": // always told
		case "STATUS":
			c.dec.SP()
			l.status = c.statusList()
		case "METADATA":
			l.metadata = c.metadataList()
		default:
			c.dec.Fail("unknown return option " + name)
		}
	})
}

// folder is a name of the hierarchy: a mailbox, a parent of one that is none itself, or a subscribed
// name.
type folder struct {
	exists, noSelect, children bool
	subscribed                 bool
	subscribedBelow            bool // a name below is subscribed
	use                        mailbox.SpecialUse
	id                         string
}

// folders reads the hierarchy. Parents that lack are added.
func (c *conn) folders(ctx context.Context, o listOptions) (map[string]*folder, error) {
	all := make(map[string]*folder)
	get := func(name string) *folder {
		f := all[name]
		if f == nil {
			f = &folder{}
			all[name] = f
		}
		return f
	}
	for info, err := range c.account.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		f := get(info.Name)
		f.exists, f.noSelect, f.use, f.id = true, info.NoSelect, info.SpecialUse, info.ID
		for parent := range parents(info.Name) {
			get(parent).children = true
		}
	}
	if o&returnSubscribed == 0 {
		return all, nil
	}
	names, err := mailbox.Subscribed(ctx, c.account)
	for _, name := range names {
		get(name).subscribed = true
		for parent := range parents(name) {
			get(parent).subscribedBelow = true
		}
	}
	return all, err
}

// parents yields the names above a name.
func parents(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := strings.LastIndex(name, delimiter); i > 0; i = strings.LastIndex(name[:i], delimiter) {
			if !yield(name[:i]) {
				return
			}
		}
	}
}

func (c *conn) listAll(ctx context.Context, l listing) error {
	all, err := c.folders(ctx, l.options)
	if err != nil {
		return failed(err)
	}
	for _, name := range slices.SortedFunc(maps.Keys(all), inboxFirst) {
		f := all[name]
		if !l.wants(name, f) {
			continue
		}
		c.listLine(name, f, l.options)
		if l.status != 0 && f.exists && !f.noSelect {
			err := c.tellStatus(ctx, name, l.status)
			// RFC 5819 §2: a mailbox whose status cannot be had is listed without.
			if err != nil && ctx.Err() != nil {
				return err
			}
		}
		if len(l.metadata) > 0 && f.exists && !f.noSelect {
			c.listMetadata(ctx, name, l.metadata)
		}
	}
	return nil
}

// inboxFirst sorts names as people expect them.
func inboxFirst(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "INBOX":
		return -1
	case b == "INBOX":
		return 1
	}
	return strings.Compare(a, b)
}

// wants reports whether a name belongs to the answer.
func (l *listing) wants(name string, f *folder) bool {
	matches := slices.ContainsFunc(l.patterns, func(p pattern) bool { return p.matches(name) })
	switch {
	case !matches:
		return false
	case l.options&selectSpecial != 0 && f.use == "":
		return false
	case l.options&selectSubscribed != 0:
		return f.subscribed || l.options&selectRecursive != 0 && f.subscribedBelow
	}
	return f.exists || f.children
}

// listLine writes one LIST response.
func (c *conn) listLine(name string, f *folder, o listOptions) {
	c.enc.Raw("* LIST (" + strings.Join(f.attributes(o), " ") + `) "/" `)
	c.enc.Mailbox(name)
	if o&selectRecursive != 0 && f.subscribedBelow {
		c.enc.Raw(` ("CHILDINFO" ("SUBSCRIBED"))`)
	}
	c.enc.CRLF()
}

func (f *folder) attributes(o listOptions) []string {
	var a []string
	switch {
	case !f.exists && o&extended != 0:
		a = append(a, `\NonExistent`)
	case !f.exists || f.noSelect:
		a = append(a, `\Noselect`)
	}
	if f.children {
		a = append(a, `\HasChildren`)
	} else {
		a = append(a, `\HasNoChildren`)
	}
	if o&returnSubscribed != 0 && f.subscribed {
		a = append(a, `\Subscribed`)
	}
	if f.use != "" {
		a = append(a, string(f.use))
	}
	return a
}

// listOne writes the LIST response of a mailbox that is being selected.
func (c *conn) listOne(ctx context.Context, name string) {
	if all, err := c.folders(ctx, extended); err == nil && all[name] != nil {
		c.listLine(name, all[name], extended)
	}
}

// lsub answers LSUB (RFC 3501 §6.3.9): the subscribed names, and with "%" the levels above them.
func (c *conn) lsub(ctx context.Context) error {
	d := &c.dec
	d.SP()
	reference := d.Mailbox()
	d.SP()
	p := newPattern(reference, d.ListMailbox())
	if len(p) > maxPatterns {
		d.Fail("pattern is too long")
	}
	if err := c.end(); err != nil {
		return err
	}
	names, err := mailbox.Subscribed(ctx, c.account)
	if err != nil && !errors.Is(err, mailbox.ErrCannot) {
		return failed(err)
	}
	told := make(map[string]bool)
	for _, name := range names {
		told[name] = p.matches(name)
	}
	above := make(map[string]bool)
	for _, name := range names {
		for parent := range parents(name) {
			if !told[name] && !told[parent] && p.matches(parent) {
				above[parent] = true
			}
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(told), inboxFirst) {
		if told[name] {
			c.lsubLine("", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(above)) {
		c.lsubLine(`\Noselect`, name)
	}
	return nil
}

func (c *conn) lsubLine(attribute, name string) {
	c.enc.Raw("* LSUB (" + attribute + `) "/" `)
	c.enc.Mailbox(name)
	c.enc.CRLF()
}
