package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/goniec-mail/goniec/faultfs"
)

// load reads the folder for the first time: the index if there is a good one, else the uidlist; then what
// has changed since. f.owned is set.
func (f *folder) load(ctx context.Context) (err error) {
	modSeq := f.state.modSeq
	f.state = state{loads: f.state.loads + 1}
	s := &f.state
	if s.floor, err = f.readFloor(); err != nil {
		return err
	}
	err = f.readIndex()
	if err == nil {
		if err = f.resume(ctx, modSeq); err != nil {
			f.state.loaded = false // half of it must not do for all
		}
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		f.acct.store.log("index made anew", "folder", f.base.Name(), "err", err)
	}
	f.state = state{loads: s.loads, floor: s.floor, modSeq: max(modSeq, s.floor.modSeq)}
	return f.loadCold(ctx)
}

// loadCold begins without an index. All messages get one new mod-sequence, above all that were given.
func (f *folder) loadCold(ctx context.Context) error {
	s := &f.state
	if err := s.keywords.refresh(f.base); err != nil {
		return err
	}
	if err := f.loadList(ctx); err != nil {
		return err
	}
	if s.floor.validity > s.list.validity { // an older copy of the list has come back
		if err := f.newUIDs(ctx, s.floor.validity); err != nil {
			return err
		}
	} else if s.floor.validity == s.list.validity {
		s.uidNext = max(s.uidNext, s.floor.uid) // the list may have lost lines
	}
	s.modSeq = f.nextModSeq()
	s.horizon = s.modSeq
	for i := range s.t.recs {
		s.t.recs[i].modSeq = s.modSeq
	}
	// What the list names and the directories do not have went before our time: nobody needs to be told.
	if err := f.scan(ctx, true); err != nil {
		return err
	}
	s.expunged, s.loaded = nil, true
	f.index.sure = true
	f.cleanTmp()
	return nil
}

// resume goes on from the index. UIDs in the list that the index does not have are those of another program, or the
// index has lost its end in a crash, with mod-sequences that were told: then the next ones are above all that could be.
func (f *folder) resume(ctx context.Context, modSeq uint64) error {
	s := &f.state
	s.modSeq = max(s.modSeq, modSeq)
	if f.acct.store.now().Sub(s.listedAt) > listedAge {
		s.listed = nil
	}
	known := s.uidNext
	s.uidNext = max(s.uidNext, s.list.uidNext())
	if err := s.keywords.refresh(f.base); err != nil {
		return err
	}
	if !s.list.unchanged(f.base.Lstat(listName)) {
		was := s.list
		s.list.known = false // it may be another file at the same place: read all of it
		s.list.validity = was.validity
		if err := f.reread(ctx); err != nil {
			return err
		}
	}
	if s.uidNext > known {
		s.modSeq = max(s.modSeq, s.floor.modSeq)
	}
	f.cleanTmp()
	return f.look(ctx)
}

// loadList reads the UIDs, or begins anew where there is no list that can be trusted.
func (f *folder) loadList(ctx context.Context) error {
	s := &f.state
	s.t, s.list, s.listed = table{}, listFile{}, nil
	_, err := f.readList(&s.list, func(uid uint32, fields, base []byte) {
		s.t.add(s.t.newRec(uid, string(base), infoNone, fields))
	})
	if err == nil {
		if s.list.torn || s.list.id == "" {
			err = f.rewrite(ctx)
		}
		s.uidNext = s.list.uidNext()
		return err
	}
	if errors.Is(err, fs.ErrNotExist) && s.floor.validity == 0 {
		if adopted, e := f.adoptCourier(ctx); adopted || e != nil {
			return e
		}
	}
	if !errors.Is(err, errList) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.newList(ctx, err)
}

// newList begins a new list: a new UIDVALIDITY, higher than any before.
func (f *folder) newList(ctx context.Context, cause error) error {
	unlock, err := f.lockList(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s := &f.state
	old := s.list.listHeader
	if !errors.Is(cause, fs.ErrNotExist) {
		f.acct.store.log("new UIDVALIDITY", "folder", f.base.Name(), "err", cause)
	}
	validity, err := f.acct.nextValidity(ctx, max(old.validity, s.floor.validity))
	if err != nil {
		return err
	}
	s.t = table{}
	s.list = listFile{listHeader: listHeader{validity: validity, next: 1, id: old.id}}
	s.uidNext = 1
	return f.writeList(&s.list, &s.t)
}

// rewrite writes the list anew under its lock.
func (f *folder) rewrite(ctx context.Context) error {
	unlock, err := f.lockList(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return f.writeList(&f.state.list, f.state.lines(nil))
}

// reread takes in what another program did to the list.
func (f *folder) reread(ctx context.Context) error {
	s := &f.state
	was, next := s.list, s.uidNext
	validity := was.validity
	var entries []listEntry
	whole, err := f.readList(&s.list, func(uid uint32, _, base []byte) {
		entries = append(entries, listEntry{uid, string(base)})
	})
	switch {
	case errors.Is(err, errList), errors.Is(err, fs.ErrNotExist):
		return f.restart(ctx, validity, err)
	case err != nil:
		s.list = was
		s.list.known = false
		return err
	case s.list.validity != validity:
		return f.restart(ctx, validity, errValidity)
	}
	lost, err := f.merge(entries, whole)
	if err != nil {
		return f.restart(ctx, validity, err)
	}
	s.uidNext = max(next, s.list.uidNext())
	if lost || s.list.torn || s.list.uidNext() < next {
		// An older copy has come back, or lines were cut off: what we know goes back into it.
		s.list.next = s.uidNext
		err = f.rewrite(ctx)
		s.list.known = s.list.known && err == nil
	}
	return err
}

var errValidity = fmt.Errorf("%w: UIDVALIDITY has changed", errList)

// merge compares lines with what is known. lost reports that known messages have no line any more.
// A lower UID for a known file, or one that was another's, is an error; a new one is not: Dovecot gives it to a message that
// did not show when it read the directory, because it was being renamed.
func (f *folder) merge(entries []listEntry, whole bool) (lost bool, err error) {
	s := &f.state
	names := newNameTable(&s.t)
	listed, matched := make(map[string]uint32), 0
	var again []uint32
	if !whole {
		maps.Copy(listed, s.listed)
	}
	for _, e := range entries {
		i, taken := s.t.find(e.uid)
		j := names.find(e.base)
		switch {
		case j >= 0 && s.t.recs[j].uid == e.uid:
			matched++
		case j >= 0 && e.uid < s.t.recs[j].uid && !taken:
			// an old line of a message that went and came back
		case j >= 0 && e.uid >= s.uidNext:
			again = append(again, s.t.recs[j].uid)
			listed[e.base] = e.uid
		case j >= 0, taken && string(s.t.base(&s.t.recs[i])) != e.base:
			return false, fmt.Errorf("%w: UID %d of %.100q contradicts what it was", errList, e.uid, e.base)
		case e.uid >= s.uidNext || s.listed[e.base] == e.uid:
			listed[e.base] = e.uid // its file may come; lines of expunged messages are below
		}
	}
	s.listedNews = s.listedNews || !maps.Equal(listed, s.listed)
	s.listed = listed
	lost = whole && matched+len(again) < len(s.t.recs)
	f.renumbered(again)
	return lost, nil
}

// renumbered takes out messages that have got another UID. Their files are found anew at the next look, and get it then.
func (f *folder) renumbered(uids []uint32) {
	if len(uids) == 0 {
		return
	}
	slices.Sort(uids)
	f.acct.store.log("messages have got other UIDs", "folder", f.base.Name(), "were", uids)
	f.forgetUIDs(f.nextModSeq(), slices.Compact(uids))
	f.state.waiting = true
	f.changed()
}

// restart forgets the UIDs: the list on the disk is damaged or another one. Clients see a new
// UIDVALIDITY unless the list has one already.
func (f *folder) restart(ctx context.Context, validity uint32, cause error) (err error) {
	f.acct.store.log("uidlist read anew", "folder", f.base.Name(), "err", cause)
	s := &f.state
	defer func() { s.loaded = s.loaded && err == nil }()
	above := floor{validity: saturate(validity, 1), modSeq: max(s.modSeq, s.floor.modSeq)}
	if s.list.validity <= validity {
		// Without the index nothing else says that these are not the UIDs that clients know, should an error or a
		// power cut keep the list from getting its new UIDVALIDITY now.
		if err := faultfs.WriteFile(f.base, floorName, above.text(), 0o600); err != nil {
			return err
		}
	}
	if err := f.dropIndex(); err != nil {
		return err
	}
	*s = state{loads: s.loads + 1, modSeq: s.modSeq, floor: above}
	if err := f.loadCold(ctx); err != nil {
		return err
	}
	f.changed()
	return nil
}

// newUIDs gives the folder a higher UIDVALIDITY and keeps the numbers.
func (f *folder) newUIDs(ctx context.Context, old uint32) error {
	unlock, err := f.lockList(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	l := &f.state.list
	if l.validity, err = f.acct.nextValidity(ctx, max(l.validity, old)); err != nil {
		return err
	}
	return f.writeList(l, f.state.lines(nil))
}
