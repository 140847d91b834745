package mailbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// NumRange is a range of sequence numbers or UIDs as a client has named it (RFC 9051 seq-range):
// either end may be the higher one, and 0 stands for "*".
type NumRange struct{ First, Last uint32 }

// NumSet is a set of sequence numbers or UIDs as a client has named it (RFC 9051 sequence-set): in
// any order, overlapping or not. What it means depends on the session: see View.
type NumSet []NumRange

// ErrNumSet is in the chain of ParseNumSet's error.
var ErrNumSet = errors.New("not a sequence set")

// ParseNumSet reads a sequence-set of RFC 9051: "1:3,7,12:*". It has at least one element.
func ParseNumSet(text string) (NumSet, error) {
	var set NumSet
	for item := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(item, ":")
		first, err := parseNumber(from)
		last := first
		if err == nil && isRange {
			last, err = parseNumber(to)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %.40q", ErrNumSet, item)
		}
		set = append(set, NumRange{first, last})
	}
	return set, nil
}

func parseNumber(text string) (uint32, error) {
	if text == "*" {
		return 0, nil
	}
	n, err := parseUID(text)
	return uint32(n), err
}

// String returns the set as a client writes it.
func (s NumSet) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(number(r.First))
		if r.Last != r.First {
			b.WriteString(":" + number(r.Last))
		}
	}
	return b.String()
}

func number(n uint32) string {
	if n == 0 {
		return "*"
	}
	return strconv.FormatUint(uint64(n), 10)
}

// intervals puts star in the place of "*" and returns the numbers as ascending disjoint intervals:
// however often a client names a number, it is worked on once. star 0 (nothing is there) drops it.
func (s NumSet) intervals(star uint32) UIDSet {
	var b UIDSetBuilder
	for _, r := range s {
		if r.First == 0 {
			r.First = star
		}
		if r.Last == 0 {
			r.Last = star
		}
		b.AddRange(UID(min(r.First, r.Last)), UID(max(r.First, r.Last)))
	}
	return b.Set()
}

// numSet is the opposite of intervals.
func (s UIDSet) numSet() NumSet {
	var out NumSet
	for _, r := range s {
		out = append(out, NumRange{uint32(r.First), uint32(r.Last)})
	}
	return out
}
