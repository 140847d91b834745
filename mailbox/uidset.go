package mailbox

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// UIDRange is the UIDs from First to Last, both included; First <= Last.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs, kept as intervals: ascending, disjoint, not touching. nil is the empty
// set. It is a value: its methods return new sets and never change their receiver, so that sets
// can be shared; who builds one by hand keeps the order (or uses a UIDSetBuilder). Union, Subtract
// and Intersect take time in proportion to the number of intervals, not of UIDs.
type UIDSet []UIDRange

// AllUIDs is the set of all possible UIDs.
func AllUIDs() UIDSet { return UIDSet{{1, MaxUID}} }

// UIDs returns the set of some UIDs, given in any order; 0 is passed over.
func UIDs(uids ...UID) UIDSet {
	var b UIDSetBuilder
	for _, u := range uids {
		b.Add(u)
	}
	return b.Set()
}

// Contains reports whether u is in the set.
func (s UIDSet) Contains(u UID) bool {
	i := s.search(u)
	return i < len(s) && s[i].First <= u
}

// search returns the index of the first interval that does not end before u.
func (s UIDSet) search(u UID) int {
	return sort.Search(len(s), func(i int) bool { return s[i].Last >= u })
}

// Len returns the number of UIDs; math.MaxInt where an int can not hold it.
func (s UIDSet) Len() int {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return int(min(n, math.MaxInt))
}

// Empty reports whether the set has no UID.
func (s UIDSet) Empty() bool { return len(s) == 0 }

// Min returns the lowest UID; 0 for the empty set.
func (s UIDSet) Min() UID {
	if len(s) == 0 {
		return 0
	}
	return s[0].First
}

// Max returns the highest UID; 0 for the empty set.
func (s UIDSet) Max() UID {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].Last
}

// All yields the UIDs in ascending order. Of a set that a peer has named ("1:*"), intersect it with
// the folder's UIDs first: the interval may be four thousand million long.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for u := r.First; ; u++ {
				if !yield(u) {
					return
				}
				if u == r.Last { // not "<= Last": MaxUID + 1 is 0
					break
				}
			}
		}
	}
}

// Add returns the set with some more UIDs. It copies the intervals, unless the UIDs are there already: to put UIDs
// into a set one after the other, use a UIDSetBuilder.
func (s UIDSet) Add(uids ...UID) UIDSet {
	if len(uids) == 1 && (uids[0] == 0 || s.Contains(uids[0])) {
		return s
	}
	return s.Union(UIDs(uids...))
}

// Equal reports whether both sets have the same UIDs.
func (s UIDSet) Equal(t UIDSet) bool { return slices.Equal(s, t) }

// Union returns the UIDs that are in s or in t.
func (s UIDSet) Union(t UIDSet) UIDSet {
	if len(t) == 0 {
		return s
	}
	if len(s) == 0 {
		return t
	}
	out := UIDSetBuilder{set: make(UIDSet, 0, max(len(s), len(t)))}
	for len(s) > 0 && len(t) > 0 {
		if s[0].First > t[0].First {
			s, t = t, s
		}
		out.AddRange(s[0].First, s[0].Last)
		s = s[1:]
	}
	for _, r := range s {
		out.AddRange(r.First, r.Last)
	}
	for _, r := range t {
		out.AddRange(r.First, r.Last)
	}
	return out.Set()
}

// Intersect returns the UIDs that are in s and in t.
func (s UIDSet) Intersect(t UIDSet) UIDSet {
	var out UIDSet
	for len(s) > 0 && len(t) > 0 {
		first, last := max(s[0].First, t[0].First), min(s[0].Last, t[0].Last)
		if first <= last {
			out = append(out, UIDRange{first, last})
		}
		if s[0].Last < t[0].Last {
			s = s[1:]
		} else {
			t = t[1:]
		}
	}
	return out
}

// Subtract returns the UIDs that are in s and not in t.
func (s UIDSet) Subtract(t UIDSet) UIDSet {
	if len(t) == 0 {
		return s
	}
	var out UIDSet
	for _, r := range s {
		for len(t) > 0 && t[0].Last < r.First {
			t = t[1:]
		}
		out, t = cutRange(out, r, t)
	}
	return out
}

// cutRange appends what r has beyond the intervals of t to out, and returns the part of t that may
// still meet later intervals.
func cutRange(out UIDSet, r UIDRange, t UIDSet) (UIDSet, UIDSet) {
	for len(t) > 0 && t[0].First <= r.Last {
		if r.First < t[0].First {
			out = append(out, UIDRange{r.First, t[0].First - 1})
		}
		if t[0].Last >= r.Last { // t[0] may reach into the next interval of s
			return out, t
		}
		r.First = t[0].Last + 1
		t = t[1:]
	}
	return append(out, r), t
}

// String returns the set in the form of IMAP (RFC 9051 sequence-set): "1:3,5,9:12"; "" for the
// empty set.
func (s UIDSet) String() string {
	b := make([]byte, 0, 12*min(len(s), 1<<16))
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return string(b)
}

// ErrUIDSet is in the chain of ParseUIDSet's error.
var ErrUIDSet = errors.New("not a set of UIDs")

// ParseUIDSet reads the form that String writes: numbers and ranges in any order, also
// overlapping, and ranges with the higher end first (RFC 9051 allows both). "" is the empty set.
// 0 and "*" are refused: what "*" means depends on the session (see NumSet and View).
func ParseUIDSet(text string) (UIDSet, error) {
	var b UIDSetBuilder
	for len(text) > 0 {
		item, rest, more := strings.Cut(text, ",")
		first, last, err := parseUIDRange(item)
		if err != nil || more && rest == "" {
			return nil, fmt.Errorf("%w: %.40q", ErrUIDSet, item)
		}
		b.AddRange(first, last)
		text = rest
	}
	return b.Set(), nil
}

func parseUIDRange(item string) (first, last UID, err error) {
	from, to, isRange := strings.Cut(item, ":")
	if first, err = parseUID(from); err != nil || !isRange {
		return first, first, err
	}
	if last, err = parseUID(to); err != nil {
		return 0, 0, err
	}
	return min(first, last), max(first, last), nil
}

func parseUID(text string) (UID, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || text[0] < '1' || text[0] > '9' { // nz-number: no sign, no leading zero
		return 0, ErrUIDSet
	}
	return UID(n), nil
}

// UIDSetBuilder makes a UIDSet of UIDs as they come. Ascending UIDs cost nothing but the interval;
// others are allowed and sorted once at the end. The zero value is ready for use. It is not safe
// for concurrent use.
type UIDSetBuilder struct {
	set      UIDSet
	unsorted bool
}

// Add adds one UID; 0 is passed over.
func (b *UIDSetBuilder) Add(u UID) {
	if u != 0 {
		b.AddRange(u, u)
	}
}

// AddSet adds the UIDs of a set. Sets that come in any order, as from several goroutines, cost no more than their intervals and
// one sort at the end, where Union would go through all that is there each time.
func (b *UIDSetBuilder) AddSet(s UIDSet) {
	for _, r := range s {
		b.AddRange(r.First, r.Last)
	}
}

// AddRange adds the UIDs from first to last, both included; nothing when first > last or first is 0.
func (b *UIDSetBuilder) AddRange(first, last UID) {
	if first > last || first == 0 {
		return
	}
	n := len(b.set)
	if n == 0 {
		b.set = append(b.set, UIDRange{first, last})
		return
	}
	top := &b.set[n-1]
	switch {
	case first < top.First:
		b.unsorted = true
		b.set = append(b.set, UIDRange{first, last})
	case top.Last == MaxUID || first <= top.Last+1:
		top.Last = max(top.Last, last)
	default:
		b.set = append(b.set, UIDRange{first, last})
	}
}

// Set returns the set. The builder is empty afterwards.
func (b *UIDSetBuilder) Set() UIDSet {
	set, unsorted := b.set, b.unsorted
	*b = UIDSetBuilder{}
	if !unsorted {
		return set
	}
	slices.SortFunc(set, func(x, y UIDRange) int { return cmp.Compare(x.First, y.First) })
	for _, r := range set {
		b.AddRange(r.First, r.Last) // ascending now
	}
	set = b.set
	*b = UIDSetBuilder{}
	return set
}
