package queue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

// Put implements Store. The ID is that of the envelope if it is one that goniec.NewID could have
// made and no other queued message has it.
func (s *FileStore) Put(ctx context.Context, m Message) (ID, error) {
	if err := checkMessage(&m); err != nil {
		return "", err
	}
	if m.Key != "" {
		id, done, err := s.reserveKey(ctx, hashKey(m.Key))
		switch {
		case err != nil:
			return "", err
		case id != "":
			return id, ErrKnown
		}
		defer done()
	}
	o, err := s.build(ctx, &m)
	if err != nil {
		return "", err
	}
	defer s.putDone(o)
	if err := s.put(o, m.Envelope); err != nil {
		s.discardBody(o)
		return "", err
	}
	s.wakeUp()
	return formatID(o.id), nil
}

// put makes a message durable and then known.
func (s *FileStore) put(o *op, env *goniec.Envelope) error {
	s.clean.RLock()
	defer s.clean.RUnlock()
	if err := s.open(); err != nil {
		return err
	}
	m := recall(o, env)
	seg, at, err := s.commit([]*op{o}, true, true)
	if err != nil {
		return fmt.Errorf("store message: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(o, at)
	s.remember(m, o, seg, at)
	return nil
}

// putDone gives back what build has taken.
func (s *FileStore) putDone(o *op) {
	s.giveID(o.id)
	*o.buf = o.data
	o.data = nil
	s.recycle(o.buf)
}

// commitApply makes operations durable and then true. An error leaves everything as it was.
func (s *FileStore) commitApply(ops []*op, keep bool) error {
	_, at, err := s.commit(ops, true, keep)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range ops {
		s.apply(o, at)
	}
	return nil
}

func (s *FileStore) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

// checkMessage finds programming errors: each recipient must be in one group.
func checkMessage(m *Message) error {
	if m.Envelope == nil || len(m.Envelope.To) == 0 {
		return errors.New("queue: message without recipients")
	}
	open := make([]bool, len(m.Envelope.To))
	for i := range open {
		open[i] = true
	}
	return checkGroups(m.Groups, open)
}

// checkGroups wants each open recipient in one group, and no other.
func checkGroups(groups []Group, open []bool) error {
	for _, g := range groups {
		last := -1
		for _, r := range g.Rcpts {
			if r <= last || r >= len(open) || !open[r] {
				return errors.New("queue: groups must hold each open recipient once, in rising order")
			}
			last, open[r] = r, false
		}
		if len(g.Rcpts) == 0 {
			return errors.New("queue: empty group")
		}
	}
	if slices.Contains(open, true) {
		return errors.New("queue: groups must hold every open recipient")
	}
	return nil
}

// appendEnvelope appends an envelope as a text.
func appendEnvelope(dst []byte, e *goniec.Envelope) []byte {
	var stack [512]byte
	return appendText(dst, goniec.AppendEnvelope(stack[:0], e))
}

// build reads the body and makes the put operation. The caller calls putDone when it is of no use any more.
func (s *FileStore) build(ctx context.Context, m *Message) (*op, error) {
	o := &op{typ: opPut, kind: m.Kind, prio: m.Envelope.Priority, since: s.sinceOf(m), by: deadlineOf(m.Envelope)}
	if m.Key != "" {
		o.key = hashKey(m.Key)
	}
	due := secondsUp(m.Due)
	if m.Due.IsZero() {
		due = o.since // older mail first
	}
	for i, g := range m.Groups {
		st := groupState{n: i, dest: g.Dest, rcpts: toUint32(g.Rcpts), due: due}
		if m.Hold {
			st.flags = flagHeld
		}
		o.groups = append(o.groups, st)
	}
	o.buf = s.buffer()
	o.data = appendEnvelope(*o.buf, m.Envelope)
	o.data = binary.AppendUvarint(o.data, 0) // no replies yet
	o.id = s.takeID(m.Envelope.ID)
	if err := s.readBody(ctx, o, m.Body); err != nil {
		s.putDone(o)
		return nil, err
	}
	return o, nil
}

func (s *FileStore) sinceOf(m *Message) uint32 {
	if m.Since.IsZero() {
		return s.now()
	}
	return seconds(m.Since)
}

// readBody appends the body to the operation's data, or writes it to a file when it is large.
func (s *FileStore) readBody(ctx context.Context, o *op, body io.Reader) error {
	before := len(o.data)
	big, err := s.readInline(ctx, o, body)
	if err != nil {
		return err
	}
	if !big {
		o.size = int64(len(o.data) - before)
		return nil
	}
	o.big = true
	start := o.data[before:]
	if o.size, o.sum, err = s.writeBody(ctx, o.id, start, body); err != nil {
		return err
	}
	o.data = binary.LittleEndian.AppendUint64(o.data[:before], uint64(o.size))
	o.data = binary.LittleEndian.AppendUint32(o.data, o.sum)
	return nil
}

// readInline appends the body to the operation's data up to the limit for bodies there. It reports whether there may be
// more.
func (s *FileStore) readInline(ctx context.Context, o *op, body io.Reader) (more bool, err error) {
	idle := 0
	for room := s.o.InlineBody + 1; room > 0; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if cap(o.data)-len(o.data) < 512 {
			o.data = slices.Grow(o.data, len(o.data)) // for octets received, whatever was announced
		}
		n, err := body.Read(o.data[len(o.data):min(cap(o.data), len(o.data)+room)])
		o.data, room = o.data[:len(o.data)+n], room-n
		if err == io.EOF && room > 0 {
			return false, nil
		}
		if err != nil && err != io.EOF {
			return false, err
		}
		if idle++; n > 0 {
			idle = 0
		}
		if idle > 100 {
			return false, io.ErrNoProgress
		}
	}
	return true, nil
}

// writeBody streams a large body to a file of its own: durable with its name on return.
func (s *FileStore) writeBody(ctx context.Context, id uint64, start []byte, rest io.Reader) (size int64, sum uint32, err error) {
	name := bodyName(id)
	dir := s.bodyHandle()
	f, err := dir.Create(name, 0o600)
	if err != nil {
		return 0, 0, fullError(err)
	}
	defer func() {
		if err != nil {
			_ = dir.Remove(name)
		}
	}()
	w := &bodyWriter{ctx: ctx, w: f}
	_, err = w.Write(start)
	if err == nil {
		_, err = io.Copy(w, struct{ io.Reader }{rest})
	}
	if err == nil {
		err = fullError(f.Sync())
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = s.syncBodies()
	}
	return w.n, w.sum, err
}

// syncBodies makes names of body files durable; Puts share it.
func (s *FileStore) syncBodies() error {
	s.mu.Lock()
	group := s.bodies
	s.mu.Unlock()
	err := group.Sync()
	if err == nil {
		return nil
	}
	// An error is final for the handle: later Puts use a new one.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies == group {
		if dir, openErr := s.log.dir().OpenDir(bodyDir); openErr == nil {
			_ = s.body.Close()
			s.body, s.bodies = dir, faultfs.NewGroup(dir.Sync)
		}
	}
	return fullError(err)
}

// bodyWriter counts and sums up what goes into a body file, and ends with ctx.
type bodyWriter struct {
	ctx context.Context
	w   io.Writer
	n   int64
	sum uint32
}

func (w *bodyWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	n, err := w.w.Write(p)
	w.n += int64(n)
	w.sum = crc32.Update(w.sum, castagnoli(), p[:n])
	return n, fullError(err)
}

// discardBody removes the file of a message that was not stored.
func (s *FileStore) discardBody(o *op) {
	if o.big {
		_ = s.bodyHandle().Remove(bodyName(o.id))
	}
}

func bodyName(id uint64) string { return string(formatID(id)) + bodySuffix }

func hashKey(key string) (h keyHash) {
	sum := sha256.Sum256([]byte(key))
	copy(h[:], sum[:])
	return h
}

// reserveKey returns the ID of the message that has a key, or reserves it until done is called. A
// Put under way with the same key is waited for.
func (s *FileStore) reserveKey(ctx context.Context, key keyHash) (id ID, done func(), err error) {
	for {
		s.mu.Lock()
		if old, ok := s.keyID(key); ok {
			s.mu.Unlock()
			return old, nil, nil
		}
		other := s.keying[key]
		if other == nil {
			ch := make(chan struct{})
			s.keying[key] = ch
			s.mu.Unlock()
			return "", func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.keying, key)
				close(ch)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		}
	}
}

// keyID looks up a key that is still remembered.
func (s *FileStore) keyID(key keyHash) (ID, bool) {
	e, ok := s.x.keys[key]
	if !ok || s.keyForgotten(e) {
		return "", false
	}
	return formatID(e.id), true
}

func (s *FileStore) keyForgotten(e keyEntry) bool {
	return s.x.first(e.id) == 0 && int64(s.now())-int64(e.since) >= int64(s.o.KeyMemory.Seconds())
}

// takeID reserves an ID: the wanted one, if it can be.
func (s *FileStore) takeID(want string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := parseID(ID(want))
	for !ok || id == 0 || s.taken[id] || s.x.first(id) != 0 {
		id, ok = rand.Uint64()>>4, true
	}
	s.taken[id] = true
	return id
}

func (s *FileStore) giveID(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.taken, id)
}

// idAlphabet is the one of goniec.NewID: Crockford's base 32.
const idAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const idLength = 12

func formatID(id uint64) ID {
	var b [idLength]byte
	for i := range b {
		b[idLength-1-i] = idAlphabet[id&31]
		id >>= 5
	}
	return ID(b[:])
}

func parseID(s ID) (id uint64, ok bool) {
	if len(s) != idLength {
		return 0, false
	}
	for i := range len(s) {
		v := indexByte(idAlphabet, s[i])
		if v < 0 {
			return 0, false
		}
		id = id<<5 | uint64(v)
	}
	return id, true
}

func indexByte(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

func toUint32(v []int) []uint32 {
	out := make([]uint32, len(v))
	for i, x := range v {
		out[i] = uint32(x)
	}
	return out
}

func toInt(v []uint32) []int {
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}
