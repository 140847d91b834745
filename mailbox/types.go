package mailbox

import (
	"math"
	"strings"
	"time"
)

// UID is a message's unique identifier in its folder (RFC 9051 §2.3.1.1). 0 is none.
type UID uint32

// MaxUID is the highest possible UID.
const MaxUID UID = math.MaxUint32

// ModSeq is a mod-sequence (RFC 7162): a 63-bit number that rises with every change of a folder.
type ModSeq uint64

// Latest, as the argument of Changes, asks for the State alone: nothing is newer.
const Latest ModSeq = math.MaxInt64

// Date is an instant in Unix seconds, the resolution of INTERNALDATE. 0 is none.
type Date int64

// DateOf returns t to the second; 0 for the zero time.
func DateOf(t time.Time) Date {
	if t.IsZero() {
		return 0
	}
	return Date(t.Unix())
}

// Time returns d in the local zone; the zero time for 0.
func (d Date) Time() time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Unix(int64(d), 0)
}

// Flags is the set of a message's flags: the system flags, and a bit for each of the folder's
// State.Keywords.
type Flags uint64

// The system flags of RFC 9051 §2.3.2. There is no \Recent: RFC 9051 gave it up.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft

	SystemFlags = Seen | Answered | Flagged | Deleted | Draft
)

// MaxKeywords is the largest number of keywords of one folder.
const MaxKeywords = 56

// KeywordBit returns the bit of State.Keywords[i]; 0 when i is out of range.
func KeywordBit(i int) Flags {
	if i < 0 || i >= MaxKeywords {
		return 0
	}
	return 1 << (8 + i)
}

// FlagList is a set of flags by name, for a folder whose keywords may not have bits yet. Keywords
// are atoms of IMAP, compared without regard to the case of ASCII letters; the spelling of the
// first use stays.
type FlagList struct {
	System   Flags // of SystemFlags only
	Keywords []string
}

// List gives the names behind the bits of f under a State's Keywords.
func (f Flags) List(keywords []string) FlagList {
	l := FlagList{System: f & SystemFlags}
	for i, k := range keywords {
		if f&KeywordBit(i) != 0 {
			l.Keywords = append(l.Keywords, k)
		}
	}
	return l
}

// KeywordIndex returns the place of a keyword in keywords, -1 when it is not there.
func KeywordIndex(keywords []string, name string) int {
	for i, k := range keywords {
		if strings.EqualFold(k, name) {
			return i
		}
	}
	return -1
}

// CanonicalName returns the one spelling of a folder's name: INBOX is spelled in any case by users,
// alone and as the first level ("inbox/Sub").
func CanonicalName(name string) string {
	const inbox = "INBOX"
	if len(name) >= len(inbox) && strings.EqualFold(name[:len(inbox)], inbox) &&
		(len(name) == len(inbox) || name[len(inbox)] == '/') {
		return inbox + name[len(inbox):]
	}
	return name
}
