package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Errors of access control lists.
var (
	ErrRights     = errors.New("no such right")                   // IMAP: BAD
	ErrIdentifier = errors.New("identifier can not be used")      // IMAP: BAD
	ErrACLLimit   = errors.New("access control list is too long") // IMAP: NO [LIMIT]
)

// Limits of access control lists.
const (
	// MaxACLEntries is how many entries a folder's list can have.
	MaxACLEntries = 500
	// MaxIdentifierBytes is the longest identifier.
	MaxIdentifierBytes = 255
)

// Identifier names whom an entry of an access control list is about (RFC 4314 §2): a user by the
// canonical name, or one of the words and prefixes below. A user who has such a name himself is not
// reached by it.
type Identifier string

// Identifiers that are not users. The words are those that Dovecot gives to IMAP clients.
const (
	IDAnyone        Identifier = "anyone"        // everybody, without login too
	IDAuthenticated Identifier = "authenticated" // everybody who has logged in
	IDOwner         Identifier = "owner"         // who the folder belongs to
	// GroupPrefix begins a group's name: "$team".
	GroupPrefix = "$"
	// OverridePrefix begins the name of a group whose entry counts more than that of the user.
	OverridePrefix = "!$"
)

// Check returns an error that wraps ErrIdentifier when id is empty, longer than MaxIdentifierBytes,
// not UTF-8, has control characters, or begins with "-", which marks negative rights (RFC 4314 §2).
func (id Identifier) Check() error {
	s := string(id)
	switch {
	case s == "" || s == GroupPrefix || s == OverridePrefix:
		return fmt.Errorf("%w: it is empty", ErrIdentifier)
	case len(s) > MaxIdentifierBytes:
		return fmt.Errorf("%w: it is too long", ErrIdentifier)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%w: it is not UTF-8, or has control characters", ErrIdentifier)
	case s[0] == '-':
		return fmt.Errorf("%w: it begins with -", ErrIdentifier)
	}
	return nil
}

// class orders identifiers by how much they count: later ones more, as in Dovecot.
func (id Identifier) class() int {
	switch {
	case id == IDAnyone:
		return 0
	case id == IDAuthenticated:
		return 1
	case strings.HasPrefix(string(id), GroupPrefix):
		return 2
	case id == IDOwner:
		return 3
	case strings.HasPrefix(string(id), OverridePrefix):
		return 5
	}
	return 4
}

// IsUser reports whether id is a user's name.
func (id Identifier) IsUser() bool { return id.class() == 4 }

// ACLEntry gives rights to an identifier, or takes them away (RFC 4314 §2: "-fred").
type ACLEntry struct {
	ID       Identifier
	Negative bool
	Rights   Rights
}

// ACL is the access control list of a folder: at most one entry for each identifier and sign.
type ACL []ACLEntry

// Subject is somebody who wants to do something.
type Subject struct {
	User   string // "" = not logged in
	Groups []string
	Owner  bool // the folder is his
}

// is reports whether an identifier is about the subject.
func (s Subject) is(id Identifier) bool {
	switch id.class() {
	case 0:
		return true
	case 1:
		return s.User != ""
	case 3:
		return s.Owner
	case 4:
		return s.User != "" && string(id) == s.User
	}
	return slices.Contains(s.Groups, strings.TrimPrefix(strings.TrimPrefix(string(id), "!"), GroupPrefix))
}

// Rights returns what a subject may do. An owner may do everything, whatever the list says. For
// others the most specific identifier counts alone (anyone, authenticated, groups, user, overriding
// groups, in rising order; groups of the subject are added up), and from it is taken away what a negative
// entry about the subject has. Nobody mentioned, no right. That is what Dovecot does with the same
// list, but for owners, whom it lets restrict themselves.
func (l ACL) Rights(s Subject) Rights {
	if s.Owner {
		return AllRights
	}
	var give, take Rights
	best := -1
	for _, e := range l {
		switch class := e.ID.class(); {
		case !s.is(e.ID):
		case e.Negative:
			take |= e.Rights
		case class > best:
			best, give = class, e.Rights
		case class == best:
			give |= e.Rights
		}
	}
	return give &^ take
}

// find returns the place of an entry, -1 when it is not there.
func (l ACL) find(id Identifier, negative bool) int {
	return slices.IndexFunc(l, func(e ACLEntry) bool { return e.ID == id && e.Negative == negative })
}

// With returns the list with the rights of an entry added. Stores make lists of what they keep with it.
func (l ACL) With(e ACLEntry) ACL {
	return slices.Clone(l).apply(ACLChange{ACLAdd, e})
}

// Grants reports whether an entry gives id any right.
func (l ACL) Grants(id Identifier) bool {
	i := l.find(id, false)
	return i >= 0 && l[i].Rights != 0
}

// ACLOp says what an ACLChange does.
type ACLOp uint8

// The operations of SETACL and DELETEACL (RFC 4314 §3.1, §3.2).
const (
	ACLReplace ACLOp = iota + 1 // the entry has these rights
	ACLAdd                      // the entry has these rights too
	ACLRemove                   // the entry has these rights no more
	ACLDelete                   // there is no entry
)

// ACLChange changes one entry of a list.
type ACLChange struct {
	Op    ACLOp
	Entry ACLEntry
}

// Apply returns the list after changes; l itself is not changed. An entry without rights stays: it
// says that a user has none although others have. The errors are those of Identifier.Check, and ErrACLLimit.
func (l ACL) Apply(changes ...ACLChange) (ACL, error) {
	l = slices.Clone(l)
	for _, c := range changes {
		if err := c.Entry.ID.Check(); err != nil {
			return nil, err
		}
		l = l.apply(c)
	}
	if len(l) > MaxACLEntries {
		return nil, ErrACLLimit
	}
	return l, nil
}

func (l ACL) apply(c ACLChange) ACL {
	i := l.find(c.Entry.ID, c.Entry.Negative)
	switch {
	case c.Op == ACLDelete && i >= 0:
		return slices.Delete(l, i, i+1)
	case c.Op == ACLDelete, c.Op == ACLRemove && i < 0:
		return l
	case i < 0:
		return append(l, c.Entry)
	case c.Op == ACLAdd:
		l[i].Rights |= c.Entry.Rights
	case c.Op == ACLRemove:
		l[i].Rights &^= c.Entry.Rights
	default:
		l[i].Rights = c.Entry.Rights
	}
	return l
}

// ACLKeeper is an optional interface of an Account: it keeps an access control list for each folder, and enforces
// nothing. The list belongs to the folder: it goes with it when that is renamed, and is gone when it is
// deleted. Names of folders are the account's own. WithSharing makes access control of it.
type ACLKeeper interface {
	// ACL returns a folder's list; ErrNotFound when there is no such folder.
	ACL(ctx context.Context, name string) (ACL, error)
	// ChangeACL changes a list, all changes or none, durably, and not crossing another's change. Its
	// errors are those of ACL and of ACL.Apply.
	ChangeACL(ctx context.Context, name string, changes ...ACLChange) error
}

// AccessControl is an optional interface of an Account whose folders, own and others', are opened to the account's user
// as far as rights allow: the source of IMAP's ACL extension (RFC 4314). A folder that the user may not know of is
// ErrNotFound.
type AccessControl interface {
	// ACLKeeper, for who has RightAdmin; ErrForbidden else. The owner's rights are listed first.
	ACLKeeper
	// MyRights returns the rights of the account's user; ErrNotFound where he has none.
	MyRights(ctx context.Context, name string) (Rights, error)
	// Grantable returns which rights id always has in a folder, and which can be given to it (LISTRIGHTS).
	// It needs RightAdmin.
	Grantable(ctx context.Context, name string, id Identifier) (always, optional Rights, err error)
}

// MyRights returns what the account's user may do with a folder. Without AccessControl that is everything,
// and it is not looked whether the folder exists.
func MyRights(ctx context.Context, a Account, name string) (Rights, error) {
	if c, ok := As[AccessControl](a); ok {
		return c.MyRights(ctx, name)
	}
	return AllRights, nil
}

// GetACL returns a folder's list. Without ACLKeeper it is ErrCannot.
func GetACL(ctx context.Context, a Account, name string) (ACL, error) {
	if k, ok := As[ACLKeeper](a); ok {
		return k.ACL(ctx, name)
	}
	return nil, ErrCannot
}

// ChangeACL changes a folder's list. Without ACLKeeper it is ErrCannot.
func ChangeACL(ctx context.Context, a Account, name string, changes ...ACLChange) error {
	if k, ok := As[ACLKeeper](a); ok {
		return k.ChangeACL(ctx, name, changes...)
	}
	return ErrCannot
}

// Namespaces are the prefixes of names, each with "/" at its end, that are not the user's own folders (RFC
// 2342); "" = there is none.
type Namespaces struct {
	Others string // folders of other users
	Shared string // folders of nobody in particular
}

// Personal reports whether a name is one of the user's own.
func (n Namespaces) Personal(name string) bool {
	for _, prefix := range [...]string{n.Others, n.Shared} {
		if prefix != "" && (strings.HasPrefix(name, prefix) || name == strings.TrimSuffix(prefix, "/")) {
			return false
		}
	}
	return true
}

// NamespaceTeller is an optional interface of an Account that shows more than the user's own folders.
type NamespaceTeller interface {
	Namespaces() Namespaces
}

// NamespacesOf returns the namespaces of an account; none without NamespaceTeller.
func NamespacesOf(a Account) Namespaces {
	if t, ok := As[NamespaceTeller](a); ok {
		return t.Namespaces()
	}
	return Namespaces{}
}
