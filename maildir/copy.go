package maildir

import (
	"context"
	"errors"
	"fmt"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
)

// Copy implements mailbox.Copier: the copies are links where the file system has them.
func (a *Account) Copy(ctx context.Context, from string, validity uint32, uids mailbox.UIDSet, to string) (mailbox.CopyResult, error) {
	t, err := a.transfer(ctx, from, validity, to)
	if err != nil {
		return mailbox.CopyResult{}, err
	}
	defer t.release()
	return t.copy(ctx, uids, true)
}

// Move implements mailbox.Mover: the messages are linked into the other folder, durably, and then
// removed from the first, so that a crash between leaves them in both. So does an error of the removal: copies are
// not taken back where a message might then be nowhere.
func (a *Account) Move(ctx context.Context, from string, validity uint32, uids mailbox.UIDSet, to string) (mailbox.CopyResult, error) {
	t, err := a.transfer(ctx, from, validity, to)
	if err != nil {
		return mailbox.CopyResult{}, err
	}
	defer t.release()
	if err := t.src.writable(ctx); err != nil {
		return mailbox.CopyResult{}, err // before anything is copied
	}
	// One move at a time: two of the same message would leave two copies.
	unlock, err := a.lockMoves(ctx)
	if err != nil {
		return mailbox.CopyResult{}, refused(err)
	}
	defer unlock()
	res, err := t.copy(ctx, uids, false)
	if err != nil || len(res.Source) == 0 {
		return res, err
	}
	gone, err := t.src.expungeSet(ctx, t.validity, mailbox.UIDs(res.Source...))
	if err != nil {
		return mailbox.CopyResult{}, err
	}
	// What somebody else has expunged meanwhile must not come back.
	res, late := splitMoved(res, gone)
	_, err = t.dst.expungeSet(context.WithoutCancel(ctx), res.UIDValidity, late)
	return res, err
}

// moveLockName is the file by which our processes move one after the other in an account.
const moveLockName = "goniec-move-lock"

func (a *account) lockMoves(ctx context.Context) (unlock func(), err error) {
	if err := a.moves.lock(ctx); err != nil {
		return nil, err
	}
	file, err := openLock(a.root, moveLockName)
	if err == nil {
		if err = flock(ctx, file, true); err != nil {
			_ = file.Close()
		}
	}
	if err != nil {
		a.moves.unlock()
		return nil, err
	}
	return func() {
		_ = file.Close() // the lock goes with it
		a.moves.unlock()
	}, nil
}

// splitMoved divides a copy into what was removed from the source, and the copies of what was gone before.
func splitMoved(all mailbox.CopyResult, gone mailbox.UIDSet) (moved mailbox.CopyResult, late mailbox.UIDSet) {
	moved.UIDValidity = all.UIDValidity
	var b mailbox.UIDSetBuilder
	for i, u := range all.Source {
		if gone.Contains(u) {
			moved.Source, moved.Dest = append(moved.Source, u), append(moved.Dest, all.Dest[i])
		} else {
			b.Add(all.Dest[i])
		}
	}
	return moved, b.Set()
}

// writable returns mailbox.ErrReadOnly for a folder that is only read.
func (f *folder) writable(ctx context.Context) (err error) {
	if err := f.enter(ctx, true); err != nil {
		return err
	}
	f.leave(&err)
	return err
}

// expungeSet is Expunge of what has UIDs under a UIDVALIDITY, without giving room back to the quota.
func (f *folder) expungeSet(ctx context.Context, validity uint32, uids mailbox.UIDSet) (gone mailbox.UIDSet, err error) {
	if err := f.enter(ctx, true); err != nil {
		return nil, err
	}
	defer f.leave(&err)
	if err := f.same(validity); err != nil {
		return nil, err
	}
	gone, _, err = f.expunge(ctx, uids)
	return gone, err
}

// same returns mailbox.ErrUIDValidity when UIDs of validity are not the folder's; 0 means whatever it has. f.lock is held.
func (f *folder) same(validity uint32) error {
	if is := f.state.list.validity; validity != 0 && validity != is {
		return fmt.Errorf("%w: it is %d, not %d", mailbox.ErrUIDValidity, is, validity)
	}
	return nil
}

// transfer is a copy under way. Only one of the folders is locked at a time.
type transfer struct {
	src, dst *folder
	validity uint32 // of src; 0 before stage where any will do
}

func (a *Account) transfer(ctx context.Context, from string, validity uint32, to string) (*transfer, error) {
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	src, err := a.store.acquire(a.account, from)
	if err != nil {
		return nil, err
	}
	dst, err := a.store.acquire(a.account, to)
	if err != nil {
		a.store.release(src)
		return nil, err
	}
	return &transfer{src, dst, validity}, nil
}

func (t *transfer) release() {
	t.src.acct.store.release(t.src)
	t.dst.acct.store.release(t.dst)
}

// copy links the messages into tmp/ of the destination, and commits them like an append.
func (t *transfer) copy(ctx context.Context, uids mailbox.UIDSet, charge bool) (res mailbox.CopyResult, err error) {
	job := &appendJob{ctx: ctx, done: make(chan struct{}), lenient: true}
	defer job.discard(t.dst)
	if res.Source, err = t.stage(ctx, uids, job); err != nil {
		return res, err
	}
	if len(job.items) > 0 {
		refund := func() {}
		if charge {
			if refund, err = t.dst.acct.charge(ctx, job.octets(), int64(len(job.items))); err != nil {
				return mailbox.CopyResult{}, err
			}
		}
		if t.dst.appends.run(t.dst, job); job.err != nil {
			refund()
			return mailbox.CopyResult{}, job.err
		}
	}
	for _, m := range job.metas {
		res.Dest = append(res.Dest, m.UID)
	}
	if res.UIDValidity = job.validity; len(job.items) == 0 {
		res.UIDValidity, err = t.dst.validity(ctx)
	}
	return res, err
}

func (f *folder) validity(ctx context.Context) (v uint32, err error) {
	if err := f.enter(ctx, false); err != nil {
		return 0, err
	}
	defer f.leave(&err)
	return f.state.list.validity, nil
}

// stage gives the messages names in tmp/ of the destination.
func (t *transfer) stage(ctx context.Context, uids mailbox.UIDSet, job *appendJob) (source []mailbox.UID, err error) {
	f := t.src
	if err := f.enter(ctx, false); err != nil {
		return nil, err
	}
	defer f.leave(&err)
	if err := f.same(t.validity); err != nil {
		return nil, err
	}
	t.validity = f.state.list.validity // what is removed later must be of the same one
	var wanted []uint32
	for i := range f.state.t.selected(uids) {
		wanted = append(wanted, f.state.t.recs[i].uid)
	}
	for _, uid := range wanted {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err := f.withFile(ctx, uid, func(i int, name string) error {
			item, err := t.stageOne(ctx, &f.state.t.recs[i], name)
			if err == nil {
				job.items = append(job.items, item)
				source = append(source, mailbox.UID(uid))
			}
			return err
		})
		if err != nil && !errors.Is(err, mailbox.ErrGone) {
			return nil, err
		}
	}
	return source, nil
}

func (t *transfer) stageOne(ctx context.Context, r *rec, name string) (item appendItem, err error) {
	f, s := t.src, t.src.acct.store
	item.options.Flags = r.flags.seam().List(f.state.keywords.names)
	base, _ := splitInfo(name)
	m := &stored{tmp: s.names.next(), fileSize: sizeIn(base, keyFileSize), netSize: sizeIn(base, keyNetSize), date: r.getDate()}
	if m.fileSize >= 0 && m.netSize >= m.fileSize && m.date != noDate {
		dir, file := f.place(name)
		err = dir.Link(file, t.dst.tmp, m.tmp)
		if err == nil {
			item.file = m
			return item, nil
		}
	}
	// Its sizes are not known, or there are no links here: it is read through.
	c, err := openContent(f.place(name))
	if err != nil {
		return item, err
	}
	defer c.Close()
	info, err := c.file.Stat()
	if err != nil {
		return item, err
	}
	date := dateStamp(info.ModTime)
	if item.file, err = s.spoolTo(ctx, t.dst.tmp, goniec.NewReader(c), &date); err != nil {
		return item, fmt.Errorf("copy UID %d: %w", r.uid, refused(err))
	}
	if err = item.file.dated(t.dst.tmp); err != nil {
		_ = t.dst.tmp.Remove(item.file.tmp)
	}
	return item, err
}

// octets is what the messages of a job count.
func (j *appendJob) octets() (n int64) {
	for i := range j.items {
		n += j.items[i].file.netSize
	}
	return n
}
