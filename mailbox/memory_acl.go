package mailbox

import (
	"context"
	"slices"
)

// ACL implements ACLKeeper.
func (a *memoryAccount) ACL(ctx context.Context, name string) (ACL, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.folder(name)
	if err != nil {
		return nil, err
	}
	return slices.Clone(f.acl), nil
}

// ChangeACL implements ACLKeeper.
func (a *memoryAccount) ChangeACL(ctx context.Context, name string, changes ...ACLChange) error {
	if err := ended(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.folder(name)
	if err != nil {
		return err
	}
	l, err := f.acl.Apply(changes...)
	if err != nil {
		return err
	}
	f.acl = l
	return nil
}
