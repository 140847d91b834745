package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Sharing says how WithSharing shares folders. The zero value shares between users by name, with an
// index in memory.
type Sharing struct {
	// Index tells who shares with whom. nil means NewShares, which forgets with the process: folders that were
	// shared before are then reached again after Reindex only.
	Index ShareIndex
	// Others is the level below which the folders of other users show, each under its owner's name. "" means
	// "Other Users".
	Others string
	// PublicUser, if not "", is the user whose folders show to all others as Public, as far as their
	// lists say. He is the one who administers them.
	PublicUser string
	// Public is the level for that. "" means "Shared".
	Public string
	// Groups gives the groups of a user ("team" for the identifier "$team"). nil means that there are none.
	Groups func(ctx context.Context, user string) ([]string, error)
	// Canonical brings the name of a user that a client gives rights to into the form that logins have; nil
	// means that it is taken as it is. Its error refuses the name.
	Canonical func(name string) (string, error)
	// Exists tells whether a user exists, before he is given rights. nil means that nobody is asked.
	Exists func(ctx context.Context, user string) (bool, error)
	// AllowAnyone lets users share with everybody ("anyone", "authenticated"). The zero value leaves
	// that to PublicUser.
	AllowAnyone bool
	// MaxOwners limits how many owners' folders one user can see. Zero means 500; negative means no limit.
	MaxOwners int
}

const defaultMaxOwners = 500

// SharedStore is what WithSharing returns.
type SharedStore struct {
	s   Store
	o   Sharing
	ns  Namespaces
	hub shareHub
	one chan struct{} // one change of a list, with the index, at a time
}

// WithSharing returns a Store in which users share folders (RFC 4314): the account of each shows his own
// folders, those that others share with him as "Other Users/joe/Projects", and those of a public user as
// "Shared/News". Accounts implement AccessControl and NamespaceTeller where those of s are ACLKeepers; others come
// back as they are.
//
// Own folders are the store's own, with nothing in between. A handle on another's folder asks for the rights
// at every operation, so that a right that is withdrawn ends at once; every optional interface is asked for too. Who
// has no right to know of a folder finds none (ErrNotFound), who lacks another right is refused
// (ErrForbidden). Flags, \Seen included, belong to the folder: its users share them. Annotations below /private/ are
// the owner's. Mail that comes into a shared folder counts on its owner's quota.
//
// Own folders whose names begin with Others or Public can not be reached, and none can be made. DeliverAll
// delivers into a shared folder when the target's user has RightInsert there.
func WithSharing(s Store, o Sharing) *SharedStore {
	if o.Index == nil {
		o.Index = NewShares()
	}
	if o.Others == "" {
		o.Others = "Other Users"
	}
	if o.Public == "" {
		o.Public = "Shared"
	}
	if o.MaxOwners == 0 {
		o.MaxOwners = defaultMaxOwners
	}
	if o.MaxOwners < 0 {
		o.MaxOwners = int(^uint(0) >> 1)
	}
	st := &SharedStore{s: s, o: o, one: make(chan struct{}, 1)}
	st.ns.Others = o.Others + "/"
	if o.PublicUser != "" {
		st.ns.Shared = o.Public + "/"
	}
	return st
}

// Account implements Store.
func (s *SharedStore) Account(ctx context.Context, user string) (Account, error) {
	own, err := s.s.Account(ctx, user)
	if err != nil || !has[ACLKeeper](own) {
		return own, err
	}
	return &sharedAccount{viewer: viewer{s: s, user: user}, own: own, held: make(map[string]Account)}, nil
}

// Supports tells As what the store can serve: nothing passes it but what is known here.
func (s *SharedStore) Supports(c Capability) bool {
	return c == CapabilityOf[MultiDeliverer]() && has[MultiDeliverer](s.s)
}

// DeliverAll implements MultiDeliverer where the store does.
func (s *SharedStore) DeliverAll(ctx context.Context, to []Target, msg io.Reader, o AppendOptions) []error {
	errs := make([]error, len(to))
	var real []Target
	var at []int
	for i, t := range to {
		if t, errs[i] = s.deliverTo(ctx, t); errs[i] == nil {
			real, at = append(real, t), append(at, i)
		}
	}
	if len(real) == 0 {
		return errs
	}
	for i, err := range DeliverAll(ctx, s.s, real, msg, o) {
		errs[at[i]] = err
	}
	return errs
}

// deliverTo returns the folder that a target means.
func (s *SharedStore) deliverTo(ctx context.Context, t Target) (Target, error) {
	if s.ns.Personal(t.Folder()) {
		return t, nil
	}
	v := viewer{s: s, user: t.User}
	p, err := v.locate(t.Folder())
	if err != nil {
		return t, err
	}
	if err := v.reach(ctx, p); err != nil {
		return t, err
	}
	a, err := s.s.Account(ctx, p.owner)
	if err != nil {
		return t, err
	}
	defer a.Close()
	r, err := v.rightsIn(ctx, a, p)
	if err == nil {
		err = allow(r, RightInsert)
	}
	return Target{User: p.owner, Name: p.name}, err
}

// place is where a name leads.
type place struct {
	owner string
	name  string // in the owner's account
	own   bool   // the owner is the viewer
}

// viewer is a user before whom names and rights have a meaning.
type viewer struct {
	s    *SharedStore
	user string
}

// locate finds the place of a name. What can be nobody's folder is ErrNotFound.
func (v *viewer) locate(name string) (place, error) {
	name = CanonicalName(name)
	p := place{owner: v.user, name: name, own: true}
	if v.s.ns.Personal(name) {
		return p, nil
	}
	p.own = false
	if rest, ok := strings.CutPrefix(name, v.s.ns.Shared); ok && v.s.ns.Shared != "" {
		p.owner, p.name = v.s.o.PublicUser, CanonicalName(rest)
	} else {
		rest, _ = strings.CutPrefix(name, v.s.ns.Others)
		level, folder, _ := strings.Cut(rest, "/")
		if p.owner, ok = unescapeLevel(level); !ok {
			return p, ErrNotFound
		}
		p.name = CanonicalName(folder)
	}
	if p.owner == v.user || p.name == "" {
		return p, ErrNotFound // each folder has one name
	}
	return p, nil
}

// nameOf is the way back: how the viewer calls another's folder.
func (v *viewer) nameOf(owner, name string) string {
	if owner == v.s.o.PublicUser && owner != "" {
		return v.s.ns.Shared + name
	}
	return v.s.ns.Others + escapeLevel(owner) + "/" + name
}

// escapeLevel makes a level of a folder's name of a user's name: what has a meaning to clients is written "=2F"
// and so on.
func escapeLevel(user string) string {
	if user == "." || user == ".." {
		return strings.ReplaceAll(user, ".", "=2E")
	}
	return escapeOctets(user, `/*%=`)
}

func escapeOctets(s, special string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == 0x7F || strings.IndexByte(special, c) >= 0 {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescapeLevel reads what escapeLevel writes, and nothing else.
func unescapeLevel(level string) (user string, ok bool) {
	user, ok = unescapeOctets(level)
	return user, ok && user != "" && escapeLevel(user) == level
}

func unescapeOctets(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		hi, lo := hexDigit(s, i+1), hexDigit(s, i+2)
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}

func hexDigit(s string, i int) int {
	if i >= len(s) {
		return -1
	}
	return strings.IndexByte("0123456789ABCDEF", s[i])
}

// groups asks for the viewer's groups.
func (v *viewer) groups(ctx context.Context) ([]string, error) {
	if v.s.o.Groups == nil {
		return nil, nil
	}
	return v.s.o.Groups(ctx, v.user)
}

// identifiers are those under which the index may know the viewer.
func (v *viewer) identifiers(ctx context.Context) ([]Identifier, error) {
	ids := []Identifier{IDAnyone, IDAuthenticated}
	if id := Identifier(v.user); id.IsUser() {
		ids = append(ids, id)
	}
	groups, err := v.groups(ctx)
	for _, g := range groups {
		ids = append(ids, GroupPrefix+Identifier(g))
	}
	return ids, err
}

// reach makes sure that an owner shares something with the viewer at all: no account is opened, and none made,
// because somebody has named it.
func (v *viewer) reach(ctx context.Context, p place) error {
	if p.own || p.owner == v.s.o.PublicUser {
		return nil
	}
	ids, err := v.identifiers(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if ok, err := v.s.o.Index.Has(ctx, id, p.owner); ok || err != nil {
			return err
		}
	}
	return ErrNotFound
}

// owners returns those who share with the viewer.
func (v *viewer) owners(ctx context.Context) ([]string, error) {
	ids, err := v.identifiers(ctx)
	if err != nil {
		return nil, err
	}
	var owners []string
	seen := map[string]bool{v.user: true, "": true}
	add := func(all ...string) {
		for _, o := range all {
			if !seen[o] && len(owners) < v.s.o.MaxOwners {
				seen[o] = true
				owners = append(owners, o)
			}
		}
	}
	add(v.s.o.PublicUser)
	for i := len(ids) - 1; i >= 0; i-- { // who shares with the user himself comes first under the limit
		more, err := v.s.o.Index.Owners(ctx, ids[i], v.s.o.MaxOwners)
		if err != nil {
			return nil, err
		}
		add(more...)
	}
	return owners, nil
}

// rightsIn returns the viewer's rights in a folder of a, the owner's account.
func (v *viewer) rightsIn(ctx context.Context, a Account, p place) (Rights, error) {
	k, err := option[ACLKeeper](a)
	if err != nil {
		return 0, err
	}
	l, err := k.ACL(ctx, p.name)
	if err != nil || p.own {
		return AllRights, err
	}
	groups, err := v.groups(ctx)
	return l.Rights(Subject{User: v.user, Groups: groups}), err
}

// allow refuses who lacks a right. RFC 4314 §6: who may not list a folder, nor read it, does not learn that it
// exists.
func allow(have, want Rights) error {
	switch {
	case have.Has(want):
		return nil
	case have&(RightLookup|RightRead) == 0:
		return ErrNotFound
	}
	return ErrForbidden
}

// Reindex puts into the index what the folders of users say: after the index was lost, or lists were changed by other
// programs. What is in the index too much does no harm; to be rid of it begin with an empty one. The index is usable
// meanwhile.
func (s *SharedStore) Reindex(ctx context.Context, users iter.Seq2[string, error]) error {
	for owner, err := range users {
		if err == nil {
			err = s.eachGrant(ctx, owner, func(id Identifier) error { return s.o.Index.Add(ctx, id, owner) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Forget takes an owner out of the index, before his account is removed.
func (s *SharedStore) Forget(ctx context.Context, owner string) error {
	return s.eachGrant(ctx, owner, func(id Identifier) error { return s.o.Index.Remove(ctx, id, owner) })
}

func (s *SharedStore) eachGrant(ctx context.Context, owner string, do func(Identifier) error) error {
	a, err := s.s.Account(ctx, owner)
	if err != nil {
		return err
	}
	defer a.Close()
	ids, err := granted(ctx, a)
	for id := range ids {
		err = errors.Join(err, do(id))
	}
	return err
}

// granted returns the identifiers that have rights in any folder of an account, as the index calls them.
func granted(ctx context.Context, a Account) (map[Identifier]bool, error) {
	k, err := option[ACLKeeper](a)
	if err != nil {
		return nil, err
	}
	ids := make(map[Identifier]bool)
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		l, err := k.ACL(ctx, info.Name)
		if err != nil && !errors.Is(err, ErrNotFound) { // deleted meanwhile
			return nil, err
		}
		for _, e := range l {
			if !e.Negative && e.Rights != 0 && e.ID != IDOwner {
				ids[indexed(e.ID)] = true
			}
		}
	}
	return ids, nil
}

// indexed is the identifier under which the index knows another: a group has one entry for its two forms.
func indexed(id Identifier) Identifier {
	if rest, ok := strings.CutPrefix(string(id), OverridePrefix); ok {
		return GroupPrefix + Identifier(rest)
	}
	return id
}
