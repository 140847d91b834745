package faultfs

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
)

// CrashState is one disk that a power cut may leave behind.
type CrashState struct {
	// FS is the disk after the restart, everything on it durable. It is the
	// caller's: recovery may run on it and be crash-tested in its turn.
	FS *Crash
	// Point counts the changing calls before the cut, After names the last.
	Point int
	After string
	// Done tells that the whole operation had returned.
	Done bool
	// Marks are the promises made before the cut, see Crash.Mark.
	Marks []string
	// Lost lists the directory changes that did not reach the disk.
	Lost []string
}

// Marked tells whether the promise was made before the cut.
func (s *CrashState) Marked(label string) bool { return slices.Contains(s.Marks, label) }

// States yields every state that a power cut now could leave, each once: all that
// the Model allows for directories, times all that may have become of file
// content not synced: the old, each prefix of the writes, writes torn at 512
// octets, single writes or sectors missing, the new size filled with zeros. Where
// more than limit are possible (zero means 1000, negative no limit), it yields
// the extreme ones and a sample that depends on the seed alone.
func (c *Crash) States(limit int) iter.Seq[*CrashState] {
	c.mu.Lock()
	snap := c.snapshot("")
	c.mu.Unlock()
	return func(yield func(*CrashState) bool) {
		en := newEnumerator(snap, limit, map[uint64]bool{})
		en.run(yield)
	}
}

// snapshot is what a power cut at one point works on: copies of the disk sides of
// all inodes, and the pending changes.
type snapshot struct {
	c     *Crash // for Model, Now, seed only
	point int
	after string
	done  bool
	root  *inode
	last  uint64
	marks []string

	pending []change
}

func (c *Crash) snapshot(after string) *snapshot {
	cl := cloner{}
	s := &snapshot{c: c, after: after, last: c.last, marks: slices.Clone(c.marks), root: cl.clone(c.root)}
	for _, ch := range c.pending {
		copied := change{what: ch.what, id: ch.id, needs: ch.needs}
		for _, e := range ch.effects {
			copied.effects = append(copied.effects, effect{cl.clone(e.dir), e.name, cl.clone(e.node)})
		}
		s.pending = append(s.pending, copied)
	}
	cl.finish()
	return s
}

// cloner copies the disk side of inodes; an inode reached twice is copied once.
type cloner map[*inode]*inode

func (cl cloner) clone(n *inode) *inode {
	if n == nil {
		return nil
	}
	if cl[n] == nil {
		cl[n] = &inode{
			num: n.num, mode: n.mode, mtime: n.mtime, ctime: n.ctime,
			disk: slices.Clip(n.disk), version: n.version, dtime: n.dtime, pending: slices.Clip(n.pending),
		}
	}
	return cl[n]
}

// finish copies the entries on disk, and what they lead to.
func (cl cloner) finish() {
	todo := slices.Collect(maps.Keys(cl))
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n.durable == nil || cl[n].durable != nil {
			continue
		}
		cl[n].durable = make(map[string]*inode, len(n.durable))
		for name, child := range n.durable {
			cl[n].durable[name] = cl.clone(child)
			todo = append(todo, child)
		}
	}
}

const (
	defaultStates = 1000
	// exactChanges pending directory changes are tried in all 2^n subsets.
	exactChanges = 12
	// maxSubsets are drawn at random where there are more, beside the corners.
	maxSubsets = 1024
)

// enumerator walks the states of one snapshot.
type enumerator struct {
	snap    *snapshot
	limit   int
	sampled bool
	seen    map[uint64]bool // states yielded before, by hash
	count   int
	subsets [][]bool
	forms   map[*inode][]form // what may have become of a file, cached
}

func newEnumerator(snap *snapshot, limit int, seen map[uint64]bool) *enumerator {
	if limit == 0 {
		limit = defaultStates
	}
	en := &enumerator{snap: snap, limit: limit, seen: seen, forms: map[*inode][]form{}}
	en.subsets = en.changeSubsets()
	return en
}

// changeSubsets lists the subsets of pending directory changes to try.
func (en *enumerator) changeSubsets() [][]bool {
	n := len(en.snap.pending)
	if en.snap.c.Model == Ordered {
		return prefixes(n)
	}
	if n <= exactChanges {
		return allSubsets(n)
	}
	en.sampled = true
	subsets := corners(n)
	rng := en.snap.c.rng(uint64(en.snap.point))
	for range maxSubsets {
		subsets = append(subsets, pick(n, func(int) bool { return rng.IntN(2) == 0 }))
	}
	return subsets
}

// corners are the subsets that bugs like best: all up to one change, one alone, all
// but one; the whole set last.
func corners(n int) [][]bool {
	sets := prefixes(n)
	whole := sets[len(sets)-1]
	sets = sets[:len(sets)-1]
	for i := 0; i < n; i += stride(n) {
		sets = append(sets,
			pick(n, func(j int) bool { return j == i }),
			pick(n, func(j int) bool { return j != i }))
	}
	return append(sets, whole)
}

// stride skips some of very many.
func stride(n int) int { return 1 + n/maxSubsets }

func prefixes(n int) [][]bool {
	var sets [][]bool
	for k := 0; k < n; k += stride(n) {
		sets = append(sets, pick(n, func(j int) bool { return j < k }))
	}
	return append(sets, filled(n, true))
}

func allSubsets(n int) [][]bool {
	var sets [][]bool
	for bits := range 1 << n {
		sets = append(sets, pick(n, func(j int) bool { return bits>>j&1 == 1 }))
	}
	return sets
}

// disk is a tree on the disk after one subset of changes, before the files'
// content is chosen.
type disk struct {
	entries map[*inode]map[string]*inode // of each directory reached
	dirty   []*inode                     // files with content in doubt, in order of number
	lost    []string
}

func (en *enumerator) disk(subset []bool) *disk {
	d := &disk{entries: map[*inode]map[string]*inode{}}
	effects := map[*inode][]effect{}
	missing := map[uint64]bool{}
	for i, ch := range en.snap.pending {
		if !subset[i] || missing[ch.needs] {
			missing[ch.id] = true
			d.lost = append(d.lost, ch.what)
			continue
		}
		for _, e := range ch.effects {
			effects[e.dir] = append(effects[e.dir], e)
		}
	}
	seen := map[*inode]bool{en.snap.root: true}
	for todo := []*inode{en.snap.root}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n.durable == nil {
			if len(n.pending) > 0 {
				d.dirty = append(d.dirty, n)
			}
			continue
		}
		entries := maps.Clone(n.durable)
		for _, e := range effects[n] {
			e.put(entries)
		}
		d.entries[n] = entries
		for _, child := range entries {
			if !seen[child] {
				seen[child] = true
				todo = append(todo, child)
			}
		}
	}
	slices.SortFunc(d.dirty, func(a, b *inode) int { return int(a.num) - int(b.num) })
	return d
}

// run yields the states; false when the consumer stopped.
func (en *enumerator) run(yield func(*CrashState) bool) bool {
	total := 0
	for _, subset := range en.subsets {
		product := 1
		for _, n := range en.disk(subset).dirty {
			product = min(product*len(en.formsOf(n)), 1<<30)
		}
		total = min(total+product, 1<<30)
	}
	if en.limit < 0 || total <= en.limit {
		return en.all(yield)
	}
	en.sampled = true
	return en.extremes(yield) && en.random(yield)
}

// all yields the whole product.
func (en *enumerator) all(yield func(*CrashState) bool) bool {
	for _, subset := range en.subsets {
		d := en.disk(subset)
		picks := make([]int, len(d.dirty))
		for more := true; more; more = en.step(d, picks) {
			if !en.yield(d, picks, yield) {
				return false
			}
		}
	}
	return true
}

// step counts picks up like an odometer.
func (en *enumerator) step(d *disk, picks []int) bool {
	for i := range picks {
		if picks[i]++; picks[i] < len(en.formsOf(d.dirty[i])) {
			return true
		}
		picks[i] = 0
	}
	return false
}

// extremes yields, of the complete tree, each form of each file beside otherwise
// complete ones, within half the limit; then trees of the corners with no
// content written and with all.
func (en *enumerator) extremes(yield func(*CrashState) bool) bool {
	trees := en.subsets
	if en.snap.c.Model == POSIX {
		trees = corners(len(en.snap.pending))
	}
	d := en.disk(trees[len(trees)-1])
	for f, n := range d.dirty {
		picks := en.uniform(d, true)
		for picks[f] = range en.formsOf(n) {
			if en.count < en.limit/2 && !en.yield(d, picks, yield) {
				return false
			}
		}
	}
	for _, subset := range trees {
		d := en.disk(subset)
		if !en.yield(d, en.uniform(d, true), yield) || !en.yield(d, en.uniform(d, false), yield) {
			return false
		}
	}
	return true
}

// uniform picks the first form (nothing written) or the last (all) of each file.
func (en *enumerator) uniform(d *disk, complete bool) []int {
	picks := make([]int, len(d.dirty))
	if complete {
		for i, n := range d.dirty {
			picks[i] = len(en.formsOf(n)) - 1
		}
	}
	return picks
}

func (en *enumerator) full() bool { return en.limit > 0 && en.count >= en.limit }

// random fills up to the limit; it gives up when it finds nothing new.
func (en *enumerator) random(yield func(*CrashState) bool) bool {
	rng := en.snap.c.rng(uint64(en.snap.point) ^ 1<<63)
	for tries := 0; !en.full() && tries < 4*en.limit; tries++ {
		d := en.disk(en.subsets[rng.IntN(len(en.subsets))])
		picks := make([]int, len(d.dirty))
		for i, n := range d.dirty {
			picks[i] = rng.IntN(len(en.formsOf(n)))
		}
		if !en.yield(d, picks, yield) {
			return false
		}
	}
	return true
}

// yield builds a state unless it was seen or the limit is reached.
func (en *enumerator) yield(d *disk, picks []int, yield func(*CrashState) bool) bool {
	if en.full() {
		return true
	}
	c, key := en.build(d, picks)
	if en.seen[key] {
		return true
	}
	en.seen[key] = true
	en.count++
	s := en.snap
	return yield(&CrashState{
		FS: c, Point: s.point, After: s.after, Done: s.done,
		Marks: slices.Clone(s.marks), Lost: slices.Clone(d.lost),
	})
}

// build makes the file system after the restart, and a hash of its tree and of
// what was promised.
func (en *enumerator) build(d *disk, picks []int) (*Crash, uint64) {
	s := en.snap
	b := builder{en: en, disk: d, forms: map[*inode]form{}, made: map[*inode]*inode{}}
	b.hash.SetSeed(hashSeed)
	for i, n := range d.dirty {
		b.forms[n] = en.formsOf(n)[picks[i]]
	}
	root := b.node(s.root)
	root.links, root.parent = 1, root
	b.fill()
	b.number(uint64(len(s.marks)))
	b.flag(s.done)
	c := &Crash{Model: s.c.Model, Now: s.c.Now, seed: s.c.seed, device: s.c.device, last: s.last, root: root}
	return c, b.hash.Sum64()
}

// hashSeed makes hashes comparable; it never leaves the process.
var hashSeed = maphash.MakeSeed()

// builder makes the new tree, breadth first, in a fixed order.
type builder struct {
	en    *enumerator
	disk  *disk
	forms map[*inode]form
	made  map[*inode]*inode
	todo  []*inode
	hash  maphash.Hash
}

func (b *builder) number(v uint64) {
	var buf [8]byte
	binary.LittleEndian.PutUint64(buf[:], v)
	b.hash.Write(buf[:])
}

func (b *builder) flag(v bool) {
	if v {
		b.number(1)
	} else {
		b.number(0)
	}
}

// node makes the new inode of an old one, the first time it is met.
func (b *builder) node(old *inode) *inode {
	if n := b.made[old]; n != nil {
		return n
	}
	n := &inode{num: old.num, mode: old.mode, mtime: old.mtime, ctime: old.ctime}
	b.made[old] = n
	b.todo = append(b.todo, old)
	return n
}

// fill gives every inode reached its content or entries.
func (b *builder) fill() {
	for len(b.todo) > 0 {
		old := b.todo[0]
		b.todo = b.todo[1:]
		n := b.made[old]
		b.number(n.num)
		b.number(uint64(n.mode))
		if old.durable == nil {
			b.content(old, n)
			continue
		}
		entries := b.disk.entries[old]
		n.entries = make(map[string]*inode, len(entries))
		for _, name := range sortedKeys(entries) {
			child := b.node(entries[name])
			child.links++
			if entries[name].durable != nil {
				child.parent = n
			}
			n.entries[name] = child
			b.hash.WriteString(name)
			b.number(child.num)
		}
		n.durable = maps.Clone(n.entries)
	}
}

// content is hashed as its version on disk and the form of what is pending: to read
// all files of a large store for each state would be slow.
func (b *builder) content(old, n *inode) {
	n.disk, n.mtime, n.version = old.disk, old.dtime, old.version
	b.number(old.version)
	if f, ok := b.forms[old]; ok {
		n.disk, n.mtime = f.data, f.mtime
		b.number(f.sum)
	}
	n.dtime = n.mtime
	n.data, n.shared = n.disk, true
	b.number(uint64(n.mtime.UnixNano()))
}

func sortedKeys(m map[string]*inode) []string { return slices.Sorted(maps.Keys(m)) }
