package imap

import (
	"strconv"

	"github.com/goniec-mail/goniec/mailbox"
)

// window is a range of positions in a result (RFC 9394): 1 is the first, -1 the last.
type window struct{ first, last int64 }

// window reads "1:500" or "-1:-500".
func (c *conn) window() (w window) {
	d := &c.dec
	end := func() int64 {
		sign := int64(1)
		if d.Try('-') {
			sign = -1
		}
		n := int64(d.Number())
		if n == 0 {
			d.Fail("position 0")
		}
		return sign * n
	}
	w.first = end()
	d.Expect(':')
	w.last = end()
	if (w.first < 0) != (w.last < 0) {
		d.Fail("a range begins and ends on the same side")
	}
	return w
}

// String returns the window as the client gave it.
func (w window) String() string {
	return strconv.FormatInt(w.first, 10) + ":" + strconv.FormatInt(w.last, 10)
}

// within returns the window's positions in a result of so many messages; first is above last when there are none.
func (w window) within(size int64) (first, last int64) {
	first, last = min(w.first, w.last), max(w.first, w.last)
	if first < 0 { // from the end
		first, last = size+1+first, size+1+last
	}
	return max(first, 1), min(last, size)
}

// of returns the part of a set in the window.
func (w window) of(set mailbox.UIDSet) mailbox.UIDSet {
	first, last := w.within(int64(set.Len()))
	var b mailbox.UIDSetBuilder
	at := int64(1) // position of the interval's first UID
	for _, r := range set {
		n := int64(r.Last-r.First) + 1
		from, to := max(first, at), min(last, at+n-1)
		if from <= to {
			b.AddRange(r.First+mailbox.UID(from-at), r.First+mailbox.UID(to-at))
		}
		at += n
	}
	return b.Set()
}
