package mailbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

// AppendAll appends several messages, all or none, and returns their Metas in order. Without a
// MultiAppender it appends one after the other and takes the first ones back when a later one
// fails; a crash between leaves those that were stored.
func AppendAll(ctx context.Context, m Mailbox, msgs iter.Seq2[NewMessage, error]) ([]Meta, error) {
	if a, ok := As[MultiAppender](m); ok {
		return a.AppendAll(ctx, msgs)
	}
	var metas []Meta
	var stored UIDSetBuilder
	for msg, err := range msgs {
		var meta Meta
		if err == nil {
			meta, err = m.Append(ctx, msg.Msg, msg.Options)
		}
		if err != nil {
			return nil, takeBack(ctx, m, stored.Set(), err)
		}
		metas = append(metas, meta)
		stored.Add(meta.UID)
	}
	return metas, nil
}

// takeBack removes what an operation has stored too much, also when ctx has ended, and returns
// cause, the operation's own error, with its own.
func takeBack(ctx context.Context, m Mailbox, uids UIDSet, cause error) error {
	if uids.Empty() {
		return cause
	}
	if _, err := m.Expunge(context.WithoutCancel(ctx), uids); err != nil {
		return errors.Join(cause, fmt.Errorf("take back UIDs %s: %w", uids, err))
	}
	return cause
}

// List returns what Changes(ctx, 0) does, with the messages of uids alone. Without a Lister the folder is gone through.
func List(ctx context.Context, m Mailbox, uids UIDSet) (*Changes, error) {
	if l, ok := As[Lister](m); ok {
		return l.List(ctx, uids)
	}
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	some := *ch
	some.Messages = func(yield func(Meta) bool) {
		for meta := range ch.Messages {
			if uids.Contains(meta.UID) && !yield(meta) {
				return
			}
		}
	}
	return &some, nil
}

// Count fills in what s does not know of Unseen, Deleted and Size, s being a State of m. Flags are
// counted from the index; only messages whose size is not known are asked for their content's
// size. The result belongs to the moment of the call, and its Messages too.
func Count(ctx context.Context, m Mailbox, s State) (State, error) {
	if s.Unseen >= 0 && s.Deleted >= 0 && s.Size >= 0 {
		return s, nil
	}
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return s, err
	}
	s = ch.State
	s.Messages, s.Unseen, s.Deleted, s.Size = 0, 0, 0, 0
	var sizeless UIDSetBuilder
	for meta := range ch.Messages {
		s.Messages++
		if meta.Flags&Seen == 0 {
			s.Unseen++
		}
		if meta.Flags&Deleted != 0 {
			s.Deleted++
		}
		if meta.Size < 0 {
			sizeless.Add(meta.UID)
		}
		s.Size += max(meta.Size, 0)
	}
	more, err := sizes(ctx, m, sizeless.Set())
	s.Size += more
	return s, err
}

// sizes adds up the sizes of messages by asking for their content, without reading it.
func sizes(ctx context.Context, m Mailbox, uids UIDSet) (total int64, err error) {
	if uids.Empty() {
		return 0, nil
	}
	for msg, err := range m.Read(ctx, uids) {
		switch {
		case err == nil:
			total += msg.Content.Size()
		case msg.UID == 0:
			return total, err
		}
	}
	return total, nil
}

// UniqueIDs yields the identities of messages for POP3's UIDL. Without Identified they are made of
// UIDVALIDITY and UID, which is what they must be where the same folder is read by IMAP.
func UniqueIDs(ctx context.Context, m Mailbox, uids UIDSet) (iter.Seq2[UID, string], error) {
	if i, ok := As[Identified](m); ok {
		return i.UniqueIDs(ctx, uids)
	}
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	return func(yield func(UID, string) bool) {
		for meta := range ch.Messages {
			if uids.Contains(meta.UID) &&
				!yield(meta.UID, fmt.Sprintf("%08x%08x", ch.State.UIDValidity, meta.UID)) {
				return
			}
		}
	}, nil
}

// Lock takes POP3's exclusive lock of a folder. Without Locker the error wraps
// errors.ErrUnsupported; a server then uses a Locks of its own.
func Lock(ctx context.Context, m Mailbox) (unlock func(), err error) {
	if l, ok := As[Locker](m); ok {
		return l.Lock(ctx)
	}
	return nil, fmt.Errorf("lock of a mailbox: %w", errors.ErrUnsupported)
}

// Locks is a table of locks by name for one process: what a server uses for stores that are no
// Locker. The zero value is ready for use; it is safe for concurrent use.
type Locks struct {
	mu   sync.Mutex
	held map[string]bool
}

// Lock takes the store's lock of m when it is a Locker, else the table's under name (user and
// folder, say). The error is ErrInUse when another session has it. unlock may be called more than once.
func (l *Locks) Lock(ctx context.Context, m Mailbox, name string) (unlock func(), err error) {
	if locker, ok := As[Locker](m); ok {
		return locker.Lock(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] {
		return nil, ErrInUse
	}
	if l.held == nil {
		l.held = make(map[string]bool)
	}
	l.held[name] = true
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, name)
	}), nil
}

// DefaultPoll is how often Watch asks a store that can not tell.
const DefaultPoll = 15 * time.Second

// Watch calls notify soon after each change of the folder, until ctx ends; see Watcher. Without
// Watcher it asks for the State every interval (0 means DefaultPoll) and notifies when it has
// changed, and once when it can not be had, so that the caller's own Changes tells the reason. The
// handle must stay open until ctx has ended.
func Watch(ctx context.Context, m Mailbox, interval time.Duration, notify func()) error {
	if w, ok := As[Watcher](m); ok {
		return w.Watch(ctx, notify)
	}
	ch, err := m.Changes(ctx, Latest)
	if err != nil {
		return err
	}
	if interval <= 0 {
		interval = DefaultPoll
	}
	go pollState(ctx, m, interval, ch.State, notify)
	return nil
}

func pollState(ctx context.Context, m Mailbox, interval time.Duration, last State, notify func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ch, err := m.Changes(ctx, Latest)
		if ctx.Err() != nil {
			return
		}
		changed := err == nil &&
			(ch.State.ModSeq != last.ModSeq || ch.State.UIDValidity != last.UIDValidity)
		if changed || err != nil && !failed {
			notify()
		}
		if failed = err != nil; !failed {
			last = ch.State
		}
	}
}

// DerivedOf yields the kept bytes of kind; nothing without Derived.
func DerivedOf(ctx context.Context, m Mailbox, kind string, uids UIDSet) iter.Seq2[UID, []byte] {
	if d, ok := As[Derived](m); ok {
		return d.Derived(ctx, kind, uids)
	}
	return func(func(UID, []byte) bool) {}
}

// SetDerived keeps bytes of kind where the store can; without Derived it does nothing, and values is
// not asked.
func SetDerived(ctx context.Context, m Mailbox, kind string, values iter.Seq2[UID, []byte]) error {
	if d, ok := As[Derived](m); ok {
		return d.SetDerived(ctx, kind, values)
	}
	return nil
}

// Annotations returns a folder's annotations (RFC 5464); none without Metadata.
func Annotations(ctx context.Context, m Mailbox) (map[string][]byte, error) {
	if md, ok := As[Metadata](m); ok {
		return md.Annotations(ctx)
	}
	return nil, nil
}

// SetAnnotation sets an annotation of a folder, nil removes it. Without Metadata it is ErrCannot.
func SetAnnotation(ctx context.Context, m Mailbox, entry string, value []byte) error {
	if md, ok := As[Metadata](m); ok {
		return md.SetAnnotation(ctx, entry, value)
	}
	return ErrCannot
}

// AccountAnnotations returns the annotations of an account as a whole; none without Metadata.
func AccountAnnotations(ctx context.Context, a Account) (map[string][]byte, error) {
	if md, ok := As[Metadata](a); ok {
		return md.Annotations(ctx)
	}
	return nil, nil
}

// SetAccountAnnotation sets an annotation of an account, nil removes it. Without Metadata it is ErrCannot.
func SetAccountAnnotation(ctx context.Context, a Account, entry string, value []byte) error {
	if md, ok := As[Metadata](a); ok {
		return md.SetAnnotation(ctx, entry, value)
	}
	return ErrCannot
}

// WatchAccount calls notify soon after each change in an account, until ctx ends; see AccountWatcher. Without it the
// error wraps errors.ErrUnsupported: to poll every folder for each who watches would cost too much.
func WatchAccount(ctx context.Context, a Account, notify func(name string)) error {
	if w, ok := As[AccountWatcher](a); ok {
		return w.WatchAccount(ctx, notify)
	}
	return fmt.Errorf("watch of an account: %w", errors.ErrUnsupported)
}

// Subscribed returns the subscribed names, sorted. Without Subscriber every folder that can be
// opened is.
func Subscribed(ctx context.Context, a Account) ([]string, error) {
	if s, ok := As[Subscriber](a); ok {
		names, err := s.Subscribed(ctx)
		return slices.Sorted(slices.Values(names)), err
	}
	names := make(map[string]bool)
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		if !info.NoSelect {
			names[info.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Subscribe puts a name on the list of subscribed names or takes it off. Without Subscriber it is
// ErrCannot.
func Subscribe(ctx context.Context, a Account, name string, on bool) error {
	if s, ok := As[Subscriber](a); ok {
		return s.Subscribe(ctx, name, on)
	}
	return ErrCannot
}

// Quota returns the use and limits of an account. Without QuotaKeeper it is ErrCannot.
func Quota(ctx context.Context, a Account) (QuotaUse, error) {
	if q, ok := As[QuotaKeeper](a); ok {
		return q.Quota(ctx)
	}
	return QuotaUse{}, ErrCannot
}

// WithUse returns the name of the folder with a special use; ErrNotFound when none has it.
func WithUse(ctx context.Context, a Account, use SpecialUse) (string, error) {
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return "", err
		}
		if use != "" && info.SpecialUse == use && !info.NoSelect {
			return info.Name, nil
		}
	}
	return "", ErrNotFound
}

// SetSpecialUse changes a folder's special use; "" removes it. Without SpecialUser it is ErrCannot.
func SetSpecialUse(ctx context.Context, a Account, name string, use SpecialUse) error {
	if s, ok := As[SpecialUser](a); ok {
		return s.SetSpecialUse(ctx, name, use)
	}
	return ErrCannot
}
