package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/goniec-mail/goniec/mailbox"
)

// CONTEXT=SORT (RFC 5267 §4.3): changes of a sorted result are told by the positions of messages in it. So the session has to keep
// the result, four octets for each message; and puts it in order again when messages come, from the fields that stores keep.

// maxSortedContext limits the messages of a result that is kept in order.
const maxSortedContext = 10_000

const tooManySorted = "too many messages to be kept in order"

var errTooManySorted = errors.New(tooManySorted)

// contextMove is a run of messages in a sorted result that go or come.
type contextMove struct {
	at   int // position of the first, from 1
	uids []mailbox.UID
}

// contextMoves are the changes of a sorted result, each list in the order in which the client has to follow it.
type contextMoves struct {
	gone, lost, added []contextMove // see contextNews
}

// move brings the sorted result up to date with the news.
func (x *searchContext) move(ctx context.Context, mb mailbox.Mailbox) error {
	n := &x.news
	if x.found.Len() > maxSortedContext {
		return errTooManySorted
	}
	n.moves.gone, n.moves.lost = x.remove(n.gone), x.remove(n.lost)
	if n.added.Empty() {
		return nil
	}
	order, err := mailbox.Sort(ctx, readableFor(mb, sortFields(x.order)), x.found, x.order)
	if err != nil {
		return fmt.Errorf("sort: %w", err)
	}
	// What was expunged since has no place. Nobody was told that it came, so that nobody need be told that it goes.
	there := mailbox.UIDs(order...)
	x.found = x.found.Subtract(n.added.Subtract(there))
	n.added, n.fresh = n.added.Intersect(there), n.fresh.Intersect(there)
	n.moves.added = x.insert(order, n.added)
	return nil
}

// remove takes messages out, the last first: so the positions before it stay what they are.
func (x *searchContext) remove(uids mailbox.UIDSet) (moves []contextMove) {
	if uids.Empty() {
		return nil
	}
	kept := x.sorted[:0]
	for i, u := range x.sorted {
		if uids.Contains(u) {
			moves = addMove(moves, i+1, u)
		} else {
			kept = append(kept, u)
		}
	}
	x.sorted = kept
	slices.Reverse(moves)
	return moves
}

// insert puts messages in, the first first. order has them and the others; but the messages that the client knows keep the order
// that it knows, also those that the store has no more.
func (x *searchContext) insert(order []mailbox.UID, added mailbox.UIDSet) (moves []contextMove) {
	merged, rest := make([]mailbox.UID, 0, len(x.sorted)+added.Len()), x.sorted
	for _, u := range order {
		if added.Contains(u) {
			merged = append(merged, u)
			moves = addMove(moves, len(merged), u)
			continue
		}
		through := slices.Index(rest, u) + 1
		merged, rest = append(merged, rest[:through]...), rest[through:]
	}
	x.sorted = append(merged, rest...)
	return moves
}

// addMove adds a message at a position behind those of the moves before.
func addMove(moves []contextMove, at int, u mailbox.UID) []contextMove {
	if n := len(moves); n > 0 && moves[n-1].at+len(moves[n-1].uids) == at {
		moves[n-1].uids = append(moves[n-1].uids, u)
		return moves
	}
	return append(moves, contextMove{at, []mailbox.UID{u}})
}

// tellMoves writes a return data item of changes.
func (c *conn) tellMoves(item string, moves []contextMove, number func(mailbox.UID) mailbox.UID) {
	for i, m := range moves {
		if i == 0 {
			c.enc.Raw(" " + item + " (")
		} else {
			c.enc.SP()
		}
		c.enc.Number(uint64(m.at))
		c.enc.SP()
		numbers := make([]mailbox.UID, len(m.uids))
		for i, u := range m.uids {
			numbers[i] = number(u)
		}
		c.enc.UIDs(numbers)
	}
	if len(moves) > 0 {
		c.enc.Raw(")")
	}
}

// numberBy returns what a message is called in a response.
func (c *conn) numberBy(by numbering) func(mailbox.UID) mailbox.UID {
	return func(u mailbox.UID) mailbox.UID { return mailbox.UID(by.choose(c.numberFor(by, u), u)) }
}

// goneNumber is numberBy for messages that are about to lose their numbers.
func (x *searchContext) goneNumber() func(mailbox.UID) mailbox.UID {
	if x.by == byUID {
		return func(u mailbox.UID) mailbox.UID { return u }
	}
	numbers := make(map[mailbox.UID]mailbox.UID, len(x.news.goneNumbers))
	i := 0
	for u := range x.news.gone.All() {
		numbers[u] = x.news.goneNumbers[i]
		i++
	}
	return func(u mailbox.UID) mailbox.UID { return numbers[u] }
}
