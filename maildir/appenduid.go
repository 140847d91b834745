package maildir

import (
	"context"
	"fmt"
	"io"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// AppendUID implements mailbox.UIDAppender. A folder that never gave a UID takes over validity with its
// first message, even where that is lower than its own: nobody has seen the folder's own with a message. Whoever
// deletes a converted folder and converts into its name once more must not expect its clients to notice.
func (m *Mailbox) AppendUID(ctx context.Context, validity uint32, uid mailbox.UID, msg io.Reader, o mailbox.AppendOptions) (mailbox.Meta, error) {
	f, err := m.locked(ctx, false)
	if err != nil {
		return mailbox.Meta{}, err
	}
	err = f.fits(validity, uid) // before the message is written
	if f.leave(&err); err != nil {
		return mailbox.Meta{}, err
	}
	file, err := f.acct.store.spoolTo(ctx, f.tmp, msg, stampOf(o.Date))
	if err != nil {
		return mailbox.Meta{}, m.vanished(f, refused(err))
	}
	job := &appendJob{ctx: ctx, items: []appendItem{{file: file.savedAs(o), options: o}}}
	defer job.discard(f)
	if err := file.dated(f.tmp); err != nil {
		return mailbox.Meta{}, err
	}
	refund, err := f.acct.charge(ctx, job.octets(), 1)
	if err != nil {
		return mailbox.Meta{}, err
	}
	if err := f.appendUID(job, validity, uint32(uid)); err != nil {
		refund()
		return mailbox.Meta{}, err
	}
	m.known.Store(validity)
	return job.metas[0], nil
}

// fits reports mailbox.ErrCannot when the folder can not give uid under validity. f.lock is held.
func (f *folder) fits(validity uint32, uid mailbox.UID) error {
	s := &f.state
	fresh := s.uidNext == 1 && len(s.t.recs) == 0
	switch {
	case validity == 0 || uid == 0 || uid >= mailbox.MaxUID-1:
		return fmt.Errorf("%w: UID %d under UIDVALIDITY %d", mailbox.ErrCannot, uid, validity)
	case validity != s.list.validity && !fresh:
		return fmt.Errorf("%w: UIDVALIDITY is %d, not %d", mailbox.ErrCannot, s.list.validity, validity)
	case uint32(uid) < s.uidNext:
		return fmt.Errorf("%w: UID %d is below UIDNEXT %d", mailbox.ErrCannot, uid, s.uidNext)
	}
	return nil
}

// appendUID moves the message of a job to cur/ under a UID, durably.
func (f *folder) appendUID(j *appendJob, validity, uid uint32) (err error) {
	if err := f.enter(j.ctx, true); err != nil {
		return err
	}
	defer f.leave(&err)
	unlock, err := f.lockList(j.ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := f.refreshLocked(j.ctx); err != nil {
		return err
	}
	if err := f.fits(validity, mailbox.UID(uid)); err != nil {
		return err
	}
	s := &f.state
	next, own := s.uidNext, s.list.validity
	if validity != own {
		free, err := f.acct.claimValidity(j.ctx, f.dir, validity)
		if err != nil {
			return err
		}
		defer free()
		if err := f.takeOver(validity); err != nil {
			return err
		}
	}
	s.uidNext = uid
	if err = f.placeJob(j.ctx, j); err == nil {
		f.commitReady([]*appendJob{j})
		err = j.err
	}
	if err != nil && s.uidNext == uid { // the list does not have it
		s.uidNext, s.list.validity = next, own
	}
	return err
}

// takeOver gives a folder without messages another UIDVALIDITY, which its list gets with the first message: so
// there is no moment at which the list and the other files contradict each other. First goes what would
// say after a crash that the list has been replaced by a stranger's.
func (f *folder) takeOver(validity uint32) error {
	if err := f.dropIndex(); err != nil {
		return err
	}
	f.index.sure = true // it is written anew
	s := &f.state
	neutral := floor{modSeq: s.floor.modSeq}
	if err := faultfs.WriteFile(f.base, floorName, neutral.text(), 0o600); err != nil {
		return err
	}
	s.floor = neutral
	s.list.validity = validity
	s.list.torn = true // not appended to, but written as a whole
	return nil
}

var _ mailbox.UIDAppender = (*Mailbox)(nil)
