package inflate

// code is a canonical Huffman code: how many symbols there are of each length, and the symbols in the order
// of their codes.
type code struct {
	count   [maxBits + 1]uint16
	symbols [maxLit]uint16
}

// set makes the code of the lengths of its symbols. It reports false for more codes than there is room for.
// Incomplete codes are allowed, as encoders write them for blocks with one distance.
func (h *code) set(lengths []uint8) bool {
	h.count = [maxBits + 1]uint16{}
	for _, n := range lengths {
		h.count[n]++
	}
	left := 1
	for n := 1; n <= maxBits; n++ {
		if left = left<<1 - int(h.count[n]); left < 0 {
			return false
		}
	}
	var at [maxBits + 2]uint16
	for n := 1; n <= maxBits; n++ {
		at[n+1] = at[n] + h.count[n]
	}
	for s, n := range lengths {
		if n > 0 {
			h.symbols[at[n]] = uint16(s)
			at[n]++
		}
	}
	h.count[0] = 0
	return true
}

// read reads one symbol, bit by bit: canonical codes of one length are consecutive numbers.
func (h *code) read(c *cursor) (int, error) {
	value, first, index := 0, 0, 0
	for n := 1; n <= maxBits; n++ {
		value |= int(c.take(1))
		if c.short {
			return 0, errMore
		}
		count := int(h.count[n])
		if value-count < first {
			return int(h.symbols[index+value-first]), nil
		}
		index += count
		first = (first + count) << 1
		value <<= 1
	}
	return 0, ErrCorrupt
}

// fixedCodes are those of RFC 1951 §3.2.6.
func (r *Reader) fixedCodes() {
	var l [maxLit]uint8
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	r.lit.set(l[:])
	var d [maxDist]uint8
	for i := range d {
		d[i] = 5
	}
	r.dist.set(d[:])
}

// dynamicHeader is the table of codes in front of a block (RFC 1951 §3.2.7), as far as it was read.
type dynamicHeader struct {
	lits, dists, codes int // how many lengths there are of each
	lengths            [maxLit + maxDist]uint8
	at                 int
	code               code
}

// order is that of the lengths of the code for lengths.
var order = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (r *Reader) dynamicCounts() error {
	c := r.cursor()
	h := dynamicHeader{lits: int(c.take(5)) + 257, dists: int(c.take(5)) + 1, codes: int(c.take(4)) + 4}
	if err := r.commit(&c); err != nil {
		return err
	}
	if h.lits > 286 || h.dists > 30 {
		return ErrCorrupt
	}
	r.header = h
	r.next = (*Reader).dynamicCode
	return nil
}

// dynamicCode reads one length of the code for lengths.
func (r *Reader) dynamicCode() error {
	h := &r.header
	if h.at < h.codes {
		c := r.cursor()
		n := c.take(3)
		if err := r.commit(&c); err != nil {
			return err
		}
		h.lengths[order[h.at]] = uint8(n)
		h.at++
		return nil
	}
	if !h.code.set(h.lengths[:len(order)]) {
		return ErrCorrupt
	}
	clear(h.lengths[:])
	h.at = 0
	r.next = (*Reader).dynamicLengths
	return nil
}

// dynamicLengths reads one symbol of the list of lengths.
func (r *Reader) dynamicLengths() error {
	h := &r.header
	if h.at == h.lits+h.dists {
		return r.useDynamic()
	}
	c := r.cursor()
	s, err := h.code.read(&c)
	if err != nil {
		return err
	}
	n, times := uint8(s), 1
	switch s {
	case 16:
		if h.at == 0 {
			return ErrCorrupt
		}
		n, times = h.lengths[h.at-1], 3+int(c.take(2))
	case 17:
		n, times = 0, 3+int(c.take(3))
	case 18:
		n, times = 0, 11+int(c.take(7))
	}
	if err := r.commit(&c); err != nil {
		return err
	}
	if h.at+times > h.lits+h.dists {
		return ErrCorrupt
	}
	for range times {
		h.lengths[h.at] = n
		h.at++
	}
	return nil
}

func (r *Reader) useDynamic() error {
	h := &r.header
	if h.lengths[256] == 0 || !r.lit.set(h.lengths[:h.lits]) || !r.dist.set(h.lengths[h.lits:h.lits+h.dists]) {
		return ErrCorrupt
	}
	r.next = (*Reader).symbol
	return nil
}
