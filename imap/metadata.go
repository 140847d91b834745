package imap

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// METADATA (RFC 5464): annotations of mailboxes, and of the server, which are mailbox "". Of the latter each account has its
// own private ones; shared ones are none.

// Limits of annotations.
const (
	maxEntries    = 100
	maxEntryName  = 200
	maxEntryValue = 64 << 10
)

// metadataQuery is one GETMETADATA.
type metadataQuery struct {
	maxSize int64
	depth   int
	entries []string
}

const infinite = math.MaxInt

func (c *conn) getMetadata(ctx context.Context) error {
	d := &c.dec
	q := metadataQuery{maxSize: math.MaxInt64}
	d.SP()
	if d.Peek() == '(' {
		c.metadataOptions(&q)
		d.SP()
	}
	name := d.Mailbox()
	d.SP()
	if d.PeekPair("(M") || d.PeekPair("(m") || d.PeekPair("(D") || d.PeekPair("(d") {
		c.metadataOptions(&q) // where the examples of RFC 5464 §4.2 have them, against its grammar
		d.SP()
	}
	if d.Peek() == '(' {
		d.List(func() { q.add(c) })
	} else {
		q.add(c)
	}
	if len(q.entries) == 0 {
		d.Fail("no entries")
	}
	if err := c.end(); err != nil {
		return err
	}
	all, err := c.annotations(ctx, name)
	if err != nil {
		return err
	}
	c.tellMetadata(name, all, &q)
	return nil
}

func (q *metadataQuery) add(c *conn) {
	name := strings.ToLower(c.dec.AString())
	if c.dec.Err() == nil && name != "/private" && name != "/shared" && !goodEntry(name) {
		c.dec.Fail("bad entry name")
	}
	if q.entries = append(q.entries, name); len(q.entries) > maxEntries {
		c.dec.Fail("too many entries")
	}
}

func (c *conn) metadataOptions(q *metadataQuery) {
	d := &c.dec
	d.List(func() {
		switch name := d.Keyword(); name {
		case "MAXSIZE":
			d.SP()
			q.maxSize = d.Number64()
		case "DEPTH":
			d.SP()
			switch depth := d.Keyword(); depth {
			case "0", "1":
				q.depth = int(depth[0] - '0')
			case "INFINITY":
				q.depth = infinite
			default:
				d.Fail("unknown depth")
			}
		default:
			d.Fail("unknown option " + name)
		}
	})
}

// entryName reads the name of an entry (RFC 5464 §4.1), in lower case: names are compared without regard to case.
func (c *conn) entryName() string {
	name := strings.ToLower(c.dec.AString())
	if c.dec.Err() == nil && !goodEntry(name) {
		c.dec.Fail("bad entry name")
	}
	return name
}

func goodEntry(name string) bool {
	if !strings.HasPrefix(name, "/private/") && !strings.HasPrefix(name, "/shared/") {
		return false
	}
	if len(name) > maxEntryName || strings.HasSuffix(name, "/") || strings.Contains(name, "//") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7F || r == '*' || r == '%' })
}

// annotations returns those of a mailbox; of the account for "".
func (c *conn) annotations(ctx context.Context, name string) (map[string][]byte, error) {
	all, err := c.annotationsOf(ctx, name)
	if err != nil {
		return nil, failed(err)
	}
	return all, nil
}

// annotationsOf is annotations with the store's error.
func (c *conn) annotationsOf(ctx context.Context, name string) (map[string][]byte, error) {
	if name == "" {
		return mailbox.AccountAnnotations(ctx, c.account)
	}
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer mb.Close()
	return mailbox.Annotations(ctx, mb)
}

// tellMetadata answers a query. Values that are too long for the client are left out, and it is told how long
// they are (RFC 5464 §4.2.1).
func (c *conn) tellMetadata(name string, all map[string][]byte, q *metadataQuery) {
	longest, sep := 0, ""
	for _, entry := range slices.Sorted(maps.Keys(all)) {
		value := all[entry]
		if !q.wants(entry) {
			continue
		}
		if int64(len(value)) > q.maxSize {
			longest = max(longest, len(value))
			continue
		}
		if sep == "" {
			c.enc.Raw("* METADATA ")
			c.enc.Mailbox(name)
			sep = " ("
		}
		c.enc.Raw(sep)
		c.enc.String(entry)
		c.enc.SP()
		c.enc.String(string(value))
		sep = " "
	}
	if sep != "" {
		c.enc.Raw(")\r\n")
	}
	if longest > 0 {
		c.done.code = "METADATA LONGENTRIES " + strconv.Itoa(longest)
	}
}

// wants reports whether an entry is asked for, or is near enough below one that is.
func (q *metadataQuery) wants(entry string) bool {
	for _, want := range q.entries {
		below, ok := strings.CutPrefix(entry, want)
		if ok && (below == "" || below[0] == '/' && strings.Count(below, "/") <= q.depth) {
			return true
		}
	}
	return false
}

// setMetadata changes annotations (RFC 5464 §4.3).
func (c *conn) setMetadata(ctx context.Context) error {
	d := &c.dec
	d.SP()
	name := d.Mailbox()
	d.SP()
	values := make(map[string][]byte)
	d.List(func() {
		entry := c.entryName()
		d.SP()
		value, ok := d.NString()
		values[entry] = nil
		if ok {
			values[entry] = append([]byte{}, value...)
		}
		if len(values) > maxEntries {
			d.Fail("too many entries")
		}
	})
	if len(values) == 0 { // RFC 5464 §5: one at least
		d.Fail("entries are missing")
	}
	if err := c.end(); err != nil {
		return err
	}
	for entry := range values {
		if name == "" && strings.HasPrefix(entry, "/shared/") {
			return no("NOPERM", "shared annotations of the server can not be set by users")
		}
	}
	return c.annotate(ctx, name, values)
}

// annotate sets the values after all limits were looked at.
func (c *conn) annotate(ctx context.Context, name string, values map[string][]byte) error {
	have, err := c.annotations(ctx, name)
	if err != nil {
		return err
	}
	count := len(have)
	for entry, value := range values {
		if len(value) > maxEntryValue {
			return no("METADATA MAXSIZE "+strconv.Itoa(maxEntryValue), "value is too long")
		}
		if _, there := have[entry]; !there && value != nil {
			count++
		}
	}
	if count > maxEntries {
		return no("METADATA TOOMANY", "mailbox has too many annotations")
	}
	defer c.ownMetadata(ctx, name)
	if name == "" {
		return c.setAll(values, func(entry string, value []byte) error {
			return mailbox.SetAccountAnnotation(ctx, c.account, entry, value)
		})
	}
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return failed(err)
	}
	defer mb.Close()
	return c.setAll(values, func(entry string, value []byte) error {
		return mailbox.SetAnnotation(ctx, mb, entry, value)
	})
}

// setAll sets one annotation after the other.
func (c *conn) setAll(values map[string][]byte, set func(entry string, value []byte) error) error {
	for _, entry := range slices.Sorted(maps.Keys(values)) {
		if err := set(entry, values[entry]); err != nil {
			return failed(err)
		}
	}
	return nil
}

// metadataList reads the entries of LIST's RETURN (RFC 9590).
func (c *conn) metadataList() (entries []string) {
	c.dec.SP()
	c.dec.List(func() {
		if entries = append(entries, c.entryName()); len(entries) > maxEntries {
			c.dec.Fail("too many entries")
		}
	})
	if len(entries) == 0 {
		c.dec.Fail("no entries")
	}
	return entries
}

// listMetadata writes the METADATA response behind a LIST response. An annotation that there is not is NIL; a mailbox whose
// annotations can not be had is listed without (RFC 9590 §3).
func (c *conn) listMetadata(ctx context.Context, name string, entries []string) {
	all, err := c.annotationsOf(ctx, name)
	if err != nil {
		return
	}
	c.enc.Raw("* METADATA ")
	c.enc.Mailbox(name)
	sep := " ("
	for _, entry := range entries {
		value, ok := all[entry]
		c.enc.Raw(sep)
		c.enc.String(entry)
		c.enc.SP()
		c.enc.NString(string(value), ok)
		sep = " "
	}
	c.enc.Raw(")\r\n")
}
