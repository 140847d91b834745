package mailbox

import (
	"context"
	"io"
	"iter"

	"github.com/goniec-mail/goniec"
)

// OpKind names an operation by the method that was called: string(OpAppend) is "Append", for logs and metrics.
type OpKind string

// The operations of a Mailbox, its optional interfaces included.
const (
	OpChanges       OpKind = "Changes"
	OpRead          OpKind = "Read"
	OpAppend        OpKind = "Append"
	OpSetFlags      OpKind = "SetFlags"
	OpExpunge       OpKind = "Expunge"
	OpAppendAll     OpKind = "AppendAll"
	OpDerived       OpKind = "Derived"
	OpSetDerived    OpKind = "SetDerived"
	OpWatch         OpKind = "Watch"
	OpLock          OpKind = "Lock"
	OpUniqueIDs     OpKind = "UniqueIDs"
	OpAnnotations   OpKind = "Annotations"
	OpSetAnnotation OpKind = "SetAnnotation"
	OpSearch        OpKind = "Search"
)

// The operations of an Account and of a Store.
const (
	OpMailboxes     OpKind = "Mailboxes"
	OpOpen          OpKind = "Open"
	OpCreate        OpKind = "Create"
	OpDelete        OpKind = "Delete"
	OpRename        OpKind = "Rename"
	OpCopy          OpKind = "Copy"
	OpMove          OpKind = "Move"
	OpSubscribed    OpKind = "Subscribed"
	OpSubscribe     OpKind = "Subscribe"
	OpQuota         OpKind = "Quota"
	OpSetQuota      OpKind = "SetQuota"
	OpSetSpecialUse OpKind = "SetSpecialUse"
	OpWatchAccount  OpKind = "WatchAccount"
	OpAccount       OpKind = "Account"
	OpDeliverAll    OpKind = "DeliverAll"

	// Metadata of the account itself.
	OpAccountAnnotations   OpKind = "AccountAnnotations"
	OpSetAccountAnnotation OpKind = "SetAccountAnnotation"
)

// Op is one operation that an Interceptor is asked for. Fields that the operation does not have are
// zero; what they point to must not be changed.
type Op struct {
	Kind OpKind
	User string // where the Store or Account was intercepted under it
	// Name is the folder in its canonical spelling; the source of Copy, Move, Rename; "" where only
	// a Mailbox was intercepted.
	Name   string
	To     string         // destination folder of Copy and Move, new name of Rename
	UIDs   UIDSet         // the messages concerned
	Flags  *FlagChange    // SetFlags
	Append *AppendOptions // Append, DeliverAll
	// Size is the octets of the message of Append and DeliverAll; -1 where it is not known before
	// the message is read.
	Size    int64
	Targets []Target // DeliverAll
	Entry   string   // entry of SetAnnotation and SetAccountAnnotation, kind of Derived
}

// Writes reports whether the operation may change what users see. (Derived is a cache, Lock and
// Watch hold nothing.)
func (o Op) Writes() bool {
	switch o.Kind {
	case OpAppend, OpSetFlags, OpExpunge, OpAppendAll, OpSetAnnotation, OpCreate, OpDelete, OpRename,
		OpCopy, OpMove, OpSubscribe, OpSetQuota, OpSetSpecialUse, OpDeliverAll, OpSetAccountAnnotation, OpChangeACL:
		return true
	}
	return false
}

// Interceptor is asked for each operation before it is done. It calls next at most once, with the
// same or a derived context, before it returns; next does the operation and returns its error.
// When next is not called, the operation is refused, and the Interceptor's error must not be nil
// (ErrForbidden stands in when it is). An Interceptor may be called by several goroutines at once.
//
// An operation that yields (Read, Mailboxes, Derived, UniqueIDs) runs to its end inside next. AppendAll
// asks for OpAppendAll, and inside it for OpAppend once for each message before it is read, so that
// a quota written for Append can not be passed by; next then only hands the message on.
type Interceptor func(ctx context.Context, op Op, next func(context.Context) error) error

// call asks the interceptor and makes sure that a refusal is an error.
func (f Interceptor) call(ctx context.Context, op Op, do func(context.Context) error) error {
	called := false
	err := f(ctx, op, func(ctx context.Context) error {
		called = true
		return do(ctx)
	})
	if err == nil && !called {
		return ErrForbidden
	}
	return err
}

// Intercept returns a Mailbox that asks f for every operation: access control, quota, metrics and
// tracing are written so, once for all stores. It has every optional interface that m has, and
// nothing but Close reaches m past f. The wrapper of a Mailbox alone is not asked for what its Account does
// with the folder (Copy, Move, Delete): see InterceptAccount and InterceptStore.
func Intercept(m Mailbox, f Interceptor) Mailbox { return &interceptMailbox{m: m, f: f} }

type interceptMailbox struct {
	m          Mailbox
	f          Interceptor
	user, name string
}

func (i *interceptMailbox) op(kind OpKind) Op { return Op{Kind: kind, User: i.user, Name: i.name} }

// Supports tells As which of the methods below m can serve.
func (i *interceptMailbox) Supports(c Capability) bool { return mailboxOptions.supports(i.m, c) }

func (i *interceptMailbox) Close() error { return i.m.Close() }

func (i *interceptMailbox) Changes(ctx context.Context, since ModSeq) (ch *Changes, err error) {
	err = i.f.call(ctx, i.op(OpChanges), func(ctx context.Context) (err error) {
		ch, err = i.m.Changes(ctx, since)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ch, nil
}

func (i *interceptMailbox) Read(ctx context.Context, uids UIDSet) iter.Seq2[Message, error] {
	op := i.op(OpRead)
	op.UIDs = uids
	final := func(m Message, err error) bool { return err != nil && m.UID == 0 }
	return intercepted(ctx, i.f, op, final, func(ctx context.Context) iter.Seq2[Message, error] {
		return i.m.Read(ctx, uids)
	})
}

// intercepted runs a whole sequence inside one call of the interceptor. The error that ends the
// sequence is what next returns, and what the interceptor makes of it is yielded in its place.
func intercepted[T any](ctx context.Context, f Interceptor, op Op, final func(T, error) bool,
	seq func(context.Context) iter.Seq2[T, error],
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stopped := false
		err := f.call(ctx, op, func(ctx context.Context) error {
			for v, err := range seq(ctx) {
				if final(v, err) {
					return err
				}
				if stopped = !yield(v, err); stopped {
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			var none T
			yield(none, err)
		}
	}
}

func (i *interceptMailbox) Append(ctx context.Context, msg io.Reader, o AppendOptions) (meta Meta, err error) {
	err = i.f.call(ctx, i.appendOp(msg, o), func(ctx context.Context) (err error) {
		meta, err = i.m.Append(ctx, msg, o)
		return err
	})
	return orZero(meta, err)
}

func (i *interceptMailbox) appendOp(msg io.Reader, o AppendOptions) Op {
	op := i.op(OpAppend)
	op.Append, op.Size = &o, sizeOf(msg)
	return op
}

func sizeOf(msg io.Reader) int64 {
	if c, ok := goniec.AsContent(msg); ok {
		return c.Size()
	}
	return -1
}

// orZero keeps a result away from the caller when the interceptor made the call fail afterwards.
func orZero[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

func (i *interceptMailbox) SetFlags(ctx context.Context, uids UIDSet, c FlagChange) (res FlagResult, err error) {
	op := i.op(OpSetFlags)
	op.UIDs, op.Flags = uids, &c
	err = i.f.call(ctx, op, func(ctx context.Context) (err error) {
		res, err = i.m.SetFlags(ctx, uids, c)
		return err
	})
	return orZero(res, err)
}

func (i *interceptMailbox) Expunge(ctx context.Context, uids UIDSet) (gone UIDSet, err error) {
	op := i.op(OpExpunge)
	op.UIDs = uids
	err = i.f.call(ctx, op, func(ctx context.Context) (err error) {
		gone, err = i.m.Expunge(ctx, uids)
		return err
	})
	return orZero(gone, err)
}
