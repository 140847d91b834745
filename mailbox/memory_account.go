package mailbox

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// memoryAccount is one user's folders. One lock covers the account: every change is one step.
type memoryAccount struct {
	store *Memory

	mu         sync.Mutex
	folders    map[string]*memoryFolder
	subscribed map[string]bool
	watchers   watchers
	metadata   annotations

	octetLimit, messageLimit int64
}

func (a *memoryAccount) Close() error { return nil }

func (a *memoryAccount) Mailboxes(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for _, info := range a.list() {
			if err := ended(ctx); err != nil {
				yield(Info{}, err)
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (a *memoryAccount) list() []Info {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Info
	for name, f := range a.folders {
		all = append(all, Info{Name: name, SpecialUse: f.use, ID: f.id})
	}
	return all
}

// folder is called with a.mu held.
func (a *memoryAccount) folder(name string) (*memoryFolder, error) {
	if f := a.folders[CanonicalName(name)]; f != nil {
		return f, nil
	}
	return nil, ErrNotFound
}

func (a *memoryAccount) Open(ctx context.Context, name string) (Mailbox, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.folder(name)
	if err != nil {
		return nil, err
	}
	return &memoryMailbox{f, f.name}, nil
}

func (a *memoryAccount) Create(ctx context.Context, name string, o CreateOptions) error {
	if err := ended(ctx); err != nil {
		return err
	}
	name = CanonicalName(name)
	if err := CheckName(name); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.folders[name] != nil {
		return ErrExists
	}
	if a.useTaken(o.SpecialUse) {
		return ErrCannot
	}
	a.store.mu.Lock()
	a.folders[name] = a.store.newFolder(a, name, o.SpecialUse)
	a.store.mu.Unlock()
	a.watchers.notify("")
	return nil
}

// useTaken is called with a.mu held.
func (a *memoryAccount) useTaken(use SpecialUse) bool {
	if use == "" {
		return false
	}
	for _, f := range a.folders {
		if f.use == use {
			return true
		}
	}
	return false
}

func (a *memoryAccount) Delete(ctx context.Context, name string) error {
	if err := ended(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.folder(name)
	if err != nil {
		return err
	}
	if f.name == "INBOX" {
		return ErrCannot
	}
	delete(a.folders, f.name)
	f.gone = true
	f.changed()
	a.watchers.notify("")
	return nil
}

func (a *memoryAccount) Rename(ctx context.Context, from, to string) error {
	if err := ended(ctx); err != nil {
		return err
	}
	from, to = CanonicalName(from), CanonicalName(to)
	if err := CheckName(to); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	moves, err := a.renames(from, to)
	if err != nil {
		return err
	}
	for _, f := range moves {
		delete(a.folders, f.name)
	}
	for name, f := range moves {
		f.name = name
		a.folders[name] = f
		f.watchers.notify(name) // its handles end
	}
	a.watchers.notify("")
	return nil
}

// renames returns the folders that a renaming concerns, by their new names. a.mu is held.
func (a *memoryAccount) renames(from, to string) (map[string]*memoryFolder, error) {
	moves := make(map[string]*memoryFolder)
	for name, f := range a.folders {
		if rest, ok := strings.CutPrefix(name, from); ok && (rest == "" || rest[0] == '/') {
			moves[to+rest] = f
		}
	}
	switch {
	case from == "INBOX", strings.HasPrefix(to, from+"/"):
		return nil, ErrCannot
	case len(moves) == 0 || a.folders[from] == nil:
		return nil, ErrNotFound
	}
	for name := range moves {
		if err := CheckName(name); err != nil {
			return nil, err
		}
		if a.folders[name] != nil {
			return nil, ErrExists
		}
	}
	return moves, nil
}

// insert appends messages to a folder, all or none.
func (a *memoryAccount) insert(name string, msgs []memoryNew) ([]Meta, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.folder(name)
	if err != nil {
		return nil, err
	}
	return f.append(msgs)
}

// Subscribed implements Subscriber.
func (a *memoryAccount) Subscribed(ctx context.Context) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.subscribed)), ended(ctx)
}

// Subscribe implements Subscriber.
func (a *memoryAccount) Subscribe(ctx context.Context, name string, on bool) error {
	if err := ended(ctx); err != nil {
		return err
	}
	name = CanonicalName(name)
	if err := CheckName(name); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if on {
		a.subscribed[name] = true
	} else {
		delete(a.subscribed, name)
	}
	a.watchers.notify("")
	return nil
}

// Quota implements QuotaKeeper.
func (a *memoryAccount) Quota(ctx context.Context) (QuotaUse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.use(), ended(ctx)
}

// use is called with a.mu held.
func (a *memoryAccount) use() QuotaUse {
	u := QuotaUse{OctetLimit: a.octetLimit, MessageLimit: a.messageLimit}
	for _, f := range a.folders {
		u.Messages += int64(len(f.msgs))
		u.Octets += f.size
	}
	return u
}

// fits checks the quota for more messages. a.mu is held.
func (a *memoryAccount) fits(octets, messages int64) error {
	u := a.use()
	if u.OctetLimit > 0 && u.Octets+octets > u.OctetLimit ||
		u.MessageLimit > 0 && u.Messages+messages > u.MessageLimit {
		return ErrOverQuota
	}
	return nil
}

// SetQuota implements QuotaKeeper.
func (a *memoryAccount) SetQuota(ctx context.Context, octets, messages int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := ended(ctx); err != nil {
		return err
	}
	a.octetLimit, a.messageLimit = max(octets, 0), max(messages, 0)
	return nil
}

// SetSpecialUse implements SpecialUser.
func (a *memoryAccount) SetSpecialUse(ctx context.Context, name string, use SpecialUse) error {
	if err := ended(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.folder(name)
	if err != nil {
		return err
	}
	if use != f.use && a.useTaken(use) {
		return ErrCannot
	}
	f.use = use
	a.watchers.notify("")
	return nil
}

// WatchAccount implements AccountWatcher.
func (a *memoryAccount) WatchAccount(ctx context.Context, notify func(name string)) error {
	a.watchers.add(ctx, notify)
	return nil
}

// Annotations implements Metadata: those of the account.
func (a *memoryAccount) Annotations(ctx context.Context) (map[string][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.metadata.clone(), ended(ctx)
}

// SetAnnotation implements Metadata.
func (a *memoryAccount) SetAnnotation(ctx context.Context, entry string, value []byte) error {
	if err := ended(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.metadata.set(entry, value); err != nil {
		return err
	}
	a.watchers.notify("")
	return nil
}

// Copy implements Copier.
func (a *memoryAccount) Copy(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	if err := ended(ctx); err != nil {
		return CopyResult{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	src, dst, err := a.transfer(from, validity, to)
	if err != nil {
		return CopyResult{}, err
	}
	return src.copyTo(dst, uids, a.fits)
}

// Move implements Mover.
func (a *memoryAccount) Move(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	if err := ended(ctx); err != nil {
		return CopyResult{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	src, dst, err := a.transfer(from, validity, to)
	if err != nil {
		return CopyResult{}, err
	}
	// Nothing is added to the account: no quota is asked.
	res, err := src.copyTo(dst, uids, func(int64, int64) error { return nil })
	if err == nil {
		src.expunge(UIDs(res.Source...))
	}
	return res, err
}

// transfer finds the folders of a Copy or Move. a.mu is held.
func (a *memoryAccount) transfer(from string, validity uint32, to string) (src, dst *memoryFolder, err error) {
	if src, err = a.folder(from); err != nil {
		return nil, nil, err
	}
	if validity != 0 && validity != src.validity {
		return nil, nil, notSame(src.validity, validity)
	}
	dst, err = a.folder(to)
	return src, dst, err
}

// watchers are the functions to call at changes. Its own lock lets them be called under others'.
type watchers struct {
	mu  sync.Mutex
	all map[*func(string)]struct{}
}

func (w *watchers) add(ctx context.Context, notify func(name string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[*func(string)]struct{})
	}
	told := func(name string) {
		if ctx.Err() == nil { // what follows its end may come late
			notify(name)
		}
	}
	key := &told
	w.all[key] = struct{}{}
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, key)
	})
}

func (w *watchers) notify(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.all {
		(*f)(name)
	}
}
