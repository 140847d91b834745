package mbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sort"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// The index beside the file, ".name.goniec-mbox", holds what an mbox has no place for: UIDs, mod-sequences, the
// flags that count, and where each message lies. It is a text file that only grows, until it is written anew; each
// change ends with a checksum, and what comes after the last right one never happened.
//
//	goniec-mbox-index 1 <uidvalidity>
//	K <keyword>
//	M <uid> <modseq> <offset> <start> <end> <next> <size> <date> <saved> <sum> <flags> <seen> <own>
//	F <uid> <modseq> <flags>
//	S <uid> <seen>
//	X <modseq> <uid set>
//	P <size> <mtime> <inode> <checksum before the end> <uidnext> <modseq> <horizon>
//	C <crc of the lines since the last C>
const (
	maxIndex   = 1 << 30
	maxHistory = 1000 // expunges that are remembered
	indexSlack = 1 << 20
	// maxMessageLine is about the longest line of a message, typical ones have half of it.
	maxMessageLine = 200
	maxRangeText   = 24 // an interval of UIDs
)

func indexName(name string) string { return "." + name + ".goniec-mbox" }

// entry is what is known of a message.
type entry struct {
	uid                      mailbox.UID
	modSeq                   mailbox.ModSeq
	offset, start, end, next int64 // in the file; start is behind the From_ line and Content-Length of ours
	size                     int64 // in network form; -1: not known yet
	date, saved              int64
	sum                      uint32        // of the message without status fields, as it lies in the file
	flags                    mailbox.Flags // the truth
	seen                     mailbox.Flags // what the status fields in the file last said, as far as it is durable
	own                      bool          // it begins with a status block of ours
}

type expunge struct {
	at   mailbox.ModSeq
	uids mailbox.UIDSet
}

// index is the state of a folder.
type index struct {
	validity uint32
	keywords []string
	entries  []entry // ascending by UID
	expunges []expunge
	next     mailbox.UID
	modSeq   mailbox.ModSeq
	horizon  mailbox.ModSeq
	at       position
}

// position is the state of the mailbox file to which the offsets belong.
type position struct {
	size, mtime int64
	inode       uint64
	before      uint32
}

// search returns the place of the first message with the UID or a higher one.
func (x *index) search(u mailbox.UID) int {
	return sort.Search(len(x.entries), func(i int) bool { return x.entries[i].uid >= u })
}

func (x *index) find(u mailbox.UID) int {
	i := x.search(u)
	if i < len(x.entries) && x.entries[i].uid == u {
		return i
	}
	return -1
}

// hasAny tells whether there is a message with one of the UIDs, in time that depends on the set's intervals.
func (x *index) hasAny(uids mailbox.UIDSet) bool {
	for _, r := range uids {
		i := x.search(r.First)
		if i < len(x.entries) && x.entries[i].uid <= r.Last {
			return true
		}
	}
	return false
}

// expunge takes messages out.
func (x *index) expunge(at mailbox.ModSeq, uids mailbox.UIDSet) {
	if x.hasAny(uids) { // an index that is read has removed them already
		kept := x.entries[:0:0]
		for _, e := range x.entries {
			if !uids.Contains(e.uid) {
				kept = append(kept, e)
			}
		}
		x.entries = kept
	}
	x.expunges = append(x.expunges, expunge{at, uids})
	if extra := len(x.expunges) - maxHistory; extra > 0 {
		x.horizon = max(x.horizon, x.expunges[extra-1].at)
		x.expunges = x.expunges[extra:]
	}
}

// loaded tells which index file the state was read from.
type loaded struct {
	inode uint64
	size  int64
}

// load reads the index if it is another than the one known; a missing or damaged one is made anew, with a
// higher UIDVALIDITY. The folder is locked.
func (f *folder) load(ctx context.Context) error {
	info, err := f.dir.Lstat(indexName(f.name))
	if err == nil && f.x != nil && f.from == (loaded{info.Inode, info.Size}) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		text, err := faultfs.ReadFile(f.dir, indexName(f.name), maxIndex)
		if err != nil {
			return err
		}
		if x, good := parseIndex(text); x != nil {
			f.x = x
			if good < len(text) {
				return f.rewriteIndex() // without the torn end
			}
			f.from = loaded{info.Inode, info.Size}
			if info.Size > x.roomy() {
				f.shorten()
			}
			return nil
		}
		f.store.log("index is damaged: all messages get new UIDs", "dir", f.dir.Name(), "file", f.name)
	}
	validity, err := f.account.newValidity(ctx)
	if err != nil {
		return err
	}
	f.x = &index{validity: validity, next: 1, modSeq: mailbox.ModSeq(f.store.now().UnixMicro())}
	f.x.horizon = f.x.modSeq
	return f.rewriteIndex()
}

// rewriteIndex writes the whole index.
func (f *folder) rewriteIndex() error {
	f.from = loaded{}
	if err := faultfs.WriteFile(f.dir, indexName(f.name), f.x.text(), 0o600); err != nil {
		f.x = nil
		return err
	}
	return f.noteIndex()
}

func (f *folder) noteIndex() error {
	info, err := f.dir.Lstat(indexName(f.name))
	if err != nil {
		f.x = nil
		return err
	}
	f.from = loaded{info.Inode, info.Size}
	return nil
}

// commit appends a change to the index, durably, and takes it in. After an error the state is read again.
func (f *folder) commit(lines []byte, next *index) error {
	return f.put(lines, next, faultfs.File.Sync)
}

// note is commit for what can be found out again: it may be forgotten by a power loss.
func (f *folder) note(lines []byte, next *index) error {
	return f.put(lines, next, func(faultfs.File) error { return nil })
}

func (f *folder) put(lines []byte, next *index, sync func(faultfs.File) error) error {
	if f.from == (loaded{}) {
		return errIndexUnknown
	}
	text := sealed(next.appendTail(lines))
	err := f.appendIndex(text, sync)
	if err != nil {
		f.x, f.from = nil, loaded{}
		return err
	}
	f.x = next
	if f.from.size += int64(len(text)); f.from.size > next.roomy() {
		f.shorten()
	}
	return nil
}

// errIndexUnknown: the index could not be shortened, and must be read again first.
var errIndexUnknown = errors.New("mbox: the state of the index is not known")

// shorten writes an index anew that has grown long. What it says is durable already: where that fails nothing is lost.
func (f *folder) shorten() {
	x, old := f.x, f.from
	err := f.rewriteIndex()
	if err == nil {
		return
	}
	f.x = x
	if info, e := f.dir.Lstat(indexName(f.name)); e == nil && old == (loaded{info.Inode, info.Size}) {
		f.from = old
	}
	f.store.log("index not shortened", "dir", f.dir.Name(), "file", f.name, "error", err)
}

// roomy is the size above which an index is written anew: twice what it needs, at the least.
func (x *index) roomy() int64 {
	need := maxMessageLine * int64(len(x.entries))
	for _, e := range x.expunges {
		need += maxRangeText * int64(1+len(e.uids))
	}
	return indexSlack + 2*need
}

func (f *folder) appendIndex(text []byte, sync func(faultfs.File) error) (err error) {
	file, err := f.dir.OpenFile(indexName(f.name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = faultfs.CheckPrivate(file, -1); err != nil {
		return err
	}
	err = writeAll(&offsetWriter{file, f.from.size}, text)
	if err == nil {
		err = sync(file)
	}
	if err != nil {
		if e := file.Truncate(f.from.size); e == nil {
			_ = file.Sync()
		}
	}
	return err
}

// clone copies the state for a change that may fail.
func (x *index) clone() *index {
	y := *x
	y.entries = append([]entry(nil), x.entries...)
	y.expunges = append([]expunge(nil), x.expunges...)
	return &y
}
