package mbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
)

// handle is a mailbox.Mailbox on a folder.
type handle struct {
	f      *folder
	closed atomic.Bool
	known  atomic.Uint32 // the UIDVALIDITY that Changes told last; 0 before
}

var errClosed = errors.New("mbox: mailbox is closed")

// Close implements mailbox.Mailbox.
func (m *handle) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	a := m.f.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.f.refs--; m.f.refs == 0 {
		if a.folders[m.f.title] == m.f {
			delete(a.folders, m.f.title)
		}
		m.f.drop()
	}
	return nil
}

// run calls do with the folder locked and up to date.
func (m *handle) run(ctx context.Context, create bool, do func(f *folder, h *held) error) error {
	if m.closed.Load() {
		return errClosed
	}
	if err := m.f.enter(ctx); err != nil {
		return err
	}
	defer m.f.leave()
	return m.f.locked(ctx, create, func(h *held) error { return do(m.f, h) })
}

// runUIDs is run for what is given UIDs: they must be of the UIDVALIDITY that the caller knows. Another program may have
// put another file in the place of ours.
func (m *handle) runUIDs(ctx context.Context, do func(f *folder, h *held) error) error {
	return m.run(ctx, false, func(f *folder, h *held) error {
		if known := m.known.Load(); known != 0 && known != f.x.validity {
			return fmt.Errorf("%w: it is %d, not %d", mailbox.ErrUIDValidity, f.x.validity, known)
		}
		return do(f, h)
	})
}

// Changes implements mailbox.Mailbox.
func (m *handle) Changes(ctx context.Context, since mailbox.ModSeq) (ch *mailbox.Changes, err error) {
	err = m.run(ctx, false, func(f *folder, _ *held) error {
		ch = f.changes(since)
		m.known.Store(f.x.validity)
		return nil
	})
	return ch, err
}

func (f *folder) changes(since mailbox.ModSeq) *mailbox.Changes {
	x := f.x
	ch := &mailbox.Changes{State: f.state(), Known: since >= x.horizon}
	if ch.Known {
		var gone mailbox.UIDSetBuilder
		for _, e := range x.expunges {
			if e.at > since {
				gone.AddSet(e.uids)
			}
		}
		ch.Expunged = gone.Set()
	}
	var metas []mailbox.Meta
	if since < x.modSeq {
		for i := range x.entries {
			if x.entries[i].modSeq > since {
				metas = append(metas, x.entries[i].meta())
			}
		}
	}
	ch.Messages = slices.Values(metas)
	return ch
}

func (f *folder) state() mailbox.State {
	x := f.x
	s := mailbox.State{
		UIDValidity: x.validity, UIDNext: x.next, ModSeq: x.modSeq, Horizon: x.horizon, Messages: len(x.entries),
		Keywords: slices.Clip(x.keywords), KeywordLimit: mailbox.MaxKeywords, ReadOnly: f.store.ReadOnly,
	}
	for i := range x.entries {
		e := &x.entries[i]
		if e.flags&mailbox.Seen == 0 {
			s.Unseen++
		}
		if e.flags&mailbox.Deleted != 0 {
			s.Deleted++
		}
		if e.size < 0 || s.Size < 0 {
			s.Size = -1
		} else {
			s.Size += e.size
		}
	}
	return s
}

func (e *entry) meta() mailbox.Meta {
	return mailbox.Meta{
		UID: e.uid, Flags: e.flags, ModSeq: e.modSeq, Size: e.size, Date: mailbox.Date(e.date), Saved: mailbox.Date(e.saved),
	}
}

// Read implements mailbox.Mailbox. Each message is copied out of the file, to memory or a temporary file, so that
// no lock is held while it is used.
func (m *handle) Read(ctx context.Context, uids mailbox.UIDSet) iter.Seq2[mailbox.Message, error] {
	return func(yield func(mailbox.Message, error) bool) {
		var wanted []mailbox.UID
		err := m.runUIDs(ctx, func(f *folder, _ *held) error {
			for i := range f.x.entries {
				if uids.Contains(f.x.entries[i].uid) {
					wanted = append(wanted, f.x.entries[i].uid)
				}
			}
			return nil
		})
		if err != nil {
			yield(mailbox.Message{}, err)
			return
		}
		for _, u := range wanted {
			if !m.readOne(ctx, u, yield) {
				return
			}
		}
	}
}

// readOne yields one message; false ends the sequence.
func (m *handle) readOne(ctx context.Context, u mailbox.UID, yield func(mailbox.Message, error) bool) bool {
	var msg mailbox.Message
	var content *goniec.Spooled
	err := m.runUIDs(ctx, func(f *folder, h *held) (err error) {
		i := f.x.find(u)
		if i < 0 || h.file == nil {
			return mailbox.ErrGone
		}
		e := &f.x.entries[i]
		r, err := e.message(h.file, f.dialect)
		if err == nil {
			content, err = goniec.Spool(ctx, r, -1)
		}
		if err != nil {
			return err
		}
		e.size = content.Size()
		msg.Meta = e.meta()
		return nil
	})
	if ctx.Err() != nil || errors.Is(err, mailbox.ErrNotFound) || errors.Is(err, mailbox.ErrUIDValidity) {
		yield(mailbox.Message{}, err)
		return false
	}
	if err != nil {
		return yield(mailbox.Message{Meta: mailbox.Meta{UID: u}}, err)
	}
	defer content.Close()
	msg.Content = content
	return yield(msg, nil)
}

// Append implements mailbox.Mailbox.
func (m *handle) Append(ctx context.Context, msg io.Reader, o mailbox.AppendOptions) (meta mailbox.Meta, err error) {
	return m.appendUID(ctx, 0, 0, msg, o)
}

// AppendUID implements mailbox.UIDAppender.
func (m *handle) AppendUID(ctx context.Context, validity uint32, uid mailbox.UID, msg io.Reader, o mailbox.AppendOptions) (mailbox.Meta, error) {
	if validity == 0 || uid == 0 {
		return mailbox.Meta{}, mailbox.ErrCannot
	}
	return m.appendUID(ctx, validity, uid, msg, o)
}

// appendUID is Append with a wish for a UID; 0 is none.
func (m *handle) appendUID(ctx context.Context, validity uint32, uid mailbox.UID, msg io.Reader, o mailbox.AppendOptions) (meta mailbox.Meta, err error) {
	if m.f.store.ReadOnly {
		return meta, mailbox.ErrReadOnly
	}
	if m.closed.Load() {
		return meta, errClosed
	}
	if err := begin(ctx); err != nil {
		return meta, err
	}
	c, done, err := contentOf(ctx, msg, m.f.store.maxMessage())
	if err != nil {
		return meta, tooLarge(err)
	}
	defer done()
	err = m.run(ctx, true, func(f *folder, h *held) error {
		if err := f.detect(h); err != nil {
			return err
		}
		next := f.x.next
		if err := f.wish(ctx, validity, uid); err != nil {
			return err
		}
		metas, err := f.append(ctx, h, []newMessage{{c, o}})
		if err != nil && f.x != nil && f.x.next == uid { // it was not given
			f.x.next = next
		}
		if err == nil {
			if uid != 0 {
				m.known.Store(validity)
			}
			meta = metas[0]
		}
		return err
	})
	return meta, err
}

// wish makes a UID the next one. A folder that never gave one takes over the other's UIDVALIDITY.
func (f *folder) wish(ctx context.Context, validity uint32, uid mailbox.UID) error {
	if uid == 0 {
		return nil
	}
	if f.x.validity != validity {
		if f.x.next != 1 || len(f.x.entries) > 0 {
			return mailbox.ErrCannot
		}
		err := f.account.takeOver(ctx, f.title, validity, func() error {
			f.x.validity = validity
			return f.rewriteIndex()
		})
		if err != nil {
			return err
		}
	}
	if uid < f.x.next {
		return mailbox.ErrCannot
	}
	f.x.next = uid
	return nil
}

// AppendAll implements mailbox.MultiAppender: one journal, one sync of the file and one of the index for all. The limit is
// 10,000 messages: mailbox.ErrTooLarge above.
func (m *handle) AppendAll(ctx context.Context, msgs iter.Seq2[mailbox.NewMessage, error]) (metas []mailbox.Meta, err error) {
	if m.f.store.ReadOnly {
		return nil, mailbox.ErrReadOnly
	}
	if m.closed.Load() {
		return nil, errClosed
	}
	var all []newMessage
	defer func() {
		for _, one := range all {
			_ = one.content.(io.Closer).Close()
		}
	}()
	for msg, err := range msgs {
		if err != nil {
			return nil, err
		}
		if len(all) == maxTogether {
			return nil, fmt.Errorf("%w: more than %d messages at once", mailbox.ErrTooLarge, maxTogether)
		}
		c, err := goniec.Spool(ctx, msg.Msg, m.f.store.maxMessage()) // what is given may not outlast the step
		if err != nil {
			return nil, tooLarge(err)
		}
		all = append(all, newMessage{c, msg.Options})
	}
	if len(all) == 0 {
		return nil, begin(ctx)
	}
	err = m.run(ctx, true, func(f *folder, h *held) error {
		if err := f.detect(h); err != nil {
			return err
		}
		metas, err = f.append(ctx, h, all)
		return err
	})
	return metas, err
}

// newMessage is a message that is appended.
type newMessage struct {
	content goniec.Content
	options mailbox.AppendOptions
}

// append stores messages, all or none.
func (f *folder) append(ctx context.Context, h *held, all []newMessage) (metas []mailbox.Meta, err error) {
	grown := *f.x // nothing of the old state is changed but its room for more; after an error it is read again
	x := &grown
	x.modSeq++
	var recs []*record
	var lines []byte
	added := make([]entry, len(all))
	for i, msg := range all {
		var rec *record
		if rec, added[i], err = f.planEntry(ctx, x, msg, &lines); err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
	old := h.info.Size
	offsets, err := h.append(ctx, recs...)
	if err != nil {
		return nil, err
	}
	if x.at, err = f.changed(h); err != nil {
		return nil, errors.Join(err, h.undo(old))
	}
	for i := range added {
		e, rec := &added[i], recs[i]
		e.offset, e.start = offsets[i], offsets[i]+int64(len(rec.prefix)-blockSize)
		e.end, e.next = e.offset+rec.size-1, e.offset+rec.size
		lines = e.appendLine(lines)
		metas = append(metas, e.meta())
	}
	x.entries = append(x.entries, added...)
	if err := f.commit(lines, x); err != nil {
		return nil, errors.Join(err, h.undo(old))
	}
	return metas, nil
}

// planEntry makes the record of a message and its entry, but for the place, and gives it the next UID of x.
func (f *folder) planEntry(ctx context.Context, x *index, msg newMessage, lines *[]byte) (rec *record, e entry, err error) {
	o := msg.options
	if o.Date.IsZero() {
		o.Date = f.store.now()
	}
	if o.Saved.IsZero() {
		o.Saved = f.store.now()
	}
	flags, known, err := mailbox.AssignKeywords(x.keywords, mailbox.MaxKeywords, o.Flags)
	if err != nil {
		return nil, e, err
	}
	if x.next == mailbox.MaxUID {
		return nil, e, mailbox.ErrUIDRange
	}
	if rec, err = plan(ctx, f.dialect, FromLine{Date: o.Date}, msg.content, statusBlock(flags.List(known))); err != nil {
		return nil, e, err
	}
	sum := &sumWriter{}
	if err := rec.body(ctx, sum); err != nil {
		return nil, e, err
	}
	for _, k := range known[len(x.keywords):] {
		*lines = appendKeyword(*lines, k)
	}
	e = entry{
		uid: x.next, modSeq: x.modSeq, size: msg.content.Size(), date: truncated(o.Date), saved: o.Saved.Unix(),
		sum: sum.sum, flags: flags, seen: shown(flags, known), own: true,
	}
	x.next++
	x.keywords = known
	return rec, e, nil
}

// undo cuts off what was appended and can not be acknowledged.
func (h *held) undo(size int64) error {
	if err := h.file.Truncate(size); err != nil {
		return err
	}
	h.info.Size = size
	return h.file.Sync()
}

// truncated is a date as the From_ line keeps it.
func truncated(t time.Time) int64 {
	f, _ := ParseFromLine([]byte(FromLine{Date: t}.String()))
	return f.Date.Unix()
}

// SetFlags implements mailbox.Mailbox.
func (m *handle) SetFlags(ctx context.Context, uids mailbox.UIDSet, c mailbox.FlagChange) (res mailbox.FlagResult, err error) {
	if m.f.store.ReadOnly {
		return res, mailbox.ErrReadOnly
	}
	err = m.runUIDs(ctx, func(f *folder, h *held) (err error) {
		res, err = f.setFlags(h, uids, c)
		return err
	})
	return res, err
}

func (f *folder) setFlags(h *held, uids mailbox.UIDSet, c mailbox.FlagChange) (res mailbox.FlagResult, err error) {
	x := f.x.clone()
	if err := mailbox.CheckKeywords(c.Flags.Keywords); err != nil {
		return res, err
	}
	change, known := mailbox.KnownFlags(x.keywords, c.Flags), x.keywords
	if c.Op != mailbox.FlagsRemove {
		if change, known, err = mailbox.AssignKeywords(x.keywords, mailbox.MaxKeywords, c.Flags); err != nil {
			return res, err
		}
	}
	var lines []byte
	for _, k := range known[len(x.keywords):] {
		lines = appendKeyword(lines, k)
	}
	x.keywords = known
	var changed, modified mailbox.UIDSetBuilder
	var places []int
	for i := range x.entries {
		e := &x.entries[i]
		if !uids.Contains(e.uid) {
			continue
		}
		if c.UnchangedSince != nil && e.modSeq > *c.UnchangedSince {
			modified.Add(e.uid)
			continue
		}
		if flags := c.Op.Apply(e.flags, change); flags != e.flags {
			e.flags, e.modSeq = flags, x.modSeq+1
			lines = e.appendFlags(lines)
			changed.Add(e.uid)
			places = append(places, i)
		}
	}
	res = mailbox.FlagResult{Changed: changed.Set(), Modified: modified.Set(), ModSeq: f.x.modSeq}
	if len(places) == 0 {
		return res, nil
	}
	x.modSeq++
	res.ModSeq = x.modSeq
	if err := f.commit(lines, x); err != nil {
		return mailbox.FlagResult{}, err
	}
	f.showFlags(h, places)
	return res, nil
}

// showFlags writes the status blocks of messages for other programs. The index is what counts: nothing is lost
// when it fails. What the blocks say is noted once it is durable; what differs from that later is another program's change.
func (f *folder) showFlags(h *held, places []int) {
	x := f.x.clone()
	var lines []byte
	for _, i := range places {
		e := &x.entries[i]
		if !e.own {
			continue
		}
		b := make([]byte, blockSize)
		if _, err := h.file.ReadAt(b, e.start); err != nil || !isBlock(b) {
			continue
		}
		if _, err := h.file.WriteAt([]byte(statusBlock(e.flags.List(x.keywords))), e.start); err != nil {
			f.store.log("status fields not written", "file", f.name, "error", err)
			return
		}
		e.seen = shown(e.flags, x.keywords)
		lines = e.appendSeen(lines)
	}
	if lines == nil {
		return
	}
	if err := h.file.Sync(); err != nil {
		f.store.log("status fields not written", "file", f.name, "error", err)
		return
	}
	if at, err := f.changed(h); err == nil && at.size == x.at.size {
		x.at = at
		_ = f.note(lines, x)
	}
}

// Expunge implements mailbox.Mailbox.
func (m *handle) Expunge(ctx context.Context, uids mailbox.UIDSet) (gone mailbox.UIDSet, err error) {
	if m.f.store.ReadOnly {
		return nil, mailbox.ErrReadOnly
	}
	err = m.runUIDs(ctx, func(f *folder, h *held) (err error) {
		gone, err = f.expunge(h, uids)
		return err
	})
	return gone, err
}

// expunge removes messages from the file and moves the others up.
func (f *folder) expunge(h *held, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	x := f.x.clone()
	var b mailbox.UIDSetBuilder
	for i := range x.entries {
		if uids.Contains(x.entries[i].uid) {
			b.Add(x.entries[i].uid)
		}
	}
	gone := b.Set()
	if gone.Empty() {
		return nil, nil
	}
	order := make([]*entry, len(x.entries)) // as they lie in the file, which may be another order
	for i := range x.entries {
		order[i] = &x.entries[i]
	}
	slices.SortFunc(order, func(a, b *entry) int { return int(min(max(a.offset-b.offset, -1), 1)) })
	from, kept := int64(-1), []span(nil)
	var shift int64
	for _, e := range order {
		length := e.next - e.offset
		switch {
		case gone.Contains(e.uid):
			if shift += length; from < 0 {
				from = e.offset
			}
		case from >= 0:
			kept = append(kept, span{e.offset, e.next})
			e.offset, e.start, e.end, e.next = e.offset-shift, e.start-shift, e.end-shift, e.next-shift
		}
	}
	done, err := h.cut(from, kept)
	if err != nil {
		return nil, err
	}
	// From here on the messages are gone for good, whatever fails: what is not known is found out at the next call.
	f.x = nil
	if !done {
		return gone, nil
	}
	x.modSeq++
	x.expunge(x.modSeq, gone)
	if x.at, err = f.changed(h); err != nil {
		return gone, nil
	}
	f.x = x
	_ = f.rewriteIndex()
	return gone, nil
}
