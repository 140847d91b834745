package faultfs

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// sector is what a disk writes whole or not at all.
	sector = 512
	// exactUnits pieces of unsynced content are tried in all subsets.
	exactUnits = 7
	// maxForms bounds what is tried of one file's content, formBytes what that
	// may take.
	maxForms  = 96
	minForms  = 8
	formBytes = 64 << 20
)

// unit is the smallest piece of a write that reaches the disk on its own: a
// sector, the growth of the file, a truncation, a time.
type unit struct {
	write
	of    int  // which write it belongs to
	grows bool // a change of size that makes room for the sectors after it
}

// units takes the pending writes to pieces.
func units(n *inode) []unit {
	var list []unit
	size := int64(len(n.disk))
	for i, w := range n.pending {
		if w.kind != writeData {
			if w.kind == writeSize {
				size = w.off
			}
			list = append(list, unit{write: w, of: i})
			continue
		}
		if end := w.off + int64(len(w.data)); end > size {
			size = end
			list = append(list, unit{write: write{kind: writeSize, off: end}, of: i, grows: true})
		}
		for at, rest := w.off, w.data; len(rest) > 0; {
			k := min(sector-at%sector, int64(len(rest)))
			list = append(list, unit{write: write{off: at, data: rest[:k]}, of: i})
			at, rest = at+k, rest[k:]
		}
	}
	return list
}

// draft is one choice of units.
type draft struct {
	has  []bool
	tidy bool // the file ends with the last sector written; else it has its new size, zeros where nothing was written
}

// form is what may have become of a file's content.
type form struct {
	data  []byte
	mtime time.Time
	sum   uint64 // tells forms apart
}

// formsOf lists what may have become of a file, without doubles: first nothing
// written, last everything.
func (en *enumerator) formsOf(n *inode) []form {
	if forms, ok := en.forms[n]; ok {
		return forms
	}
	list := units(n)
	complete := n.form(list, draft{has: filled(len(list), true)})
	most := max(minForms, min(maxForms, formBytes/(1+len(complete.data))))
	drafts, exact := drafts(list, most, en.snap.c.rng(n.num))
	if !exact {
		en.sampled = true
	}
	var forms []form
	seen := map[uint64]bool{complete.sum: true}
	for _, d := range drafts {
		f := n.form(list, d)
		if !seen[f.sum] {
			seen[f.sum] = true
			forms = append(forms, f)
		}
	}
	en.forms[n] = append(forms, complete)
	return en.forms[n]
}

// form applies the chosen units to the synced content.
func (n *inode) form(list []unit, d draft) form {
	data, mtime := slices.Clone(n.disk), n.dtime
	for i, u := range list {
		switch {
		case !d.has[i], d.tidy && u.grows:
		case u.kind == writeTime:
			mtime = u.time
		case u.grows:
			data = resize(data, max(u.off, int64(len(data))))
		case u.kind == writeData && !d.tidy:
			if u.off < int64(len(data)) { // beyond the size nobody sees it
				copy(data[u.off:], u.data)
			}
		default:
			data = u.apply(data)
		}
	}
	return form{data, mtime, maphash.Bytes(hashSeed, data) ^ uint64(mtime.UnixNano())}
}

// drafts lists at most so many choices, nothing first. It tells whether they are all
// there are.
func drafts(list []unit, most int, rng *rand.Rand) ([]draft, bool) {
	n := len(list)
	if n <= exactUnits {
		var all []draft
		for _, set := range allSubsets(n) {
			all = append(all, draft{set, true}, draft{set, false})
		}
		return all, true
	}
	chosen := []draft{
		{has: filled(n, false)},
		{has: pick(n, func(i int) bool { return list[i].grows })},
	}
	chosen = append(chosen, byWrite(list, most/2, rng)...)
	chosen = append(chosen, byUnit(list, most/4, rng)...)
	for len(chosen) < most {
		chosen = append(chosen, draft{has: pick(n, func(int) bool { return rng.IntN(2) == 0 })})
	}
	return chosen, false
}

// byWrite: the writes up to one, all but one, one alone.
func byWrite(list []unit, most int, rng *rand.Rand) []draft {
	var drafts []draft
	for _, w := range some(1+list[len(list)-1].of, most/3, rng) {
		drafts = append(drafts,
			draft{pick(len(list), func(i int) bool { return list[i].of < w }), true},
			draft{pick(len(list), func(i int) bool { return list[i].of != w }), false},
			draft{pick(len(list), func(i int) bool { return list[i].of == w }), false})
	}
	return drafts
}

// byUnit: torn before a sector, with and without the new size; a sector missing.
func byUnit(list []unit, most int, rng *rand.Rand) []draft {
	var drafts []draft
	for _, u := range some(len(list), most/3, rng) {
		drafts = append(drafts,
			draft{pick(len(list), func(i int) bool { return i < u }), true},
			draft{pick(len(list), func(i int) bool { return i < u || list[i].grows }), false},
			draft{pick(len(list), func(i int) bool { return i != u }), false})
	}
	return drafts
}

// some picks at most so many of the numbers below n, the last one always: the end
// of a record is where it tears.
func some(n, most int, rng *rand.Rand) []int {
	most = max(1, most)
	if n <= most {
		return rng.Perm(n)
	}
	picked := []int{n - 1}
	for range most - 1 {
		picked = append(picked, rng.IntN(n))
	}
	return picked
}

func filled(n int, v bool) []bool { return pick(n, func(int) bool { return v }) }

func pick(n int, has func(int) bool) []bool {
	set := make([]bool, n)
	for i := range set {
		set[i] = has(i)
	}
	return set
}
