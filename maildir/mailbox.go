package maildir

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"

	"github.com/goniec-mail/goniec/mailbox"
)

// Mailbox is a handle on a folder, from Account.Open. It implements mailbox.Mailbox and the optional
// interfaces mailbox.MultiAppender, mailbox.UIDAppender, mailbox.Lister, mailbox.Derived, mailbox.Identified, mailbox.Watcher,
// mailbox.Locker and mailbox.Metadata. It is safe for concurrent use.
type Mailbox struct {
	f      *folder
	name   string
	closed atomic.Bool
	known  atomic.Uint32 // the UIDVALIDITY that Changes or List told last; 0 before
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
	for try := 0; ; try++ {
		f, err := m.begin(ctx)
		if err != nil {
			return nil, err
		}
		if err = f.enter(ctx, write); err == nil {
			return f, nil
		}
		if !errors.Is(err, errBroken) || try == reopenTries {
			return nil, m.vanished(f, err)
		}
	}
}

// reopenTries is how often a folder is opened anew that breaks while its lock is waited for.
const reopenTries = 3

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
	if f, err := m.begin(ctx); err == nil {
		if c := f.unchanged(since); c != nil {
			m.known.Store(c.State.UIDValidity)
			return c, nil
		}
	}
	f, err := m.locked(ctx, false)
	if err != nil {
		return nil, err
	}
	defer f.leave(&err)
	s := &f.state
	m.known.Store(s.list.validity)
	if uint64(since) < s.modSeq {
		if err := f.fill(ctx, s.t.newer(uint64(since))); err != nil {
			return nil, err
		}
	}
	c := &mailbox.Changes{State: f.mailboxState(), Known: uint64(since) >= s.horizon}
	if c.Known {
		c.Expunged = s.expungedSince(uint64(since))
	}
	c.Messages = s.since(uint64(since)).metas
	return c, nil
}

// List implements mailbox.Lister.
func (m *Mailbox) List(ctx context.Context, uids mailbox.UIDSet) (_ *mailbox.Changes, err error) {
	f, err := m.locked(ctx, false)
	if err != nil {
		return nil, err
	}
	defer f.leave(&err)
	s := &f.state
	m.known.Store(s.list.validity)
	if err := f.fill(ctx, s.t.selected(uids)); err != nil {
		return nil, err
	}
	c := &mailbox.Changes{State: f.mailboxState(), Known: s.horizon == 0}
	if c.Known {
		c.Expunged = s.expungedSince(0)
	}
	some := &snapshot{make([]rec, 0, min(uids.Len(), len(s.t.recs))), s.t.names}
	for i := range s.t.selected(uids) {
		some.recs = append(some.recs, s.t.recs[i])
	}
	c.Messages = some.metas
	return c, nil
}

// since copies the recs above a mod-sequence.
func (s *state) since(m uint64) *snapshot {
	n := 0
	if m < s.modSeq {
		for range s.t.newer(m) {
			n++
		}
	}
	if n > 0 && n == len(s.t.recs) {
		return s.t.snapshot()
	}
	some := &snapshot{make([]rec, 0, n), s.t.names}
	if n > 0 {
		for i := range s.t.newer(m) {
			some.recs = append(some.recs, s.t.recs[i])
		}
	}
	return some
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

// findTries is how often a file is looked for again that another program has renamed meanwhile.
const findTries = 5

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
