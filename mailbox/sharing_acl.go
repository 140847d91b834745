package mailbox

import (
	"context"
	"errors"
	"fmt"
)

// ACL implements AccessControl.
func (a *sharedAccount) ACL(ctx context.Context, name string) (ACL, error) {
	p, _, acc, err := a.find(ctx, name, RightAdmin)
	if err != nil {
		return nil, err
	}
	l, err := GetACL(ctx, acc, p.name)
	if err != nil {
		return nil, err
	}
	shown := ACL{{ID: Identifier(p.owner), Rights: AllRights}}
	for _, e := range l {
		if !ownersID(e.ID, p.owner) { // it has no effect
			shown = append(shown, e)
		}
	}
	return shown, nil
}

// ownersID reports whether an identifier means the owner.
func ownersID(id Identifier, owner string) bool { return id == IDOwner || string(id) == owner }

// MyRights implements AccessControl. RFC 4314 §4: any of l, r, i, k, x and a is needed.
func (a *sharedAccount) MyRights(ctx context.Context, name string) (Rights, error) {
	_, r, _, err := a.find(ctx, name, 0)
	if err == nil && r&(RightLookup|RightRead|RightInsert|RightCreate|RightDelete|RightAdmin) == 0 {
		err = ErrNotFound
	}
	return orZero(r, err)
}

// Grantable implements AccessControl.
func (a *sharedAccount) Grantable(ctx context.Context, name string, id Identifier) (always, optional Rights, err error) {
	p, _, _, err := a.find(ctx, name, RightAdmin)
	switch {
	case err != nil:
		return 0, 0, err
	case ownersID(id, p.owner):
		return AllRights, 0, nil
	case !a.s.mayShareWith(p.owner, id):
		return 0, 0, nil
	}
	return 0, AllRights, nil
}

func (s *SharedStore) mayShareWith(owner string, id Identifier) bool {
	return id != IDAnyone && id != IDAuthenticated || s.o.AllowAnyone || owner == s.o.PublicUser
}

// ChangeACL implements AccessControl. The owner's rights can not be changed: ErrCannot.
func (a *sharedAccount) ChangeACL(ctx context.Context, name string, changes ...ACLChange) error {
	p, _, acc, err := a.find(ctx, name, RightAdmin)
	if err != nil {
		return err
	}
	canonical := make([]ACLChange, len(changes))
	for i, c := range changes {
		if c.Entry.ID, err = a.s.identify(ctx, p.owner, c); err != nil {
			return err
		}
		canonical[i] = c
	}
	return a.s.change(ctx, p.owner, acc, p.name, canonical)
}

// identify returns the identifier of a change in its final form, or why it can not be used. What is in the list can
// always be taken out of it.
func (s *SharedStore) identify(ctx context.Context, owner string, c ACLChange) (Identifier, error) {
	id := c.Entry.ID
	if err := id.Check(); err != nil {
		return id, err
	}
	if id.IsUser() && s.o.Canonical != nil {
		name, err := s.o.Canonical(string(id))
		if err != nil {
			return id, fmt.Errorf("%w: %w", ErrIdentifier, err)
		}
		id = Identifier(name)
	}
	switch {
	case c.Op == ACLDelete:
		return id, nil
	case ownersID(id, owner):
		return id, fmt.Errorf("%w: an owner has all rights", ErrCannot)
	case c.Op == ACLRemove || c.Entry.Negative:
		return id, nil
	case !s.mayShareWith(owner, id):
		return id, ErrForbidden
	case id.IsUser() && s.o.Exists != nil:
		ok, err := s.o.Exists(ctx, string(id))
		if err == nil && !ok {
			err = fmt.Errorf("%w: no such user", ErrIdentifier)
		}
		return id, err
	}
	return id, nil
}

// change changes a list and keeps the index in step. The index learns of a grant before the list says so, and
// forgets after the list has: whatever a crash leaves, no share is missing in it. Several processes need no lock for
// that: who adds looks again after the list is written, and who removes looks at the lists again after that; of two
// that meet, the one who is later sees what the other did.
func (s *SharedStore) change(ctx context.Context, owner string, acc Account, name string, changes []ACLChange) error {
	select {
	case s.one <- struct{}{}:
		defer func() { <-s.one }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var more, less []Identifier
	for _, c := range changes {
		if c.Op != ACLDelete && c.Op != ACLRemove && !c.Entry.Negative && c.Entry.Rights != 0 {
			more = append(more, indexed(c.Entry.ID))
		} else {
			less = append(less, indexed(c.Entry.ID))
		}
	}
	if err := s.addAll(ctx, owner, more); err != nil {
		return err
	}
	err := ChangeACL(ctx, acc, name, changes...)
	if err == nil {
		err = s.addAll(ctx, owner, more)
	} else {
		less = append(less, more...)
	}
	s.prune(ctx, owner, acc, less)
	s.hub.changed(append(more, less...))
	return err
}

func (s *SharedStore) addAll(ctx context.Context, owner string, ids []Identifier) error {
	for _, id := range ids {
		if err := s.o.Index.Add(ctx, id, owner); err != nil {
			return err
		}
	}
	return nil
}

// prune takes out of the index those identifiers that have rights in no folder of the owner any more. What fails
// leaves a pair too many, which does no harm.
func (s *SharedStore) prune(ctx context.Context, owner string, acc Account, ids []Identifier) {
	if len(ids) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	before, err := granted(ctx, acc)
	if err != nil {
		return
	}
	var out []Identifier
	for _, id := range ids {
		if !before[id] && s.o.Index.Remove(ctx, id, owner) == nil {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		return
	}
	after, err := granted(ctx, acc)
	for _, id := range out {
		if err != nil || after[id] {
			_ = s.o.Index.Add(ctx, id, owner)
		}
	}
}

// inherit gives a new folder the list of its parent (RFC 4314 §4).
func (s *SharedStore) inherit(ctx context.Context, owner string, acc Account, name string, l ACL) error {
	if len(l) == 0 {
		return nil
	}
	changes := make([]ACLChange, 0, len(l))
	for _, e := range l {
		changes = append(changes, ACLChange{ACLReplace, e})
	}
	err := s.change(ctx, owner, acc, name, changes)
	if errors.Is(err, ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}

// dropped prunes the index after a folder with this list was deleted.
func (s *SharedStore) dropped(ctx context.Context, owner string, acc Account, l ACL) {
	var ids []Identifier
	for _, e := range l {
		ids = append(ids, indexed(e.ID))
	}
	s.prune(ctx, owner, acc, ids)
	s.hub.changed(ids)
}
