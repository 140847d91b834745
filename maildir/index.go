package maildir

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// indexName is a folder's cache of everything that would else need the uidlist, a list of cur/ and a look at each
// file: it can be deleted at any time, and is made again without changing a UID (mod-sequences then
// begin anew above the floor).
//
//	"goniec-index 1\n"
//	record: length u32, CRC-32C of what follows u32, type u8, payload
//
// The first record is a snapshot; those after it are changes, appended and synced before anybody
// is told of their mod-sequence. Only new messages are not synced: the uidlist has them, durably. All processes of ours read what the others append, under indexLock.
// Numbers are little-endian or unsigned varints.
//
// What a power cut leaves of the octets that were not synced is cut off where it is short, or zeros to the end. Any other damage
// makes the index useless, although most of it may be whole: a lost record that was synced can not be told from one that was not,
// and after the loss of a flag that was set and removed again nothing would show that a client must be told.
const (
	indexName   = "goniec-index"
	indexMagic  = "goniec-index 1\n"
	indexLimit  = 2 << 30
	indexPrefix = 9 // octets before a record's payload

	// indexSlack is how many octets of changes are appended before a new snapshot, beside as many as the snapshot has.
	indexSlack = 256 << 10
)

const (
	recordSnapshot = 'S'
	recordMessages = 'M' // messages that are new, or whose flags have changed
	recordExpunge  = 'X'
	recordLook     = 'L' // what the directories and the uidlist were like
	recordListed   = 'U' // all lines of the uidlist whose file was not seen yet, and since when nothing has changed in that
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// index is the open file and what is to be appended to it.
type index struct {
	file    faultfs.File // nil: there is none
	info    faultfs.Info // of the file
	end     int64        // of the last record
	snap    int64        // octets of the snapshot
	buf     []byte       // records to append
	look    dirSeen      // what the last recordLook says of cur/
	learned int          // dates and sizes found since the snapshot, not noted
	sure    bool         // buf holds mod-sequences: it must be durable before they are told
}

// errIndex says that the index is of no use.
var errIndex = errors.New("index is damaged")

func appendRecord(b []byte, kind byte, payload func(b []byte) []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, kind)
	b = payload(b)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-indexPrefix))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return b
}

// logMessages notes the present state of some messages.
func (f *folder) logMessages(recs []*rec) {
	f.index.sure = true
	f.noteMessages(recs)
}

// noteMessages is logMessages where nothing is lost with the note: see resume.
func (f *folder) noteMessages(recs []*rec) {
	x, t := &f.index, &f.state.t
	if x.file == nil {
		x.sure = true
		return // the snapshot that comes has it all
	}
	x.buf = slices.Grow(x.buf, len(recs)*(recSize+usualName))
	x.buf = appendRecord(x.buf, recordMessages, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(f.state.uidNext))
		b = binary.AppendUvarint(b, uint64(len(recs)))
		for _, r := range recs {
			b = appendRec(b, r)
			b = append(b, t.kept(r)...)
		}
		return b
	})
}

func (f *folder) logExpunge(modSeq uint64, uids []uint32) {
	x := &f.index
	x.sure = true
	if x.file == nil {
		return
	}
	x.buf = appendRecord(x.buf, recordExpunge, func(b []byte) []byte {
		b = binary.AppendUvarint(b, modSeq)
		b = binary.AppendUvarint(b, uint64(len(uids)))
		last := uint32(0)
		for _, u := range uids {
			b = binary.AppendUvarint(b, uint64(u-last))
			last = u
		}
		return b
	})
}

const (
	// listedAge is how long a line of the uidlist is remembered whose file does not come, once no process of ours has the
	// folder open: it then belongs to a message that went before we saw it.
	listedAge = 24 * time.Hour
	// maxListed is how many of them are, those with the highest UIDs.
	maxListed = 10_000
)

// logListed notes the lines of the uidlist whose file was not seen yet: a later process gives it that UID.
func (f *folder) logListed() {
	s := &f.state
	if !s.listedNews {
		return
	}
	if f.index.sure = true; f.index.file == nil {
		return // the snapshot that comes has it all
	}
	s.listedNews = false
	f.index.buf = appendRecord(f.index.buf, recordListed, func(b []byte) []byte { return s.appendListed(b, f.acct.store.now()) })
}

func (s *state) appendListed(b []byte, now time.Time) []byte {
	lines := make([]listEntry, 0, len(s.listed))
	for base, uid := range s.listed {
		lines = append(lines, listEntry{uid, base})
	}
	slices.SortFunc(lines, func(x, y listEntry) int { return cmp.Compare(y.uid, x.uid) })
	lines = lines[:min(len(lines), maxListed)]
	b = binary.AppendUvarint(appendTime(b, now), uint64(len(lines)))
	for _, e := range lines {
		b = appendString(binary.AppendUvarint(b, uint64(e.uid)), e.base)
	}
	return b
}

func (s *state) decodeListed(d *decoder) {
	s.listedAt = d.time()
	s.listed = make(map[string]uint32)
	for range d.count(2) {
		uid, base := d.uint(), d.string()
		if uid == 0 || uid >= 1<<32-1 || base == "" {
			d.bad = true
			return
		}
		s.listed[base] = uint32(uid)
	}
}

// logLook notes when the directories were listed. It is a hint that may be lost.
func (f *folder) logLook() {
	if f.index.file != nil {
		f.index.buf = appendRecord(f.index.buf, recordLook, f.state.appendLook)
		f.index.look = f.state.seenCur
	}
}

const (
	recSize   = 32
	usualName = 60 // octets of a base name, more or less
)

func appendRec(b []byte, r *rec) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, r.modSeq)
	b = le.AppendUint32(b, r.uid)
	b = le.AppendUint32(b, r.name)
	b = le.AppendUint32(b, uint32(r.flags))
	b = le.AppendUint32(b, r.size)
	b = le.AppendUint32(b, r.date)
	return append(b, r.sizeHi, byte(r.dateHi), r.nameLen, byte(r.state))
}

func decodeRec(b []byte) rec {
	le := binary.LittleEndian
	return rec{
		modSeq: le.Uint64(b), uid: le.Uint32(b[8:]), name: le.Uint32(b[12:]),
		flags: flagBits(le.Uint32(b[16:])), size: le.Uint32(b[20:]), date: le.Uint32(b[24:]),
		sizeHi: b[28], dateHi: int8(b[29]), nameLen: b[30], state: recState(b[31]),
	}
}

func (s *state) appendLook(b []byte) []byte {
	l, seenNew, seenCur := &s.list, s.seenNew, s.seenCur
	if s.waiting { // for those who come after us, too
		seenNew, seenCur = dirSeen{}, dirSeen{}
	}
	for _, t := range []time.Time{seenNew.mtime, seenNew.at, seenCur.mtime, seenCur.at, l.info.ModTime} {
		b = appendTime(b, t)
	}
	for _, n := range []uint64{
		l.info.Inode, l.info.Device, uint64(l.info.Size), uint64(l.end), uint64(l.lines), uint64(l.last),
		uint64(l.validity), uint64(l.next),
	} {
		b = binary.AppendUvarint(b, n)
	}
	return appendString(appendString(b, l.id), l.more)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.LittleEndian.AppendUint64(b, 0)
	}
	return binary.LittleEndian.AppendUint64(b, uint64(t.UnixNano()))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (s *state) appendSnapshot(b []byte) []byte {
	b = s.appendLook(b)
	for _, n := range []uint64{uint64(s.uidNext), s.modSeq, s.horizon} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(s.keywords.names)))
	for _, k := range s.keywords.names {
		b = appendString(b, k)
	}
	b = binary.AppendUvarint(b, uint64(len(s.expunged)))
	for _, e := range s.expunged {
		b = binary.AppendUvarint(binary.AppendUvarint(b, e.modSeq), uint64(e.uid))
	}
	b = binary.AppendUvarint(b, uint64(len(s.t.names)))
	b = append(b, s.t.names...)
	b = binary.AppendUvarint(b, uint64(len(s.t.recs)))
	for i := range s.t.recs {
		b = appendRec(b, &s.t.recs[i])
	}
	return b
}

// flush appends what is to be noted, durably where mod-sequences are in it. An index that can not be
// written is removed: it is only a cache, but a stale one would lie.
func (f *folder) flush() error {
	x := &f.index
	if f.state.loaded {
		f.logListed()
	}
	if len(x.buf) == 0 && !x.sure && x.learned <= len(f.state.t.recs)/4 || !f.state.loaded {
		return nil
	}
	f.keepFloor()
	f.logLook()
	var err error
	if x.file == nil || x.learned > len(f.state.t.recs)/4 || x.end+int64(len(x.buf)) > 2*x.snap+indexSlack {
		err = f.writeIndex()
	} else {
		err = x.write()
	}
	if err == nil {
		return nil
	}
	f.acct.store.log("index dropped", "folder", f.base.Name(), "err", err)
	return f.dropIndex()
}

func (x *index) write() error {
	n, err := x.file.WriteAt(x.buf, x.end)
	if err == nil && n < len(x.buf) {
		err = io.ErrShortWrite
	}
	if err == nil && x.sure {
		err = x.file.Datasync()
	}
	if err != nil {
		return err
	}
	x.end += int64(n)
	x.buf, x.sure = x.buf[:0], false
	if cap(x.buf) > 1<<20 {
		x.buf = nil
	}
	return nil
}

// writeIndex replaces the file by a snapshot.
func (f *folder) writeIndex() error {
	f.state.t.compact()
	f.index.close()
	b := make([]byte, 0, len(indexMagic)+200+recSize*len(f.state.t.recs)+len(f.state.t.names)+16*len(f.state.expunged))
	b = append(b, indexMagic...)
	b = appendRecord(b, recordSnapshot, f.state.appendSnapshot)
	snap := len(b)
	if len(f.state.listed) > 0 {
		b = appendRecord(b, recordListed, func(b []byte) []byte { return f.state.appendListed(b, f.acct.store.now()) })
	}
	f.state.listedNews = false
	if err := faultfs.WriteFile(f.base, indexName, b, 0o600); err != nil {
		return err
	}
	file, err := f.base.OpenFile(indexName, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	f.index = index{file: file, info: info, end: int64(len(b)), snap: int64(snap), look: f.state.seenCur}
	return nil
}

func (x *index) close() {
	if x.file != nil {
		_ = x.file.Close()
	}
	*x = index{}
}

// saveLook notes, when the folder leaves memory, when its directories were listed, so that the next
// process need not. It is a hint: what goes wrong does not matter.
func (f *folder) saveLook() {
	x := &f.index
	if !f.state.loaded || x.file == nil || f.lockFile == nil || f.state.seenCur == x.look {
		return
	}
	if flock(context.Background(), f.lockFile, false) != nil {
		return
	}
	defer funlock(f.lockFile)
	if x.buf = x.buf[:0]; !f.indexChanged() {
		f.logLook()
		_ = x.write()
	}
}

// dropIndex removes the index durably.
func (f *folder) dropIndex() error {
	f.index.close()
	err := f.base.Remove(indexName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = f.base.Sync()
	}
	return err
}

// indexChanged reports whether another process has appended to the index or replaced it.
func (f *folder) indexChanged() bool {
	x := &f.index
	if x.file == nil {
		return false
	}
	info, err := f.base.Lstat(indexName)
	return err != nil || !sameDir(info, x.info) || info.Size != x.end
}

// readIndex reads the index from the beginning, into an empty state.
func (f *folder) readIndex() (err error) {
	f.index.close()
	file, err := f.base.OpenFile(indexName, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.index.close()
			_ = file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size > indexLimit {
		return errIndex
	}
	data := make([]byte, info.Size)
	if _, err := file.ReadAt(data, 0); err != nil && err != io.EOF {
		return err
	}
	if len(data) < len(indexMagic) || string(data[:len(indexMagic)]) != indexMagic {
		return errIndex
	}
	n, err := f.state.replay(data[len(indexMagic):])
	if err != nil || !f.state.loaded {
		return errors.Join(err, errIndex)
	}
	first := binary.LittleEndian.Uint32(data[len(indexMagic):])
	f.index = index{file: file, info: info, end: int64(len(indexMagic) + n), snap: int64(first), look: f.state.seenCur}
	if f.index.end < info.Size {
		return file.Truncate(f.index.end) // torn by a crash: nobody was told of it
	}
	return nil
}

// readTail takes in what other processes have appended. It reports false when the index must be read from
// the beginning.
func (f *folder) readTail() (bool, error) {
	x := &f.index
	info, err := f.base.Lstat(indexName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!sameDir(info, x.info) || info.Size < x.end) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	data := make([]byte, info.Size-x.end)
	n, err := x.file.ReadAt(data, x.end)
	if err != nil && err != io.EOF {
		return false, err
	}
	used, err := f.state.replay(data[:n])
	if err != nil {
		return false, nil
	}
	x.end += int64(used)
	if used < n {
		return true, x.file.Truncate(x.end) // its writer died; we have the lock
	}
	return true, nil
}

// replay applies whole records and returns how many octets they were. A record that is cut off ends it, and so do zeros to the
// end; one that is damaged is an error.
func (s *state) replay(data []byte) (used int, err error) {
	for len(data)-used >= indexPrefix {
		b := data[used:]
		size := int(binary.LittleEndian.Uint32(b))
		if size > len(b)-indexPrefix {
			return used, nil
		}
		b = b[:indexPrefix+size]
		if size == 0 && len(bytes.TrimLeft(data[used:], "\x00")) == 0 {
			return used, nil
		}
		if crc32.Checksum(b[8:], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			return used, fmt.Errorf("%w: checksum at offset %d", errIndex, used)
		}
		if err := s.replayOne(b[8], &decoder{b: b[indexPrefix:]}); err != nil {
			return used, err
		}
		used += len(b)
	}
	return used, nil
}

func (s *state) replayOne(kind byte, d *decoder) error {
	if kind != recordSnapshot && !s.loaded {
		return fmt.Errorf("%w: no snapshot", errIndex)
	}
	switch kind {
	case recordSnapshot:
		s.decodeSnapshot(d)
		s.loaded = true
	case recordMessages:
		s.decodeMessages(d)
	case recordExpunge:
		s.decodeExpunge(d)
	case recordLook:
		s.decodeLook(d)
	case recordListed:
		s.decodeListed(d)
	default:
		return fmt.Errorf("%w: record %q", errIndex, kind)
	}
	s.counts = nil
	if d.bad {
		return fmt.Errorf("%w: record %q", errIndex, kind)
	}
	return nil
}

// decoder reads a payload. bad stays once something did not fit.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		d.b = nil
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) uint() uint64 {
	n, used := binary.Uvarint(d.b)
	if used <= 0 {
		d.bad = true
		d.b = nil
		return 0
	}
	d.b = d.b[used:]
	return n
}

// count reads a number of things that take at least size octets each.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return string(d.take(d.uint())) }

func (d *decoder) time() time.Time {
	b := d.take(8)
	if b == nil || binary.LittleEndian.Uint64(b) == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(b)))
}

func (s *state) decodeLook(d *decoder) {
	l := &s.list
	for _, t := range []*time.Time{&s.seenNew.mtime, &s.seenNew.at, &s.seenCur.mtime, &s.seenCur.at, &l.info.ModTime} {
		*t = d.time()
	}
	l.info.Inode, l.info.Device, l.info.Size = d.uint(), d.uint(), int64(d.uint())
	l.end, l.lines, l.last = int64(d.uint()), int(d.uint()), uint32(d.uint())
	l.validity, l.next = uint32(d.uint()), uint32(d.uint())
	l.id, l.more = d.string(), d.string()
	l.known = true
}

func (s *state) decodeSnapshot(d *decoder) {
	s.decodeLook(d)
	s.uidNext, s.modSeq, s.horizon = uint32(d.uint()), d.uint(), d.uint()
	for range d.count(1) {
		s.keywords.names = append(s.keywords.names, d.string())
	}
	s.expunged = make([]expunge, d.count(2))
	for i := range s.expunged {
		s.expunged[i] = expunge{d.uint(), uint32(d.uint())}
	}
	s.t = table{names: bytes.Clone(d.take(d.uint()))} // the block read is not kept alive
	s.t.recs = make([]rec, d.count(recSize))
	last := uint32(0)
	for i := range s.t.recs {
		b := d.take(recSize)
		if b == nil {
			return
		}
		r := decodeRec(b)
		if uint64(r.name)+uint64(r.nameLen) > uint64(len(s.t.names)) || r.uid <= last || r.nameLen == 0 {
			d.bad = true
			return
		}
		last = r.uid
		s.t.recs[i] = r
	}
}

func (s *state) decodeMessages(d *decoder) {
	s.uidNext = max(s.uidNext, uint32(d.uint()))
	for range d.count(recSize) {
		b := d.take(recSize)
		if b == nil {
			return
		}
		r := decodeRec(b)
		name := d.take(uint64(r.nameLen))
		if len(name) == 0 || r.uid == 0 {
			d.bad = true
			return
		}
		r.name = uint32(len(s.t.names))
		s.t.names = append(s.t.names, name...)
		s.modSeq = max(s.modSeq, r.modSeq)
		if i, ok := s.t.find(r.uid); ok {
			s.t.dead += int(s.t.recs[i].nameLen)
			s.t.recs[i] = r
			s.t.touch()
		} else {
			s.t.add(r)
		}
	}
}

func (s *state) decodeExpunge(d *decoder) {
	modSeq := d.uint()
	s.modSeq = max(s.modSeq, modSeq)
	uids := make([]uint32, d.count(1))
	last := uint32(0)
	for i := range uids {
		last += uint32(d.uint())
		uids[i] = last
	}
	s.forget(modSeq, uids)
}
