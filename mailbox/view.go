package mailbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// View is what one session knows of a folder: message sequence numbers (RFC 9051 §2.3.1.2), which
// must not shift behind the client's back, and how far it has been told of changes. It is built on
// Mailbox.Changes alone and costs a few bytes for each gap between UIDs: 100,000 messages at most 8
// KiB as long as there are fewer than a thousand gaps. It is not safe for concurrent use.
type View struct {
	m    Mailbox
	nums sequence // the client's numbering: expunged messages that are held still have their number
	held UIDSet   // expunged, and the client was not told yet
	last State    // at the last Poll
	told ModSeq
}

// ErrNumber is in the chain of UIDs' error for a sequence number that no message has.
var ErrNumber = errors.New("no message with this sequence number")

// OpenView lists the folder and numbers its messages.
func OpenView(ctx context.Context, m Mailbox) (*View, error) {
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	return NewView(m, ch), nil
}

// NewView makes a View of ch, the answer of m.Changes(ctx, 0): for callers who use the list for
// something else too.
func NewView(m Mailbox, ch *Changes) *View {
	var b UIDSetBuilder
	for meta := range ch.Messages {
		b.Add(meta.UID)
	}
	return &View{m: m, nums: newSequence(b.Set()), last: ch.State, told: ch.State.ModSeq}
}

// Mailbox returns the handle that the View polls.
func (v *View) Mailbox() Mailbox { return v.m }

// State is the folder's state at the last Poll. Its Messages may differ from Len.
func (v *View) State() State { return v.last }

// ModSeq is the mod-sequence up to which the client has been told everything: it does not pass an
// expunge that is held.
func (v *View) ModSeq() ModSeq { return v.told }

// Len is how many messages the client knows of: the highest sequence number.
func (v *View) Len() int { return v.nums.len() }

// UIDSet returns the UIDs that have a number.
func (v *View) UIDSet() UIDSet { return v.nums.set }

// Held returns the UIDs that have a number still but are expunged: Read passes them over.
func (v *View) Held() UIDSet { return v.held }

// UID returns the UID of a sequence number; 0 when it has none.
func (v *View) UID(number uint32) UID { return v.nums.uid(number) }

// Number returns the sequence number of a UID; 0 when the client does not know the message.
func (v *View) Number(u UID) uint32 { return v.nums.number(u) }

// UIDs returns the UIDs of a set of sequence numbers. "*" is the highest number. A number that no
// message has is ErrNumber: RFC 9051 §9 wants an error.
func (v *View) UIDs(numbers NumSet) (UIDSet, error) {
	count := uint32(v.Len())
	for _, r := range numbers {
		if n := max(r.First, r.Last); n > count || count == 0 {
			return nil, fmt.Errorf("%w: %s of %d", ErrNumber, number(n), count)
		}
	}
	return v.nums.uids(numbers.intervals(count)), nil
}

// KnownUIDs returns the UIDs of a set of UIDs that have a number. "*" is the highest of them, so that
// "n:*" has at least that one; UIDs without message are passed over (RFC 9051 §6.4.9).
func (v *View) KnownUIDs(uids NumSet) UIDSet {
	return uids.intervals(uint32(v.nums.set.Max())).Intersect(v.nums.set)
}

// Numbers returns the sequence numbers of uids, ascending; UIDs without number are passed over.
func (v *View) Numbers(uids UIDSet) NumSet { return v.nums.numbers(uids).numSet() }

// Each yields number and UID of uids, ascending; UIDs without number are passed over. It takes one
// step for each, where Number would search.
func (v *View) Each(uids UIDSet) iter.Seq2[uint32, UID] {
	nums := v.nums
	return func(yield func(uint32, UID) bool) {
		for _, r := range uids.Intersect(nums.set) {
			n := nums.number(r.First)
			for u := range (UIDSet{r}).All() {
				if !yield(n, u) {
					return
				}
				n++
			}
		}
	}
}

// Announce says what a Poll may tell the client.
type Announce uint8

const (
	// Everything may be told: the command is neither FETCH, STORE nor SEARCH by sequence numbers
	// (RFC 9051 §7.5.1).
	Everything Announce = iota
	// HoldExpunges keeps the numbers as they are: expunged messages stay numbered until a Poll that
	// may tell Everything.
	HoldExpunges
)

// Update is what the client is to be told, in this order: Expunged (or Vanished), Exists, Changed.
type Update struct {
	// Vanished is the messages that lost their number, as UIDs (RFC 7162 VANISHED).
	Vanished UIDSet
	// Added is the messages that are new.
	Added UIDSet
	// Exists is how many messages there are for the client after this Update.
	Exists int
	// State is the folder's, at the moment of the Poll.
	State State
	// NewKeywords reports that State.Keywords has grown: FLAGS is to be told anew.
	NewKeywords bool

	expunged UIDSet // the numbers
	nums     sequence
	changed  UIDSet
	messages iter.Seq[Meta]
}

// Empty reports whether there is nothing to tell.
func (u *Update) Empty() bool {
	return u.Vanished.Empty() && u.Added.Empty() && u.changed.Empty() && !u.NewKeywords
}

// Expunged yields the sequence numbers to announce as EXPUNGE, in their order: the highest first, so
// that each is right at the moment when it is said.
func (u *Update) Expunged() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, r := range slices.Backward(u.expunged) {
			for n := r.Last; n >= r.First; n-- { // First is at least 1: no wrap
				if !yield(uint32(n)) {
					return
				}
			}
		}
	}
}

// Changed yields the messages known before whose flags or mod-sequence changed, ascending, with
// their numbers after Expunged was told. The session's own changes are among them.
func (u *Update) Changed() iter.Seq2[uint32, Meta] {
	return func(yield func(uint32, Meta) bool) {
		if u.changed.Empty() {
			return
		}
		for m := range u.messages {
			if u.changed.Contains(m.UID) && !yield(u.nums.number(m.UID), m) {
				return
			}
		}
	}
}

// Poll asks for the folder's changes and moves the View on. When nothing changed it reads no
// message. After an error the View is as it was.
func (v *View) Poll(ctx context.Context, a Announce) (*Update, error) {
	ch, known, err := v.changes(ctx)
	if err != nil {
		return nil, err
	}
	u := &Update{State: ch.State, messages: ch.Messages}
	u.NewKeywords = len(ch.State.Keywords) > len(v.last.Keywords)
	gone := v.held.Union(v.expunged(ch, known))
	v.sortMessages(ch, gone, u)
	if a == HoldExpunges {
		v.held = gone
	} else {
		u.Vanished, u.expunged = gone, v.nums.numbers(gone)
		v.held = nil
	}
	if !u.Vanished.Empty() || !u.Added.Empty() {
		v.nums = newSequence(v.nums.set.Subtract(u.Vanished).Union(u.Added))
	}
	v.last = ch.State
	if v.held.Empty() {
		v.told = ch.State.ModSeq
	}
	u.Exists, u.nums = v.Len(), v.nums
	return u, nil
}

// changes asks the store. Where it does not know all expunges any more it lists the folder: known is
// false then.
func (v *View) changes(ctx context.Context) (ch *Changes, known bool, err error) {
	ch, err = v.m.Changes(ctx, v.last.ModSeq)
	known = true
	if err == nil && !ch.Known {
		ch, err = v.m.Changes(ctx, 0)
		known = false
	}
	if err != nil {
		return nil, false, err
	}
	if ch.State.UIDValidity != v.last.UIDValidity {
		return nil, false, ErrUIDValidity
	}
	return ch, known, nil
}

// expunged returns the numbered messages that ch says or shows to be gone.
func (v *View) expunged(ch *Changes, known bool) UIDSet {
	if known {
		return ch.Expunged.Intersect(v.nums.set)
	}
	var present UIDSetBuilder
	for m := range ch.Messages {
		present.Add(m.UID)
	}
	return v.nums.set.Subtract(present.Set())
}

// sortMessages tells the new messages from those whose flags changed. A message that is neither (a
// UID below UIDNEXT that has no number) would shift the numbers of others: a store must not do
// that, and such a message waits for the next session.
func (v *View) sortMessages(ch *Changes, gone UIDSet, u *Update) {
	var added, changed UIDSetBuilder
	for m := range ch.Messages {
		switch {
		case m.UID >= v.last.UIDNext:
			added.Add(m.UID)
		case m.ModSeq > v.last.ModSeq && v.nums.set.Contains(m.UID) && !gone.Contains(m.UID):
			changed.Add(m.UID)
		}
	}
	u.Added, u.changed = added.Set(), changed.Set()
}
