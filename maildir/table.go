package maildir

import (
	"bytes"
	"hash/maphash"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
	"weak"

	"github.com/goniec-mail/goniec/mailbox"
)

// rec is one message: 32 octets, so that a hundred thousand with their names stay below 10 MB.
type rec struct {
	modSeq  uint64
	uid     uint32
	name    uint32 // where its name begins in table.names
	flags   flagBits
	size    uint32 // low 32 bits, with sizeHi; see setSize
	date    uint32 // low 32 bits, with dateHi; see setDate
	sizeHi  uint8
	dateHi  int8
	nameLen uint8
	state   recState
}

type recState uint8

const (
	oddOne recState = 1 << iota // the kept name is the whole file name: its info is not what appendInfo writes
)

const noDate = math.MinInt64

func (r *rec) setSize(n int64) {
	if n < 0 || n > maxSize {
		n = maxSize + 1
	}
	r.size, r.sizeHi = uint32(n), uint8(n>>32)
}

// getSize returns the size in network form, -1 when it is not known.
func (r *rec) getSize() int64 {
	n := int64(r.sizeHi)<<32 | int64(r.size)
	if n > maxSize {
		return -1
	}
	return n
}

const dateLimit = 1 << 39

func (r *rec) setDate(d int64) {
	switch {
	case d == noDate:
		d = -dateLimit
	case d <= -dateLimit:
		d = -dateLimit + 1
	case d >= dateLimit:
		d = dateLimit - 1
	}
	r.date, r.dateHi = uint32(d), int8(d>>32)
}

// getDate returns the date in Unix seconds, noDate when the file was not looked at yet.
func (r *rec) getDate() int64 {
	d := int64(r.dateHi)<<32 | int64(r.date)
	if d == -dateLimit {
		return noDate
	}
	return d
}

// table is the messages of a folder by ascending UID, their names in one block.
type table struct {
	recs  []rec
	names []byte
	dead  int // octets of names that no rec uses
	snap  weak.Pointer[snapshot]
}

// snapshot is a copy of recs at one moment. Names are only ever appended, or replaced as a whole: they need no copy.
type snapshot struct {
	recs  []rec
	names []byte
}

// snapshot copies all recs. Those who ask one after the other get the same copy, until something changes.
func (t *table) snapshot() *snapshot {
	snap := t.snap.Value()
	if snap == nil {
		snap = &snapshot{slices.Clone(t.recs), t.names}
		t.snap = weak.Make(snap)
	}
	return snap
}

// touch must follow each change of a rec.
func (t *table) touch() { t.snap = weak.Pointer[snapshot]{} }

// metas yields what the copy says.
func (s *snapshot) metas(yield func(mailbox.Meta) bool) {
	t := table{names: s.names}
	for i := range s.recs {
		if !yield(t.meta(&s.recs[i])) {
			return
		}
	}
}

// kept returns the name a rec keeps: the base, or the whole file name of an odd one.
func (t *table) kept(r *rec) []byte { return t.names[r.name : r.name+uint32(r.nameLen)] }

// base returns the part of the name that stays.
func (t *table) base(r *rec) []byte {
	b := t.kept(r)
	if r.state&oddOne != 0 {
		if i := slices.Index(b, infoSep); i >= 0 {
			return b[:i]
		}
	}
	return b
}

// file returns the file's name.
func (t *table) file(r *rec) string {
	if r.state&oddOne != 0 {
		return string(t.kept(r))
	}
	var buf [maxNameOctets + 40]byte
	return string(appendInfo(append(buf[:0], t.kept(r)...), r.flags))
}

// setName keeps the file name of a rec, and its flags.
func (t *table) setName(r *rec, base, info string) {
	t.touch()
	flags, odd := parseInfo(info)
	r.flags = flags
	keep := base
	r.state &^= oddOne
	if odd {
		r.state |= oddOne
		keep = base + info
	}
	if r.nameLen > 0 && string(t.kept(r)) == keep {
		return
	}
	t.dead += int(r.nameLen)
	r.name, r.nameLen = uint32(len(t.names)), uint8(len(keep))
	t.names = append(t.names, keep...)
}

// newRec makes a rec for a file; fields are those of its line in the uidlist, which may have the size.
func (t *table) newRec(uid uint32, base, info string, fields []byte) rec {
	r := rec{uid: uid}
	r.setDate(noDate)
	r.setSize(netSizeIn(base))
	for f := range bytes.FieldsSeq(fields) {
		if n, err := strconv.ParseInt(string(f[1:]), 10, 64); f[0] == 'W' && err == nil && r.getSize() < 0 {
			r.setSize(n)
		}
	}
	t.setName(&r, base, info)
	return r
}

// find returns the index of a UID, or where it would stand.
func (t *table) find(uid uint32) (int, bool) {
	i := sort.Search(len(t.recs), func(i int) bool { return t.recs[i].uid >= uid })
	return i, i < len(t.recs) && t.recs[i].uid == uid
}

// add puts a rec in its place.
func (t *table) add(r rec) *rec {
	t.touch()
	n := len(t.recs)
	if n == 0 || t.recs[n-1].uid < r.uid {
		t.recs = append(t.recs, r)
		return &t.recs[n]
	}
	i, _ := t.find(r.uid)
	t.recs = slices.Insert(t.recs, i, r)
	return &t.recs[i]
}

// remove takes out the recs that gone says, and now and then the unused names.
func (t *table) remove(gone func(i int, r *rec) bool) {
	t.touch()
	kept := t.recs[:0]
	for i := range t.recs {
		if gone(i, &t.recs[i]) {
			t.dead += int(t.recs[i].nameLen)
		} else {
			kept = append(kept, t.recs[i])
		}
	}
	t.recs = kept
	if t.dead > 4096 && t.dead > len(t.names)/2 {
		t.compact()
	}
}

// compact rewrites the names without the unused ones, and gives memory back.
func (t *table) compact() {
	names := make([]byte, 0, len(t.names)-t.dead)
	recs := make([]rec, len(t.recs))
	for i, r := range t.recs {
		at := uint32(len(names))
		names = append(names, t.kept(&r)...)
		r.name = at
		recs[i] = r
	}
	t.recs, t.names, t.dead = recs, names, 0
}

// selected yields the indexes of the recs whose UIDs are in uids, ascending.
func (t *table) selected(uids mailbox.UIDSet) iter.Seq[int] {
	return func(yield func(i int) bool) {
		for _, span := range uids {
			i, _ := t.find(uint32(span.First))
			for ; i < len(t.recs) && t.recs[i].uid <= uint32(span.Last); i++ {
				if !yield(i) {
					return
				}
			}
		}
	}
}

// newer yields the indexes of the recs above a mod-sequence.
func (t *table) newer(modSeq uint64) iter.Seq[int] {
	return func(yield func(i int) bool) {
		for i := range t.recs {
			if t.recs[i].modSeq > modSeq && !yield(i) {
				return
			}
		}
	}
}

// nameTable finds recs by base name. It is made for a scan and dropped after it.
type nameTable struct {
	t     *table
	seed  maphash.Seed
	slots []uint32 // index + 1
}

func newNameTable(t *table) *nameTable {
	size := 16
	for size < 2*len(t.recs) {
		size *= 2
	}
	n := &nameTable{t: t, seed: maphash.MakeSeed(), slots: make([]uint32, size)}
	for i := range t.recs {
		s := n.slot(maphash.Bytes(n.seed, t.base(&t.recs[i])))
		// Of two recs of one name (a message that came back got another UID) the later counts.
		for n.slots[s] != 0 && !bytes.Equal(t.base(&t.recs[n.slots[s]-1]), t.base(&t.recs[i])) {
			s = (s + 1) & (len(n.slots) - 1)
		}
		n.slots[s] = uint32(i + 1)
	}
	return n
}

func (n *nameTable) slot(h uint64) int { return int(h & uint64(len(n.slots)-1)) }

// find returns the index of the rec with a base name, -1 without one.
func (n *nameTable) find(base string) int {
	for s := n.slot(maphash.String(n.seed, base)); n.slots[s] != 0; s = (s + 1) & (len(n.slots) - 1) {
		i := int(n.slots[s] - 1)
		if string(n.t.base(&n.t.recs[i])) == base {
			return i
		}
	}
	return -1
}
