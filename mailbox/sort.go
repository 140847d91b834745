package mailbox

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/mime"
)

// SortKey is a key of SORT (RFC 5256 §3, RFC 5957).
type SortKey uint8

// The sort keys.
const (
	SortArrival     SortKey = iota + 1 // INTERNALDATE
	SortCc                             // local part of the first Cc address
	SortDate                           // Date field in UTC; INTERNALDATE where it can not be read
	SortFrom                           // local part of the first From address
	SortSize                           // octets
	SortSubject                        // base subject
	SortTo                             // local part of the first To address
	SortDisplayFrom                    // display name of the first From address, its address where it has none
	SortDisplayTo                      // display name of the first To address, likewise
)

// SortOrder is one criterion of SORT: a key, ascending or (REVERSE) descending.
type SortOrder struct {
	Key     SortKey
	Reverse bool
}

// Sort returns uids in the order of keys; messages that are equal in all of them are in ascending order
// of UIDs. Texts are compared as i;unicode-casemap does (RFC 5051). Messages are opened only for keys
// that need their header, once where the store is Derived (see Search); in memory is only what is compared. UIDs without message are left out.
func Sort(ctx context.Context, m Mailbox, uids UIDSet, order []SortOrder) ([]UID, error) {
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	var items []*sortItem
	var open UIDSetBuilder
	for meta := range ch.Messages {
		if uids.Contains(meta.UID) {
			items = append(items, &sortItem{meta: meta})
			if needsReading(order, meta) {
				open.Add(meta.UID)
			}
		}
	}
	if set := open.Set(); !set.Empty() {
		if err := readItems(ctx, m, set, items, func(i *sortItem, h *mime.Header) { i.fill(order, h) }); err != nil {
			return nil, err
		}
		items = slices.DeleteFunc(items, func(i *sortItem) bool { return set.Contains(i.meta.UID) && !i.read })
	}
	slices.SortStableFunc(items, func(a, b *sortItem) int { return a.compare(b, order) })
	out := make([]UID, len(items))
	for i, item := range items {
		out[i] = item.meta.UID
	}
	return out, nil
}

// sortItem is a message and what it is compared by.
type sortItem struct {
	meta  Meta
	read  bool
	sent  time.Time
	texts [SortDisplayTo + 1]string // by SortKey
}

func needsReading(order []SortOrder, m Meta) bool {
	return slices.ContainsFunc(order, func(o SortOrder) bool {
		return o.Key != SortArrival && (o.Key != SortSize || m.Size < 0)
	})
}

// fill takes from the header what the order needs.
func (i *sortItem) fill(order []SortOrder, h *mime.Header) {
	for _, o := range order {
		switch o.Key {
		case SortDate:
			i.sent = sentDate(h, i.meta)
		case SortSubject:
			base, _ := BaseSubject(h.Value("Subject"))
			i.texts[o.Key] = foldString(base)
		case SortFrom:
			i.texts[o.Key] = foldString(mailboxName(firstAddress(h, "From")))
		case SortTo:
			i.texts[o.Key] = foldString(mailboxName(firstAddress(h, "To")))
		case SortCc:
			i.texts[o.Key] = foldString(mailboxName(firstAddress(h, "Cc")))
		case SortDisplayFrom:
			i.texts[o.Key] = foldString(displayName(firstAddress(h, "From")))
		case SortDisplayTo:
			i.texts[o.Key] = foldString(displayName(firstAddress(h, "To")))
		}
	}
}

// sentDate is RFC 5256 §2.2: the Date field, at midnight if its time can not be read, or INTERNALDATE where its date can not be
// either.
func sentDate(h *mime.Header, m Meta) time.Time {
	if t, err := h.Date(); err == nil {
		return t.UTC()
	}
	if day, ok := cutTime(h.Value("Date")); ok {
		if t, err := mime.ParseDate(day); err == nil {
			return t.UTC()
		}
	}
	return m.Date.Time().UTC()
}

// sentDay is the day that the Date field shows, whatever its time and zone (RFC 9051 §6.4.4): a leap second is not the next
// day's.
func sentDay(h *mime.Header, m Meta) Day {
	text := h.Value("Date")
	if day, ok := cutTime(text); ok {
		if t, err := mime.ParseDate(day); err == nil {
			return DayOf(t)
		}
	}
	if t, err := mime.ParseDate(text); err == nil {
		return DayOf(t)
	}
	return DayOf(m.Date.Time())
}

// cutTime returns what is before the word with a time in it.
func cutTime(date string) (day string, ok bool) {
	colon := strings.IndexByte(date, ':')
	if colon < 0 {
		return date, false
	}
	space := strings.LastIndexByte(date[:colon], ' ')
	return date[:max(space, 0)], space > 0
}

// firstAddress returns the first mailbox or group of a field; the zero Address when there is none.
func firstAddress(h *mime.Header, field string) mime.Address {
	list, _ := h.Addresses(field) // what can be read of it
	for _, a := range list {
		if a.Kind != mime.GroupEnd {
			return a
		}
	}
	return mime.Address{}
}

// mailboxName is what ENVELOPE has for addr-mailbox: of a group its name (RFC 9051 §7.5.2).
func mailboxName(a mime.Address) string {
	if a.Kind == mime.GroupStart {
		return a.Name
	}
	return a.Local
}

// displayName is RFC 5957 §3: the decoded display name, else the address.
func displayName(a mime.Address) string {
	if name := a.Text(); name != "" || a.Kind == mime.GroupStart {
		return name
	}
	if a.Domain == "" {
		return a.Local
	}
	return a.Local + "@" + a.Domain
}

func (i *sortItem) compare(other *sortItem, order []SortOrder) int {
	for _, o := range order {
		c := i.compareKey(other, o.Key)
		if o.Reverse {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(i.meta.UID, other.meta.UID)
}

func (i *sortItem) compareKey(other *sortItem, key SortKey) int {
	switch key {
	case SortArrival:
		return cmp.Compare(i.meta.Date, other.meta.Date)
	case SortDate:
		return i.sent.Compare(other.sent)
	case SortSize:
		return cmp.Compare(i.meta.Size, other.meta.Size)
	default:
		if int(key) >= len(i.texts) {
			return 0
		}
		return strings.Compare(i.texts[key], other.texts[key])
	}
}

// readItems hands the headers of messages to fill, in no order, by several goroutines: kept ones, else
// those of the messages. items are ascending by UID. Messages that are gone stay unread.
func readItems(ctx context.Context, m Mailbox, uids UIDSet, items []*sortItem, fill func(*sortItem, *mime.Header)) error {
	item := func(uid UID) *sortItem {
		at, ok := slices.BinarySearchFunc(items, uid, func(i *sortItem, u UID) int { return cmp.Compare(i.meta.UID, u) })
		if !ok {
			return nil
		}
		return items[at]
	}
	keeper := newHeaderKeeper(ctx, m)
	missing, err := keeper.eachKept(uids, func() (func(UID, []byte), func()) {
		return func(uid UID, block []byte) {
			if i := item(uid); i != nil && i.meta.Size >= 0 {
				i.read = true
				fill(i, mime.ParseHeader(block))
			}
		}, func() {}
	})
	if err != nil {
		return err
	}
	var sizeless UIDSetBuilder // which reading tells
	for _, i := range items {
		if i.meta.Size < 0 && uids.Contains(i.meta.UID) {
			sizeless.Add(i.meta.UID)
		}
	}
	defer keeper.flush()
	return eachBlock(ctx, missing.Union(sizeless.Set()), searchBlock, func(ctx context.Context) func(UIDSet) error {
		return func(block UIDSet) error {
			return readHeaders(ctx, m, block, func(msg Message, h *mime.Header) {
				if i := item(msg.UID); i != nil {
					i.meta.Size, i.read = msg.Content.Size(), true
					fill(i, h)
				}
				if missing.Contains(msg.UID) {
					keeper.keep(msg.UID, h)
				}
			})
		}
	})
}

// readHeaders reads the headers of messages, passing over those that are gone.
func readHeaders(ctx context.Context, m Mailbox, uids UIDSet, do func(Message, *mime.Header)) error {
	for msg, err := range m.Read(ctx, uids) {
		if msg.UID != 0 && errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		h, err := readHeader(msg.Content)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		do(msg, h)
	}
	return nil
}

// eachBlock hands blocks of a set, of size UIDs each, to workers, each made by worker; the first error ends the
// others' context.
func eachBlock(ctx context.Context, uids UIDSet, size int, worker func(context.Context) func(UIDSet) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	blocks := make(chan UIDSet)
	var all sync.WaitGroup
	for range min(searchWorkers, (uids.Len()+size-1)/size) {
		all.Go(func() {
			do := worker(ctx)
			for block := range blocks {
				if err := do(block); err != nil {
					cancel(err)
				}
			}
		})
	}
	for block := range chunks(uids, size) {
		select {
		case blocks <- block:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(blocks)
	all.Wait()
	return ended(ctx)
}
