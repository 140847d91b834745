package mbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"sort"
	"strings"

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
//	X <modseq> <uid set>
//	P <size> <mtime> <inode> <checksum before the end> <uidnext> <modseq> <horizon>
//	C <crc of the lines since the last C>
const (
	indexHeader  = "goniec-mbox-index 1 %d"
	messageLine  = "M %d %d %d %d %d %d %d %d %d %d %d %d %t\n"
	flagsLine    = "F %d %d %d\n"
	positionLine = "P %d %d %d %d %d %d %d\n"
	maxIndex     = 1 << 30
	maxHistory   = 1000 // expunges that are remembered
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
	seen                     mailbox.Flags // what status fields of other programs last said
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

func (x *index) find(u mailbox.UID) int {
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].uid >= u })
	if i < len(x.entries) && x.entries[i].uid == u {
		return i
	}
	return -1
}

func (e *entry) line() string {
	return fmt.Sprintf(messageLine, e.uid, e.modSeq, e.offset, e.start, e.end, e.next, e.size, e.date, e.saved, e.sum, e.flags, e.seen, e.own)
}

// tail is what every change ends with.
func (x *index) tail() string {
	p := x.at
	return fmt.Sprintf(positionLine, p.size, p.mtime, p.inode, p.before, x.next, x.modSeq, x.horizon)
}

func commitLine(lines string) string {
	return lines + fmt.Sprintf("C %08x\n", crc32.Checksum([]byte(lines), crcTable))
}

// text is the whole index.
func (x *index) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, indexHeader+"\n", x.validity)
	for _, k := range x.keywords {
		fmt.Fprintf(&b, "K %s\n", k)
	}
	for i := range x.entries {
		b.WriteString(x.entries[i].line())
	}
	for _, e := range x.expunges {
		fmt.Fprintf(&b, "X %d %s\n", e.at, e.uids)
	}
	b.WriteString(x.tail())
	return commitLine(b.String())
}

// parseIndex reads an index; good is the length of what is right.
func parseIndex(text []byte) (x *index, good int) {
	x = &index{next: 1, modSeq: 1}
	begin := 0
	for at := 0; at < len(text); {
		end := bytes.IndexByte(text[at:], '\n') + 1
		if end == 0 {
			break
		}
		line := text[at : at+end]
		if line[0] == 'C' {
			var sum uint32
			if _, err := fmt.Sscanf(string(line), "C %x", &sum); err != nil || sum != crc32.Checksum(text[begin:at], crcTable) {
				break
			}
			if !x.apply(string(text[begin:at])) {
				break
			}
			begin = at + end
			good = begin
		}
		at += end
	}
	if x.validity == 0 {
		return nil, 0
	}
	return x, good
}

// apply takes in the lines of a change; their checksum is right.
func (x *index) apply(lines string) bool {
	for line := range strings.SplitAfterSeq(lines, "\n") {
		if line == "" {
			break
		}
		if !x.applyLine(line) {
			return false
		}
	}
	return true
}

func (x *index) applyLine(line string) bool {
	var err error
	switch line[0] {
	case 'g':
		_, err = fmt.Sscanf(line, indexHeader, &x.validity)
	case 'K':
		x.keywords = append(x.keywords, strings.TrimSpace(line[1:]))
	case 'M':
		err = x.applyMessage(line)
	case 'F':
		var e entry
		if _, err = fmt.Sscanf(line, flagsLine, &e.uid, &e.modSeq, &e.flags); err == nil {
			if i := x.find(e.uid); i >= 0 {
				x.entries[i].flags, x.entries[i].modSeq = e.flags, e.modSeq
			}
		}
	case 'X':
		var at mailbox.ModSeq
		var set string
		if _, err = fmt.Sscanf(line, "X %d %s\n", &at, &set); err == nil {
			var uids mailbox.UIDSet
			if uids, err = mailbox.ParseUIDSet(set); err == nil {
				x.expunge(at, uids)
			}
		}
	case 'P':
		p := &x.at
		_, err = fmt.Sscanf(line, positionLine, &p.size, &p.mtime, &p.inode, &p.before, &x.next, &x.modSeq, &x.horizon)
	}
	return err == nil
}

func (x *index) applyMessage(line string) error {
	var e entry
	_, err := fmt.Sscanf(line, messageLine, &e.uid, &e.modSeq, &e.offset, &e.start, &e.end, &e.next, &e.size, &e.date, &e.saved, &e.sum, &e.flags, &e.seen, &e.own)
	if err != nil {
		return err
	}
	if i := x.find(e.uid); i >= 0 {
		x.entries[i] = e
	} else if n := len(x.entries); n == 0 || x.entries[n-1].uid < e.uid {
		x.entries = append(x.entries, e)
	} else {
		return errors.New("UIDs out of order")
	}
	return nil
}

// expunge takes messages out.
func (x *index) expunge(at mailbox.ModSeq, uids mailbox.UIDSet) {
	kept := x.entries[:0:0]
	for _, e := range x.entries {
		if !uids.Contains(e.uid) {
			kept = append(kept, e)
		}
	}
	x.entries = kept
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
			if good == len(text) {
				f.from = loaded{info.Inode, info.Size}
				return nil
			}
			return f.rewriteIndex() // without the torn end
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
	if err := faultfs.WriteFile(f.dir, indexName(f.name), []byte(f.x.text()), 0o600); err != nil {
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
func (f *folder) commit(lines string, next *index) error {
	text := commitLine(lines + next.tail())
	err := f.appendIndex(text)
	if err != nil {
		f.x, f.from = nil, loaded{}
		return err
	}
	f.x = next
	f.from.size += int64(len(text))
	return nil
}

func (f *folder) appendIndex(text string) (err error) {
	file, err := f.dir.OpenFile(indexName(f.name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = faultfs.CheckPrivate(file, -1); err != nil {
		return err
	}
	err = writeAll(&offsetWriter{file, f.from.size}, []byte(text))
	if err == nil {
		err = file.Sync()
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
