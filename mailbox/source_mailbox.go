package mailbox

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// sourceMailbox is a handle on a folder of a Source.
type sourceMailbox struct {
	f  *sourceFolder
	id string
}

func (m *sourceMailbox) Close() error { return nil }

func (m *sourceMailbox) source() Source { return m.f.store.Source }

// refresh reads the list again when it is too old; force in any case.
func (m *sourceMailbox) refresh(ctx context.Context, force bool) error {
	if err := m.f.lock(ctx); err != nil {
		return err
	}
	defer m.f.unlock()
	return m.f.fresh(ctx, force)
}

func (m *sourceMailbox) Changes(ctx context.Context, since ModSeq) (*Changes, error) {
	if err := m.refresh(ctx, false); err != nil {
		return nil, err
	}
	return m.f.changes(since, m.id), nil
}

func (m *sourceMailbox) Read(ctx context.Context, uids UIDSet) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if err := m.refresh(ctx, false); err != nil {
			yield(Message{}, err)
			return
		}
		for _, e := range m.f.find(uids) {
			if err := ended(ctx); err != nil {
				yield(Message{}, err)
				return
			}
			if !m.readOne(ctx, e, yield) {
				return
			}
		}
	}
}

func (m *sourceMailbox) readOne(ctx context.Context, e sourceEntry, yield func(Message, error) bool) bool {
	content, err := m.source().Read(ctx, m.f.user, m.f.folder, e.key)
	if errors.Is(err, ErrNotFound) {
		err = ErrGone
	}
	if err != nil {
		return yield(Message{Meta: e.Meta}, err)
	}
	if c, ok := content.(io.Closer); ok {
		defer c.Close()
	}
	e.Size = content.Size() // what is read now is what counts
	return yield(Message{e.Meta, content}, nil)
}

func (m *sourceMailbox) Append(ctx context.Context, msg io.Reader, o AppendOptions) (Meta, error) {
	a, ok := m.source().(SourceAppender)
	if err := m.writable(ok); err != nil {
		return Meta{}, err
	}
	if err := CheckKeywords(o.Flags.Keywords); err != nil {
		return Meta{}, err
	}
	if err := m.f.lock(ctx); err != nil {
		return Meta{}, err
	}
	defer m.f.unlock()
	if err := m.f.fresh(ctx, false); err != nil {
		return Meta{}, err
	}
	if _, _, err := AssignKeywords(m.f.keywords, MaxKeywords, o.Flags); err != nil {
		return Meta{}, err
	}
	if o.Date.IsZero() {
		o.Date = m.f.store.now()
	}
	key, err := a.AppendItem(ctx, m.f.user, m.f.folder, &contextReader{ctx, msg}, o)
	if err != nil {
		return Meta{}, err
	}
	// It is stored: nothing that fails from here on can take it back.
	if err := m.f.fresh(context.WithoutCancel(ctx), true); err != nil {
		return Meta{}, err
	}
	i, ok := m.f.index[key]
	if !ok {
		return Meta{}, errors.New("mailbox: the source does not list what was appended")
	}
	return m.f.entries[i].Meta, nil
}

// writable tells why a change is refused: can says whether the Source has what it takes.
func (m *sourceMailbox) writable(can bool) error {
	switch {
	case m.f.store.ReadOnly:
		return ErrReadOnly
	case !can:
		return ErrCannot
	}
	return nil
}

// SetFlags asks the Source for one item after the other. When one fails, those before it get their old
// flags back as far as the Source lets them.
func (m *sourceMailbox) SetFlags(ctx context.Context, uids UIDSet, c FlagChange) (FlagResult, error) {
	if err := m.writable(true); err != nil {
		return FlagResult{}, err
	}
	if err := m.f.lock(ctx); err != nil {
		return FlagResult{}, err
	}
	defer m.f.unlock()
	if err := m.f.fresh(ctx, true); err != nil {
		return FlagResult{}, err
	}
	todo, res, err := m.planFlags(uids, c)
	if err != nil || len(todo) == 0 {
		return res, err
	}
	if err := m.pushFlags(ctx, todo); err != nil {
		return FlagResult{}, err
	}
	// The list tells what became of them.
	err = m.f.fresh(context.WithoutCancel(ctx), true)
	res.ModSeq = m.f.modseq
	return res, err
}

// sourceFlags is a change of one item's flags.
type sourceFlags struct {
	key      string
	old, new FlagList
}

func (m *sourceMailbox) planFlags(uids UIDSet, c FlagChange) (todo []sourceFlags, res FlagResult, err error) {
	res.ModSeq = m.f.modseq
	found := m.f.find(uids)
	bits, keywords := KnownFlags(m.f.keywords, c.Flags), m.f.keywords
	if c.Op != FlagsRemove && len(found) > 0 {
		if bits, keywords, err = AssignKeywords(keywords, MaxKeywords, c.Flags); err != nil {
			return nil, res, err
		}
	}
	var changed, modified UIDSetBuilder
	for _, e := range found {
		now := c.Op.Apply(e.Flags, bits)
		switch {
		case c.UnchangedSince != nil && e.ModSeq > *c.UnchangedSince:
			modified.Add(e.UID)
		case now != e.Flags:
			changed.Add(e.UID)
			todo = append(todo, sourceFlags{e.key, e.Flags.List(keywords), now.List(keywords)})
		}
	}
	res.Changed, res.Modified = changed.Set(), modified.Set()
	return todo, res, nil
}

func (m *sourceMailbox) pushFlags(ctx context.Context, todo []sourceFlags) error {
	for i, t := range todo {
		err := m.source().SetFlags(ctx, m.f.user, m.f.folder, t.key, t.new)
		if err == nil || errors.Is(err, ErrNotFound) {
			continue
		}
		m.f.dirty.Store(true)
		for _, back := range todo[:i] {
			undo := m.source().SetFlags(context.WithoutCancel(ctx), m.f.user, m.f.folder, back.key, back.old)
			if undo != nil && !errors.Is(undo, ErrNotFound) {
				return errors.Join(err, undo)
			}
		}
		return err
	}
	return nil
}

func (m *sourceMailbox) Expunge(ctx context.Context, uids UIDSet) (UIDSet, error) {
	d, ok := m.source().(SourceDeleter)
	if err := m.writable(ok); err != nil {
		return nil, err
	}
	if err := m.f.lock(ctx); err != nil {
		return nil, err
	}
	defer m.f.unlock()
	if err := m.f.fresh(ctx, true); err != nil {
		return nil, err
	}
	var keys []string
	var gone UIDSetBuilder
	for _, e := range m.f.find(uids) {
		keys = append(keys, e.key)
		gone.Add(e.UID)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if err := d.DeleteItems(ctx, m.f.user, m.f.folder, keys); err != nil {
		return nil, err
	}
	return gone.Set(), m.f.fresh(context.WithoutCancel(ctx), true)
}

// Watch implements Watcher: changes made through the Store are told at once, the Source's own by its
// Notify or by polling.
func (m *sourceMailbox) Watch(ctx context.Context, notify func()) error {
	if err := ended(ctx); err != nil {
		return err
	}
	m.f.watchers.add(ctx, func(string) { notify() })
	if ch := m.source().Notify(ctx, m.f.user); ch != nil {
		go m.listen(ctx, ch, notify)
	} else {
		go m.poll(ctx)
	}
	return nil
}

func (m *sourceMailbox) listen(ctx context.Context, ch <-chan struct{}, notify func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-ch:
			if !ok {
				return
			}
			m.f.dirty.Store(true)
			notify()
		}
	}
}

// poll reads the list again and again; a difference wakes those who watch. An error is left to
// them: they see it at their next Changes.
func (m *sourceMailbox) poll(ctx context.Context) {
	tick := time.NewTicker(m.f.store.pollInterval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = m.refresh(ctx, false)
		}
	}
}
