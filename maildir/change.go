package maildir

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// SetFlags implements mailbox.Mailbox: each file is renamed, and cur/ synced once.
func (m *Mailbox) SetFlags(ctx context.Context, uids mailbox.UIDSet, c mailbox.FlagChange) (_ mailbox.FlagResult, err error) {
	f, err := m.locked(ctx, true)
	if err != nil {
		return mailbox.FlagResult{}, err
	}
	defer f.leave(&err)
	if err := f.same(m.known.Load()); err != nil {
		return mailbox.FlagResult{}, err
	}
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
	plan, err := j.plan(uids)
	if err != nil {
		return err
	}
	steps := make([]step, len(plan))
	for i, r := range plan {
		base, info := splitInfo(r.to)
		steps[i] = step{'C', base, info}
	}
	// On a full disk messages must be marked as deleted, as they must go: see expunge.
	if err := j.f.declare(steps); err != nil && !diskFull(err) {
		return err
	}
	j.done = plan[:0] // what is done takes the place of what was planned
	for _, r := range plan {
		if err = j.one(r); err != nil && !errors.Is(err, mailbox.ErrGone) {
			return errors.Join(err, j.undo())
		}
	}
	return nil
}

// plan returns the files that get new names.
func (j *flagJob) plan(uids mailbox.UIDSet) ([]renamed, error) {
	t := &j.f.state.t
	plan := make([]renamed, 0, min(uids.Len(), len(t.recs)))
	for i := range t.selected(uids) {
		r := &t.recs[i]
		name := t.file(r)
		to, err := j.newName(r, name)
		if err != nil {
			return nil, err
		}
		if to != name {
			plan = append(plan, renamed{r.uid, name, to})
		}
	}
	return plan, nil
}

// newName returns the name that a message's file is to have: the one it has when nothing changes.
func (j *flagJob) newName(r *rec, name string) (string, error) {
	flags, changes := j.newFlags(r)
	if !changes {
		return name, nil
	}
	base, info := splitInfo(name)
	to := base + changeInfo(info, flags)
	if len(to) > maxNameOctets {
		return name, mailbox.ErrCannot
	}
	return to, nil
}

// newFlags returns what the change makes of a message's flags.
func (j *flagJob) newFlags(r *rec) (flags flagBits, changes bool) {
	if u := j.change.UnchangedSince; u != nil && r.modSeq > uint64(*u) {
		j.modified.Add(mailbox.UID(r.uid))
		return r.flags, false
	}
	flags = applyOp(j.change.Op, r.flags, j.bits)
	return flags, flags != r.flags
}

// one renames a file as planned, or, when another program has renamed it meanwhile, from the name it has now.
func (j *flagJob) one(r renamed) error {
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	f := j.f
	err := f.cur.Rename(r.from, f.cur.Dir, r.to)
	if err == nil {
		j.done = append(j.done, r)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.withFile(j.ctx, r.uid, func(i int, name string) error {
		to, err := j.newName(&f.state.t.recs[i], name)
		if err != nil || to == name { // changed by another program, a moment ago
			return err
		}
		if err := f.cur.Rename(name, f.cur.Dir, to); err != nil {
			return err
		}
		j.done = append(j.done, renamed{r.uid, name, to})
		return nil
	})
}

// undo gives the files their old names back, and looks at cur/ again before its next use.
func (j *flagJob) undo() error {
	return j.f.undo(j.done, j.f.cur.Dir)
}

// undo renames files back from dir to cur/.
func (f *folder) undo(done []renamed, dir faultfs.Dir) error {
	f.state.seenCur = dirSeen{}
	for _, r := range done {
		if r.to == "" {
			continue
		}
		if err := dir.Rename(r.to, f.cur.Dir, r.from); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.abandon()
			return err
		}
	}
	return f.settle()
}

// commit makes the new names durable and takes them into the table.
func (j *flagJob) commit() (res mailbox.FlagResult, err error) {
	f, s := j.f, &j.f.state
	res.Modified = j.modified.Set()
	if len(j.done) > 0 {
		if err := f.failed(f.cur.Sync()); err != nil {
			return mailbox.FlagResult{}, errors.Join(err, j.undo())
		}
		var changed mailbox.UIDSetBuilder
		logged := make([]uint32, 0, len(j.done))
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
			logged = append(logged, r.uid)
		}
		f.logMessages(s.t.withUIDs(logged))
		if err := f.settle(); err != nil {
			return mailbox.FlagResult{}, err
		}
		res.Changed = changed.Set()
		s.counts = nil
		f.changed()
		f.noteOwn()
	}
	res.ModSeq = mailbox.ModSeq(s.modSeq)
	return res, err
}

// Expunge implements mailbox.Mailbox. The files first go to tmp/, from where they can come back
// when one fails, then they are removed.
func (m *Mailbox) Expunge(ctx context.Context, uids mailbox.UIDSet) (_ mailbox.UIDSet, err error) {
	f, err := m.locked(ctx, true)
	if err != nil {
		return nil, err
	}
	defer f.leave(&err)
	if err := f.same(m.known.Load()); err != nil {
		return nil, err
	}
	gone, octets, err := f.expunge(ctx, uids)
	if err == nil {
		f.acct.credit(octets, int64(gone.Len()))
	}
	return gone, err
}

// expunge also returns how many octets went. Messages that it returns have gone, even beside an error.
func (f *folder) expunge(ctx context.Context, uids mailbox.UIDSet) (_ mailbox.UIDSet, octets int64, err error) {
	t := &f.state.t
	var wanted []uint32
	for i := range t.selected(uids) {
		wanted = append(wanted, t.recs[i].uid)
	}
	if len(wanted) == 0 {
		return nil, 0, nil
	}
	var steps []step
	for i := range t.selected(uids) {
		steps = append(steps, step{kind: 'X', name: string(t.base(&t.recs[i]))})
	}
	// On a full disk messages must still go: then without the note that makes it all or none after a crash.
	if err := f.declare(steps); err != nil && !diskFull(err) {
		return nil, 0, err
	}
	j := &expungeJob{f: f, ctx: ctx}
	for _, uid := range wanted {
		if err := j.one(uid); err != nil && !errors.Is(err, mailbox.ErrGone) {
			return nil, 0, errors.Join(err, j.undo())
		}
	}
	gone, err := j.commit()
	return gone, j.octets, err
}

// diskFull reports that there is no room for anything new.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// expungeJob is one Expunge under way.
type expungeJob struct {
	f    *folder
	ctx  context.Context
	done []renamed // from cur/ to tmp/

	octets int64
}

func (j *expungeJob) one(uid uint32) error {
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	f := j.f
	return f.withFile(j.ctx, uid, func(_ int, name string) error {
		aside := f.acct.store.names.next()
		octets := sizeOf(f.cur.Dir, name)
		err := f.cur.Rename(name, f.tmp, aside)
		if diskFull(err) {
			aside, err = "", f.cur.Remove(name) // there is no way back, and none is needed as a rule
		}
		if err != nil {
			return err
		}
		j.done = append(j.done, renamed{uid, name, aside})
		j.octets += octets
		return nil
	})
}

func (j *expungeJob) undo() error { return j.f.undo(j.done, j.f.tmp) }

func (j *expungeJob) commit() (mailbox.UIDSet, error) {
	f := j.f
	if len(j.done) == 0 {
		return nil, f.settle()
	}
	if err := f.failed(f.cur.Sync()); err != nil {
		return nil, errors.Join(err, j.undo())
	}
	var gone mailbox.UIDSetBuilder
	uids := make([]uint32, len(j.done))
	for i, r := range j.done {
		uids[i] = r.uid
		gone.Add(mailbox.UID(r.uid))
		if r.to == "" {
			continue
		}
		if err := f.tmp.Remove(r.to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.acct.store.log("expunged message left in tmp", "dir", f.tmp.Name(), "err", err)
		}
	}
	f.forgetUIDs(f.nextModSeq(), uids)
	f.changed()
	f.noteOwn()
	return gone.Set(), f.settle()
}
