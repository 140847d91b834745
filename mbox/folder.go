package mbox

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// folder is what all handles on one file share.
type folder struct {
	account *account
	store   *Store
	dir     faultfs.Dir
	name    string // of the file
	title   string // of the folder
	refs    int    // guarded by account.mu
	gone    atomic.Bool

	busy    chan struct{} // holds one value while somebody works on what follows
	x       *index        // nil: not known
	from    loaded
	dialect Dialect
	chosen  bool // dialect was detected
}

// drop closes the directory when nobody has the folder open; account.mu is held.
func (f *folder) drop() {
	if f.refs == 0 {
		_ = f.dir.Close()
	}
}

// enter waits for the folder; leave must follow when the error is nil.
func (f *folder) enter(ctx context.Context) error {
	if err := begin(ctx); err != nil {
		return err
	}
	select {
	case f.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if f.gone.Load() {
		f.leave()
		return mailbox.ErrNotFound
	}
	return nil
}

func (f *folder) leave() { <-f.busy }

// locked calls do with the file locked and the index up to date. The file is nil for an INBOX that is not there,
// unless create is set.
func (f *folder) locked(ctx context.Context, create bool, do func(h *held) error) error {
	if f.store.ReadOnly {
		return f.lockless(do)
	}
	h, err := f.store.locks().open(ctx, f.dir, f.name, create && f.title == inboxName, ownerOf(f.store.Owner))
	if errors.Is(err, fs.ErrNotExist) && f.title == inboxName && !create {
		h, err = f.emptyHeld(ctx)
	}
	if err != nil {
		return absent(err)
	}
	defer h.close()
	if h.file != nil {
		if err := h.recoverAll(f.store.Logger); err != nil {
			return err
		}
	}
	if err := f.load(ctx); err != nil {
		return err
	}
	if err := f.refresh(h); err != nil {
		return err
	}
	return do(h)
}

// emptyHeld is the lock of a file that is not there yet.
func (f *folder) emptyHeld(ctx context.Context) (*held, error) {
	dot, err := f.store.locks().dotlock(ctx, f.dir, f.name)
	if err != nil {
		return nil, err
	}
	return &held{dot: dot, dir: f.dir, name: f.name}, nil
}

// lockless is locked for a Store that is read-only: the index is in memory only.
func (f *folder) lockless(do func(h *held) error) error {
	h := &held{dir: f.dir, name: f.name}
	file, err := f.dir.Open(f.name)
	if err == nil {
		defer file.Close()
		h.file = file
		h.info, err = file.Stat()
	} else if f.title == inboxName && errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return absent(err)
	}
	if f.x == nil {
		f.x = &index{validity: validityOf(h.info), next: 1, modSeq: 1}
	}
	if err := f.refresh(h); err != nil {
		return err
	}
	return do(h)
}

// validityOf makes a UIDVALIDITY of a file's state.
func validityOf(info faultfs.Info) uint32 { return max(uint32(info.ModTime.Unix()), 1) }

func (f *folder) position(h *held) (p position, err error) {
	if h.file == nil {
		return p, nil
	}
	p = position{size: h.info.Size, mtime: h.info.ModTime.UnixNano(), inode: h.info.Inode}
	p.before, err = sumBefore(h.file, p.size)
	return p, err
}

// changed is the position after a change of ours. The file gets a time between two ticks of the system's clock: whoever
// changes it after us, however soon, gives it another one.
func (f *folder) changed(h *held) (p position, err error) {
	_ = f.dir.Chtimes(f.name, time.Now())
	if h.info, err = h.file.Stat(); err != nil {
		return p, err
	}
	return f.position(h)
}

// refresh takes in what other programs have done to the file. Messages are known again by their content.
func (f *folder) refresh(h *held) error {
	if h.file == nil {
		if len(f.x.entries) == 0 {
			return nil
		}
		return f.take(nil, nil, position{})
	}
	var err error
	if h.info, err = h.file.Stat(); err != nil {
		return err
	}
	old := f.x.at
	if old.size == h.info.Size && old.mtime == h.info.ModTime.UnixNano() && old.inode == h.info.Inode {
		return nil
	}
	if err := f.detect(h); err != nil {
		return err
	}
	at, err := f.position(h)
	if err != nil {
		return err
	}
	kept, begin := f.x.entries, old.size
	if sum, err := sumBefore(h.file, min(old.size, at.size)); err != nil {
		return err
	} else if old.inode != at.inode || at.size < old.size || sum != old.before || len(kept) == 0 || at.size == old.size {
		kept, begin = nil, 0
	}
	all, err := scan(h.file, begin, at.size, f.dialect)
	if errors.Is(err, ErrFormat) && begin > 0 {
		kept = nil
		all, err = scan(h.file, 0, at.size, f.dialect)
	}
	if err != nil {
		return err
	}
	return f.take(kept, all, at)
}

// detect chooses the dialect of a file once.
func (f *folder) detect(h *held) error {
	if f.chosen {
		return nil
	}
	f.dialect = f.store.Dialect
	if f.dialect == Auto {
		if f.dialect = MboxRD; h.info.Size == 0 {
			return nil
		}
		rep, err := Detect(h.file, true)
		if err != nil {
			return err
		}
		f.dialect = rep.Dialect
	}
	f.chosen = true
	return nil
}

// take makes the messages that a scan has found the folder's, behind those kept as they are, and writes the index.
func (f *folder) take(kept []entry, all []found, at position) error {
	x := f.x.clone()
	m := matcher{x: x, known: make(map[uint32][]int)}
	inKept := len(kept)
	for i := inKept; i < len(x.entries); i++ {
		m.known[x.entries[i].sum] = append(m.known[x.entries[i].sum], i)
	}
	m.gone = make([]bool, len(x.entries))
	for i := inKept; i < len(x.entries); i++ {
		m.gone[i] = true
	}
	if len(all) > 0 || anyTrue(m.gone) {
		m.modSeq = x.modSeq + 1
	}
	for _, one := range all {
		if err := m.one(one, f); err != nil {
			return err
		}
	}
	m.expunge()
	if m.changed {
		x.modSeq = m.modSeq
	}
	x.at = at
	if f.store.ReadOnly {
		f.x = x
		return nil
	}
	return f.commit(m.lines, x)
}

func anyTrue(b []bool) bool {
	for _, v := range b {
		if v {
			return true
		}
	}
	return false
}

// matcher gives the messages of a scan the UIDs that they had.
type matcher struct {
	x       *index
	lines   []byte           // for the index
	known   map[uint32][]int // by checksum, those not yet found again
	gone    []bool
	modSeq  mailbox.ModSeq
	changed bool
}

func (m *matcher) one(one found, f *folder) error {
	places := m.known[one.sum]
	one.seen = m.assign(one.list)
	if len(places) > 0 {
		m.known[one.sum] = places[1:]
		m.again(&m.x.entries[places[0]], one.entry)
		m.gone[places[0]] = false
		return nil
	}
	if m.x.next == mailbox.MaxUID {
		return mailbox.ErrUIDRange
	}
	one.uid, one.modSeq, one.flags, one.saved = m.x.next, m.modSeq, one.seen, f.store.now().Unix()
	m.x.next++
	m.x.entries = append(m.x.entries, one.entry)
	m.gone = append(m.gone, false)
	m.changed = true
	m.lines = one.appendLine(m.lines)
	return nil
}

// assign gives flags their bits. Keywords for which there is no place are left out.
func (m *matcher) assign(l mailbox.FlagList) mailbox.Flags {
	flags, known, err := mailbox.AssignKeywords(m.x.keywords, mailbox.MaxKeywords, l)
	if err != nil {
		return mailbox.KnownFlags(m.x.keywords, l)
	}
	for _, k := range known[len(m.x.keywords):] {
		m.lines = appendKeyword(m.lines, k)
	}
	m.x.keywords = known
	return flags
}

// again updates a message that was found at another place, or with other status fields.
func (m *matcher) again(e *entry, now entry) {
	now.uid, now.modSeq, now.flags, now.size, now.saved = e.uid, e.modSeq, e.flags, e.size, e.saved
	if now.seen != e.seen { // another program has changed them, perhaps only some
		now.flags = e.flags&^(e.seen&^now.seen) | now.seen&^e.seen
		if now.flags != e.flags {
			now.modSeq = m.modSeq
			m.changed = true
		}
	}
	if now != *e {
		*e = now
		m.lines = e.appendLine(m.lines)
	}
}

// expunge takes out what was not found again.
func (m *matcher) expunge() {
	var b mailbox.UIDSetBuilder
	for i, gone := range m.gone {
		if gone {
			b.Add(m.x.entries[i].uid)
		}
	}
	if set := b.Set(); !set.Empty() {
		m.changed = true
		m.x.expunge(m.modSeq, set)
		m.lines = appendExpunge(m.lines, m.modSeq, set)
	}
}
