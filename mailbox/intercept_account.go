package mailbox

import (
	"context"
	"iter"
)

// InterceptAccount returns an Account that asks f for every operation of the account and of the
// folders that it opens. user is what Op.User tells. See Intercept.
func InterceptAccount(a Account, user string, f Interceptor) Account {
	return &interceptAccount{a, user, f}
}

type interceptAccount struct {
	a    Account
	user string
	f    Interceptor
}

// Supports tells As which of the methods below the account can serve.
func (i *interceptAccount) Supports(c Capability) bool { return accountOptions.supports(i.a, c) }

func (i *interceptAccount) Close() error { return i.a.Close() }

// ask asks for an operation on a folder.
func (i *interceptAccount) ask(ctx context.Context, kind OpKind, name, to string, do func(context.Context) error) error {
	return i.f.call(ctx, Op{Kind: kind, User: i.user, Name: CanonicalName(name), To: CanonicalName(to)}, do)
}

func (i *interceptAccount) Mailboxes(ctx context.Context) iter.Seq2[Info, error] {
	final := func(_ Info, err error) bool { return err != nil }
	return intercepted(ctx, i.f, Op{Kind: OpMailboxes, User: i.user}, final, i.a.Mailboxes)
}

func (i *interceptAccount) Open(ctx context.Context, name string) (m Mailbox, err error) {
	err = i.ask(ctx, OpOpen, name, "", func(ctx context.Context) (err error) {
		m, err = i.a.Open(ctx, name)
		return err
	})
	if err != nil {
		if m != nil {
			m.Close()
		}
		return nil, err
	}
	return &interceptMailbox{m: m, f: i.f, user: i.user, name: CanonicalName(name)}, nil
}

func (i *interceptAccount) Create(ctx context.Context, name string, o CreateOptions) error {
	return i.ask(ctx, OpCreate, name, "", func(ctx context.Context) error { return i.a.Create(ctx, name, o) })
}

func (i *interceptAccount) Delete(ctx context.Context, name string) error {
	return i.ask(ctx, OpDelete, name, "", func(ctx context.Context) error { return i.a.Delete(ctx, name) })
}

func (i *interceptAccount) Rename(ctx context.Context, from, to string) error {
	return i.ask(ctx, OpRename, from, to, func(ctx context.Context) error { return i.a.Rename(ctx, from, to) })
}

func (i *interceptAccount) Copy(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	c, err := option[Copier](i.a)
	if err != nil {
		return CopyResult{}, err
	}
	return i.transfer(ctx, OpCopy, from, validity, uids, to, c.Copy)
}

func (i *interceptAccount) Move(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	m, err := option[Mover](i.a)
	if err != nil {
		return CopyResult{}, err
	}
	return i.transfer(ctx, OpMove, from, validity, uids, to, m.Move)
}

func (i *interceptAccount) transfer(ctx context.Context, kind OpKind, from string, validity uint32, uids UIDSet, to string,
	do func(context.Context, string, uint32, UIDSet, string) (CopyResult, error),
) (res CopyResult, err error) {
	op := Op{Kind: kind, User: i.user, Name: CanonicalName(from), To: CanonicalName(to), UIDs: uids}
	err = i.f.call(ctx, op, func(ctx context.Context) (err error) {
		res, err = do(ctx, from, validity, uids, to)
		return err
	})
	return orZero(res, err)
}

func (i *interceptAccount) Subscribed(ctx context.Context) (names []string, err error) {
	err = i.ask(ctx, OpSubscribed, "", "", func(ctx context.Context) error {
		s, err := option[Subscriber](i.a)
		if err != nil {
			return err
		}
		names, err = s.Subscribed(ctx)
		return err
	})
	return orZero(names, err)
}

func (i *interceptAccount) Subscribe(ctx context.Context, name string, on bool) error {
	return i.ask(ctx, OpSubscribe, name, "", func(ctx context.Context) error {
		s, err := option[Subscriber](i.a)
		if err != nil {
			return err
		}
		return s.Subscribe(ctx, name, on)
	})
}

func (i *interceptAccount) Quota(ctx context.Context) (use QuotaUse, err error) {
	err = i.ask(ctx, OpQuota, "", "", func(ctx context.Context) error {
		q, err := option[QuotaKeeper](i.a)
		if err != nil {
			return err
		}
		use, err = q.Quota(ctx)
		return err
	})
	return orZero(use, err)
}

func (i *interceptAccount) SetQuota(ctx context.Context, octets, messages int64) error {
	return i.ask(ctx, OpSetQuota, "", "", func(ctx context.Context) error {
		q, err := option[QuotaKeeper](i.a)
		if err != nil {
			return err
		}
		return q.SetQuota(ctx, octets, messages)
	})
}

func (i *interceptAccount) SetSpecialUse(ctx context.Context, name string, use SpecialUse) error {
	return i.ask(ctx, OpSetSpecialUse, name, "", func(ctx context.Context) error {
		s, err := option[SpecialUser](i.a)
		if err != nil {
			return err
		}
		return s.SetSpecialUse(ctx, name, use)
	})
}

func (i *interceptAccount) WatchAccount(ctx context.Context, notify func(name string)) error {
	return i.ask(ctx, OpWatchAccount, "", "", func(ctx context.Context) error {
		w, err := option[AccountWatcher](i.a)
		if err != nil {
			return err
		}
		return w.WatchAccount(ctx, notify)
	})
}

func (i *interceptAccount) Annotations(ctx context.Context) (all map[string][]byte, err error) {
	err = i.ask(ctx, OpAccountAnnotations, "", "", func(ctx context.Context) error {
		md, err := option[Metadata](i.a)
		if err != nil {
			return err
		}
		all, err = md.Annotations(ctx)
		return err
	})
	return orZero(all, err)
}

func (i *interceptAccount) SetAnnotation(ctx context.Context, entry string, value []byte) error {
	op := Op{Kind: OpSetAccountAnnotation, User: i.user, Entry: entry}
	return i.f.call(ctx, op, func(ctx context.Context) error {
		md, err := option[Metadata](i.a)
		if err != nil {
			return err
		}
		return md.SetAnnotation(ctx, entry, value)
	})
}
