package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// A folder that can not be written is read without a lock, an index or a change to the tree: what is known of it is in memory
// only. Messages in new/ stay there. Those without a UID get one in memory; the folder then has a UIDVALIDITY of its own,
// because whoever may write will give UIDs as he sees fit.

// readOnly is what is known beside the state of such a folder.
type readOnly struct {
	list  faultfs.Info      // of the uidlist that was read; zero: none
	inNew map[string]string // names of files in new/, by base
}

// denied reports that we have no right to write.
func denied(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// refused turns the error of a tree that can not be written into the seam's.
func refused(err error) error {
	if denied(err) {
		return fmt.Errorf("%w: %w", mailbox.ErrReadOnly, err)
	}
	return err
}

// goReadOnly begins anew without the right to write. f.lock is held.
func (f *folder) goReadOnly() {
	if f.owned {
		f.owned = false
		funlock(f.lockFile)
	}
	f.index.close()
	f.state = state{loads: f.state.loads + 1, modSeq: f.state.modSeq}
	f.cannotWrite.Store(true)
}

// refreshReadOnly is refresh for such a folder.
func (f *folder) refreshReadOnly(ctx context.Context) error {
	s := &f.state
	info, err := f.base.Lstat(listName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	was := f.ro.list
	if !s.loaded || !sameDir(info, was) || info.Size != was.Size || !info.ModTime.Equal(was.ModTime) {
		f.ro.list = info
		return f.loadReadOnly(ctx)
	}
	if err := s.keywords.refresh(f.base); err != nil {
		return err
	}
	look, now := false, f.acct.store.now()
	for dir, seen := range map[*syncDir]*dirSeen{&f.new: &s.seenNew, &f.cur: &s.seenCur} {
		info, err := dir.Stat()
		if err != nil {
			return err
		}
		look = look || seen.stale(info, now, now.Sub(s.curListed), s.pause())
	}
	if look {
		return f.scanReadOnly(ctx)
	}
	return nil
}

// loadReadOnly reads the folder as loadCold does.
func (f *folder) loadReadOnly(ctx context.Context) (err error) {
	old, modSeq := f.state.list.validity, f.state.modSeq
	f.state = state{loads: f.state.loads + 1}
	s := &f.state
	if s.floor, err = f.readFloor(); err != nil {
		return err
	}
	if err := s.keywords.refresh(f.base); err != nil {
		return err
	}
	if err := f.listReadOnly(); err != nil {
		return err
	}
	s.modSeq = max(modSeq, s.floor.modSeq)
	s.modSeq = f.nextModSeq()
	s.horizon = s.modSeq
	for i := range s.t.recs {
		s.t.recs[i].modSeq = s.modSeq
	}
	if err := f.scanReadOnly(ctx); err != nil {
		return err
	}
	s.expunged, s.loaded = nil, true
	if old != 0 {
		f.changed()
	}
	return nil
}

// listReadOnly reads the UIDs, of Dovecot's list or Courier's.
func (f *folder) listReadOnly() error {
	s := &f.state
	add := func(uid uint32, fields, base []byte) { s.t.add(s.t.newRec(uid, string(base), infoNone, fields)) }
	_, err := f.readList(&s.list, add)
	if errors.Is(err, fs.ErrNotExist) {
		var data []byte
		if data, err = faultfs.ReadFile(f.base, courierUIDs, listLimit); err == nil {
			err = s.list.parse(data, true, add)
		}
	}
	switch {
	case errors.Is(err, errList), errors.Is(err, fs.ErrNotExist):
		old := s.list.validity
		s.t, s.list = table{}, listFile{listHeader: listHeader{validity: f.passing(old), next: 1}}
	case err != nil:
		return err
	case s.floor.validity > s.list.validity: // an older copy of the list has come back
		s.list.validity = f.passing(s.floor.validity)
	}
	s.uidNext = s.list.uidNext()
	return nil
}

// passing is a UIDVALIDITY that is not written down, another one for each folder.
func (f *folder) passing(above uint32) uint32 {
	a := f.acct
	last, _ := a.lastValidity() // unreadable: what the clock says must do
	for {
		passed := a.passed.Load()
		v := max(uint32(max(a.store.now().Unix(), 1)), above+1, f.state.floor.validity+1, last+1, passed+1)
		if a.passed.CompareAndSwap(passed, v) {
			return v
		}
	}
}

// scanReadOnly lists cur/ and new/ and takes in what is different. A file that was renamed meanwhile may not show: see scan.
func (f *folder) scanReadOnly(ctx context.Context) error {
	s := &f.state
	var last [2]time.Time
	for try := 0; ; try++ {
		at, started := f.acct.store.now(), time.Now()
		before, files, err := f.listBoth()
		if err != nil {
			return err
		}
		after, _, err := f.listBoth()
		if err != nil {
			return err
		}
		changed, fresh, missing := f.compare(files)
		// A change in the moment of the one before does not show in the times.
		old := started.Sub(before[0]) > scanPause && started.Sub(before[1]) > scanPause
		quiet := before == after && (old || before == last)
		if last = after; quiet || len(missing) == 0 || try == scanTries {
			if !quiet && s.loaded {
				missing = nil
			}
			f.numberReadOnly(fresh)
			f.apply(changed, missing)
			s.seenNew, s.seenCur, s.curListed = dirSeen{before[0], at}, dirSeen{before[1], at}, at
			return nil
		}
		select {
		case <-time.After(scanPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// listBoth lists the messages of cur/, and of new/ as if they were there already, and says what times the directories had.
func (f *folder) listBoth() (times [2]time.Time, files []string, err error) {
	f.ro.inNew = make(map[string]string)
	for i, dir := range []*syncDir{&f.new, &f.cur} { // in this order: a file may be on its way from the first to the second
		info, err := dir.Stat()
		if err != nil {
			return times, nil, err
		}
		times[i] = info.ModTime
		names, err := dir.Names()
		if err != nil {
			return times, nil, err
		}
		for _, name := range names {
			base, _ := splitInfo(name)
			if !isMessage(name) {
				continue
			}
			if i == 1 {
				delete(f.ro.inNew, base)
				files = append(files, name)
			} else {
				f.ro.inNew[base] = name
			}
		}
	}
	for base := range f.ro.inNew {
		files = append(files, base+infoNone)
	}
	return times, files, nil
}

// numberReadOnly gives UIDs to messages without, at the first look; later ones wait for somebody who may write.
func (f *folder) numberReadOnly(names []string) {
	s := &f.state
	if s.loaded || len(names) == 0 {
		return
	}
	slices.SortFunc(names, byArrival)
	uids := make([]uint32, len(names))
	for i := range names {
		if uidsLeft(s.uidNext, 1) != nil {
			break
		}
		uids[i] = s.uidNext
		s.uidNext++
	}
	s.list.validity = f.passing(s.list.validity)
	f.addFresh(names, uids)
}

// place says where the file of a message is: in cur/, under its name, but for what is in new/ and can not be moved.
func (f *folder) place(name string) (faultfs.Dir, string) {
	if len(f.ro.inNew) > 0 {
		base, _ := splitInfo(name)
		if n, ok := f.ro.inNew[base]; ok {
			return f.new.Dir, n
		}
	}
	return f.cur.Dir, name
}
