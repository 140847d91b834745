package mailbox

import "context"

// The operations of ACLKeeper and AccessControl.
const (
	OpACL       OpKind = "ACL"
	OpChangeACL OpKind = "ChangeACL"
	OpMyRights  OpKind = "MyRights"
	OpGrantable OpKind = "Grantable"
)

// ACL implements ACLKeeper.
func (i *interceptAccount) ACL(ctx context.Context, name string) (l ACL, err error) {
	err = i.ask(ctx, OpACL, name, "", func(ctx context.Context) error {
		k, err := option[ACLKeeper](i.a)
		if err != nil {
			return err
		}
		l, err = k.ACL(ctx, name)
		return err
	})
	return orZero(l, err)
}

// ChangeACL implements ACLKeeper.
func (i *interceptAccount) ChangeACL(ctx context.Context, name string, changes ...ACLChange) error {
	return i.ask(ctx, OpChangeACL, name, "", func(ctx context.Context) error {
		k, err := option[ACLKeeper](i.a)
		if err != nil {
			return err
		}
		return k.ChangeACL(ctx, name, changes...)
	})
}

// MyRights implements AccessControl.
func (i *interceptAccount) MyRights(ctx context.Context, name string) (r Rights, err error) {
	err = i.ask(ctx, OpMyRights, name, "", func(ctx context.Context) error {
		c, err := option[AccessControl](i.a)
		if err != nil {
			return err
		}
		r, err = c.MyRights(ctx, name)
		return err
	})
	return orZero(r, err)
}

// Grantable implements AccessControl.
func (i *interceptAccount) Grantable(ctx context.Context, name string, id Identifier) (always, optional Rights, err error) {
	err = i.ask(ctx, OpGrantable, name, "", func(ctx context.Context) error {
		c, err := option[AccessControl](i.a)
		if err != nil {
			return err
		}
		always, optional, err = c.Grantable(ctx, name, id)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return always, optional, nil
}

// Namespaces implements NamespaceTeller. It is configuration, and nobody is asked for it.
func (i *interceptAccount) Namespaces() Namespaces { return NamespacesOf(i.a) }
