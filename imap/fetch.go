package imap

import (
	"context"
	"strings"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mailbox"
)

// itemKind is a FETCH data item (RFC 9051 §6.4.5).
type itemKind uint8

const (
	itemUID itemKind = iota
	itemFlags
	itemDate
	itemSize
	itemModSeq
	itemSaved // RFC 8514
	itemEnvelope
	itemBody          // BODY without section
	itemBodyStructure // with extension data
	itemFields        // BODY[HEADER.FIELDS (…)] of fields that are kept
	itemPreview       // RFC 8970
	itemEmailID       // RFC 8474
	itemThreadID
	itemStructure // no item of a client: of what bodies and sections are made
	itemSection   // BODY[…], RFC822…
	itemBinary    // BINARY[…]
	itemBinarySize
)

// kept reports whether the item is made of kept bytes (mailbox.Derived).
func (k itemKind) kept() bool { return k >= itemEnvelope && k <= itemThreadID }

// content reports whether the item needs the message itself.
func (k itemKind) content() bool { return k >= itemSection }

// fetchItem is one item of a FETCH.
type fetchItem struct {
	kind    itemKind
	name    string // as it is written in the response
	section section
	peek    bool // does not set \Seen
	lazy    bool // NIL unless it is kept already
}

// Limits of FETCH.
const (
	maxFetchItems = 200
	maxPath       = 100  // numbers of a section, what mime opens at the most
	maxFieldNames = 1000 // of HEADER.FIELDS
)

// fetching is one FETCH command.
type fetching struct {
	set          numberedSet
	items        []fetchItem
	changedSince mailbox.ModSeq
	changed      bool // CHANGEDSINCE was given
	vanished     bool
	window       window
	windowed     bool // PARTIAL was given (RFC 9394 §3.3)
}

func (c *conn) fetch(ctx context.Context) error    { return c.fetchBy(ctx, byNumber) }
func (c *conn) uidFetch(ctx context.Context) error { return c.fetchBy(ctx, byUID) }

// fetchBy answers FETCH.
func (c *conn) fetchBy(ctx context.Context, by numbering) error {
	f := c.fetchArguments(by)
	if err := c.end(); err != nil {
		return err
	}
	if f.vanished && (by != byUID || !f.changed || !c.has(qresync)) {
		return bad("VANISHED needs UID FETCH, CHANGEDSINCE and QRESYNC") // RFC 7162 §3.2.6
	}
	if f.windowed && by != byUID {
		return bad("PARTIAL needs UID FETCH")
	}
	uids, err := c.resolve(f.set)
	if err != nil {
		return err
	}
	if f.changed {
		if uids, err = c.changedSince(ctx, &f, uids); err != nil {
			return err
		}
	}
	if f.windowed {
		uids = f.window.of(uids)
	}
	if uids.Empty() {
		return nil
	}
	w := newFetchWriter(c, f.items)
	if err := w.run(ctx, uids); err != nil {
		return err
	}
	return w.conclude(ctx)
}

// changedSince narrows uids to what changed, after telling what vanished (RFC 7162 §3.1.4.1).
func (c *conn) changedSince(ctx context.Context, f *fetching, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	if f.vanished {
		if err := c.vanishedEarlier(ctx, allOf(f.set.numbers), f.changedSince); err != nil {
			return nil, err
		}
	}
	ch, err := c.box.mb.Changes(ctx, f.changedSince)
	if err != nil {
		return nil, failed(err)
	}
	var b mailbox.UIDSetBuilder
	for m := range ch.Messages {
		b.Add(m.UID)
	}
	return uids.Intersect(b.Set()), nil
}

// allOf returns the UIDs that a set names, whether there are such messages or not.
func allOf(set mailbox.NumSet) mailbox.UIDSet {
	var b mailbox.UIDSetBuilder
	for _, r := range set {
		first, last := mailbox.UID(r.First), mailbox.UID(r.Last)
		if first == 0 {
			first = mailbox.MaxUID
		}
		if last == 0 {
			last = mailbox.MaxUID
		}
		b.AddRange(min(first, last), max(first, last))
	}
	return b.Set()
}

func (c *conn) fetchArguments(by numbering) (f fetching) {
	d := &c.dec
	f.set = c.readSet(by)
	d.SP()
	if d.Peek() == '(' {
		if d.List(func() { f.add(d.Fail, c.fetchItem()) }); len(f.items) == 0 {
			d.Fail("no items")
		}
	} else {
		for _, item := range c.macroOrItem() {
			f.add(d.Fail, item)
		}
	}
	if d.Try(' ') {
		c.fetchModifiers(&f)
	}
	if by == byUID && !c.has(uidOnly) {
		f.ensure(fetchItem{kind: itemUID, name: "UID"}) // RFC 9051 §6.4.9
	}
	if f.changed {
		f.ensure(fetchItem{kind: itemModSeq, name: "MODSEQ"})
	}
	return f
}

func (f *fetching) add(fail func(string), item fetchItem) {
	if len(f.items) >= maxFetchItems {
		fail("too many items")
		return
	}
	f.items = append(f.items, item)
}

// ensure puts an item first unless it is asked for.
func (f *fetching) ensure(item fetchItem) {
	for _, have := range f.items {
		if have.kind == item.kind {
			return
		}
	}
	f.items = append([]fetchItem{item}, f.items...)
}

func (c *conn) fetchModifiers(f *fetching) {
	d := &c.dec
	d.List(func() {
		switch name := d.Keyword(); name {
		case "CHANGEDSINCE":
			d.SP()
			f.changed, f.changedSince = true, mailbox.ModSeq(d.Number64())
			c.turnOn(condStore)
		case "VANISHED":
			f.vanished = true
		case "PARTIAL":
			d.SP()
			f.windowed, f.window = true, c.window()
		default:
			d.Fail("unknown modifier " + name)
		}
	})
}

// macroOrItem reads what stands outside parentheses.
func (c *conn) macroOrItem() []fetchItem {
	name := c.dec.Name()
	fast := []fetchItem{{kind: itemFlags, name: "FLAGS"}, {kind: itemDate, name: "INTERNALDATE"}, {kind: itemSize, name: "RFC822.SIZE"}}
	switch name {
	case "FAST":
		return fast
	case "ALL":
		return append(fast, fetchItem{kind: itemEnvelope, name: "ENVELOPE"})
	case "FULL":
		return append(fast, fetchItem{kind: itemEnvelope, name: "ENVELOPE"}, fetchItem{kind: itemBody, name: "BODY"})
	}
	return []fetchItem{c.namedItem(name)}
}

func (c *conn) fetchItem() fetchItem { return c.namedItem(c.dec.Name()) }

// namedItem reads the rest of an item.
func (c *conn) namedItem(name string) fetchItem {
	d := &c.dec
	item := fetchItem{name: name}
	switch name {
	case "UID":
		item.kind = itemUID
	case "FLAGS":
		item.kind = itemFlags
	case "INTERNALDATE":
		item.kind = itemDate
	case "RFC822.SIZE":
		item.kind = itemSize
	case "MODSEQ":
		item.kind = itemModSeq
		c.turnOn(condStore) // RFC 7162 §3.1
	case "SAVEDATE":
		item.kind = itemSaved
	case "ENVELOPE":
		item.kind = itemEnvelope
	case "BODYSTRUCTURE":
		item.kind = itemBodyStructure
	case "EMAILID":
		item.kind = itemEmailID
	case "THREADID":
		item.kind = itemThreadID
	case "PREVIEW":
		item.kind = itemPreview
		item.lazy = c.previewModifiers()
	case "RFC822", "RFC822.HEADER", "RFC822.TEXT", "RFC822.PEEK", "RFC822.TEXT.PEEK":
		return rfc822Item(name)
	case "BODY":
		if d.Peek() != '[' {
			item.kind = itemBody
			return item
		}
		return c.sectionItem("BODY", false)
	case "BODY.PEEK":
		return c.sectionItem("BODY", true)
	case "BINARY", "BINARY.PEEK", "BINARY.SIZE":
		return c.binaryItem(name)
	default:
		d.Fail("unknown item " + name)
	}
	return item
}

// rfc822Item gives the names of RFC 3501 §6.4.5 their meaning, and those with PEEK of RFC 1730, which Outlook has been seen to use.
func rfc822Item(name string) fetchItem {
	name, peek := strings.CutSuffix(name, ".PEEK")
	item := fetchItem{kind: itemSection, name: name, peek: peek}
	switch name {
	case "RFC822.HEADER":
		item.section.kind, item.peek = sectionHeader, true
	case "RFC822.TEXT":
		item.section.kind = sectionText
	}
	return item
}

// sectionItem reads "[" section "]" and "<partial>".
func (c *conn) sectionItem(name string, peek bool) fetchItem {
	item := fetchItem{kind: itemSection, peek: peek}
	d := &c.dec
	d.Expect('[')
	item.section = readSection(d)
	d.Expect(']')
	c.partial(&item.section)
	item.name = name + item.section.name()
	if s := &item.section; s.kind == sectionFields && !s.not && !s.partial && len(s.path) == 0 && keptFields(s.fields) {
		item.kind = itemFields
	}
	return item
}

func (c *conn) binaryItem(name string) fetchItem {
	item := fetchItem{kind: itemBinary, peek: name != "BINARY"}
	d := &c.dec
	d.Expect('[')
	item.section.path = readPath(d)
	d.Expect(']')
	if name == "BINARY.SIZE" {
		item.kind = itemBinarySize
	} else {
		c.partial(&item.section)
	}
	item.name = strings.TrimSuffix(name, ".PEEK") + item.section.name()
	return item
}

// readPath reads the numbers of a section.
func readPath(d *wire.Decoder) (path []int) {
	for p := d.Peek(); p >= '0' && p <= '9'; p = d.Peek() {
		n := d.Number()
		if n == 0 || n > 1<<30 || len(path) >= maxPath {
			d.Fail("bad section")
			return nil
		}
		path = append(path, int(n))
		if !d.Try('.') {
			return path
		}
		if d.Peek() == ']' {
			d.Fail("bad section")
		}
	}
	return path
}

// readSection reads what stands between the brackets.
func readSection(d *wire.Decoder) (s section) {
	s.path = readPath(d)
	if p := d.Peek(); p == ']' || p == 0 {
		return s
	}
	switch name := d.Name(); name {
	case "HEADER":
		s.kind = sectionHeader
	case "TEXT":
		s.kind = sectionText
	case "MIME":
		if s.kind = sectionMIME; len(s.path) == 0 {
			d.Fail("MIME needs a part")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		s.kind, s.not = sectionFields, name == "HEADER.FIELDS.NOT"
		d.SP()
		d.List(func() {
			if s.fields = append(s.fields, d.AString()); len(s.fields) > maxFieldNames {
				d.Fail("too many field names")
			}
		})
		if len(s.fields) == 0 {
			d.Fail("no field names")
		}
	default:
		d.Fail("unknown section " + name)
	}
	return s
}

func (c *conn) partial(s *section) {
	d := &c.dec
	if !d.Try('<') {
		return
	}
	s.partial = true
	s.offset = d.Number64()
	d.Expect('.')
	if s.count = d.Number64(); s.count == 0 {
		d.Fail("a part of no octets")
	}
	d.Expect('>')
}
