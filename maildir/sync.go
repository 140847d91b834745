package maildir

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"slices"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
)

// refresh brings the state up to what lies on the disk. f.lock is held. Where nothing has changed, it costs
// five stats; else other processes are kept out until leave.
func (f *folder) refresh(ctx context.Context) error {
	if !f.state.loaded {
		if err := f.exclusive(ctx); err != nil {
			return err
		}
		return f.load(ctx)
	}
	if f.indexChanged() {
		if err := f.exclusive(ctx); err != nil {
			return err
		}
	}
	if err := f.state.keywords.refresh(f.base); err != nil {
		return err
	}
	if !f.state.list.unchanged(f.base.Lstat(listName)) {
		if err := f.exclusive(ctx); err != nil {
			return err
		}
		if err := f.reread(ctx); err != nil {
			return err
		}
	}
	return f.look(ctx)
}

// look lists the directories that may have changed and takes in what is new.
func (f *folder) look(ctx context.Context) error {
	s, now := &f.state, f.acct.store.now()
	info, err := f.new.Stat()
	if err != nil {
		return err
	}
	lookNew := s.seenNew.stale(info, now, 0, 0) || s.waiting
	if info, err = f.cur.Stat(); err != nil {
		return err
	}
	lookCur := s.seenCur.stale(info, now, now.Sub(s.curListed), s.pause()) || s.waiting
	if !lookNew && !lookCur {
		return nil
	}
	if err := f.exclusive(ctx); err != nil {
		return err
	}
	return f.scan(ctx, lookCur)
}

const (
	// scanTries is how often a directory is listed again because a known file did not show.
	scanTries = 5
	scanPause = 20 * time.Millisecond
)

// scan lists new/, and cur/ too if asked, and takes in what is different.
func (f *folder) scan(ctx context.Context, lookCur bool) (err error) {
	if f.cannotWrite.Load() {
		return f.scanReadOnly(ctx)
	}
	waited := f.state.waiting
	f.state.waiting = false
	defer func() { f.state.waiting = f.state.waiting || waited && err != nil }() // nothing else would tell of what waits
	moved, sure, err := f.takeNew()
	if err != nil {
		return err
	}
	if !lookCur && sure {
		return f.takeMoved(ctx, moved)
	}
	if err := moved.wait(); err != nil {
		return err
	}
	var last time.Time
	for try := 0; ; try++ {
		done, err := f.scanCur(ctx, &last, try == scanTries)
		if done || err != nil {
			return err
		}
		// A file renamed while the directory was read may not show in it: never take it for
		// expunged before a list during which the directory stood still (F11).
		select {
		case <-time.After(scanPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// noteOwn remembers the time that our own change gave cur/, so that it is not taken for somebody else's. What others
// did in the same moment shows once the time has settled.
func (f *folder) noteOwn() {
	f.state.seenCur = dirSeen{} // look again, if the time can not be had
	if info, err := f.cur.Stat(); err == nil {
		f.state.seenCur = dirSeen{info.ModTime, info.ModTime}
	}
}

// scanCur lists cur/ once and compares. It is not done when known files are missing and the
// directory changed meanwhile (last is its time at the last try); then, unless it is the final try, it must
// be called again.
func (f *folder) scanCur(ctx context.Context, last *time.Time, final bool) (done bool, err error) {
	s := &f.state
	before, err := f.cur.Stat()
	if err != nil {
		return false, err
	}
	at, started := f.acct.store.now(), time.Now()
	names, err := f.cur.Names()
	if err != nil {
		return false, err
	}
	after, err := f.cur.Stat()
	if err != nil {
		return false, err
	}
	changed, fresh, missing := f.compare(names)
	quiet := before.ModTime.Equal(after.ModTime) &&
		(started.Sub(before.ModTime) > scanPause || before.ModTime.Equal(*last))
	*last = after.ModTime
	if len(missing) > 0 && !quiet {
		if !final {
			return false, nil
		}
		missing = f.doubtful(missing)
	}
	if err := f.takeFresh(ctx, fresh); err != nil {
		return false, err
	}
	f.apply(changed, missing)
	s.seenCur, s.curListed = dirSeen{before.ModTime, at}, at
	if !quiet {
		s.seenCur.at = before.ModTime
	}
	return true, nil
}

// doubtful is asked about files that did not show in a busy directory: known messages stay until it is
// sure; those that only the list names keep their UID, should they come.
func (f *folder) doubtful(missing []uint32) []uint32 {
	s := &f.state
	if s.loaded {
		return nil
	}
	if s.listed == nil {
		s.listed = make(map[string]uint32)
	}
	for _, u := range missing {
		i, _ := s.t.find(u)
		s.listed[string(s.t.base(&s.t.recs[i]))] = u
		s.listedNews = true
	}
	return missing
}

// seenFile is a file of a known message.
type seenFile struct {
	uid  uint32
	name string
}

// compare sorts the names of cur/ into those of known messages whose name has changed, and those of
// unknown ones; missing are the UIDs without a file.
func (f *folder) compare(files []string) (changed []seenFile, fresh []string, missing []uint32) {
	t := &f.state.t
	table := newNameTable(t)
	seen := make([]bool, len(t.recs))
	for _, name := range files {
		if !isMessage(name) {
			continue
		}
		base, info := splitInfo(name)
		i := table.find(base)
		switch {
		case i < 0:
			fresh = append(fresh, name)
		case seen[i]: // a second file of the base: Check tells
		default:
			seen[i] = true
			if !t.isInfo(&t.recs[i], info) {
				changed = append(changed, seenFile{t.recs[i].uid, name})
			}
		}
	}
	for i, ok := range seen {
		if !ok {
			missing = append(missing, t.recs[i].uid)
		}
	}
	return changed, fresh, missing
}

// isInfo reports whether the info is the one we know of r.
func (t *table) isInfo(r *rec, info string) bool {
	kept := t.kept(r)
	if r.state&oddOne != 0 {
		return string(kept[len(t.base(r)):]) == info
	}
	var buf [40]byte
	return string(appendInfo(buf[:0], r.flags)) == info
}

// apply takes changed names and missing files into the table. Each round of changes has one mod-sequence.
func (f *folder) apply(changed []seenFile, missing []uint32) {
	s := &f.state
	if len(changed) == 0 && len(missing) == 0 {
		return
	}
	s.counts = nil
	var modSeq uint64
	if s.loaded {
		modSeq = f.nextModSeq()
	}
	var logged []*rec
	for _, c := range changed {
		i, ok := s.t.find(c.uid)
		if !ok {
			continue
		}
		r := &s.t.recs[i]
		logged = append(logged, r)
		old := r.flags
		base, info := splitInfo(c.name)
		s.t.setName(r, base, info)
		s.keywords.cover(r.flags)
		if s.loaded && r.flags != old {
			r.modSeq = modSeq
		}
	}
	if len(logged) > 0 {
		f.logMessages(logged)
	}
	if len(missing) > 0 {
		f.forgetUIDs(modSeq, missing)
	}
	if s.loaded {
		f.changed()
	}
}

// forgetUIDs takes ascending UIDs out of the table and notes it.
func (f *folder) forgetUIDs(modSeq uint64, uids []uint32) {
	f.state.forget(modSeq, uids)
	f.derived.forget(uids)
	f.logExpunge(modSeq, uids)
}

// wait leaves new messages for the next look, because the disk is full: those that are known can be read and deleted
// meanwhile (F05).
func (f *folder) wait(err error) {
	f.state.waiting = true
	f.acct.store.log("new messages wait for room on the disk", "folder", f.base.Name(), "err", err)
}

// takeFresh shows files that have no UID yet, if there is room for their lines in the list.
func (f *folder) takeFresh(ctx context.Context, names []string) error {
	err := f.giveUIDs(ctx, names)
	if diskFull(err) {
		f.wait(err)
		return nil
	}
	return err
}

// giveUIDs gives UIDs to files that have none: those of the list, else new ones that are
// durable in the list before anybody sees them.
func (f *folder) giveUIDs(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	s := &f.state
	slices.SortFunc(names, byArrival)
	unlock, err := f.lockList(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if again, err := f.refreshLocked(ctx); err != nil || again {
		return err
	}
	var entries []listEntry
	uids, known := make([]uint32, len(names)), false
	next := s.uidNext
	dup := make(map[string]bool)
	for i, name := range names {
		base, _ := splitInfo(name)
		if dup[base] {
			continue
		}
		dup[base] = true
		uid, ok := s.listed[base]
		if !ok {
			if err := uidsLeft(next, 1); err != nil {
				return err
			}
			uid, next = next, next+1
			entries = append(entries, listEntry{uid, base})
		}
		known = known || ok
		uids[i] = uid
	}
	if err := f.commitList(entries); err != nil {
		return err
	}
	s.uidNext = next
	f.addFresh(names, uids)
	// Where a UID is not new, the list does not tell after a crash that its mod-sequence may have been told: see resume.
	f.index.sure = f.index.sure || known
	return nil
}

// refreshLocked reads the list again after it was locked, so that we append to what is there.
// again reports that everything was read anew.
func (f *folder) refreshLocked(ctx context.Context) (again bool, err error) {
	if f.state.list.unchanged(f.base.Lstat(listName)) {
		return false, nil
	}
	before := f.state.loads
	err = f.reread(ctx)
	return f.state.loads != before, err
}

// commitList adds lines to the list, durably, or writes it anew when it is torn or mostly lines of
// expunged messages.
func (f *folder) commitList(entries []listEntry) error {
	s := &f.state
	l := &s.list
	if len(entries) == 0 {
		return nil
	}
	if !l.torn && l.lines <= 2*len(s.t.recs)+listSlack && l.next <= max(l.last+1, entries[0].uid) {
		return f.appendList(l, entries)
	}
	return f.writeList(l, s.lines(entries))
}

// lines is what belongs into the list: the known messages, some more, and those whose file was not seen yet.
func (s *state) lines(more []listEntry) *table {
	if len(more) == 0 && len(s.listed) == 0 {
		return &s.t
	}
	t := table{recs: slices.Clone(s.t.recs), names: s.t.names[:len(s.t.names):len(s.t.names)]}
	for _, e := range more {
		t.add(t.newRec(e.uid, e.base, infoNone, nil))
	}
	for base, uid := range s.listed {
		if _, there := t.find(uid); !there {
			t.add(t.newRec(uid, base, infoNone, nil))
		}
	}
	return &t
}

// addFresh puts files with their UIDs into the table.
func (f *folder) addFresh(names []string, uids []uint32) {
	s := &f.state
	s.counts = nil
	modSeq := s.modSeq
	if s.loaded {
		modSeq = f.nextModSeq()
	}
	var added []uint32
	for i, name := range names {
		if uids[i] == 0 {
			continue
		}
		base, info := splitInfo(name)
		if _, ok := s.listed[base]; ok {
			delete(s.listed, base)
			s.listedNews = true
		}
		r := s.t.newRec(uids[i], base, info, nil)
		r.modSeq = modSeq
		s.keywords.cover(r.flags)
		s.t.add(r)
		added = append(added, r.uid)
	}
	f.noteMessages(s.t.withUIDs(added))
	if s.loaded {
		f.changed()
	}
}

// withUIDs returns the recs of some UIDs.
func (t *table) withUIDs(uids []uint32) []*rec {
	recs := make([]*rec, 0, len(uids))
	for _, u := range uids {
		if i, ok := t.find(u); ok {
			recs = append(recs, &t.recs[i])
		}
	}
	return recs
}

// fill looks at those files of some messages whose date is not known yet: its date, and its size where the name has
// none that fits.
func (f *folder) fill(ctx context.Context, indexes iter.Seq[int]) error {
	t := &f.state.t
	for i := range indexes {
		r := &t.recs[i]
		if r.getDate() != noDate {
			continue
		}
		if err := f.exclusive(ctx); err != nil {
			return err
		}
		dir, name := f.place(t.file(r))
		info, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // renamed or gone: the next refresh tells
		}
		if err != nil {
			return err
		}
		t.touch()
		r.setDate(info.ModTime.Unix())
		if r.getSize() < 0 {
			_, size := formOf(string(t.base(r)), info.Size)
			r.setSize(size)
			f.state.counts = nil
		}
		f.index.learned++
	}
	return nil
}

// mailboxState returns the folder's State. f.lock is held.
func (f *folder) mailboxState() mailbox.State {
	s := &f.state
	c := s.count()
	return mailbox.State{
		UIDValidity:  s.list.validity,
		UIDNext:      mailbox.UID(s.uidNext),
		ModSeq:       mailbox.ModSeq(s.modSeq),
		Horizon:      mailbox.ModSeq(s.horizon),
		Messages:     len(s.t.recs),
		Unseen:       c.unseen,
		Deleted:      c.deleted,
		Size:         c.size,
		Keywords:     s.keywords.names,
		KeywordLimit: keywordLimit,
		ID:           s.list.id,
		ReadOnly:     f.cannotWrite.Load(),
	}
}
