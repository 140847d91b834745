package maildir

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"sync/atomic"

	"github.com/goniec-mail/goniec/mailbox"
)

// Mailbox is a handle on a folder, from Account.Open. It implements mailbox.Mailbox and the optional
// interfaces mailbox.MultiAppender, mailbox.UIDAppender, mailbox.Derived, mailbox.Identified, mailbox.Watcher and mailbox.Locker.
// It is safe for concurrent use.
type Mailbox struct {
	f      *folder
	name   string
	closed atomic.Bool
	swap   ctxPointer
}

// Close implements mailbox.Mailbox.
func (m *Mailbox) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	f := m.current()
	f.acct.store.release(f)
	return nil
}

// begin returns the folder. After an error that made its directories unusable they are opened anew.
func (m *Mailbox) begin(ctx context.Context) (*folder, error) {
	if m.closed.Load() {
		return nil, errClosed
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f := m.current()
	if f.gone.Load() {
		return nil, mailbox.ErrNotFound
	}
	if f.broken.Load() {
		return m.reopen(f)
	}
	return f, nil
}

// locked is begin with the state locked and brought up to date; write as in enter. f.leave must follow.
func (m *Mailbox) locked(ctx context.Context, write bool) (*folder, error) {
	f, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.enter(ctx, write); err != nil {
		return nil, m.vanished(f, err)
	}
	return f, nil
}

// vanished turns the error of a folder whose directories are gone into ErrNotFound.
func (m *Mailbox) vanished(f *folder, err error) error {
	if errors.Is(err, fs.ErrNotExist) && f.dir != "" {
		if _, e := f.acct.root.Lstat(f.dir); errors.Is(e, fs.ErrNotExist) {
			return notFound(err)
		}
	}
	return err
}

// Changes implements mailbox.Mailbox.
func (m *Mailbox) Changes(ctx context.Context, since mailbox.ModSeq) (_ *mailbox.Changes, err error) {
	f, err := m.locked(ctx, false)
	if err != nil {
		return nil, err
	}
	defer f.leave(&err)
	s := &f.state
	newer := func(r *rec) bool { return r.modSeq > uint64(since) }
	if uint64(since) < s.modSeq {
		if err := f.fill(ctx, newer); err != nil {
			return nil, err
		}
	}
	c := &mailbox.Changes{State: f.mailboxState(), Known: uint64(since) >= s.horizon}
	if c.Known {
		c.Expunged = s.expungedSince(uint64(since))
	}
	c.Messages = metas(s.since(uint64(since)))
	return c, nil
}

// since copies the recs above a mod-sequence: the snapshot.
func (s *state) since(m uint64) (recs []rec, names *table) {
	if m >= s.modSeq {
		return nil, &s.t
	}
	n := 0
	for i := range s.t.recs {
		if s.t.recs[i].modSeq > m {
			n++
		}
	}
	recs = make([]rec, 0, n)
	for i := range s.t.recs {
		if s.t.recs[i].modSeq > m {
			recs = append(recs, s.t.recs[i])
		}
	}
	// Names are only ever appended, or replaced as a whole: this slice header stays good.
	return recs, &table{names: s.t.names}
}

func metas(recs []rec, t *table) iter.Seq[mailbox.Meta] {
	return func(yield func(mailbox.Meta) bool) {
		for i := range recs {
			if !yield(t.meta(&recs[i])) {
				return
			}
		}
	}
}

func (t *table) meta(r *rec) mailbox.Meta {
	date := r.getDate()
	if date == noDate {
		date = 0
	}
	return mailbox.Meta{
		UID:    mailbox.UID(r.uid),
		Flags:  r.flags.seam(),
		ModSeq: mailbox.ModSeq(r.modSeq),
		Size:   r.getSize(),
		Date:   mailbox.Date(date),
		Saved:  savedIn(t.kept(r)),
	}
}

func (s *state) expungedSince(m uint64) mailbox.UIDSet {
	var b mailbox.UIDSetBuilder
	for i := len(s.expunged) - 1; i >= 0 && s.expunged[i].modSeq > m; i-- {
		b.Add(mailbox.UID(s.expunged[i].uid))
	}
	return b.Set()
}

// Read implements mailbox.Mailbox.
func (m *Mailbox) Read(ctx context.Context, uids mailbox.UIDSet) iter.Seq2[mailbox.Message, error] {
	return func(yield func(mailbox.Message, error) bool) {
		f, wanted, err := m.wanted(ctx, uids)
		if err != nil {
			yield(mailbox.Message{}, err)
			return
		}
		for _, uid := range wanted {
			if !m.readOne(ctx, f, uid, yield) {
				return
			}
		}
	}
}

// wanted returns the UIDs of uids that have a message.
func (m *Mailbox) wanted(ctx context.Context, uids mailbox.UIDSet) (f *folder, wanted []uint32, err error) {
	if f, err = m.locked(ctx, false); err != nil {
		return nil, nil, err
	}
	defer f.leave(&err)
	for i := range f.state.t.selected(uids) {
		wanted = append(wanted, f.state.t.recs[i].uid)
	}
	return f, wanted, nil
}

// readOne yields one message; false ends the sequence.
func (m *Mailbox) readOne(ctx context.Context, f *folder, uid uint32, yield func(mailbox.Message, error) bool) bool {
	if ctx.Err() != nil {
		yield(mailbox.Message{}, context.Cause(ctx))
		return false
	}
	meta, c, err := f.openMessage(ctx, uid)
	if err != nil {
		return yield(mailbox.Message{Meta: mailbox.Meta{UID: mailbox.UID(uid)}}, err)
	}
	defer c.Close()
	return yield(mailbox.Message{Meta: meta, Content: c}, nil)
}

// findTries is how often a file is looked for again that another program has renamed meanwhile.
const findTries = 5

// openMessage opens a message's file. When it has another name by now, cur/ is listed again.
func (f *folder) openMessage(ctx context.Context, uid uint32) (meta mailbox.Meta, c *content, err error) {
	if err := f.lock.lock(ctx); err != nil {
		return meta, nil, err
	}
	defer f.leave(&err)
	t := &f.state.t
	err = f.withFile(ctx, uid, func(i int, name string) (err error) {
		c, err = openContent(f.cur.Dir, name)
		if err != nil {
			return err
		}
		r := &t.recs[i]
		if r.getSize() != c.size {
			r.setSize(c.size)
			f.state.counts = nil
			f.index.learned++
		}
		if r.getDate() == noDate {
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

// withFile calls do with a message's index and file name, again when the name has changed. f.lock is held.
func (f *folder) withFile(ctx context.Context, uid uint32, do func(i int, name string) error) error {
	for try := 0; ; try++ {
		i, ok := f.state.t.find(uid)
		if !ok {
			return mailbox.ErrGone
		}
		err := do(i, f.state.t.file(&f.state.t.recs[i]))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if try == findTries {
			return mailbox.ErrGone
		}
		err = f.exclusive(ctx)
		if err == nil {
			err = f.scan(ctx, true)
		}
		if err != nil {
			return err
		}
	}
}
