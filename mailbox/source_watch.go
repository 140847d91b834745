package mailbox

import (
	"context"
	"maps"
	"time"
)

// sourceWatch is who watches a user's folders. They share one goroutine, which lives while anybody watches.
type sourceWatch struct {
	watchers watchers
	count    int
	stop     context.CancelFunc
}

// WatchAccount implements AccountWatcher. Changes made through the Store are told at once. After the Source's Notify
// every folder may have changed; a Source without Notify is asked for the lists of all folders again and again.
func (a *sourceAccount) WatchAccount(ctx context.Context, notify func(name string)) error {
	if err := ended(ctx); err != nil {
		return err
	}
	w := a.s.watch(a)
	w.watchers.add(ctx, notify)
	context.AfterFunc(ctx, func() { a.s.unwatch(a.user) })
	return nil
}

func (s *SourceStore) watch(a *sourceAccount) *sourceWatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches == nil {
		s.watches = make(map[string]*sourceWatch)
	}
	w := s.watches[a.user]
	if w == nil {
		ctx, stop := context.WithCancel(context.Background())
		w = &sourceWatch{stop: stop}
		s.watches[a.user] = w
		go a.tell(ctx, w)
	}
	w.count++
	return w
}

func (s *SourceStore) unwatch(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watches[user]
	if w.count--; w.count == 0 {
		w.stop()
		delete(s.watches, user)
	}
}

// changed tells who watches a folder or its account.
func (f *sourceFolder) changed() {
	f.watchers.notify(f.folder)
	f.store.mu.Lock()
	w := f.store.watches[f.user]
	f.store.mu.Unlock()
	if w != nil {
		w.watchers.notify(f.folder)
	}
}

// tell tells what the Source says, or shows, until ctx ends.
func (a *sourceAccount) tell(ctx context.Context, w *sourceWatch) {
	each := func(f *sourceFolder) { _ = f.look(ctx) } // a difference is told by compare
	var tick <-chan time.Time
	told := a.s.Source.Notify(ctx, a.user)
	if told == nil {
		ticker := time.NewTicker(a.s.pollInterval())
		defer ticker.Stop()
		tick = ticker.C
	} else {
		each = func(f *sourceFolder) {
			f.dirty.Store(true)
			w.watchers.notify(f.folder)
		}
	}
	last := a.lookAll(ctx, each)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		case _, ok := <-told:
			if !ok {
				return
			}
		}
		now := a.lookAll(ctx, each)
		if now != nil && !maps.Equal(now, last) {
			last = now
			w.watchers.notify("")
		}
	}
}

// lookAll calls each for all folders that can be opened, and returns them; nil when they can not be had.
func (a *sourceAccount) lookAll(ctx context.Context, each func(f *sourceFolder)) map[Info]bool {
	all := make(map[Info]bool)
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return nil
		}
		all[info] = true
		if !info.NoSelect {
			each(a.s.folder(a.user, info.Name))
		}
	}
	return all
}

// look asks the Source for the folder's list.
func (f *sourceFolder) look(ctx context.Context) error {
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.unlock()
	return f.fresh(ctx, true)
}

func (s *SourceStore) pollInterval() time.Duration {
	if s.MaxAge > 0 {
		return s.MaxAge
	}
	return DefaultPoll
}
