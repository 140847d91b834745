package mailbox

import (
	"errors"
	"fmt"
	"time"
)

// SearchKey is a search key of IMAP (RFC 9051 §6.4.4, RFC 5032, RFC 7162, RFC 8514).
type SearchKey uint8

// The search keys. Those that IMAP has by name only (SEEN, UNDELETED, NEW) are written with KeyFlags,
// KeyNot and KeyAnd. The zero value is KeyAnd, so that the zero Criterion matches every message.
const (
	KeyAnd           SearchKey = iota // all of Of; every message when there are none
	KeyOr                             // one of Of; no message when there are none
	KeyNot                            // not all of Of
	KeyUIDs                           // UIDs: UID sets, and sequence sets put through View.UIDs
	KeyFlags                          // has all of Flags (of SystemFlags)
	KeyKeyword                        // has the keyword Text
	KeyBefore                         // INTERNALDATE is before Day
	KeyOn                             // INTERNALDATE is on Day
	KeySince                          // INTERNALDATE is on Day or later
	KeySentBefore                     // the Date field is before Day; the zone of the message counts
	KeySentOn                         // the Date field is on Day
	KeySentSince                      // the Date field is on Day or later
	KeySavedBefore                    // the save date (INTERNALDATE where it is not known, RFC 8514 §4.3) is before Day
	KeySavedOn                        // the save date is on Day
	KeySavedSince                     // the save date is on Day or later
	KeySavedSupports                  // the save date is known: SAVEDATESUPPORTED
	KeyLarger                         // larger than Number octets
	KeySmaller                        // smaller than Number octets
	KeyOlder                          // INTERNALDATE is Number seconds ago or more (RFC 5032)
	KeyYounger                        // INTERNALDATE is Number seconds ago or less
	KeyModSeq                         // the mod-sequence is Number or higher (RFC 7162 §3.1.5)
	KeyHeader                         // a header field Field contains Text; it exists when Text is ""
	KeyBody                           // the body contains Text
	KeyText                           // the header or the body contains Text
	keyCount
)

// Criterion is what a message must be to be found: a tree of search keys. Which fields count depends
// on Key. Texts are UTF-8 (the caller converts from the client's charset) and compared as
// i;unicode-casemap does (RFC 5051): without regard to case, and composed like decomposed.
type Criterion struct {
	Key    SearchKey
	Of     []Criterion // KeyAnd, KeyOr, KeyNot
	UIDs   UIDSet
	Flags  Flags
	Day    Day
	Number uint64
	Field  string
	Text   string
}

// Day is a day of the calendar: days since 1 January 1970.
type Day int32

// DayOf returns the day that t shows, in t's zone.
func DayOf(t time.Time) Day {
	y, m, d := t.Date()
	return Day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// Limits of a search.
const (
	// MaxSearchDepth is how deep criteria may be nested.
	MaxSearchDepth = 100
	// MaxSearchKeys is how many keys a search may have in all.
	MaxSearchKeys = 1000
	// MaxSearchTexts is how many of them may be KeyBody and KeyText: each is looked for in all the mail.
	MaxSearchTexts = 100
)

// ErrCriteria is in the chain of Search's error for criteria beyond the limits, or with an unknown key.
var ErrCriteria = errors.New("search criteria are too complex")

// check walks through the tree with a stack of its own: how deep it is, is what is asked.
func (c *Criterion) check() error {
	type item struct {
		c     *Criterion
		depth int
	}
	stack, keys, texts := []item{{c, 1}}, 0, 0
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if keys++; keys > MaxSearchKeys {
			return fmt.Errorf("%w: more than %d keys", ErrCriteria, MaxSearchKeys)
		}
		if top.depth > MaxSearchDepth {
			return fmt.Errorf("%w: more than %d levels", ErrCriteria, MaxSearchDepth)
		}
		if top.c.Key == KeyBody || top.c.Key == KeyText {
			texts++
		}
		if top.c.Key >= keyCount {
			return fmt.Errorf("%w: unknown key %d", ErrCriteria, top.c.Key)
		}
		if len(top.c.Of) > MaxSearchKeys {
			return fmt.Errorf("%w: more than %d keys", ErrCriteria, MaxSearchKeys)
		}
		for i := range top.c.Of {
			stack = append(stack, item{&top.c.Of[i], top.depth + 1})
		}
	}
	if texts > MaxSearchTexts {
		return fmt.Errorf("%w: more than %d texts", ErrCriteria, MaxSearchTexts)
	}
	return nil
}
