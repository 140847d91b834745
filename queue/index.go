package queue

import "slices"

// The index is all that the file store keeps in memory: about 50 octets for a message with one
// group of recipients. Envelopes and replies stay on disk. Jobs live in chunks without pointers,
// which the garbage collector need not look into, and are named by number; number 0 is none.
type index struct {
	chunks [][]job
	used   uint32 // numbers given out so far, 0 included
	free   uint32 // chain of numbers to use again, through next
	count  int    // jobs in use

	ids   idTable
	multi map[uint32]*multi // jobs that are not simply group 0 with recipient 0
	// many finds the jobs of mailings, whose chains are too long to be walked for every outcome.
	many map[started]uint32
	by   map[uint32]deadline // of the few jobs that have one

	dests    []dest
	destByID map[string]uint32
	freeDest []uint32
	due      []uint32 // destinations with ready jobs

	waiting  jobHeap // jobs not yet due, earliest first
	leases   map[uint32]*lease
	deaths   map[uint64]uint8
	keys     map[keyHash]keyEntry
	suspect  uint32    // leased job of a message that may have killed the process
	suspects []started // others that wait for its end
	agedAt   uint32    // where aged goes on
	messages int
	ended    func(seg uint32) // a message whose put record is there is gone
}

// job is a group of recipients of a message that is not done.
type job struct {
	id       uint64
	at       loc    // the record that tells its latest state: put or outcome
	baseSeg  uint32 // segment of the put record
	since    uint32
	due      uint32
	dest     uint32
	pos      uint32 // in the heap where it is
	next     uint32 // next job of the message
	attempts uint16
	state    jobState
	flags    uint8 // flagHeld, ...; jobBig, jobBulk
	prio     int8
}

type jobState uint8

const (
	jobFree    jobState = iota
	jobWaiting          // in index.waiting
	jobReady            // in a heap of its destination
	jobLeased
	jobStopped // held or corrupt
)

// Flags of a job beside flagHeld and its like.
const (
	jobBig  = 0x10 // the body is a file of its own
	jobBulk = 0x20
)

// multi is what the few jobs need that are not simple.
type multi struct {
	n     int
	rcpts []uint32
	prev  uint32 // job before it in the chain of its message
}

type keyEntry struct {
	id    uint64
	since uint32
	seg   uint32
}

const chunkSize = 4096

func newIndex() *index {
	return &index{
		used: 1, multi: map[uint32]*multi{}, many: map[started]uint32{}, by: map[uint32]deadline{},
		dests: make([]dest, 1), destByID: map[string]uint32{},
		leases: map[uint32]*lease{}, deaths: map[uint64]uint8{}, keys: map[keyHash]keyEntry{},
	}
}

func (x *index) job(n uint32) *job { return &x.chunks[n/chunkSize][n%chunkSize] }

// first returns the first job of a message, 0 if it is not queued.
func (x *index) first(id uint64) uint32 {
	return x.ids.get(id, func(n uint32) uint64 { return x.job(n).id })
}

// find returns a job by its group.
func (x *index) find(id uint64, group int) uint32 {
	first := x.first(id)
	if first != 0 && x.job(first).flags&jobBulk != 0 {
		return x.many[started{id, group}]
	}
	for n := first; n != 0; n = x.job(n).next {
		if x.group(n) == group {
			return n
		}
	}
	return 0
}

func (x *index) group(n uint32) int {
	if m := x.multi[n]; m != nil {
		return m.n
	}
	return 0
}

func (x *index) rcpts(n uint32) []uint32 {
	if m := x.multi[n]; m != nil {
		return m.rcpts
	}
	return []uint32{0}
}

// setRcpts keeps what a group of recipients needs.
func (x *index) setRcpts(n uint32, group int, rcpts []uint32) {
	m := x.multi[n]
	if group == 0 && len(rcpts) == 1 && rcpts[0] == 0 && (m == nil || m.prev == 0) {
		delete(x.multi, n)
		return
	}
	if m == nil {
		m = &multi{n: group}
		x.multi[n] = m
	}
	m.rcpts = slices.Clone(rcpts)
}

// put adds a message, or replaces it, as a put operation says. It reports whether a job is left.
func (x *index) put(o *op, at loc) bool {
	x.remove(o.id)
	open := 0
	for i := range o.groups {
		if len(o.groups[i].rcpts) > 0 {
			open++
		}
	}
	// A mailing stays one when most of it is done.
	bulk := len(o.groups) > bulkJobs
	if open == 0 {
		return false
	}
	last := uint32(0)
	for i := range o.groups {
		g := &o.groups[i]
		if len(g.rcpts) == 0 {
			continue
		}
		n := x.alloc()
		j := x.job(n)
		*j = job{id: o.id, at: at, baseSeg: at.seg, since: o.since, due: g.due, attempts: g.attempts, flags: g.flags, prio: o.prio, state: jobStopped}
		if o.big {
			j.flags |= jobBig
		}
		if bulk {
			j.flags |= jobBulk
		}
		j.dest = x.useDest(g.dest)
		x.setRcpts(n, g.n, g.rcpts)
		if o.by.at != 0 {
			x.by[n] = o.by
		}
		x.chain(n, last)
		last = n
		x.park(n)
	}
	x.messages++
	return true
}

// chain puts a job behind the last one of its message, 0 if it is the first.
func (x *index) chain(n, last uint32) {
	j := x.job(n)
	if j.flags&jobBulk != 0 {
		x.many[started{j.id, x.group(n)}] = n
	}
	if last == 0 {
		x.ids.put(j.id, n, func(n uint32) uint64 { return x.job(n).id })
		return
	}
	x.job(last).next = n
	m := x.multi[n]
	if m == nil {
		m = &multi{rcpts: []uint32{0}}
		x.multi[n] = m
	}
	m.prev = last
}

// unchain takes a job out of the chain of its message.
func (x *index) unchain(n uint32) {
	j := x.job(n)
	next, prev := j.next, uint32(0)
	if m := x.multi[n]; m != nil {
		prev = m.prev
	}
	idOf := func(n uint32) uint64 { return x.job(n).id }
	switch {
	case prev != 0:
		x.job(prev).next = next
	case next != 0:
		x.ids.put(j.id, next, idOf)
	default:
		x.ids.delete(j.id, idOf)
		x.messages--
		x.ended(j.baseSeg)
	}
	if next != 0 {
		x.multi[next].prev = prev
	}
	if j.flags&jobBulk != 0 {
		delete(x.many, started{j.id, x.group(n)})
	}
}

// alloc returns an unused job.
func (x *index) alloc() uint32 {
	x.count++
	if n := x.free; n != 0 {
		x.free = x.job(n).next
		return n
	}
	n := x.used
	x.used++
	if int(n/chunkSize) == len(x.chunks) {
		x.chunks = append(x.chunks, make([]job, chunkSize))
	}
	return n
}

// remove forgets a message.
func (x *index) remove(id uint64) {
	for n := x.first(id); n != 0; n = x.first(id) {
		x.done(n)
	}
}

// done forgets a job. It reports whether it was the last of its message.
func (x *index) done(n uint32) bool {
	x.unpark(n)
	j := x.job(n)
	id := j.id
	x.unchain(n)
	x.dropDest(j.dest)
	delete(x.multi, n)
	delete(x.by, n)
	delete(x.leases, n)
	*j = job{next: x.free}
	x.free = n
	x.count--
	return x.first(id) == 0
}

// park puts a job that is not leased where its state belongs.
func (x *index) park(n uint32) {
	x.unpark(n)
	j := x.job(n)
	if j.flags&(flagHeld|flagCorrupt) != 0 {
		j.state = jobStopped
		return
	}
	j.state = jobWaiting
	x.push(&x.waiting, n)
}

// unpark takes a job out of the heap or lease where it is.
func (x *index) unpark(n uint32) {
	j := x.job(n)
	switch j.state {
	case jobWaiting:
		x.removeAt(&x.waiting, j.pos)
	case jobReady:
		x.unready(n)
	case jobLeased:
		delete(x.leases, n)
	}
	leased := j.state == jobLeased
	j.state = jobStopped
	if leased && n == x.suspect {
		x.suspectEnds()
	}
}

// promote makes ready what has come due.
func (x *index) promote(now uint32) {
	for len(x.waiting.jobs) > 0 && x.job(x.waiting.jobs[0]).due <= now {
		n := x.waiting.jobs[0]
		x.removeAt(&x.waiting, 0)
		x.ready(n)
	}
}
