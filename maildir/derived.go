package maildir

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sort"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// derivedName is a folder's cache of derived bytes. It may be deleted at any time, is never synced, and is
// only read as far as its checksums hold.
//
//	"goniec-derived 1\n", UIDVALIDITY u32
//	entry: length u32, CRC-32C of what follows u32, UID u32, length of kind u8, kind, value
//
// Later entries of a UID and kind replace earlier ones. When more than half of it is of no use any more, it is
// written anew.
const (
	derivedName  = "goniec-derived"
	derivedMagic = "goniec-derived 1\n"
	derivedStart = len(derivedMagic) + 4
	derivedHead  = 13        // octets before the kind
	derivedLimit = 1 << 32   // octets of the file; beyond it nothing is added
	derivedValue = 1 << 20   // octets of a value; longer ones are not kept
	derivedSlack = 256 << 10 // octets of no use that are not worth a rewrite
)

// derived is the open file and where the values lie in it.
type derived struct {
	file     faultfs.File
	info     faultfs.Info
	validity uint32
	end      int64
	useless  int64 // octets of replaced entries
	kinds    map[string][]derivedAt
}

// derivedAt says where a value lies; a kind's are ascending by UID.
type derivedAt struct {
	uid    uint32
	length uint32
	offset int64
}

// Derived implements mailbox.Derived.
func (m *Mailbox) Derived(ctx context.Context, kind string, uids mailbox.UIDSet) iter.Seq2[mailbox.UID, []byte] {
	return func(yield func(mailbox.UID, []byte) bool) {
		buffers := &m.current().acct.store.buffers
		buf, _ := buffers.Get().(*[]byte)
		if buf == nil {
			buf = new([]byte)
		}
		defer func() {
			if cap(*buf) <= maxBuffer {
				buffers.Put(buf)
			}
		}()
		found, base := m.derivedData(ctx, kind, uids, buf)
		for _, at := range found {
			from := at.offset - base
			if !yield(mailbox.UID(at.uid), (*buf)[from:from+int64(at.length):from+int64(at.length)]) {
				return
			}
		}
	}
}

// maxBuffer is how long a buffer for values may be to be used again.
const maxBuffer = 8 << 20

// derivedData reads the values of some UIDs into buf: they lie near each other, so they are read at once. base
// is the offset of the buffer in the file. An error is as good as nothing found: it is a cache.
func (m *Mailbox) derivedData(ctx context.Context, kind string, uids mailbox.UIDSet, buf *[]byte) (found []derivedAt, base int64) {
	f, err := m.locked(ctx, false)
	if err != nil {
		return nil, 0
	}
	defer f.leave(&err)
	if f.openDerived() != nil {
		return nil, 0
	}
	if found = f.derived.selected(kind, uids, &f.state.t); len(found) == 0 {
		return nil, 0
	}
	return f.derived.read(found, buf)
}

// selected returns where the values of those uids lie that have a message. Values and messages are both ascending.
func (d *derived) selected(kind string, uids mailbox.UIDSet, t *table) (found []derivedAt) {
	all := d.kinds[kind]
	for _, span := range uids {
		first := sort.Search(len(all), func(i int) bool { return all[i].uid >= uint32(span.First) })
		end := first + sort.Search(len(all)-first, func(i int) bool { return all[first+i].uid > uint32(span.Last) })
		rec, _ := t.find(uint32(span.First))
		found = slices.Grow(found, end-first)
		for _, at := range all[first:end] {
			for rec < len(t.recs) && t.recs[rec].uid < at.uid {
				rec++
			}
			if rec < len(t.recs) && t.recs[rec].uid == at.uid {
				found = append(found, at)
			}
		}
	}
	return found
}

// maxGap is how many octets between two values are read for nothing, rather than with another call.
const maxGap = 64 << 10

// read fetches values, in one go where they lie close together.
func (d *derived) read(found []derivedAt, buf *[]byte) ([]derivedAt, int64) {
	first, last, wanted := int64(derivedLimit), int64(0), int64(0)
	for _, at := range found {
		wanted += int64(at.length)
		first, last = min(first, at.offset), max(last, at.offset+int64(at.length))
	}
	if last-first <= 2*wanted+maxGap {
		*buf = slices.Grow((*buf)[:0], int(last-first))[:last-first]
		if n, err := d.file.ReadAt(*buf, first); int64(n) < last-first && err != nil {
			return nil, 0
		}
		return found, first
	}
	data := slices.Grow((*buf)[:0], int(wanted))
	*buf = data
	for i := range found {
		at := &found[i]
		start := len(data)
		data = data[:start+int(at.length)]
		if n, err := d.file.ReadAt(data[start:], at.offset); n < int(at.length) && err != nil {
			return nil, 0
		}
		at.offset = int64(start)
	}
	*buf = data
	return found, 0
}

// SetDerived implements mailbox.Derived.
func (m *Mailbox) SetDerived(ctx context.Context, kind string, values iter.Seq2[mailbox.UID, []byte]) (err error) {
	if kind == "" || len(kind) > 255 {
		return errors.New("maildir: kind of derived data must have 1 to 255 octets")
	}
	var b []byte
	var at []derivedAt
	for uid, value := range values { // not under the lock: the caller may use the folder to compute them
		if len(value) > derivedValue || uid == 0 {
			continue
		}
		b = appendDerived(b, uint32(uid), kind, value)
		at = append(at, derivedAt{uint32(uid), uint32(len(value)), int64(len(b) - len(value))})
	}
	if len(b) == 0 {
		return nil
	}
	f, err := m.locked(ctx, true)
	if err != nil {
		return err
	}
	defer f.leave(&err)
	if err := f.openDerived(); err != nil {
		return err
	}
	if err := f.derived.append(b, kind, at); err != nil {
		f.derived.drop()
		return err
	}
	if f.derived.useless > f.derived.end/2+derivedSlack {
		return f.packDerived()
	}
	return nil
}

func appendDerived(b []byte, uid uint32, kind string, value []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uid)
	b = append(append(b, byte(len(kind))), kind...)
	b = append(b, value...)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-8))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return b
}

// append writes entries; at are their offsets in b.
func (d *derived) append(b []byte, kind string, at []derivedAt) error {
	if d.end+int64(len(b)) > derivedLimit {
		return nil
	}
	n, err := d.file.WriteAt(b, d.end)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	for i := range at {
		at[i].offset += d.end
		d.put(kind, at[i])
	}
	d.end += int64(len(b))
	return nil
}

func (d *derived) put(kind string, at derivedAt) {
	all := d.kinds[kind]
	if n := len(all); n == 0 || all[n-1].uid < at.uid {
		d.kinds[kind] = append(all, at)
		return
	}
	i := sort.Search(len(all), func(i int) bool { return all[i].uid >= at.uid })
	if all[i].uid == at.uid {
		d.useless += int64(all[i].length)
		all[i] = at
		return
	}
	d.kinds[kind] = slices.Insert(all, i, at)
}

func (d *derived) drop() {
	if d.file != nil {
		_ = d.file.Close()
	}
	*d = derived{}
}

// openDerived opens the file, or begins one, or reads what other processes have added.
func (f *folder) openDerived() error {
	d := &f.derived
	info, err := f.base.Lstat(derivedName)
	if err == nil && d.file != nil && sameDir(info, d.info) && info.Size >= d.end && d.validity == f.state.list.validity {
		return d.load()
	}
	d.drop()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.base.OpenFile(derivedName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	*d = derived{file: file, validity: f.state.list.validity, kinds: make(map[string][]derivedAt)}
	if d.info, err = file.Stat(); err == nil {
		err = d.begin()
	}
	if err == nil {
		err = d.load()
	}
	if err != nil {
		d.drop()
	}
	return err
}

// begin checks the header; a file that is not ours, or of another UIDVALIDITY, is emptied.
func (d *derived) begin() error {
	want := binary.LittleEndian.AppendUint32([]byte(derivedMagic), d.validity)
	have := make([]byte, derivedStart)
	n, err := d.file.ReadAt(have, 0)
	if err != nil && err != io.EOF {
		return err
	}
	d.end = int64(derivedStart)
	if bytes.Equal(have[:n], want) {
		return nil
	}
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	_, err = d.file.WriteAt(want, 0)
	return err
}

// load reads the entries behind d.end, up to the first that is not whole.
func (d *derived) load() error {
	info, err := d.file.Stat()
	if err != nil || info.Size <= d.end {
		return err
	}
	data := make([]byte, info.Size-d.end)
	n, err := d.file.ReadAt(data, d.end)
	if err != nil && err != io.EOF {
		return err
	}
	for data = data[:n]; len(data) >= derivedHead; {
		size := int64(binary.LittleEndian.Uint32(data)) + 8
		if size < derivedHead || size > int64(len(data)) || size < derivedHead+int64(data[12]) ||
			crc32.Checksum(data[8:size], castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
			return nil // torn; the next append writes over it
		}
		kind := string(data[derivedHead : derivedHead+int(data[12])])
		length := size - derivedHead - int64(len(kind))
		d.put(kind, derivedAt{binary.LittleEndian.Uint32(data[8:]), uint32(length), d.end + size - length})
		d.end += size
		data = data[size:]
	}
	return nil
}

// packDerived writes the file anew with the values of present messages.
func (f *folder) packDerived() error {
	d := &f.derived
	b := binary.LittleEndian.AppendUint32([]byte(derivedMagic), d.validity)
	for kind, all := range d.kinds {
		for _, at := range all {
			if _, there := f.state.t.find(at.uid); !there {
				continue
			}
			value := make([]byte, at.length)
			if _, err := d.file.ReadAt(value, at.offset); err != nil && err != io.EOF {
				return err
			}
			b = appendDerived(b, at.uid, kind, value)
		}
	}
	d.drop()
	return faultfs.WriteFile(f.base, derivedName, b, 0o600)
}

// forget counts the values of expunged messages.
func (d *derived) forget(uids []uint32) {
	for _, all := range d.kinds {
		for _, u := range uids {
			if i := sort.Search(len(all), func(i int) bool { return all[i].uid >= u }); i < len(all) && all[i].uid == u {
				d.useless += int64(all[i].length)
			}
		}
	}
}
