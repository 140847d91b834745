package maildir

import (
	"context"
	"errors"
	"io/fs"

	"github.com/goniec-mail/goniec/mailbox"
)

// SetFlags implements mailbox.Mailbox: each file is renamed, and cur/ synced once.
func (m *Mailbox) SetFlags(ctx context.Context, uids mailbox.UIDSet, c mailbox.FlagChange) (mailbox.FlagResult, error) {
	f, err := m.locked(ctx)
	if err != nil {
		return mailbox.FlagResult{}, err
	}
	defer f.lock.unlock()
	bits, err := f.changeBits(ctx, c)
	if err != nil {
		return mailbox.FlagResult{}, err
	}
	job := &flagJob{f: f, ctx: ctx, change: c, bits: bits}
	if err := job.rename(uids); err != nil {
		return mailbox.FlagResult{}, err
	}
	return job.commit()
}

// changeBits turns the change's flags into bits. To remove a keyword that the folder does not have, no
// letter is given to it.
func (f *folder) changeBits(ctx context.Context, c mailbox.FlagChange) (flagBits, error) {
	if c.Op == mailbox.FlagsRemove {
		bits, _ := f.state.keywords.flagBits(c.Flags)
		return bits, nil
	}
	return f.resolve(ctx, c.Flags)
}

// apply returns the flags after a change.
func applyOp(op mailbox.FlagOp, old, bits flagBits) flagBits {
	switch op {
	case mailbox.FlagsAdd:
		return old | bits
	case mailbox.FlagsRemove:
		return old &^ bits
	default:
		return bits
	}
}

// flagJob is one SetFlags under way.
type flagJob struct {
	f      *folder
	ctx    context.Context
	change mailbox.FlagChange
	bits   flagBits

	done     []renamed
	modified mailbox.UIDSetBuilder
}

// renamed is a file with its new name.
type renamed struct {
	uid      uint32
	from, to string
}

// rename gives the files their new names; on an error those it has done get the old ones back.
func (j *flagJob) rename(uids mailbox.UIDSet) (err error) {
	t := &j.f.state.t
	var wanted []uint32
	for i := range t.selected(uids) {
		wanted = append(wanted, t.recs[i].uid)
	}
	for _, uid := range wanted {
		if err = j.one(uid); err != nil && !errors.Is(err, mailbox.ErrGone) {
			j.undo()
			return err
		}
	}
	return nil
}

func (j *flagJob) one(uid uint32) error {
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	f, t := j.f, &j.f.state.t
	return f.withFile(j.ctx, uid, func(i int, name string) error {
		r := &t.recs[i]
		if u := j.change.UnchangedSince; u != nil && r.modSeq > uint64(*u) {
			j.modified.Add(mailbox.UID(uid))
			return nil
		}
		flags := applyOp(j.change.Op, r.flags, j.bits)
		if flags == r.flags {
			return nil
		}
		base, info := splitInfo(name)
		to := base + changeInfo(info, flags)
		if len(to) > maxNameOctets {
			return mailbox.ErrCannot
		}
		if err := f.cur.Rename(name, f.cur.Dir, to); err != nil {
			return err
		}
		j.done = append(j.done, renamed{uid, name, to})
		return nil
	})
}

// undo gives the files their old names back, and looks at cur/ again before its next use.
func (j *flagJob) undo() {
	for _, r := range j.done {
		_ = j.f.cur.Rename(r.to, j.f.cur.Dir, r.from)
	}
	j.f.state.seenCur = dirSeen{}
}

// commit makes the new names durable and takes them into the table.
func (j *flagJob) commit() (res mailbox.FlagResult, err error) {
	f, s := j.f, &j.f.state
	res.Modified = j.modified.Set()
	if len(j.done) > 0 {
		if err := f.failed(f.cur.Sync()); err != nil {
			j.undo()
			return mailbox.FlagResult{}, err
		}
		var changed mailbox.UIDSetBuilder
		modSeq := f.nextModSeq()
		for _, r := range j.done {
			i, ok := s.t.find(r.uid)
			if !ok {
				continue
			}
			base, info := splitInfo(r.to)
			s.t.setName(&s.t.recs[i], base, info)
			s.t.recs[i].modSeq = modSeq
			changed.Add(mailbox.UID(r.uid))
		}
		res.Changed = changed.Set()
		s.counts = nil
		f.changed()
		err = f.noteOwn()
	}
	res.ModSeq = mailbox.ModSeq(s.modSeq)
	return res, err
}

// Expunge implements mailbox.Mailbox. The files first go to tmp/, from where they can come back
// when one fails, then they are removed.
func (m *Mailbox) Expunge(ctx context.Context, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	f, err := m.locked(ctx)
	if err != nil {
		return nil, err
	}
	defer f.lock.unlock()
	return f.expunge(ctx, uids)
}

func (f *folder) expunge(ctx context.Context, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	t := &f.state.t
	var wanted []uint32
	for i := range t.selected(uids) {
		wanted = append(wanted, t.recs[i].uid)
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	j := &expungeJob{f: f, ctx: ctx}
	for _, uid := range wanted {
		if err := j.one(uid); err != nil && !errors.Is(err, mailbox.ErrGone) {
			j.undo()
			return nil, err
		}
	}
	return j.commit()
}

// expungeJob is one Expunge under way.
type expungeJob struct {
	f    *folder
	ctx  context.Context
	done []renamed // from cur/ to tmp/
}

func (j *expungeJob) one(uid uint32) error {
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	f := j.f
	return f.withFile(j.ctx, uid, func(_ int, name string) error {
		aside := f.acct.store.names.next()
		if err := f.cur.Rename(name, f.tmp, aside); err != nil {
			return err
		}
		j.done = append(j.done, renamed{uid, name, aside})
		return nil
	})
}

func (j *expungeJob) undo() {
	for _, r := range j.done {
		_ = j.f.tmp.Rename(r.to, j.f.cur.Dir, r.from)
	}
	j.f.state.seenCur = dirSeen{}
}

func (j *expungeJob) commit() (mailbox.UIDSet, error) {
	f := j.f
	if len(j.done) == 0 {
		return nil, nil
	}
	if err := f.failed(f.cur.Sync()); err != nil {
		j.undo()
		return nil, err
	}
	var gone mailbox.UIDSetBuilder
	uids := make([]uint32, len(j.done))
	for i, r := range j.done {
		if err := f.tmp.Remove(r.to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.acct.store.log("expunged message left in tmp", "dir", f.tmp.Name(), "err", err)
		}
		uids[i] = r.uid
		gone.Add(mailbox.UID(r.uid))
	}
	f.forgetUIDs(f.nextModSeq(), uids)
	f.changed()
	return gone.Set(), f.noteOwn()
}
