package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// optionTable tells, for the optional interfaces of one seam, whether a value has them.
type optionTable map[Capability]func(v any) bool

func (t optionTable) supports(v any, c Capability) bool {
	has := t[c]
	return has != nil && has(v)
}

func has[T any](v any) bool {
	_, ok := As[T](v)
	return ok
}

// The tables are read only. An optional interface that is missing here is not passed on, so that a
// new one can not slip past existing wrappers.
var (
	mailboxOptions = optionTable{
		CapabilityOf[MultiAppender](): has[MultiAppender],
		CapabilityOf[Lister]():        has[Lister],
		CapabilityOf[Derived]():       has[Derived],
		CapabilityOf[Watcher]():       has[Watcher],
		CapabilityOf[Locker]():        has[Locker],
		CapabilityOf[Identified]():    has[Identified],
		CapabilityOf[Metadata]():      has[Metadata],
		CapabilityOf[Searcher]():      has[Searcher],
	}
	accountOptions = optionTable{
		CapabilityOf[Copier]():         has[Copier],
		CapabilityOf[Mover]():          has[Mover],
		CapabilityOf[Subscriber]():     has[Subscriber],
		CapabilityOf[QuotaKeeper]():    has[QuotaKeeper],
		CapabilityOf[SpecialUser]():    has[SpecialUser],
		CapabilityOf[AccountWatcher](): has[AccountWatcher],
		CapabilityOf[Metadata]():       has[Metadata],
	}
	storeOptions = optionTable{
		CapabilityOf[MultiDeliverer](): has[MultiDeliverer],
	}
)

// option finds an optional interface behind a wrapper. As has asked Supports before; who asserts the
// type without As gets an error instead of a panic.
func option[T any](v any) (T, error) {
	t, ok := As[T](v)
	if !ok {
		return t, fmt.Errorf("%s: %w", CapabilityOf[T](), errors.ErrUnsupported)
	}
	return t, nil
}

func (i *interceptMailbox) AppendAll(ctx context.Context, msgs iter.Seq2[NewMessage, error]) (metas []Meta, err error) {
	err = i.f.call(ctx, i.op(OpAppendAll), func(ctx context.Context) error {
		a, err := option[MultiAppender](i.m)
		if err != nil {
			return err
		}
		metas, err = a.AppendAll(ctx, i.askEach(ctx, msgs))
		return err
	})
	return orZero(metas, err)
}

// askEach asks the interceptor for each message of an AppendAll as for an Append. A refusal goes to
// the store as the error of the sequence, and it takes back the others.
func (i *interceptMailbox) askEach(ctx context.Context, msgs iter.Seq2[NewMessage, error]) iter.Seq2[NewMessage, error] {
	return func(yield func(NewMessage, error) bool) {
		for msg, err := range msgs {
			if err == nil {
				err = i.f.call(ctx, i.appendOp(msg.Msg, msg.Options), func(context.Context) error { return nil })
			}
			if !yield(msg, err) || err != nil {
				return
			}
		}
	}
}

// List is the operation Changes, with UIDs.
func (i *interceptMailbox) List(ctx context.Context, uids UIDSet) (ch *Changes, err error) {
	op := i.op(OpChanges)
	op.UIDs = uids
	err = i.f.call(ctx, op, func(ctx context.Context) error {
		l, err := option[Lister](i.m)
		if err != nil {
			return err
		}
		ch, err = l.List(ctx, uids)
		return err
	})
	return orZero(ch, err)
}

func (i *interceptMailbox) Derived(ctx context.Context, kind string, uids UIDSet) iter.Seq2[UID, []byte] {
	return func(yield func(UID, []byte) bool) {
		op := i.op(OpDerived)
		op.Entry, op.UIDs = kind, uids
		// A refusal looks like an empty cache.
		_ = i.f.call(ctx, op, func(ctx context.Context) error {
			d, err := option[Derived](i.m)
			if err != nil {
				return err
			}
			for u, b := range d.Derived(ctx, kind, uids) {
				if !yield(u, b) {
					break
				}
			}
			return nil
		})
	}
}

func (i *interceptMailbox) SetDerived(ctx context.Context, kind string, values iter.Seq2[UID, []byte]) error {
	op := i.op(OpSetDerived)
	op.Entry = kind
	return i.f.call(ctx, op, func(ctx context.Context) error {
		d, err := option[Derived](i.m)
		if err != nil {
			return err
		}
		return d.SetDerived(ctx, kind, values)
	})
}

func (i *interceptMailbox) Watch(ctx context.Context, notify func()) error {
	return i.f.call(ctx, i.op(OpWatch), func(ctx context.Context) error {
		w, err := option[Watcher](i.m)
		if err != nil {
			return err
		}
		return w.Watch(ctx, notify)
	})
}

func (i *interceptMailbox) Lock(ctx context.Context) (unlock func(), err error) {
	err = i.f.call(ctx, i.op(OpLock), func(ctx context.Context) error {
		l, err := option[Locker](i.m)
		if err != nil {
			return err
		}
		unlock, err = l.Lock(ctx)
		return err
	})
	if err != nil && unlock != nil {
		unlock()
	}
	return orZero(unlock, err)
}

func (i *interceptMailbox) UniqueIDs(ctx context.Context, uids UIDSet) (ids iter.Seq2[UID, string], err error) {
	op := i.op(OpUniqueIDs)
	op.UIDs = uids
	err = i.f.call(ctx, op, func(ctx context.Context) error {
		u, err := option[Identified](i.m)
		if err != nil {
			return err
		}
		ids, err = u.UniqueIDs(ctx, uids)
		return err
	})
	return orZero(ids, err)
}

func (i *interceptMailbox) Annotations(ctx context.Context) (all map[string][]byte, err error) {
	err = i.f.call(ctx, i.op(OpAnnotations), func(ctx context.Context) error {
		md, err := option[Metadata](i.m)
		if err != nil {
			return err
		}
		all, err = md.Annotations(ctx)
		return err
	})
	return orZero(all, err)
}

func (i *interceptMailbox) SetAnnotation(ctx context.Context, entry string, value []byte) error {
	op := i.op(OpSetAnnotation)
	op.Entry = entry
	return i.f.call(ctx, op, func(ctx context.Context) error {
		md, err := option[Metadata](i.m)
		if err != nil {
			return err
		}
		return md.SetAnnotation(ctx, entry, value)
	})
}

func (i *interceptMailbox) Search(ctx context.Context, c Criterion) (res SearchResult, err error) {
	err = i.f.call(ctx, i.op(OpSearch), func(ctx context.Context) error {
		s, err := option[Searcher](i.m)
		if err != nil {
			return err
		}
		res, err = s.Search(ctx, c)
		return err
	})
	return orZero(res, err)
}

// InterceptStore returns a Store that asks f for every operation of the store, its accounts and
// their folders. See Intercept.
func InterceptStore(s Store, f Interceptor) Store { return &interceptStore{s, f} }

type interceptStore struct {
	s Store
	f Interceptor
}

// Supports tells As which of the methods below the store can serve.
func (i *interceptStore) Supports(c Capability) bool { return storeOptions.supports(i.s, c) }

func (i *interceptStore) Account(ctx context.Context, user string) (a Account, err error) {
	err = i.f.call(ctx, Op{Kind: OpAccount, User: user}, func(ctx context.Context) (err error) {
		a, err = i.s.Account(ctx, user)
		return err
	})
	if err != nil {
		if a != nil {
			a.Close()
		}
		return nil, err
	}
	return InterceptAccount(a, user, i.f), nil
}

func (i *interceptStore) DeliverAll(ctx context.Context, to []Target, msg io.Reader, o AppendOptions) (errs []error) {
	op := Op{Kind: OpDeliverAll, Targets: to, Append: &o, Size: sizeOf(msg)}
	var failed error
	err := i.f.call(ctx, op, func(ctx context.Context) error {
		d, err := option[MultiDeliverer](i.s)
		if err != nil {
			return err
		}
		errs = d.DeliverAll(ctx, to, msg, o)
		failed = errors.Join(errs...)
		return failed
	})
	if err == nil || failed != nil && errors.Is(err, failed) {
		return errs
	}
	return i.refusals(errs, len(to), err)
}

// refusals gives the interceptor's error to each target that has none of its own.
func (i *interceptStore) refusals(errs []error, n int, err error) []error {
	out := make([]error, n)
	for k := range out {
		out[k] = err
		if k < len(errs) && errs[k] != nil {
			out[k] = errs[k]
		}
	}
	return out
}
