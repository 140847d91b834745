package delivery

import (
	"context"
	"errors"
	"strings"

	"github.com/goniec-mail/goniec"
)

// Directory knows which domains are ours and who lives there. Temporary trouble (a data base that
// does not answer) is an error of its own and never "absent": mail must not bounce for it. A
// Directory must be safe for concurrent use.
type Directory interface {
	// Domain tells what we are to a domain, given as lower-case A-labels or as an address literal.
	// ErrNotFound: it is not ours.
	Domain(ctx context.Context, name string) (Domain, error)
	// Lookup finds an address of one of our domains: catch-all and address extension are resolved,
	// alias targets are not. ErrNotFound: nobody of that name.
	Lookup(ctx context.Context, addr goniec.Address) (Entry, error)
}

// ErrNotFound says that a Directory knows no such domain or address: a permanent answer.
var ErrNotFound = errors.New("not found in the directory")

// Class is what we are to a domain, in the manner of Postfix's address classes.
type Class uint8

// The classes.
const (
	ClassMailbox Class = iota + 1 // final destination: users with mailboxes, and aliases
	ClassAlias                    // every address is an alias for others, here or elsewhere
	ClassRelay                    // we accept mail for it and pass it on (backup MX, gateway)
)

// String returns "mailbox", "alias" or "relay".
func (c Class) String() string {
	switch c {
	case ClassMailbox:
		return "mailbox"
	case ClassAlias:
		return "alias"
	case ClassRelay:
		return "relay"
	}
	return "unknown"
}

// Domain is the answer of Directory.Domain.
type Domain struct {
	Name  string
	Class Class
	Why   string // the rule or table entry that says so, for Explain and logs
}

// Entry is the answer of Directory.Lookup: either a user, or targets of an alias, or both (a user
// who also forwards). For a relay domain that lists its addresses both are empty.
type Entry struct {
	User    string           // account name for mailbox.Store; "" = no mailbox
	Folder  string           // folder in the account; "" = INBOX
	Targets []goniec.Address // where an alias points
	Detail  string           // address extension that was split off: "tag" of user+tag

	// Attributes are further fields of the user, named as in Dovecot's passwd-file: home, uid, gid,
	// quota_rule, … They are for stores that need them. May be nil; not to be changed.
	Attributes map[string]string

	Why string // the rule or table entry that matched
}

// Resolve looks an address up in the order that mail administrators know from Postfix: the whole
// address; without its extension behind delimiter ("" = none are split off); the catch-all of the
// domain. find answers for one key, ErrNotFound if it has none; a catch-all's key has an empty
// local part and is the domain alone. A driver's Lookup is a call of Resolve.
func Resolve(ctx context.Context, addr goniec.Address, delimiter string,
	find func(ctx context.Context, local, domain string) (Entry, error),
) (Entry, error) {
	local, domain := Fold(addr.Local()), addr.ASCIIDomain()
	e, err := find(ctx, local, domain)
	if !errors.Is(err, ErrNotFound) {
		return e, err
	}
	if base, detail, ok := splitDetail(local, delimiter); ok {
		e, err = find(ctx, base, domain)
		if err == nil {
			e.Detail = detail
		}
		if !errors.Is(err, ErrNotFound) {
			return e, err
		}
	}
	return find(ctx, "", domain)
}

// splitDetail cuts "user+tag" at the first delimiter that is not at its start.
func splitDetail(local, delimiter string) (base, detail string, ok bool) {
	if delimiter == "" || local == "" {
		return "", "", false
	}
	i := strings.IndexAny(local[1:], delimiter)
	if i < 0 {
		return "", "", false
	}
	return local[:i+1], local[i+2:], true
}

// Fold returns the form of a local part under which drivers keep it: ASCII letters in lower case.
// RFC 5321 §2.4 leaves that to us, the owner of the mailbox.
func Fold(local string) string {
	for i := range len(local) {
		if c := local[i]; c >= 'A' && c <= 'Z' {
			return foldASCII(local)
		}
	}
	return local
}

func foldASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
