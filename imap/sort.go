package imap

import (
	"context"
	"fmt"

	"github.com/goniec-mail/goniec/mailbox"
)

func (c *conn) sort(ctx context.Context) error      { return c.sortBy(ctx, byNumber) }
func (c *conn) uidSort(ctx context.Context) error   { return c.sortBy(ctx, byUID) }
func (c *conn) thread(ctx context.Context) error    { return c.threadBy(ctx, byNumber) }
func (c *conn) uidThread(ctx context.Context) error { return c.threadBy(ctx, byUID) }

// sortBy answers SORT (RFC 5256 §3, RFC 5957, RFC 5267).
func (c *conn) sortBy(ctx context.Context, by numbering) (err error) {
	s := c.newSearch(by)
	defer func() { c.saveNothing(&s, err) }()
	c.dec.SP()
	if c.peekWord("RETURN") {
		c.dec.Keyword()
		c.dec.SP()
		c.returnsList(&s)
		c.dec.SP()
	}
	order := c.sortOrder()
	key, res, err := c.findWithCharset(ctx, &s)
	if err != nil {
		return err
	}
	var sorted []mailbox.UID
	err = s.time.spend(ctx, func(ctx context.Context) (err error) {
		sorted, err = mailbox.Sort(ctx, readableFor(c.box.mb, sortFields(order)), res.UIDs, order)
		return err
	})
	if err != nil {
		return failed(fmt.Errorf("sort: %w", err))
	}
	if s.returns != 0 {
		c.keepUpdated(&s, &searchContext{key: key, found: mailbox.UIDs(sorted...), order: order, sorted: sorted})
		return c.esort(ctx, &s, sorted)
	}
	c.enc.Raw("* SORT")
	for _, uid := range sorted {
		c.enc.SP()
		c.enc.Number(by.choose(c.numberFor(by, uid), uid))
	}
	if s.parser.modSeq && res.ModSeq > 0 {
		c.enc.Raw(" (MODSEQ ")
		c.enc.Number(uint64(res.ModSeq))
		c.enc.Raw(")")
	}
	c.enc.CRLF()
	return nil
}

// numberFor is the sequence number of a message where the command needs it.
func (c *conn) numberFor(by numbering, uid mailbox.UID) uint32 {
	if by == byUID {
		return 0
	}
	return c.box.view.Number(uid)
}

// sortKeys are the names of keys.
func sortKeys() map[string]mailbox.SortKey {
	return map[string]mailbox.SortKey{
		"ARRIVAL": mailbox.SortArrival, "CC": mailbox.SortCc, "DATE": mailbox.SortDate, "FROM": mailbox.SortFrom,
		"SIZE": mailbox.SortSize, "SUBJECT": mailbox.SortSubject, "TO": mailbox.SortTo,
		"DISPLAYFROM": mailbox.SortDisplayFrom, "DISPLAYTO": mailbox.SortDisplayTo,
	}
}

// maxSortKeys is more than there are different keys.
const maxSortKeys = 20

// sortOrder reads the list of keys.
func (c *conn) sortOrder() (order []mailbox.SortOrder) {
	d := &c.dec
	reverse := false
	d.List(func() {
		name := d.Keyword()
		if name == "REVERSE" && !reverse {
			reverse = true
			return
		}
		key, ok := sortKeys()[name]
		if !ok || len(order) >= maxSortKeys {
			d.Fail("unknown sort key " + name)
		}
		order = append(order, mailbox.SortOrder{Key: key, Reverse: reverse})
		reverse = false
	})
	if len(order) == 0 || reverse {
		d.Fail("a sort key is missing")
	}
	return order
}

// findWithCharset reads charset and search program, and searches.
func (c *conn) findWithCharset(ctx context.Context, s *searching) (key mailbox.Criterion, res mailbox.SearchResult, err error) {
	if err := c.charset(); err != nil {
		return key, res, err
	}
	if err := c.searchProgram(s); err != nil {
		return key, res, err
	}
	if err := c.updatable(s); err != nil {
		return key, res, err
	}
	return c.find(ctx, s, c.selectedPlace())
}

// threadBy answers THREAD (RFC 5256 §4).
func (c *conn) threadBy(ctx context.Context, by numbering) error {
	s := c.newSearch(by)
	c.dec.SP()
	algorithm := mailbox.ThreadAlgorithm(c.dec.Keyword())
	if algorithm != mailbox.ThreadReferences && algorithm != mailbox.ThreadOrderedSubject {
		c.dec.Fail("unknown threading algorithm")
	}
	_, res, err := c.findWithCharset(ctx, &s)
	if err != nil {
		return err
	}
	var nodes []mailbox.ThreadNode
	err = s.time.spend(ctx, func(ctx context.Context) (err error) {
		nodes, err = mailbox.Thread(ctx, readableFor(c.box.mb, threadFields()), res.UIDs, algorithm)
		return err
	})
	if err != nil {
		return failed(fmt.Errorf("thread: %w", err))
	}
	c.enc.Raw("* THREAD")
	if len(nodes) > 0 {
		c.enc.SP()
	}
	w := threadWriter{c: c, by: by, nodes: nodes, siblings: countSiblings(nodes)}
	for i := range nodes {
		w.node(i)
	}
	w.closeTo(0)
	c.enc.CRLF()
	return nil
}

// countSiblings returns for each node how many children its parent has; 0 for roots.
func countSiblings(nodes []mailbox.ThreadNode) []int {
	siblings, children := make([]int, len(nodes)), make([]int, len(nodes))
	parent := make([]int, len(nodes))
	var path []int
	for i, n := range nodes {
		path = append(path[:n.Depth], i)
		if n.Depth > 0 {
			parent[i] = path[n.Depth-1]
			children[parent[i]]++
		}
	}
	for i, n := range nodes {
		if n.Depth > 0 {
			siblings[i] = children[parent[i]]
		}
	}
	return siblings
}

// threadWriter writes threads: a message and its only child stand behind each other, several children
// each in parentheses.
type threadWriter struct {
	c        *conn
	by       numbering
	nodes    []mailbox.ThreadNode
	siblings []int
	opened   []bool // by depth: the node there stands in parentheses of its own
	numbered bool   // a number stands just before
}

func (w *threadWriter) node(i int) {
	n := w.nodes[i]
	w.closeTo(n.Depth)
	own := n.Depth == 0 || w.siblings[i] > 1
	w.opened = append(w.opened, own)
	if w.numbered {
		w.c.enc.SP()
	}
	if own {
		w.c.enc.Raw("(")
	}
	w.numbered = n.UID != 0
	if w.numbered {
		w.c.enc.Number(w.by.choose(w.c.numberFor(w.by, n.UID), n.UID))
	}
}

// closeTo ends all nodes from a depth on.
func (w *threadWriter) closeTo(depth int) {
	for len(w.opened) > depth {
		last := len(w.opened) - 1
		if w.opened[last] {
			w.c.enc.Raw(")")
			w.numbered = false
		}
		w.opened = w.opened[:last]
	}
}
