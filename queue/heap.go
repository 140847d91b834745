package queue

// jobHeap is a binary heap of job numbers. A job knows its place in the heap, so that it can be
// taken out of the middle. (container/heap would allocate for each number.)
type jobHeap struct {
	jobs   []uint32
	urgent bool // ordered by urgency, else by due time
}

// priorityStep is what one step of MT-PRIORITY is worth, in seconds of waiting. An offset instead
// of strict precedence, so that nothing starves.
const priorityStep = 300

func (x *index) rank(h *jobHeap, n uint32) int64 {
	j := x.job(n)
	if h.urgent {
		return int64(j.due) - priorityStep*int64(j.prio)
	}
	return int64(j.due)
}

func (x *index) push(h *jobHeap, n uint32) {
	h.jobs = append(h.jobs, n)
	x.up(h, len(h.jobs)-1)
}

func (x *index) removeAt(h *jobHeap, pos uint32) {
	last := len(h.jobs) - 1
	moved := h.jobs[last]
	h.jobs = h.jobs[:last]
	if int(pos) == last {
		return
	}
	h.jobs[pos] = moved
	x.job(moved).pos = pos
	x.down(h, int(pos))
	x.up(h, int(x.job(moved).pos))
}

func (x *index) up(h *jobHeap, i int) {
	n := h.jobs[i]
	r := x.rank(h, n)
	for i > 0 {
		parent := (i - 1) / 2
		if x.rank(h, h.jobs[parent]) <= r {
			break
		}
		x.place(h, i, h.jobs[parent])
		i = parent
	}
	x.place(h, i, n)
}

func (x *index) down(h *jobHeap, i int) {
	n := h.jobs[i]
	r := x.rank(h, n)
	for {
		child := 2*i + 1
		if child >= len(h.jobs) {
			break
		}
		if child+1 < len(h.jobs) && x.rank(h, h.jobs[child+1]) < x.rank(h, h.jobs[child]) {
			child++
		}
		if r <= x.rank(h, h.jobs[child]) {
			break
		}
		x.place(h, i, h.jobs[child])
		i = child
	}
	x.place(h, i, n)
}

func (x *index) place(h *jobHeap, i int, n uint32) {
	h.jobs[i] = n
	x.job(n).pos = uint32(i)
}

// idTable finds the first job of a message. It holds job numbers only, four octets each, and asks
// for their IDs; collisions go to the next place.
type idTable struct {
	slots []uint32
	n     int
}

func (t *idTable) hash(id uint64) int {
	return int((id * 0x9E3779B97F4A7C15) >> 32 & uint64(len(t.slots)-1))
}

// slot returns the place of an id, or the empty one where it would be.
func (t *idTable) slot(id uint64, idOf func(uint32) uint64) int {
	i := t.hash(id)
	for t.slots[i] != 0 && idOf(t.slots[i]) != id {
		i = (i + 1) & (len(t.slots) - 1)
	}
	return i
}

func (t *idTable) get(id uint64, idOf func(uint32) uint64) uint32 {
	if t.n == 0 {
		return 0
	}
	return t.slots[t.slot(id, idOf)]
}

func (t *idTable) put(id uint64, n uint32, idOf func(uint32) uint64) {
	if t.n*4 >= len(t.slots)*3 {
		t.grow(idOf)
	}
	i := t.slot(id, idOf)
	if t.slots[i] == 0 {
		t.n++
	}
	t.slots[i] = n
}

func (t *idTable) grow(idOf func(uint32) uint64) {
	old := t.slots
	t.slots = make([]uint32, max(64, 2*len(old)))
	for _, n := range old {
		if n != 0 {
			t.slots[t.slot(idOf(n), idOf)] = n
		}
	}
}

// delete empties a place and moves back those behind that had to evade.
func (t *idTable) delete(id uint64, idOf func(uint32) uint64) {
	if t.n == 0 {
		return
	}
	i := t.slot(id, idOf)
	if t.slots[i] == 0 {
		return
	}
	t.n--
	mask := len(t.slots) - 1
	for k := (i + 1) & mask; t.slots[k] != 0; k = (k + 1) & mask {
		home := t.hash(idOf(t.slots[k]))
		if (k-home)&mask >= (k-i)&mask { // its home is not between i and k
			t.slots[i] = t.slots[k]
			i = k
		}
	}
	t.slots[i] = 0
}
