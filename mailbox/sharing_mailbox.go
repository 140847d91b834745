package mailbox

import (
	"context"
	"io"
	"iter"
	"strings"
)

// sharedMailbox is a handle on another's folder. What is not written here goes through Intercept, whose
// guard knows the right that each operation needs and refuses what it does not know.
type sharedMailbox struct {
	Mailbox // behind the guard
	raw     Mailbox
	a       *sharedAccount
	at      place
}

func newSharedMailbox(a *sharedAccount, p place, raw Mailbox) *sharedMailbox {
	m := &sharedMailbox{raw: raw, a: a, at: p}
	m.Mailbox = Intercept(raw, func(ctx context.Context, op Op, next func(context.Context) error) error {
		if _, err := m.may(ctx, needs(op.Kind)); err != nil {
			return err
		}
		return next(ctx)
	})
	return m
}

// needs is the right for an operation (RFC 4314 §4).
func needs(kind OpKind) Rights {
	switch kind {
	case OpChanges, OpRead, OpSearch, OpDerived, OpSetDerived, OpWatch, OpUniqueIDs, OpAnnotations:
		return RightRead
	case OpAppend, OpAppendAll:
		return RightInsert
	case OpExpunge:
		return RightExpunge
	case OpLock: // it keeps others from deleting
		return RightRead | RightExpunge
	}
	return AllRights | allRightsOnce // nobody has it
}

// Unwrap and Passes lead to the guard.
func (m *sharedMailbox) Unwrap() any { return m.Mailbox }

// Passes implements the protocol of As.
func (m *sharedMailbox) Passes(c Capability) bool {
	return c != CapabilityOf[Metadata]() && c != CapabilityOf[MultiAppender]() && c != CapabilityOf[Lister]()
}

// Supports implements the protocol of As.
func (m *sharedMailbox) Supports(c Capability) bool {
	return c != CapabilityOf[Metadata]() || mailboxOptions.supports(m.raw, c)
}

// may returns the user's rights now, and refuses who lacks some.
func (m *sharedMailbox) may(ctx context.Context, want Rights) (Rights, error) {
	r, _, err := m.a.rights(ctx, m.at)
	if err == nil {
		err = allow(r, want)
	}
	return r, err
}

func (m *sharedMailbox) Changes(ctx context.Context, since ModSeq) (*Changes, error) {
	return m.snapshot(ctx, func() (*Changes, error) { return m.raw.Changes(ctx, since) })
}

// List implements Lister, by the package function's way where the folder has none.
func (m *sharedMailbox) List(ctx context.Context, uids UIDSet) (*Changes, error) {
	return m.snapshot(ctx, func() (*Changes, error) { return List(ctx, m.raw, uids) })
}

// snapshot says that a folder is read-only to who has none of the rights to change it.
func (m *sharedMailbox) snapshot(ctx context.Context, take func() (*Changes, error)) (*Changes, error) {
	r, err := m.may(ctx, RightRead)
	if err != nil {
		return nil, err
	}
	ch, err := take()
	if err != nil || r&ChangeRights != 0 {
		return ch, err
	}
	seen := *ch
	seen.State.ReadOnly = true // RFC 4314 §5.2
	return &seen, nil
}

// Append stores a message with those flags that the user may set: it does not fail for the others (RFC 4314 §4).
func (m *sharedMailbox) Append(ctx context.Context, msg io.Reader, o AppendOptions) (Meta, error) {
	r, err := m.may(ctx, RightInsert)
	if err != nil {
		return Meta{}, err
	}
	return (&dropMailbox{m.raw, r}).Append(ctx, msg, o)
}

// AppendAll implements MultiAppender, by the package function's way where the folder has none.
func (m *sharedMailbox) AppendAll(ctx context.Context, msgs iter.Seq2[NewMessage, error]) ([]Meta, error) {
	r, err := m.may(ctx, RightInsert)
	if err != nil {
		return nil, err
	}
	return (&dropMailbox{m.raw, r}).AppendAll(ctx, msgs)
}

// dropMailbox is a folder into which somebody who has the right puts messages: flags that he may not set stay out.
type dropMailbox struct {
	Mailbox
	rights Rights
}

func (m *dropMailbox) Append(ctx context.Context, msg io.Reader, o AppendOptions) (Meta, error) {
	o.Flags = m.rights.Permit(o.Flags)
	return m.Mailbox.Append(ctx, msg, o)
}

// AppendAll implements MultiAppender.
func (m *dropMailbox) AppendAll(ctx context.Context, msgs iter.Seq2[NewMessage, error]) ([]Meta, error) {
	return AppendAll(ctx, m.Mailbox, func(yield func(NewMessage, error) bool) {
		for msg, err := range msgs {
			msg.Options.Flags = m.rights.Permit(msg.Options.Flags)
			if !yield(msg, err) {
				return
			}
		}
	})
}

// SetFlags changes those flags that the user may change, and is refused when that is none of them (RFC 4314 §4).
// Of a FlagsReplace the other flags stay as they are.
func (m *sharedMailbox) SetFlags(ctx context.Context, uids UIDSet, c FlagChange) (FlagResult, error) {
	r, err := m.may(ctx, 0)
	if err != nil {
		return FlagResult{}, err
	}
	want := c.Flags.right()
	if c.Op == FlagsReplace {
		want = FlagRights
	}
	switch {
	case r&want == 0 && (want != 0 || r&FlagRights == 0):
		return FlagResult{}, allow(r&^FlagRights, FlagRights)
	case r.Has(want):
		return m.raw.SetFlags(ctx, uids, c)
	case c.Op == FlagsReplace:
		return m.replaceSome(ctx, uids, c, r)
	}
	c.Flags = r.Permit(c.Flags)
	return m.raw.SetFlags(ctx, uids, c)
}

// replaceTries is how often replaceSome begins again when others change the same messages at the same time.
const replaceTries = 10

// replaceSome replaces those flags that the user may change. Each message is changed in one step, from the flags that
// were seen, as long as nobody has changed it since.
func (m *sharedMailbox) replaceSome(ctx context.Context, uids UIDSet, c FlagChange, r Rights) (FlagResult, error) {
	var total FlagResult
	var modified UIDSet
	for range replaceTries {
		ch, err := m.raw.Changes(ctx, 0)
		if err != nil {
			return FlagResult{}, err
		}
		since := ch.State.ModSeq
		var again UIDSet
		for target, group := range groupByResult(ch, uids, c, r, &modified) {
			res, err := m.raw.SetFlags(ctx, group, FlagChange{FlagsReplace, Flags(target).List(ch.State.Keywords).with(r.Permit(c.Flags)), &since})
			if err != nil {
				return FlagResult{}, err
			}
			total.Changed = total.Changed.Union(res.Changed)
			total.ModSeq = res.ModSeq
			again = again.Union(res.Modified)
		}
		if total.ModSeq == 0 {
			total.ModSeq = since
		}
		if uids = again; uids.Empty() {
			break
		}
	}
	total.Modified = modified.Union(uids)
	return total, nil
}

// keptFlags are the flags of a message that stay.
type keptFlags Flags

// groupByResult parts messages by the flags that they keep. Those that fail the caller's own condition go to modified.
func groupByResult(ch *Changes, uids UIDSet, c FlagChange, r Rights, modified *UIDSet) map[keptFlags]UIDSet {
	mine := r.Flags()
	if r.Has(RightWrite) {
		mine |= ^SystemFlags
	}
	groups := make(map[keptFlags]*UIDSetBuilder)
	var failed UIDSetBuilder
	for meta := range ch.Messages {
		if !uids.Contains(meta.UID) {
			continue
		}
		if c.UnchangedSince != nil && meta.ModSeq > *c.UnchangedSince {
			failed.Add(meta.UID)
			continue
		}
		kept := keptFlags(meta.Flags &^ mine)
		if groups[kept] == nil {
			groups[kept] = &UIDSetBuilder{}
		}
		groups[kept].Add(meta.UID)
	}
	*modified = modified.Union(failed.Set())
	sets := make(map[keptFlags]UIDSet, len(groups))
	for kept, b := range groups {
		sets[kept] = b.Set()
	}
	return sets
}

// with returns the flags of both lists.
func (l FlagList) with(more FlagList) FlagList {
	l.System |= more.System
	for _, k := range more.Keywords {
		if KeywordIndex(l.Keywords, k) < 0 {
			l.Keywords = append(l.Keywords, k)
		}
	}
	return l
}

// privateEntries begins the names of annotations that are the owner's (RFC 5464 §4.1).
const privateEntries = "/private/"

// Annotations implements Metadata: the owner's private ones are not shown.
func (m *sharedMailbox) Annotations(ctx context.Context) (map[string][]byte, error) {
	if _, err := m.may(ctx, RightLookup|RightRead); err != nil {
		return nil, err
	}
	all, err := Annotations(ctx, m.raw)
	shown := make(map[string][]byte)
	for entry, value := range all {
		if !strings.HasPrefix(entry, privateEntries) {
			shown[entry] = value
		}
	}
	return shown, err
}

// SetAnnotation implements Metadata. RFC 5464 §3: shared entries need RightWrite.
func (m *sharedMailbox) SetAnnotation(ctx context.Context, entry string, value []byte) error {
	if _, err := m.may(ctx, RightLookup|RightWrite); err != nil {
		return err
	}
	if strings.HasPrefix(entry, privateEntries) {
		return ErrForbidden
	}
	return SetAnnotation(ctx, m.raw, entry, value)
}
