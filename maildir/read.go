package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// Small messages are read whole, a block of them at a time: one lock and four system calls for a file. Of
// many messages the next block is read while the last one is worked on.
const (
	smallMessage = 64 << 10  // octets in network form
	blockOctets  = 128 << 10 // octets of files in a block
	blockFiles   = 64
	aheadFrom    = blockFiles + 1 // fewer messages need no goroutine: a search reads in pieces of its own
)

// block is the files of some messages.
type block struct {
	items []readItem
	files [blockOctets]byte
	used  int
}

var blocks = sync.Pool{New: func() any { return new(block) }}

// readItem is one message of a block.
type readItem struct {
	meta mailbox.Meta
	dir  faultfs.Dir // of its file, when the block was begun
	name string
	raw  []byte // its file; nil: to be opened when it is its turn
	form form
	date int64
}

// Read implements mailbox.Mailbox. Contents up to 64 KiB are in memory; of others the file is open.
func (m *Mailbox) Read(ctx context.Context, uids mailbox.UIDSet) iter.Seq2[mailbox.Message, error] {
	return func(yield func(mailbox.Message, error) bool) {
		f, wanted, err := m.wanted(ctx, uids)
		if err != nil {
			yield(mailbox.Message{}, err)
			return
		}
		r := &reading{ctx: ctx, f: f, wanted: wanted}
		source := r.blocks
		if len(wanted) >= aheadFrom {
			source = r.ahead
		}
		for b := range source {
			if !r.yield(b, yield) {
				return
			}
		}
		if r.err != nil {
			yield(mailbox.Message{}, r.err)
		}
	}
}

// wanted returns the UIDs of uids that have a message.
func (m *Mailbox) wanted(ctx context.Context, uids mailbox.UIDSet) (f *folder, wanted []uint32, err error) {
	if f, err = m.locked(ctx, false); err != nil {
		return nil, nil, err
	}
	defer f.leave(&err)
	if err := f.same(m.known.Load()); err != nil {
		return nil, nil, err
	}
	for i := range f.state.t.selected(uids) {
		wanted = append(wanted, f.state.t.recs[i].uid)
	}
	return f, wanted, nil
}

// reading is one Read under way.
type reading struct {
	ctx    context.Context
	f      *folder
	wanted []uint32 // not in a block yet
	err    error    // why there are no more blocks

	net  []byte       // the message at hand, where its file is in another form
	held bytes.Reader // its content
}

// blocks reads one block after the other.
func (r *reading) blocks(yield func(*block) bool) {
	b := blocks.Get().(*block)
	defer blocks.Put(b)
	for r.fill(b) && yield(b) {
	}
}

// ahead is blocks with a goroutine that is one block ahead. It has ended when ahead returns.
func (r *reading) ahead(yield func(*block) bool) {
	full, stop := make(chan *block), make(chan struct{})
	empty := make(chan *block, 2)
	for range cap(empty) {
		b := blocks.Get().(*block)
		defer blocks.Put(b)
		empty <- b
	}
	go func() {
		defer close(full)
		defer func() {
			if v := recover(); v != nil {
				r.err = fmt.Errorf("maildir: panic while reading: %v", v)
			}
		}()
		for {
			select {
			case b := <-empty:
				if !r.fill(b) {
					return
				}
				select {
				case full <- b:
				case <-stop:
					return
				}
			case <-stop:
				return
			}
		}
	}()
	defer func() {
		close(stop)
		for range full {
		}
	}()
	for b := range full {
		if !yield(b) {
			return
		}
		empty <- b
	}
}

// fill makes the next block; false when there is none.
func (r *reading) fill(b *block) bool {
	if len(r.wanted) == 0 {
		return false
	}
	if r.err = r.begin(b); r.err != nil {
		return false
	}
	news := false
	for i := range b.items {
		news = r.load(b, &b.items[i]) || news
	}
	if news {
		r.err = r.learn(b)
	}
	return r.err == nil
}

// begin takes the next messages into a block: as many as it has room for, one at least.
func (r *reading) begin(b *block) error {
	if err := r.f.lock.lock(r.ctx); err != nil {
		return err
	}
	defer r.f.lock.unlock()
	b.items, b.used = b.items[:0], 0
	t, octets := &r.f.state.t, int64(0)
	for len(r.wanted) > 0 && len(b.items) < blockFiles {
		it := readItem{meta: mailbox.Meta{UID: mailbox.UID(r.wanted[0])}}
		if i, ok := t.find(r.wanted[0]); ok {
			it.meta, it.date = t.meta(&t.recs[i]), t.recs[i].getDate()
			it.dir, it.name = r.f.place(t.file(&t.recs[i]))
			if n := it.meta.Size; n <= smallMessage {
				octets += n // at least what the file has, where it is known
			}
		}
		if octets > blockOctets && len(b.items) > 0 {
			return nil
		}
		b.items = append(b.items, it)
		r.wanted = r.wanted[1:]
	}
	return nil
}

// load reads an item's file, if it is small and there. It reports whether more is known of the message now. Whatever
// goes wrong goes wrong again, or not, when the message is opened.
func (r *reading) load(b *block, it *readItem) (news bool) {
	if it.name == "" || it.meta.Size > smallMessage {
		return false
	}
	n, info, err := faultfs.ReadWhole(it.dir, it.name, b.files[b.used:])
	if err != nil || int64(n) != info.Size {
		return false
	}
	raw := b.files[b.used : b.used+n : b.used+n]
	base, _ := splitInfo(it.name)
	how, size := formOf(base, info.Size)
	if how == formUnknown || how == formLF && !r.f.trusts(it.meta, size) {
		size = int64(n + loneLFs(raw))
		if how = formLF; size == int64(n) {
			how = formRaw
		}
	}
	if size > smallMessage {
		return false
	}
	b.used += n
	it.raw, it.form = raw, how
	if it.date != noDate && it.meta.Size == size {
		return false
	}
	if it.meta.Size = size; it.date == noDate {
		it.date = info.ModTime.Unix()
		it.meta.Date = mailbox.Date(it.date)
	}
	return true
}

// learn keeps what was found out about the messages of a block.
func (r *reading) learn(b *block) error {
	if err := r.f.lock.lock(r.ctx); err != nil {
		return err
	}
	defer r.f.lock.unlock()
	t := &r.f.state.t
	for i := range b.items {
		it := &b.items[i]
		at, ok := t.find(uint32(it.meta.UID))
		if !ok || it.raw == nil {
			continue
		}
		if rec := &t.recs[at]; rec.getDate() != it.date || rec.getSize() != it.meta.Size {
			t.touch()
			rec.setDate(it.date)
			rec.setSize(it.meta.Size)
			r.f.state.counts = nil
			r.f.index.learned++
		}
	}
	return nil
}

// yield hands on the messages of a block; false ends the sequence.
func (r *reading) yield(b *block, yield func(mailbox.Message, error) bool) bool {
	for i := range b.items {
		it := &b.items[i]
		if r.ctx.Err() != nil {
			yield(mailbox.Message{}, context.Cause(r.ctx))
			return false
		}
		if !r.hold(it) {
			if !r.open(it.meta.UID, yield) {
				return false
			}
			continue
		}
		if !yield(mailbox.Message{Meta: it.meta, Content: &r.held}, nil) {
			return false
		}
	}
	return true
}

// trusts tells whether the network size in a message's name is to be believed: not when it was found to be wrong.
func (f *folder) trusts(m mailbox.Meta, size int64) bool {
	_, wrong := f.wrongSizes.Load(uint32(m.UID))
	return !wrong && (m.Size < 0 || m.Size == size)
}

// hold makes the content of an item that was read. It is false for others, and where the sizes in the name are
// wrong: then they are found out when it is opened.
func (r *reading) hold(it *readItem) bool {
	switch {
	case it.raw == nil:
		return false
	case it.form == formRaw:
		r.held.Reset(it.raw)
	default:
		r.net = appendNetForm(slices.Grow(r.net[:0], int(it.meta.Size)), it.raw)
		r.held.Reset(r.net)
	}
	if r.held.Size() != it.meta.Size {
		r.f.wrongSizes.Store(uint32(it.meta.UID), true)
		return false
	}
	return true
}

// open yields a message whose file is opened now.
func (r *reading) open(uid mailbox.UID, yield func(mailbox.Message, error) bool) bool {
	meta, c, err := r.f.openMessage(r.ctx, uint32(uid))
	if err != nil {
		return yield(mailbox.Message{Meta: mailbox.Meta{UID: uid}}, err)
	}
	defer c.Close()
	return yield(mailbox.Message{Meta: meta, Content: c}, nil)
}

// loneLFs counts the LFs that do not follow a CR.
func loneLFs(b []byte) int { return bytes.Count(b, []byte{'\n'}) - bytes.Count(b, []byte("\r\n")) }

// appendNetForm appends a file in LF form as the message is: each LF without CR before it is CRLF.
func appendNetForm(dst, src []byte) []byte {
	for {
		i := bytes.IndexByte(src, '\n')
		switch {
		case i < 0:
			return append(dst, src...)
		case i > 0 && src[i-1] == '\r':
			dst = append(dst, src[:i+1]...)
		default:
			dst = append(append(dst, src[:i]...), '\r', '\n')
		}
		src = src[i+1:]
	}
}

// openMessage opens a message's file. When it has another name by now, cur/ is listed again.
func (f *folder) openMessage(ctx context.Context, uid uint32) (meta mailbox.Meta, c *content, err error) {
	if err := f.lock.lock(ctx); err != nil {
		return meta, nil, err
	}
	defer f.leave(&err)
	t := &f.state.t
	err = f.withFile(ctx, uid, func(i int, name string) (err error) {
		r := &t.recs[i]
		dir, name := f.place(name)
		c, err = openTrusting(dir, name, func(size int64) bool { return f.trusts(t.meta(r), size) })
		if err != nil {
			return err
		}
		c.wrong = func() { f.wrongSizes.Store(uid, true) }
		if r.getSize() != c.size {
			t.touch()
			r.setSize(c.size)
			f.state.counts = nil
			f.index.learned++
		}
		if r.getDate() == noDate {
			t.touch()
			f.index.learned++
			info, err := c.file.Stat()
			if err != nil {
				return errors.Join(err, c.Close())
			}
			r.setDate(info.ModTime.Unix())
		}
		meta = t.meta(r)
		return nil
	})
	return meta, c, err
}
