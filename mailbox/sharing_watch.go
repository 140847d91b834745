package mailbox

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// shareHub tells the watches of a process when somebody's rights have changed.
type shareHub struct {
	mu      sync.Mutex
	watches map[*shareWatch]struct{}
}

func (h *shareHub) add(w *shareWatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watches == nil {
		h.watches = make(map[*shareWatch]struct{})
	}
	h.watches[w] = struct{}{}
}

func (h *shareHub) remove(w *shareWatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watches, w)
}

// changed wakes those whom one of the identifiers may mean.
func (h *shareHub) changed(ids []Identifier) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watches {
		for _, id := range ids {
			if !id.IsUser() || string(id) == w.a.user {
				w.wake("", "")
				break
			}
		}
	}
}

// shareWatch watches an account, and those that share with it. A change in another's folder is told only while
// the user may see it; to find that out the store is asked, which a notify may not do, so that a goroutine does.
type shareWatch struct {
	a      *sharedAccount
	notify func(string)

	mu      sync.Mutex
	pending map[[2]string]struct{} // owner and folder; both "": the rights of somebody have changed
	signal  chan struct{}

	watching map[string]context.CancelFunc // by owner; run's own
}

// WatchAccount implements AccountWatcher where the store does.
func (a *sharedAccount) WatchAccount(ctx context.Context, notify func(name string)) error {
	own, err := option[AccountWatcher](a.own)
	if err != nil {
		return err
	}
	err = own.WatchAccount(ctx, func(name string) {
		if a.s.ns.Personal(name) {
			notify(name)
		}
	})
	if err != nil {
		return err
	}
	w := &shareWatch{
		a: a, notify: notify, pending: make(map[[2]string]struct{}), signal: make(chan struct{}, 1),
		watching: make(map[string]context.CancelFunc),
	}
	w.follow(ctx)
	a.s.hub.add(w)
	go w.run(ctx)
	return nil
}

// wake notes a change. It does not block.
func (w *shareWatch) wake(owner, name string) {
	w.mu.Lock()
	w.pending[[2]string{owner, name}] = struct{}{}
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *shareWatch) run(ctx context.Context) {
	defer w.a.s.hub.remove(w)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		}
		w.mu.Lock()
		changes := slices.Collect(maps.Keys(w.pending))
		clear(w.pending)
		w.mu.Unlock()
		for _, c := range changes {
			w.tell(ctx, c[0], c[1])
		}
	}
}

func (w *shareWatch) tell(ctx context.Context, owner, name string) {
	var fresh []string // owners whose accounts were not watched until now
	switch {
	case owner == "":
		fresh = w.follow(ctx)
	case name != "":
		p := place{owner: owner, name: name}
		r, _, err := w.a.rights(ctx, p)
		if err != nil || !r.Has(RightLookup) {
			return
		}
		name = w.a.nameOf(owner, name)
	}
	if ctx.Err() == nil {
		w.notify(name)
	}
	for _, owner := range fresh { // what came between the grant and the watch is not known
		for info, err := range w.a.visible(ctx, owner) {
			if err == nil && ctx.Err() == nil {
				w.notify(info.Name)
			}
		}
	}
}

// follow watches the accounts of those who share with the user now, and returns those that it did not watch before. Where that
// can not be had, the folders are not watched; whoever asks sees the changes all the same.
func (w *shareWatch) follow(ctx context.Context) (fresh []string) {
	owners, err := w.a.owners(ctx)
	if err != nil {
		return nil
	}
	for owner, stop := range w.watching {
		if !slices.Contains(owners, owner) {
			stop()
			delete(w.watching, owner)
		}
	}
	for _, owner := range owners {
		if w.watching[owner] != nil {
			continue
		}
		acc, err := w.a.accountOf(ctx, place{owner: owner})
		if err != nil {
			continue
		}
		aw, ok := As[AccountWatcher](acc)
		if !ok {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		if aw.WatchAccount(ctx, func(name string) { w.wake(owner, name) }) != nil {
			stop()
			continue
		}
		w.watching[owner] = stop
		fresh = append(fresh, owner)
	}
	return fresh
}
