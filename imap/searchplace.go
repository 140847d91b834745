package imap

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/goniec-mail/goniec/mailbox"
)

// searchPlace is a mailbox that is searched, and how its messages are numbered.
type searchPlace struct {
	mb    mailbox.Mailbox
	view  *mailbox.View
	saved mailbox.UIDSet // "$"; of the selected mailbox only
	lax   bool           // RFC 7377 §2: a number that no message has is no error
}

// selectedPlace is the selected mailbox as it is now: a result that is saved later is not "$" of this search.
func (c *conn) selectedPlace() *searchPlace {
	return &searchPlace{mb: c.box.mb, view: c.box.view, saved: c.box.saved}
}

// uids returns the messages of a set.
func (p *searchPlace) uids(s numberedSet) (mailbox.UIDSet, error) {
	switch {
	case s.saved:
		return p.saved.Intersect(p.view.UIDSet()), nil
	case s.by == byUID:
		return p.view.KnownUIDs(s.numbers), nil
	case p.lax:
		s.numbers = numbersUpTo(uint32(p.view.Len()), s.numbers)
	}
	uids, err := p.view.UIDs(s.numbers)
	if err != nil {
		return nil, bad("%s", err)
	}
	return uids, nil
}

// numbersUpTo cuts a set to the numbers that there are.
func numbersUpTo(count uint32, set mailbox.NumSet) (out mailbox.NumSet) {
	if count == 0 {
		return nil
	}
	star := func(n uint32) uint32 {
		if n == 0 {
			return count
		}
		return n
	}
	for _, r := range set {
		first, last := star(r.First), star(r.Last)
		if lowest := min(first, last); lowest <= count {
			out = append(out, mailbox.NumRange{First: lowest, Last: min(max(first, last), count)})
		}
	}
	return out
}

// placedKey is a search key that means other messages in each mailbox: a set, or an identity.
type placedKey struct {
	set  numberedSet
	item fetchItem // EMAILID or THREADID
	id   string    // "" for a set
}

// later keeps a key until it is known where it is looked for.
func (p *searchParser) later(key placedKey) mailbox.Criterion {
	p.placed = append(p.placed, key)
	return mailbox.Criterion{Key: mailbox.KeyUIDs, Number: uint64(len(p.placed))}
}

// in returns the keys for a mailbox: a copy, with the messages that they mean there.
func (p *searchParser) in(ctx context.Context, place *searchPlace, key mailbox.Criterion) (mailbox.Criterion, error) {
	ranges := 0
	for todo := []*mailbox.Criterion{&key}; len(todo) > 0; {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		k.Of = slices.Clone(k.Of)
		for i := range k.Of {
			todo = append(todo, &k.Of[i])
		}
		if k.Key != mailbox.KeyUIDs || k.Number == 0 {
			continue
		}
		uids, err := place.messages(ctx, &p.placed[k.Number-1])
		if err != nil {
			return key, err
		}
		if ranges += len(uids); ranges > maxSetRanges && ranges > maxSetFactor*len(place.view.UIDSet()) {
			return key, mailbox.ErrCriteria
		}
		k.UIDs, k.Number = uids, 0
	}
	return key, nil
}

// messages returns those that a key means.
func (p *searchPlace) messages(ctx context.Context, key *placedKey) (mailbox.UIDSet, error) {
	if key.id == "" {
		return p.uids(key.set)
	}
	return p.withValue(ctx, key.item, []byte("("+key.id+")"))
}

// withValue returns the messages whose kept item has a value.
func (p *searchPlace) withValue(ctx context.Context, item fetchItem, value []byte) (mailbox.UIDSet, error) {
	ch, err := p.mb.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	var kept keptValues
	var found mailbox.UIDSetBuilder
	var chunk []mailbox.Meta
	look := func() error {
		if err := kept.load(ctx, p.mb, []fetchItem{item}, chunk); err != nil {
			return err
		}
		for i, m := range chunk {
			if kept.failed[i] == nil && bytes.Equal(kept.value(item.kind, i), value) {
				found.Add(m.UID)
			}
		}
		chunk = chunk[:0]
		return context.Cause(ctx)
	}
	for m := range ch.Messages {
		if chunk = append(chunk, m); len(chunk) == fetchChunk {
			if err := look(); err != nil {
				return nil, err
			}
		}
	}
	if len(chunk) > 0 {
		err = look()
	}
	return found.Set(), err
}

// find evaluates the keys of a search over the messages of a mailbox that the client knows. It returns them as they are meant
// there.
func (c *conn) find(ctx context.Context, s *searching, place *searchPlace) (key mailbox.Criterion, res mailbox.SearchResult, err error) {
	err = s.time.spend(ctx, func(ctx context.Context) error {
		if key, err = s.parser.in(ctx, place, s.key); err != nil {
			return err
		}
		res, err = searchAmong(ctx, place.mb, place.view.UIDSet(), key)
		return err
	})
	if err != nil {
		return key, res, failed(fmt.Errorf("search: %w", err))
	}
	return key, res, nil
}

// searchAmong evaluates a program over some messages.
func searchAmong(ctx context.Context, mb mailbox.Mailbox, uids mailbox.UIDSet, key mailbox.Criterion) (mailbox.SearchResult, error) {
	key.Of = append([]mailbox.Criterion{{Key: mailbox.KeyUIDs, UIDs: uids}}, key.Of...) // a program is a KeyAnd
	return mailbox.Search(ctx, readableFor(mb, searchFields(&key)), key)
}
