package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

// stored is a message as its put record holds it.
type stored struct {
	op      op
	env     *goniec.Envelope
	reasons [][]string // by group, as in op.groups; nil if there are none
	seg     *segment
	bodyAt  int64 // of an inline body, in the segment
	size    int64
	sum     uint32 // of a body in a file of its own
	sound   bool   // that body was written or checked by this process; guarded by FileStore.mu
}

// slim returns what a delivery needs of a message, without the record that it was read from.
func (m *stored) slim() *stored {
	return &stored{op: op{id: m.op.id, kind: m.op.kind, big: m.op.big}, env: m.env, seg: m.seg, bodyAt: m.bodyAt, size: m.size, sum: m.sum}
}

// readPut reads the put record of a message. The caller holds s.clean.
func (s *FileStore) readPut(id uint64, at loc) (*stored, error) {
	if m := s.cached(id, at); m != nil {
		return m, nil
	}
	m, err := s.parsePut(id, at)
	if err == nil {
		s.cache(at, m)
	}
	return m, err
}

func (s *FileStore) parsePut(id uint64, at loc) (*stored, error) {
	o, seg, err := s.readOp(at, func(o *op) bool { return o.typ == opPut && o.id == id })
	if err != nil {
		return nil, err
	}
	m := &stored{op: *o, seg: seg}
	c := cursor{b: o.data}
	env := c.text()
	m.reasons = make([][]string, c.count())
	for i := range m.reasons {
		m.reasons[i] = c.texts()
	}
	if m.op.big {
		m.size, m.sum = int64(c.u64()), c.u32()
	} else {
		m.bodyAt = int64(at.off) + recordHeader + int64(o.dataAt+len(o.data)-len(c.b))
		m.size = int64(len(c.b))
	}
	if c.bad {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, errCodec)
	}
	if m.env, err = goniec.ParseEnvelope(env); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for _, g := range m.op.groups {
		if len(g.rcpts) > 0 && int(g.rcpts[len(g.rcpts)-1]) >= len(m.env.To) {
			return nil, fmt.Errorf("%w: recipient out of range", ErrCorrupt)
		}
	}
	return m, nil
}

// readOp reads a record and returns the first operation that is wanted.
func (s *FileStore) readOp(at loc, want func(*op) bool) (*op, *segment, error) {
	seg := s.segment(at.seg)
	if seg == nil {
		return nil, nil, fmt.Errorf("%w: segment %d is gone", ErrCorrupt, at.seg)
	}
	b, _, err := seg.readRecord(at.off, make([]byte, 0, 8<<10))
	if err != nil {
		return nil, nil, err
	}
	ops, err := splitPayload(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for i := range ops {
		if want(&ops[i]) {
			return &ops[i], seg, nil
		}
	}
	return nil, nil, fmt.Errorf("%w: record of another message", ErrCorrupt)
}

// texts reads a list of texts.
func (c *cursor) texts() []string {
	out := make([]string, c.count())
	for i := range out {
		out[i] = string(c.text())
	}
	return out
}

func appendTexts(dst []byte, texts []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(texts)))
	for _, t := range texts {
		dst = appendText(dst, t)
	}
	return dst
}

// readJob reads what is on disk about a job: its message and its last replies. The caller holds
// s.clean; j is a copy.
func (s *FileStore) readJob(j job, group int) (*stored, loc, []string, error) {
	if m := s.cached(j.id, j.at); m != nil {
		return m, j.at, m.reasonsOf(group), nil
	}
	o, _, err := s.readOp(j.at, func(o *op) bool {
		return o.id == j.id && (o.typ == opPut || o.typ == opOutcome && o.groups[0].n == group)
	})
	base := j.at
	if errors.Is(err, ErrCorrupt) {
		// If it is the outcome that is damaged, only the replies are lost.
		if base, err = s.findPut(j.id, j.baseSeg, err); err == nil {
			o = &op{typ: opPut}
		}
	}
	if err != nil {
		return nil, loc{}, nil, err
	}
	var reasons []string
	if o.typ == opOutcome {
		base = o.base
		c := cursor{b: o.data}
		reasons = c.texts()
	}
	m, err := s.readPut(j.id, base)
	if err != nil {
		return nil, loc{}, nil, err
	}
	if o.typ == opPut {
		reasons = m.reasonsOf(group)
	}
	return m, base, reasons, nil
}

// reasonsOf returns the replies that the put record holds for a group.
func (m *stored) reasonsOf(group int) []string {
	i, ok := slices.BinarySearchFunc(m.op.groups, group, func(g groupState, n int) int { return g.n - n })
	if !ok || i >= len(m.reasons) {
		return nil
	}
	return slices.Clone(m.reasons[i])
}

// findPut looks through a segment for the put record of a message.
func (s *FileStore) findPut(id uint64, segNo uint32, cause error) (at loc, err error) {
	seg := s.segment(segNo)
	if seg == nil || !seg.sealed {
		return loc{}, cause
	}
	_, _, err = (&segment{n: seg.n, name: seg.name, file: seg.file, size: seg.size, epoch: seg.epoch}).readFooter(
		func(off, _ uint32, heads []byte) error {
			ops, err := parseHeads(heads)
			for i := range ops {
				if ops[i].typ == opPut && ops[i].id == id {
					at = loc{segNo, off}
				}
			}
			return err
		})
	if err == nil && at == (loc{}) {
		err = cause
	}
	return at, err
}

// Open implements Store. The body stays readable when the message goes.
func (s *FileStore) Open(_ context.Context, id ID) (Body, error) {
	num, ok := parseID(id)
	if !ok {
		return nil, ErrNotFound
	}
	s.clean.RLock()
	defer s.clean.RUnlock()
	s.mu.Lock()
	n := s.x.first(num)
	if n == 0 || s.closed {
		s.mu.Unlock()
		return nil, ErrNotFound
	}
	j, group := *s.x.job(n), s.x.group(n)
	m := s.claimed(n)
	s.mu.Unlock()
	if m == nil {
		var err error
		if m, _, _, err = s.readJob(j, group); err != nil {
			return nil, err
		}
	}
	return s.openBody(m)
}

// claimed returns what a Claim has read of the message whose first job is n, nil if none is leased. The caller
// holds s.mu.
func (s *FileStore) claimed(n uint32) *stored {
	for range bulkJobs {
		if le := s.x.leases[n]; le != nil && le.m != nil {
			return le.m
		}
		if n = s.x.job(n).next; n == 0 {
			break
		}
	}
	return nil
}

func (s *FileStore) openBody(m *stored) (Body, error) {
	if !m.op.big {
		m.seg.pins.Add(1)
		return &inlineBody{io.NewSectionReader(m.seg.file, m.bodyAt, m.size), m.seg, sync.Once{}}, nil
	}
	f, err := s.bodyHandle().Open(bodyName(m.op.id))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: its body: %w", ErrCorrupt, err)
	}
	if err != nil {
		return nil, err
	}
	return &fileBody{io.NewSectionReader(f, 0, m.size), f}, nil
}

func (s *FileStore) bodyHandle() faultfs.Dir {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body
}

// checkBody reads a body that is not covered by the record's checksum.
func (s *FileStore) checkBody(m *stored) error {
	if !m.op.big || s.isSound(m) {
		return nil
	}
	b, err := s.openBody(m)
	if err != nil {
		return err
	}
	defer b.Close()
	sum := uint32(0)
	buf := make([]byte, 64<<10)
	for at := int64(0); at < m.size; {
		n, err := b.ReadAt(buf[:min(int64(len(buf)), m.size-at)], at)
		sum = crc32.Update(sum, castagnoli(), buf[:n])
		at += int64(n)
		if err != nil && (!errors.Is(err, io.EOF) || at < m.size) {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: body is too short", ErrCorrupt)
			}
			return err
		}
	}
	if sum != m.sum {
		return fmt.Errorf("%w: checksum of the body does not fit", ErrCorrupt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.sound = true // a mailing stays in the cache: it is not read for each of its jobs
	return nil
}

func (s *FileStore) isSound(m *stored) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.sound
}

// inlineBody is a body inside a segment, which is not used again before Close.
type inlineBody struct {
	*io.SectionReader
	seg  *segment
	once sync.Once
}

func (b *inlineBody) Close() error {
	b.once.Do(b.seg.unpin)
	return nil
}

// fileBody is a body in a file of its own.
type fileBody struct {
	*io.SectionReader
	io.Closer
}
