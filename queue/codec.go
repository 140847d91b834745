package queue

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/goniec-mail/goniec"
)

// A record of the log is a transaction: one or more operations that happen together. Its payload is
//
//	length of heads (u32) | heads | data
//
// A head holds all that a restart needs; what only a delivery needs (envelope, replies, body) is
// data. So the footer of a segment, which is the heads of its records, is enough to restart from.
// Every operation sets a state, none changes one by a difference: replaying one twice does no harm.
type opType uint8

const (
	opPut     opType = iota + 1 // a message with the state of its groups; data: see putData
	opOutcome                   // what became of a group; data: replies
	opAttempt                   // groups about to be tried
	opChange                    // hold, release, retry, remove, corrupt
	opKey                       // an idempotency key of a message that is gone
	opCut                       // what an earlier segment holds from an offset on was never promised
	opStart                     // the process starts or ends in peace: no attempt is under way
)

// loc is where a record begins.
type loc struct{ seg, off uint32 }

// op is one operation; which fields count depends on its type.
type op struct {
	typ    opType
	id     uint64
	since  uint32
	kind   Kind
	prio   int8
	big    bool // the body is a file of its own
	by     deadline
	key    keyHash
	groups []groupState // put: all; outcome: one; attempt: many, with ids in ids
	ids    []uint64
	base   loc // outcome: the put record; cut: where
	change uint8
	due    uint32
	data   []byte // not part of the head
	dataAt int    // where data begin in the payload
	total  uint32 // length of the data

	// Of a put under way.
	buf  *[]byte // where data lie
	size int64   // of the body
	sum  uint32  // of a body in a file of its own
}

type keyHash [16]byte

// deadline is the Envelope's DeliverBy; the zero value is none.
type deadline struct {
	at   uint32
	back bool // mode R: return to sender
}

func deadlineOf(env *goniec.Envelope) deadline {
	if env.DeliverBy == nil {
		return deadline{}
	}
	return deadline{max(secondsUp(env.DeliverBy.Deadline), 1), env.DeliverBy.Return}
}

// groupState is all that is known of a group.
type groupState struct {
	n        int
	dest     string
	rcpts    []uint32 // open; none = done
	attempts uint16
	due      uint32
	flags    uint8
}

// Flags of a group; the same bits are used in the index.
const (
	flagHeld = 1 << iota
	flagCorrupt
	flagNoticed
	flagMask = 1<<iota - 1
)

// Changes beside those that Change offers.
const (
	changeCorrupt = 0x80 + iota
	changeDeaths  // due holds their number
)

// appendHead appends an operation without its data.
func appendHead(dst []byte, o *op) []byte {
	dst = append(dst, byte(o.typ))
	dst = binary.AppendUvarint(dst, uint64(len(o.data)))
	switch o.typ {
	case opPut:
		dst = binary.LittleEndian.AppendUint64(dst, o.id)
		dst = binary.AppendUvarint(dst, uint64(o.since))
		dst = append(dst, byte(o.kind), byte(o.prio), bit(o.big)|bit(o.key != keyHash{})<<1|bit(o.by.at != 0)<<2|bit(o.by.back)<<3)
		if o.key != (keyHash{}) {
			dst = append(dst, o.key[:]...)
		}
		if o.by.at != 0 {
			dst = binary.AppendUvarint(dst, uint64(o.by.at))
		}
		dst = binary.AppendUvarint(dst, uint64(len(o.groups)))
		for i := range o.groups {
			dst = appendGroup(dst, &o.groups[i])
			dst = appendText(dst, o.groups[i].dest)
		}
	case opOutcome:
		dst = binary.LittleEndian.AppendUint64(dst, o.id)
		dst = binary.LittleEndian.AppendUint32(dst, o.base.seg)
		dst = binary.LittleEndian.AppendUint32(dst, o.base.off)
		dst = appendGroup(dst, &o.groups[0])
	case opAttempt:
		dst = binary.AppendUvarint(dst, uint64(len(o.ids)))
		for i, id := range o.ids {
			dst = binary.LittleEndian.AppendUint64(dst, id)
			dst = binary.AppendUvarint(dst, uint64(o.groups[i].n))
		}
	case opChange:
		dst = binary.LittleEndian.AppendUint64(dst, o.id)
		dst = append(dst, o.change)
		dst = binary.AppendUvarint(dst, uint64(o.due))
	case opKey:
		dst = binary.LittleEndian.AppendUint64(dst, o.id)
		dst = append(dst, o.key[:]...)
		dst = binary.AppendUvarint(dst, uint64(o.since))
	case opCut:
		dst = binary.LittleEndian.AppendUint32(dst, o.base.seg)
		dst = binary.LittleEndian.AppendUint32(dst, o.base.off)
	}
	return dst
}

func appendGroup(dst []byte, g *groupState) []byte {
	dst = binary.AppendUvarint(dst, uint64(g.n))
	dst = binary.AppendUvarint(dst, uint64(g.attempts))
	dst = binary.AppendUvarint(dst, uint64(g.due))
	dst = append(dst, g.flags)
	dst = binary.AppendUvarint(dst, uint64(len(g.rcpts)))
	last := uint32(0)
	for _, r := range g.rcpts { // they rise: differences are short
		dst = binary.AppendUvarint(dst, uint64(r-last))
		last = r
	}
	return dst
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

var errCodec = errors.New("queue record does not parse")

// cursor reads what the append functions wrote. The first error sticks.
type cursor struct {
	b      []byte
	bad    bool
	intern func([]byte) string // makes strings of destinations; nil = new ones
}

func (c *cursor) name() string {
	b := c.text()
	if c.intern != nil {
		return c.intern(b)
	}
	return string(b)
}

func (c *cursor) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if v := c.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if v := c.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// small reads a number that must fit 32 bits.
func (c *cursor) small() uint32 {
	v := c.uvarint()
	if v > 1<<32-1 {
		c.bad, c.b = true, nil
		return 0
	}
	return uint32(v)
}

func (c *cursor) text() []byte { return c.take(c.uvarint()) }

// count reads a number of things of which each takes at least one octet, so that no announced
// number allocates more than there is.
func (c *cursor) count() int {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return 0
	}
	return int(n)
}

func (c *cursor) err() error {
	if c.bad {
		return errCodec
	}
	return nil
}

// head reads one operation into o, whose slices are used again: a restart reads millions.
func (c *cursor) head(o *op) {
	*o = op{typ: opType(c.byte()), groups: o.groups[:0], ids: o.ids[:0]}
	o.total = c.small()
	switch o.typ {
	case opPut:
		c.put(o)
	case opOutcome:
		o.id, o.base = c.u64(), loc{c.u32(), c.u32()}
		c.group(o.grow())
	case opAttempt:
		for range c.count() {
			o.ids = append(o.ids, c.u64())
			o.grow().n = int(c.small())
		}
	case opChange:
		o.id, o.change, o.due = c.u64(), c.byte(), c.small()
	case opKey:
		o.id = c.u64()
		copy(o.key[:], c.take(16))
		o.since = c.small()
	case opCut:
		o.base = loc{c.u32(), c.u32()}
	case opStart:
	default:
		c.bad = true
	}
}

func (c *cursor) put(o *op) {
	o.id, o.since = c.u64(), c.small()
	o.kind, o.prio = Kind(c.byte()), int8(c.byte())
	bits := c.byte()
	o.big = bits&1 != 0
	if bits&2 != 0 {
		copy(o.key[:], c.take(16))
	}
	if bits&4 != 0 {
		o.by = deadline{c.small(), bits&8 != 0}
	}
	for range c.count() {
		g := o.grow()
		c.group(g)
		g.dest = c.name()
	}
}

// grow adds a group, with the slice of the one that was there before.
func (o *op) grow() *groupState {
	if n := len(o.groups); n < cap(o.groups) {
		o.groups = o.groups[:n+1]
		o.groups[n] = groupState{rcpts: o.groups[n].rcpts[:0]}
	} else {
		o.groups = append(o.groups, groupState{})
	}
	return &o.groups[len(o.groups)-1]
}

func (c *cursor) group(g *groupState) {
	g.n, g.attempts, g.due, g.flags = int(c.small()), uint16(min(c.uvarint(), 1<<16-1)), c.small(), c.byte()&flagMask
	last := uint32(0)
	for range c.count() {
		last += c.small()
		g.rcpts = append(g.rcpts, last)
	}
}

// parseHeads reads operations until the end.
func parseHeads(b []byte) ([]op, error) {
	c := cursor{b: b}
	ops := make([]op, 0, 1)
	for len(c.b) > 0 && !c.bad {
		ops = append(ops, op{})
		c.head(&ops[len(ops)-1])
	}
	return ops, c.err()
}

// payload makes a record, in b's memory if that is large enough, with a payload of the operations. Its header is
// for stamp to fill in; heads is the part that the footer repeats.
func payload(b []byte, ops []*op) (rec []byte, heads []byte) {
	size := recordHeader + 4 + 64
	for _, o := range ops {
		size += len(o.data) + 64
	}
	b = slices.Grow(b[:0], size)[:recordHeader+4]
	for _, o := range ops {
		b = appendHead(b, o)
	}
	end := len(b)
	binary.LittleEndian.PutUint32(b[recordHeader:], uint32(end-recordHeader-4))
	for _, o := range ops {
		o.dataAt = len(b) - recordHeader
		b = append(b, o.data...)
	}
	return b, b[recordHeader+4 : end : end]
}

// splitPayload undoes payload: the operations with their data.
func splitPayload(b []byte) ([]op, error) {
	c := cursor{b: b}
	heads := c.take(uint64(c.u32()))
	ops, err := parseHeads(heads)
	if err != nil || c.bad {
		return nil, errCodec
	}
	for i := range ops {
		ops[i].dataAt = len(b) - len(c.b)
		ops[i].data = c.take(uint64(ops[i].total))
	}
	if len(c.b) > 0 {
		c.bad = true
	}
	return ops, c.err()
}

// Times are kept in seconds; the queue's own times need no more.
func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), 1<<32-1))
}

// secondsUp rounds up: nothing comes due too early.
func secondsUp(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return seconds(t.Add(time.Second - 1))
}

func timeOf(s uint32) time.Time { return time.Unix(int64(s), 0) }
