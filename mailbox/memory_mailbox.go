package mailbox

import (
	"bytes"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
)

// memoryMailbox is a handle on a folder. It ends when the folder gets another name, as those of stores whose folders are
// files do: who knows a folder by its name shall not work on with one that is called otherwise.
type memoryMailbox struct {
	f    *memoryFolder
	name string
}

func (m *memoryMailbox) Close() error { return nil }

// locked calls do with the account's lock held, unless the folder is gone or renamed, or ctx has ended.
func (m *memoryMailbox) locked(ctx context.Context, do func(f *memoryFolder) error) error {
	if err := ended(ctx); err != nil {
		return err
	}
	m.f.account.mu.Lock()
	defer m.f.account.mu.Unlock()
	if m.f.gone || m.f.name != m.name {
		return ErrNotFound
	}
	return do(m.f)
}

func (m *memoryMailbox) Changes(ctx context.Context, since ModSeq) (ch *Changes, err error) {
	err = m.locked(ctx, func(f *memoryFolder) error {
		ch = f.changes(since)
		return nil
	})
	return ch, err
}

func (m *memoryMailbox) Read(ctx context.Context, uids UIDSet) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		var found []memoryMessage
		err := m.locked(ctx, func(f *memoryFolder) error {
			for _, i := range f.find(uids) {
				found = append(found, f.msgs[i])
			}
			return nil
		})
		for _, msg := range found {
			if err = ended(ctx); err != nil {
				break
			}
			if !yield(Message{msg.Meta, bytes.NewReader(msg.body)}, nil) {
				return
			}
		}
		if err != nil {
			yield(Message{}, err)
		}
	}
}

func (m *memoryMailbox) Append(ctx context.Context, msg io.Reader, o AppendOptions) (Meta, error) {
	body, err := m.f.account.store.receive(ctx, msg)
	if err != nil {
		return Meta{}, err
	}
	metas, err := m.insert(ctx, []memoryNew{{body, o}})
	if err != nil {
		return Meta{}, err
	}
	return metas[0], nil
}

// AppendUID implements UIDAppender.
func (m *memoryMailbox) AppendUID(ctx context.Context, validity uint32, uid UID, msg io.Reader, o AppendOptions) (meta Meta, err error) {
	body, err := m.f.account.store.receive(ctx, msg)
	if err != nil {
		return Meta{}, err
	}
	err = m.locked(ctx, func(f *memoryFolder) error {
		if err := f.mayGive(validity, uid); err != nil {
			return err
		}
		next := f.next
		f.next = uid
		metas, err := f.append([]memoryNew{{body, o}})
		if err != nil {
			f.next = next
			return err
		}
		f.validity, meta = validity, metas[0]
		f.account.store.gave(validity)
		return nil
	})
	return meta, err
}

func (m *memoryMailbox) insert(ctx context.Context, msgs []memoryNew) (metas []Meta, err error) {
	err = m.locked(ctx, func(f *memoryFolder) (err error) {
		metas, err = f.append(msgs)
		return err
	})
	return metas, err
}

// AppendAll implements MultiAppender.
func (m *memoryMailbox) AppendAll(ctx context.Context, msgs iter.Seq2[NewMessage, error]) ([]Meta, error) {
	var all []memoryNew
	for msg, err := range msgs {
		if err != nil {
			return nil, err
		}
		body, err := m.f.account.store.receive(ctx, msg.Msg)
		if err != nil {
			return nil, err
		}
		all = append(all, memoryNew{body, msg.Options})
	}
	return m.insert(ctx, all)
}

func (m *memoryMailbox) SetFlags(ctx context.Context, uids UIDSet, c FlagChange) (res FlagResult, err error) {
	err = m.locked(ctx, func(f *memoryFolder) (err error) {
		res, err = f.setFlags(uids, c)
		return err
	})
	return res, err
}

func (m *memoryMailbox) Expunge(ctx context.Context, uids UIDSet) (gone UIDSet, err error) {
	err = m.locked(ctx, func(f *memoryFolder) error {
		gone = f.expunge(uids)
		return nil
	})
	return gone, err
}

// Derived implements Derived.
func (m *memoryMailbox) Derived(ctx context.Context, kind string, uids UIDSet) iter.Seq2[UID, []byte] {
	return func(yield func(UID, []byte) bool) {
		values := make(map[UID][]byte)
		err := m.locked(ctx, func(f *memoryFolder) error {
			for _, i := range f.find(uids) {
				if b, ok := f.derived[kind][f.msgs[i].UID]; ok {
					values[f.msgs[i].UID] = b
				}
			}
			return nil
		})
		if err != nil {
			return
		}
		for _, u := range slices.Sorted(maps.Keys(values)) {
			if !yield(u, values[u]) {
				return
			}
		}
	}
}

// SetDerived implements Derived.
func (m *memoryMailbox) SetDerived(ctx context.Context, kind string, values iter.Seq2[UID, []byte]) error {
	copies := make(map[UID][]byte)
	for u, b := range values {
		copies[u] = bytes.Clone(b)
	}
	return m.locked(ctx, func(f *memoryFolder) error {
		if f.derived == nil {
			f.derived = make(map[string]map[UID][]byte)
		}
		if f.derived[kind] == nil {
			f.derived[kind] = make(map[UID][]byte)
		}
		for u, b := range copies {
			if len(f.find(UIDs(u))) > 0 {
				f.derived[kind][u] = b
			}
		}
		return nil
	})
}

// Watch implements Watcher.
func (m *memoryMailbox) Watch(ctx context.Context, notify func()) error {
	return m.locked(ctx, func(f *memoryFolder) error {
		f.watchers.add(ctx, func(string) { notify() })
		return nil
	})
}

// Lock implements Locker.
func (m *memoryMailbox) Lock(ctx context.Context) (unlock func(), err error) {
	err = m.locked(ctx, func(f *memoryFolder) error {
		if f.locked {
			return ErrInUse
		}
		f.locked = true
		unlock = sync.OnceFunc(func() {
			f.account.mu.Lock()
			defer f.account.mu.Unlock()
			f.locked = false
		})
		return nil
	})
	return unlock, err
}

// UniqueIDs implements Identified.
func (m *memoryMailbox) UniqueIDs(ctx context.Context, uids UIDSet) (iter.Seq2[UID, string], error) {
	var found []memoryMessage
	err := m.locked(ctx, func(f *memoryFolder) error {
		for _, i := range f.find(uids) {
			found = append(found, f.msgs[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func(yield func(UID, string) bool) {
		for _, msg := range found {
			if !yield(msg.UID, msg.id) {
				return
			}
		}
	}, nil
}

// Annotations implements Metadata.
func (m *memoryMailbox) Annotations(ctx context.Context) (all map[string][]byte, err error) {
	err = m.locked(ctx, func(f *memoryFolder) error {
		all = f.annotations.clone()
		return nil
	})
	return all, err
}

// SetAnnotation implements Metadata.
func (m *memoryMailbox) SetAnnotation(ctx context.Context, entry string, value []byte) error {
	return m.locked(ctx, func(f *memoryFolder) error {
		if err := f.annotations.set(entry, value); err != nil {
			return err
		}
		f.changed()
		return nil
	})
}
