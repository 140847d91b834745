package faultfs

import (
	"errors"
	"sync"
)

// Group lets many goroutines share one sync (group commit). It stands before
// Dir.Sync, File.Sync or File.Datasync:
//
//	commit := faultfs.NewGroup(dir.Sync)
//	...
//	err := commit.Sync() // from any goroutine, after its own Link, Rename or Write
//
// A call is satisfied only by a sync that started after the call did. While one
// sync runs, all further callers gather for the next.
//
// An error is final, as for the handle itself: every waiting and later call
// gets it, also those whose own sync was not the one that failed, since what
// they wrote may have been among the data that were dropped. Make a new Group
// on a newly opened handle then.
//
// A Group is safe for concurrent use.
type Group struct {
	sync func() error

	mu      sync.Mutex
	running bool   // somebody leads
	next    *round // gathers; nil when nobody waits
	err     error  // final
}

// round is one sync and those who wait for it.
type round struct {
	done chan struct{} // closed when err is set
	lead chan struct{} // receives one value when a waiter is to lead
	err  error
}

var errSyncPanic = errors.New("faultfs: sync did not return")

// NewGroup makes a Group that shares calls of sync.
func NewGroup(sync func() error) *Group { return &Group{sync: sync} }

// Sync returns after a sync that started after the call. It returns that sync's
// error, or the one that ended the Group.
func (g *Group) Sync() error {
	g.mu.Lock()
	if g.err != nil {
		defer g.mu.Unlock()
		return g.err
	}
	if g.next == nil {
		g.next = &round{done: make(chan struct{}), lead: make(chan struct{}, 1)}
	}
	r := g.next
	if !g.running {
		g.running = true
		r.lead <- struct{}{}
	}
	g.mu.Unlock()

	select {
	case <-r.done:
	case <-r.lead:
		g.run(r)
	}
	return r.err
}

// run leads one round: closes it to newcomers, syncs, and hands the lead to one
// who came meanwhile. No caller works for others longer than one sync.
func (g *Group) run(r *round) {
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()

	r.err = errSyncPanic // stays only if sync panics
	defer g.finish(r)
	r.err = g.sync()
}

func (g *Group) finish(r *round) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(r.done)
	waiting := g.next
	switch {
	case r.err != nil:
		g.err, g.next = r.err, nil
		if waiting != nil {
			waiting.err = r.err
			close(waiting.done)
		}
	case waiting != nil:
		waiting.lead <- struct{}{}
	default:
		g.running = false
	}
}
