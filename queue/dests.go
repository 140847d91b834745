package queue

// dest is a destination with jobs, due or not.
type dest struct {
	name   string
	jobs   uint32     // that name it
	duePos uint32     // in index.due, from 1; 0 = not there
	ready  [2]jobHeap // due jobs: of single mails, of mailings
	bulk   bool       // whose turn it is when both have some
}

// intern returns the name of a destination without a new string if it is known.
func (x *index) intern(b []byte) string {
	if n, ok := x.destByID[string(b)]; ok {
		return x.dests[n].name
	}
	return string(b)
}

// useDest returns the number of a destination for one more job.
func (x *index) useDest(name string) uint32 {
	n, ok := x.destByID[name]
	if !ok {
		if k := len(x.freeDest); k > 0 {
			n, x.freeDest = x.freeDest[k-1], x.freeDest[:k-1]
		} else {
			n = uint32(len(x.dests))
			x.dests = append(x.dests, dest{})
		}
		d := &x.dests[n]
		*d = dest{name: name}
		d.ready[0].urgent, d.ready[1].urgent = true, true
		x.destByID[name] = n
	}
	x.dests[n].jobs++
	return n
}

// dropDest undoes useDest.
func (x *index) dropDest(n uint32) {
	d := &x.dests[n]
	d.jobs--
	if d.jobs == 0 {
		delete(x.destByID, d.name)
		*d = dest{}
		x.freeDest = append(x.freeDest, n)
	}
}

// ready puts a job among the due ones of its destination.
func (x *index) ready(n uint32) {
	j := x.job(n)
	d := &x.dests[j.dest]
	j.state = jobReady
	x.push(&d.ready[bit(j.flags&jobBulk != 0)], n)
	if d.duePos == 0 {
		x.due = append(x.due, j.dest)
		d.duePos = uint32(len(x.due))
	}
}

func (x *index) unready(n uint32) {
	j := x.job(n)
	d := &x.dests[j.dest]
	x.removeAt(&d.ready[bit(j.flags&jobBulk != 0)], j.pos)
	if len(d.ready[0].jobs)+len(d.ready[1].jobs) > 0 {
		return
	}
	last := x.due[len(x.due)-1]
	x.due[d.duePos-1] = last
	x.dests[last].duePos = d.duePos
	x.due = x.due[:len(x.due)-1]
	d.duePos = 0
}

// next chooses the due job of a destination that goes first, 0 if there is none. Single mails and
// mailings take turns, so that neither waits for all of the other; or single leaves the mailings out.
func (x *index) nextDue(d *dest, single bool) uint32 {
	if single {
		if len(d.ready[0].jobs) == 0 {
			return 0
		}
		return d.ready[0].jobs[0]
	}
	band := bit(d.bulk)
	if len(d.ready[band].jobs) == 0 {
		band = 1 - band
	}
	if len(d.ready[band].jobs) == 0 {
		return 0
	}
	d.bulk = band == 0
	return d.ready[band].jobs[0]
}

// show describes a destination for Due.
func (x *index) show(d *dest) Dest {
	out := Dest{Name: d.name, Jobs: len(d.ready[0].jobs) + len(d.ready[1].jobs), Bulk: len(d.ready[0].jobs) == 0}
	first := uint32(1<<32 - 1)
	for i := range d.ready {
		if jobs := d.ready[i].jobs; len(jobs) > 0 {
			first = min(first, x.job(jobs[0]).due)
		}
	}
	out.Earliest = timeOf(first)
	return out
}
