package mailbox

import (
	"fmt"
	"strings"
)

// Rights is a set of what a user may do with a folder (RFC 4314 §2.1).
type Rights uint16

// The standard rights, with their letters.
const (
	RightLookup   Rights = 1 << iota // l: the folder is listed
	RightRead                        // r: SELECT, STATUS, FETCH, SEARCH, COPY from it
	RightSeen                        // s: set and remove \Seen
	RightWrite                       // w: set and remove all other flags but \Deleted
	RightInsert                      // i: APPEND, COPY and MOVE into it
	RightPost                        // p: send mail to the folder's address: for delivery, not asked for here (RFC 4314 §2.1)
	RightCreate                      // k: make folders below it
	RightDelete                      // x: delete and rename the folder
	RightDeleted                     // t: set and remove \Deleted
	RightExpunge                     // e: expunge
	RightAdmin                       // a: read and change the list of rights
	allRightsOnce                    // one above the last

	// AllRights is everything an owner has.
	AllRights = allRightsOnce - 1
	// FlagRights are the rights to change flags.
	FlagRights = RightSeen | RightWrite | RightDeleted
	// ChangeRights are those that change messages: without any of them a folder is read-only
	// (RFC 4314 §5.2; flags are the folder's, and not the user's own).
	ChangeRights = FlagRights | RightInsert | RightExpunge
)

// rightLetters are the letters of the bits, in order.
const rightLetters = "lrswipkxtea"

// RFC 4314 §2.1.1: the rights of RFC 2086 that others replace. Whoever says "c" or "d" means all of
// them, and is shown the letter where any of them is there.
const (
	oldCreate = RightCreate | RightDelete
	oldDelete = RightDeleted | RightExpunge
)

// Has reports whether r has every right of want.
func (r Rights) Has(want Rights) bool { return r&want == want }

// String returns the letters of r, in the order of RFC 4314 §2.1: what a store keeps.
func (r Rights) String() string {
	var b strings.Builder
	for i := range len(rightLetters) {
		if r&(1<<i) != 0 {
			b.WriteByte(rightLetters[i])
		}
	}
	return b.String()
}

// Compatible returns the letters of r for clients: also "c" and "d" where any of the rights is there
// that replaced them (RFC 4314 §2.1.1).
func (r Rights) Compatible() string {
	s := r.String()
	if r&oldCreate != 0 {
		s += "c"
	}
	if r&oldDelete != 0 {
		s += "d"
	}
	return s
}

// ParseRights reads letters in any order, "c" and "d" included. The error wraps ErrRights and names
// the letter that is none.
func ParseRights(s string) (Rights, error) {
	var r Rights
	for _, c := range s {
		switch i := strings.IndexRune(rightLetters, c); {
		case i >= 0:
			r |= 1 << i
		case c == 'c':
			r |= oldCreate
		case c == 'd':
			r |= oldDelete
		default:
			return 0, fmt.Errorf("%w: %q", ErrRights, c)
		}
	}
	return r, nil
}

// flagRight returns the right that a flag needs.
func (l FlagList) right() (r Rights) {
	if l.System&Seen != 0 {
		r |= RightSeen
	}
	if l.System&Deleted != 0 {
		r |= RightDeleted
	}
	if l.System&^(Seen|Deleted) != 0 || len(l.Keywords) > 0 {
		r |= RightWrite
	}
	return r
}

// Flags returns the system flags that r may change. Keywords belong to RightWrite.
func (r Rights) Flags() (f Flags) {
	if r.Has(RightSeen) {
		f |= Seen
	}
	if r.Has(RightDeleted) {
		f |= Deleted
	}
	if r.Has(RightWrite) {
		f |= SystemFlags &^ (Seen | Deleted)
	}
	return f
}

// Permit returns those flags of l that r may change (RFC 4314 §4).
func (r Rights) Permit(l FlagList) FlagList {
	l.System &= r.Flags()
	if !r.Has(RightWrite) {
		l.Keywords = nil
	}
	return l
}
