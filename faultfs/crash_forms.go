package faultfs

import (
	"math/rand/v2"
	"slices"
)

const (
	// sector is what a disk writes whole or not at all.
	sector = 512
	// exactUnits pieces of unsynced content are tried in all subsets.
	exactUnits = 7
	// maxForms bounds what is tried of one file's content.
	maxForms = 96
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

// formsOf lists what may have become of a file, without doubles: first nothing
// written, last everything.
func (en *enumerator) formsOf(n *inode) []form {
	if forms, ok := en.forms[n]; ok {
		return forms
	}
	list := units(n)
	drafts, exact := drafts(list, en.snap.c.rng(n.num))
	if !exact {
		en.sampled = true
	}
	var forms []form
	for _, d := range drafts {
		f := n.form(list, d)
		if !slices.ContainsFunc(forms, f.equal) {
			forms = append(forms, f)
		}
	}
	// The complete form may have been met earlier: a rewrite of the same octets.
	complete := n.form(list, draft{has: filled(len(list), true)})
	forms = append(slices.DeleteFunc(forms, complete.equal), complete)
	en.forms[n] = forms
	return forms
}

func (f form) equal(o form) bool {
	return f.mtime.Equal(o.mtime) && string(f.data) == string(o.data)
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
	return form{data, mtime}
}

// drafts lists choices, nothing first. It tells whether they are all there are.
func drafts(list []unit, rng *rand.Rand) ([]draft, bool) {
	n := len(list)
	if n <= exactUnits {
		var all []draft
		for _, set := range allSubsets(n) {
			all = append(all, draft{set, true}, draft{set, false})
		}
		return all, true
	}
	first := []draft{{has: filled(n, false)}, {has: pick(n, func(i int) bool { return list[i].grows })}}
	first = append(first, byWrite(list)...)
	rest := byUnit(list)
	for range maxForms / 4 {
		rest = append(rest, draft{has: pick(n, func(int) bool { return rng.IntN(2) == 0 })})
	}
	for _, part := range [][]draft{first[1:], rest} {
		rng.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	if len(first) > maxForms/2 {
		first = first[:maxForms/2]
	}
	return append(first, rest[:min(len(rest), maxForms-len(first))]...), false
}

// byWrite: the writes up to each, all but one, one alone.
func byWrite(list []unit) []draft {
	var drafts []draft
	for w := range list[len(list)-1].of + 1 {
		drafts = append(drafts,
			draft{pick(len(list), func(i int) bool { return list[i].of < w }), true},
			draft{pick(len(list), func(i int) bool { return list[i].of != w }), false},
			draft{pick(len(list), func(i int) bool { return list[i].of == w }), false})
	}
	return drafts
}

// byUnit: torn before each sector, with and without the new size; each sector
// missing.
func byUnit(list []unit) []draft {
	var drafts []draft
	for u := range list {
		before := func(i int) bool { return i < u }
		drafts = append(drafts,
			draft{pick(len(list), before), true},
			draft{pick(len(list), func(i int) bool { return i < u || list[i].grows }), false},
			draft{pick(len(list), func(i int) bool { return i != u }), false})
	}
	return drafts
}

func filled(n int, v bool) []bool { return pick(n, func(int) bool { return v }) }

func pick(n int, has func(int) bool) []bool {
	set := make([]bool, n)
	for i := range set {
		set[i] = has(i)
	}
	return set
}
