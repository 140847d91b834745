// Package inflate reads a DEFLATE stream (RFC 1951) from a connection.
//
// It exists because compress/flate waits for the header of the next block before it hands out the
// end of the last one. Where the peer flushes to a byte (Z_SYNC_FLUSH) that header is there; where it flushes
// to a bit (Z_PARTIAL_FLUSH, as several mail clients do under COMPRESS=DEFLATE) a command would be
// read only when the next one comes. This reader hands out every octet that the received ones determine.
//
// Memory is the window of 32 KiB, the tables and 1 KiB of input, whatever the stream says.
package inflate

import (
	"errors"
	"io"
)

// ErrCorrupt is the error of Read for what is no DEFLATE stream. It is final.
var ErrCorrupt = errors.New("inflate: corrupt stream")

// errMore says that a step needs more input.
var errMore = errors.New("more input")

const (
	window    = 32 << 10
	inputSize = 1 << 10
	maxBits   = 15 // of a code
	maxLit    = 288
	maxDist   = 32
	// stepOutput is how much a match may add: a step is taken only where so much is free.
	stepOutput = 258
)

// Reader reads a stream. It is not safe for concurrent use.
type Reader struct {
	src      io.Reader
	in       [inputSize]byte
	pos, end int
	acc      uint64 // bits that were read and not used yet, the next one lowest
	bits     uint

	win            [window]byte
	written, given uint64 // octets put into the window and handed out, in all

	next   func(*Reader) error
	final  bool // the present block is the last one
	stored int  // octets of a stored block still to come

	lit, dist code
	header    dynamicHeader
	err       error
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader { return &Reader{src: src, next: (*Reader).blockHeader} }

// Read reads what is known; it waits for input only when it has nothing to give. Errors of the source are
// passed on, and reading may go on after them. io.EOF follows the last block.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		err := r.decode()
		if r.written > r.given {
			return r.give(p), nil
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, errMore):
			return 0, err
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
}

// give copies out of the window.
func (r *Reader) give(p []byte) int {
	from := int(r.given % window)
	n := copy(p, r.win[from:min(window, from+int(r.written-r.given))])
	r.given += uint64(n)
	return n
}

func (r *Reader) fill() error {
	n, err := r.src.Read(r.in[:])
	r.pos, r.end = 0, n
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	case err == io.EOF:
		return io.ErrUnexpectedEOF // a stream on a connection has no end of its own
	}
	return err
}

// decode takes steps until the window is full or input is needed.
func (r *Reader) decode() error {
	if r.err != nil {
		return r.err
	}
	for r.written-r.given <= window-stepOutput {
		if err := r.next(r); err != nil {
			if !errors.Is(err, errMore) {
				r.err = err // told when what came before was handed out
			}
			return err
		}
	}
	return nil
}

// load makes as many bits available as there are, 56 at least when input allows.
func (r *Reader) load() {
	for r.bits <= 56 && r.pos < r.end {
		r.acc |= uint64(r.in[r.pos]) << r.bits
		r.pos++
		r.bits += 8
	}
}

// cursor reads bits ahead. What it read is used up by commit only, so that a step that lacks input can be taken
// again.
type cursor struct {
	acc   uint64
	bits  uint
	short bool
}

func (r *Reader) cursor() cursor {
	r.load()
	return cursor{acc: r.acc, bits: r.bits}
}

func (r *Reader) commit(c *cursor) error {
	if c.short {
		return errMore
	}
	r.acc, r.bits = c.acc, c.bits
	return nil
}

func (c *cursor) take(n uint) uint {
	if c.bits < n {
		c.short = true
		return 0
	}
	v := uint(c.acc & (1<<n - 1))
	c.acc >>= n
	c.bits -= n
	return v
}

// blockHeader is the step between blocks.
func (r *Reader) blockHeader() error {
	if r.final {
		return io.EOF
	}
	c := r.cursor()
	final, kind := c.take(1) == 1, c.take(2)
	if err := r.commit(&c); err != nil {
		return err
	}
	r.final = final
	switch kind {
	case 0:
		r.acc >>= r.bits % 8
		r.bits -= r.bits % 8
		r.next = (*Reader).storedHeader
	case 1:
		r.fixedCodes()
		r.next = (*Reader).symbol
	case 2:
		r.next = (*Reader).dynamicCounts
	default:
		return ErrCorrupt
	}
	return nil
}

func (r *Reader) storedHeader() error {
	c := r.cursor()
	n, check := c.take(16), c.take(16)
	if err := r.commit(&c); err != nil {
		return err
	}
	if n != ^check&0xFFFF {
		return ErrCorrupt
	}
	r.stored = int(n)
	r.next = (*Reader).storedOctets
	return nil
}

func (r *Reader) storedOctets() error {
	if r.stored == 0 {
		r.next = (*Reader).blockHeader
		return nil
	}
	c := r.cursor()
	octet := c.take(8)
	if err := r.commit(&c); err != nil {
		return err
	}
	r.stored--
	r.put(byte(octet))
	return nil
}

func (r *Reader) put(b byte) {
	r.win[r.written%window] = b
	r.written++
}

// Lengths and distances of RFC 1951 §3.2.5.
var (
	lengthBase  = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// symbol reads a literal, a match or the end of the block.
func (r *Reader) symbol() error {
	c := r.cursor()
	s, err := r.lit.read(&c)
	switch {
	case err != nil:
		return err
	case s < 256:
		if err := r.commit(&c); err != nil {
			return err
		}
		r.put(byte(s))
		return nil
	case s == 256:
		r.next = (*Reader).blockHeader
		return r.commit(&c)
	case s-257 >= len(lengthBase):
		return ErrCorrupt
	}
	return r.match(&c, s-257)
}

func (r *Reader) match(c *cursor, s int) error {
	length := int(lengthBase[s]) + int(c.take(uint(lengthExtra[s])))
	d, err := r.dist.read(c)
	if err != nil {
		return err
	}
	if d >= len(distBase) {
		return ErrCorrupt
	}
	distance := uint64(distBase[d]) + uint64(c.take(uint(distExtra[d])))
	if err := r.commit(c); err != nil {
		return err
	}
	if distance > r.written {
		return ErrCorrupt
	}
	for range length {
		r.put(r.win[(r.written-distance)%window])
	}
	return nil
}
