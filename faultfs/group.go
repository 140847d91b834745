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
// sync runs, further callers gather for the next; a Group of several functions
// lets few callers sync side by side.
//
// An error is final, as for the handle itself: every waiting and later call
// gets it, also those whose own sync was not the one that failed, since what
// they wrote may have been among the data that were dropped. Make a new Group
// on a newly opened handle then.
//
// A Group is safe for concurrent use.
type Group struct {
	lanes int // how many functions there are

	mu      sync.Mutex
	free    []func() error // those that do not run; the last one is taken first
	next    *round         // gathers; nil when nobody waits
	callers int            // in running rounds and in next
	err     error          // final
}

// round is one sync and those who wait for it.
type round struct {
	callers int
	done    chan struct{}     // closed when err is set
	lead    chan func() error // receives one value, when a waiter is to lead
	led     bool              // it has
	err     error
}

var errSyncPanic = errors.New("faultfs: sync did not return")

// NewGroup makes a Group that shares calls of sync. With more, syncs run side by
// side while there are no more callers than functions: the file system puts such
// syncs into one commit of its journal, and few callers lose by gathering, since
// they wait for the end of a sync that began too early for them. When there are
// more callers, they gather: that saves system calls and commits.
//
// Each function must sync the same thing by a handle of its own: systems report an
// error of writing back once for each handle, and two syncs on one could hide it
// from each other. A function is never called twice at a time; one of more for the
// first time while all before it run.
func NewGroup(sync func() error, more ...func() error) *Group {
	g := &Group{lanes: 1 + len(more)}
	for i := len(more) - 1; i >= 0; i-- {
		g.free = append(g.free, more[i])
	}
	g.free = append(g.free, sync)
	return g
}

// Sync returns after a sync that started after the call. It returns that sync's
// error, or the one that ended the Group.
func (g *Group) Sync() error {
	g.mu.Lock()
	if g.err != nil {
		defer g.mu.Unlock()
		return g.err
	}
	if g.next == nil {
		g.next = &round{done: make(chan struct{}), lead: make(chan func() error, 1)}
	}
	r := g.next
	r.callers++
	g.callers++
	g.begin()
	g.mu.Unlock()

	select {
	case <-r.done:
	case sync := <-r.lead:
		g.run(r, sync)
	}
	return r.err
}

// begin makes one of those who gather lead, if it is time. g.mu is held.
func (g *Group) begin() {
	last := len(g.free) - 1
	if g.next == nil || g.next.led || last < 0 || len(g.free) < g.lanes && g.callers > g.lanes {
		return
	}
	g.next.led = true
	g.next.lead <- g.free[last]
	g.free = g.free[:last]
}

// run leads one round: closes it to newcomers, syncs, and hands the lead to one
// who came meanwhile. No caller works for others longer than one sync.
func (g *Group) run(r *round, sync func() error) {
	g.mu.Lock()
	if g.next != r { // an error has ended it
		g.mu.Unlock()
		return
	}
	g.next = nil
	g.mu.Unlock()

	err := errSyncPanic // stays only if sync panics
	defer func() { g.finish(r, sync, err) }()
	err = sync()
}

func (g *Group) finish(r *round, sync func() error, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free = append(g.free, sync)
	g.callers -= r.callers
	if g.err == nil {
		g.err = err
	}
	r.end(g.err)
	if g.err == nil {
		g.begin()
	} else if g.next != nil {
		g.next.end(g.err)
		g.next = nil
	}
}

// end tells all callers. Group.mu is held.
func (r *round) end(err error) {
	r.err = err
	close(r.done)
}
