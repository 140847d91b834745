package mailbox

import (
	"slices"
	"sort"
)

// sequence numbers a set of UIDs: message sequence number n is the n-th UID. It costs eight bytes for
// each interval, and a sum for each sumStep of them.
type sequence struct {
	set  UIDSet
	sums []uint32 // sums[i] is how many UIDs are in set[:i*sumStep]
}

// sumStep bounds the steps of a look-up: one binary search, then at most so many intervals.
const sumStep = 64

func newSequence(set UIDSet) sequence {
	q := sequence{set: slices.Clip(slices.Clone(set))}
	var n uint32
	for i, r := range q.set {
		if i%sumStep == 0 {
			q.sums = append(q.sums, n)
		}
		n += uint32(r.Last-r.First) + 1
	}
	q.sums = slices.Clip(q.sums)
	return q
}

func (q sequence) len() int {
	if len(q.sums) == 0 {
		return 0
	}
	last := len(q.sums) - 1
	return int(q.sums[last]) + q.set[last*sumStep:].Len()
}

// locate returns the interval that has sequence number n, and how many UIDs are before it.
// 1 <= n <= q.len().
func (q sequence) locate(n uint32) (i int, before uint32) {
	step := sort.Search(len(q.sums), func(i int) bool { return q.sums[i] >= n }) - 1
	i, before = step*sumStep, q.sums[step]
	for {
		size := uint32(q.set[i].Last-q.set[i].First) + 1
		if n <= before+size {
			return i, before
		}
		before += size
		i++
	}
}

// uid returns the UID with sequence number n; 0 when there is none.
func (q sequence) uid(n uint32) UID {
	if n == 0 || int64(n) > int64(q.len()) {
		return 0
	}
	i, before := q.locate(n)
	return q.set[i].First + UID(n-before-1)
}

// number returns the sequence number of u; 0 when it has none.
func (q sequence) number(u UID) uint32 {
	i := q.set.search(u)
	if i == len(q.set) || q.set[i].First > u {
		return 0
	}
	n := q.sums[i/sumStep]
	for _, r := range q.set[i/sumStep*sumStep : i] {
		n += uint32(r.Last-r.First) + 1
	}
	return n + uint32(u-q.set[i].First) + 1
}

// uids returns the UIDs of sequence numbers, given as ascending disjoint intervals within the
// numbers that there are.
func (q sequence) uids(numbers UIDSet) UIDSet {
	var b UIDSetBuilder
	for _, r := range numbers {
		i, before := q.locate(uint32(r.First))
		for n := uint32(r.First); n <= uint32(r.Last); i++ {
			first := q.set[i].First + UID(n-before-1)
			left := UID(uint32(r.Last) - n)
			last := min(first+left, q.set[i].Last)
			b.AddRange(first, last)
			taken := uint32(last-first) + 1
			before = n + taken - 1
			n += taken
		}
	}
	return b.Set()
}

// numbers returns the sequence numbers of uids as ascending disjoint intervals; those without number
// are passed over.
func (q sequence) numbers(uids UIDSet) UIDSet {
	var b UIDSetBuilder
	for _, r := range uids.Intersect(q.set) {
		n := UID(q.number(r.First))
		b.AddRange(n, n+(r.Last-r.First))
	}
	return b.Set()
}
