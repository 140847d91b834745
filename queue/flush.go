package queue

import (
	"runtime"
	"sync"

	"github.com/goniec-mail/goniec/faultfs"
)

// flusher shares flushes of one file among many writers, as faultfs.Group does, but lets a few run at a
// time: disks take several as fast as one. Each runs on a handle of its own, because the system
// reports an error of writing back once for every handle: two flushes on one could hide it from
// each other.
type flusher struct {
	written func() uint32 // how far the file is written

	mu     sync.Mutex
	free   []faultfs.File // handles without a flush
	next   *flush         // gathers; nil when nobody waits
	err    error          // final
	over   bool           // no flush is needed any more
	main   faultfs.File   // not closed here
	synced uint32         // up to where a flush has succeeded
}

// flush is one flush and those who wait for it.
type flush struct {
	done chan struct{}
	lead chan faultfs.File // tells a waiter to lead
	led  bool              // has been told
	err  error
}

// lanes is how many flushes run at a time.
const lanes = 2

// newFlusher flushes a file by its handle main and by others, which it closes.
func newFlusher(written func() uint32, main faultfs.File, others []faultfs.File) *flusher {
	return &flusher{written: written, main: main, free: append(others, main), synced: written()}
}

// Sync returns after a flush that began after the call. An error is final: every later call gets it too.
func (f *flusher) Sync() error {
	f.mu.Lock()
	if f.err != nil || f.over {
		defer f.mu.Unlock()
		return f.err
	}
	if f.next == nil {
		f.next = &flush{done: make(chan struct{}), lead: make(chan faultfs.File, 1)}
		if n := len(f.free); n > 0 {
			f.next.lead <- f.free[n-1]
			f.next.led = true
			f.free = f.free[:n-1]
		}
	}
	r := f.next
	f.mu.Unlock()

	select {
	case <-r.done:
	case h := <-r.lead:
		f.run(r, h)
	}
	return r.err
}

// run leads a flush: closes it to newcomers, flushes, and hands the handle to those who came meanwhile.
func (f *flusher) run(r *flush, h faultfs.File) {
	// Those whom the last flush has woken may be about to write: let them come along.
	runtime.Gosched()
	f.mu.Lock()
	if f.next == r {
		f.next = nil
	}
	f.mu.Unlock()
	end := f.written()
	err := h.Datasync()

	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.synced = max(f.synced, end)
	} else if f.err == nil {
		f.err = err
	}
	r.err = err
	close(r.done)
	switch waiting := f.next; {
	case waiting != nil && f.err != nil:
		f.next, waiting.err = nil, f.err
		close(waiting.done)
	case waiting != nil && !waiting.led:
		waiting.led = true
		waiting.lead <- h
		return
	}
	f.put(h)
}

// put takes a handle back.
func (f *flusher) put(h faultfs.File) {
	if f.over && h != f.main {
		_ = h.Close()
		return
	}
	f.free = append(f.free, h)
}

// retire closes the handles when everything is durable, or nobody needs it to be.
func (f *flusher) retire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	free := f.free
	f.free = nil
	for _, h := range free {
		f.put(h)
	}
}

// durable returns up to where the file is known to be.
func (f *flusher) durable() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.synced
}
