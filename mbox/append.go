package mbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/goniec-mail/goniec/faultfs"
)

// crcTable is Castagnoli's polynomial, which processors know.
var crcTable = crc32.MakeTable(crc32.Castagnoli)

// The journal beside the file, ".name.goniec-append", says what is being appended where, before the
// first octet is written. It has one line of journalSize octets; what does not end with its right
// checksum is no journal. After a crash it tells a torn tail from a message.
//
//	goniec-mbox-append 1 <size before> <length> <crc of the record> <crc of what lies before> <first octets, hex> <crc of the line>
type journal struct {
	size, length int64
	sum          uint32 // of the record
	before       uint32 // of the last octets of the file, up to beforeSize
	head         []byte // of the record, up to headSize
}

const (
	journalFormat = "goniec-mbox-append 1 %d %d %08x %08x %x"
	journalSize   = 256
	beforeSize    = 4096
	headSize      = 48
)

func journalName(name string) string { return "." + name + ".goniec-append" }

// line is the journal's text.
func (j *journal) line() []byte {
	return journalText(fmt.Sprintf(journalFormat, j.size, j.length, j.sum, j.before, j.head))
}

// doneLine stands in the journal when nothing is under way. It names the file whose name is known to be durable; the zero
// Info is none.
func doneLine(info faultfs.Info) []byte {
	return journalText(fmt.Sprintf("goniec-mbox-append 1 done %d %d", info.Device, info.Inode))
}

func journalText(text string) []byte {
	text = fmt.Sprintf("%s %08x", text, crc32.Checksum([]byte(text), crcTable))
	return append(bytes.Repeat([]byte(" "), journalSize-1-len(text)), text+"\n"...)
}

func parseJournal(line []byte) (*journal, bool) {
	text := bytes.TrimSpace(line)
	i := bytes.LastIndexByte(text, ' ')
	if i < 0 || fmt.Sprintf("%08x", crc32.Checksum(text[:i], crcTable)) != string(text[i+1:]) {
		return nil, false
	}
	j := &journal{}
	_, err := fmt.Sscanf(string(text[:i]), journalFormat, &j.size, &j.length, &j.sum, &j.before, &j.head)
	return j, err == nil && j.size >= 0 && j.length > 0
}

// append writes a record at the file's end, durably, or leaves the file as it was. It returns the record's
// offset.
func (h *held) append(ctx context.Context, rec *record) (offset int64, err error) {
	old := h.info.Size
	lead, err := h.lead()
	if err != nil {
		return 0, err
	}
	sum := &sumWriter{}
	if err := writeAll(sum, lead); err != nil {
		return 0, err
	}
	if err := rec.writeTo(ctx, sum); err != nil {
		return 0, err
	}
	j := &journal{size: old, length: sum.n, sum: sum.sum, head: sum.head}
	if j.before, err = sumBefore(h.file, old); err != nil {
		return 0, err
	}
	note, err := h.declare(j)
	if err != nil {
		return 0, err
	}
	defer note.Close()
	if err := h.write(ctx, lead, rec); err != nil {
		return 0, h.rollBack(note, old, err)
	}
	h.info.Size = old + sum.n
	// Without a sync: after a power loss the record is recognised by its checksum.
	_, _ = note.WriteAt(doneLine(h.info), 0)
	return old + int64(len(lead)), nil
}

// lead is what must be written before a record so that it follows an empty line.
func (h *held) lead() ([]byte, error) {
	size := h.info.Size
	if size == 0 {
		return nil, nil
	}
	head := make([]byte, min(size, maxFromLine))
	if _, err := h.file.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, err
	}
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, "\r\n"), []byte("\n"))
	if _, ok := ParseFromLine(line); !ok && len(line) > 0 {
		return nil, fmt.Errorf("%w: %s does not begin with a From_ line", ErrFormat, h.file.Name())
	}
	tail := make([]byte, min(size, 3))
	if _, err := h.file.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasSuffix(tail, []byte("\n\n")), string(tail) == "\n\r\n", string(tail) == "\n", string(tail) == "\r\n":
		return nil, nil
	case bytes.HasSuffix(tail, []byte("\n")):
		return []byte("\n"), nil
	default:
		return []byte("\n\n"), nil
	}
}

// declare makes the journal durable, and before it the file's name: it may be new, made by us or by another program, which
// may also have put another file into its place.
func (h *held) declare(j *journal) (note faultfs.File, err error) {
	name := journalName(h.name)
	note, err = h.dir.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		note, err = h.dir.Create(name, 0o600)
		h.made = true
	}
	if err != nil {
		return nil, err
	}
	if _, err = faultfs.CheckPrivate(note, -1); err == nil {
		err = h.syncName(note)
	}
	if err == nil {
		_, err = note.WriteAt(h.journalLine(j), 0)
	}
	if err == nil {
		err = note.Sync()
	}
	if err != nil {
		_ = note.Close()
		return nil, err
	}
	return note, nil
}

// journalLine is the text of a journal; for nil, one that says that nothing is under way, and that the name is durable.
func (h *held) journalLine(j *journal) []byte {
	if j == nil {
		return doneLine(h.info)
	}
	return j.line()
}

// syncName syncs the directory, unless the journal says that this was done for the file that has the name now.
func (h *held) syncName(note faultfs.File) error {
	line := make([]byte, journalSize)
	_, err := note.ReadAt(line, 0)
	if err == nil && !h.made && h.info.Inode != 0 && bytes.Equal(line, doneLine(h.info)) {
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	if err = h.dir.Sync(); err == nil {
		h.made = false
	}
	return err
}

func (h *held) write(ctx context.Context, lead []byte, rec *record) error {
	w := &offsetWriter{h.file, h.info.Size}
	if err := writeAll(w, lead); err != nil {
		return err
	}
	if err := rec.writeTo(ctx, w); err != nil {
		return err
	}
	return h.file.Sync()
}

// rollBack cuts the file to its old size. When that can not be made durable the journal stays, for recover.
func (h *held) rollBack(note faultfs.File, old int64, cause error) error {
	err := h.file.Truncate(old)
	if err == nil {
		err = h.file.Sync()
	}
	if err != nil {
		return errors.Join(cause, fmt.Errorf("roll back: %w", err))
	}
	_, _ = note.WriteAt(doneLine(h.info), 0)
	return cause
}

// recover removes a torn tail, if the journal says that there may be one.
func (h *held) recover(log *slog.Logger) error {
	note, err := h.dir.OpenFile(journalName(h.name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer note.Close()
	var line [journalSize]byte
	n, err := note.ReadAt(line[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	j, ok := parseJournal(line[:n])
	if !ok {
		return nil
	}
	torn, err := h.torn(j)
	if err != nil {
		return err
	}
	if torn {
		if log != nil {
			log.Warn("mbox: torn tail removed", "file", h.file.Name(), "size", h.info.Size, "kept", j.size)
		}
		if err := h.file.Truncate(j.size); err != nil {
			return err
		}
		h.info.Size = j.size
	}
	// The record, or its absence, is made durable before the journal forgets it.
	if err := h.file.Sync(); err != nil {
		return err
	}
	if _, err := note.WriteAt(doneLine(faultfs.Info{}), 0); err != nil {
		return err
	}
	return note.Sync()
}

// torn tells whether the file ends with a part of the journal's record. Everything must fit: what lies before
// it, how it begins, and that no other message follows it. In doubt the tail stays: a partial message is
// better than one lost.
func (h *held) torn(j *journal) (bool, error) {
	size := h.info.Size
	if size <= j.size || size > j.size+j.length {
		return false, nil
	}
	before, err := sumBefore(h.file, j.size)
	if err != nil || before != j.before {
		return false, err
	}
	head := make([]byte, min(int64(len(j.head)), size-j.size))
	if _, err := h.file.ReadAt(head, j.size); err != nil && err != io.EOF {
		return false, err
	}
	for i, b := range head {
		if b != 0 && b != j.head[i] { // zeros: a sector that did not reach the disk
			return false, nil
		}
	}
	sum, foreign, err := h.tail(j)
	if err != nil || foreign {
		return false, err
	}
	return size < j.size+j.length || sum != j.sum, nil
}

// tail reads what was appended. foreign: a message of somebody else begins in it.
func (h *held) tail(j *journal) (sum uint32, foreign bool, err error) {
	w := &sumWriter{}
	src := io.NewSectionReader(h.file, j.size, h.info.Size-j.size)
	if _, err := io.Copy(w, src); err != nil {
		return 0, false, err
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return 0, false, err
	}
	r := NewReader(src, MboxRD)
	r.buf = make([]byte, min(src.Size()+maxFromLine, readerBuffer))
	n := 0
	for _, err := range r.Messages() {
		if err != nil && !errors.Is(err, ErrFormat) {
			return 0, false, err
		}
		n++
	}
	// A record of mboxcl2 may hold whole messages; the checksum has told it if it is complete.
	return w.sum, n > 1, nil
}

// sumBefore is the checksum of the last octets before an offset.
func sumBefore(f io.ReaderAt, off int64) (uint32, error) {
	b := make([]byte, min(off, beforeSize))
	n, err := f.ReadAt(b, off-int64(len(b)))
	if err != nil && (err != io.EOF || n < len(b)) {
		return 0, err
	}
	return crc32.Checksum(b, crcTable), nil
}

// sumWriter counts and sums, and keeps the beginning.
type sumWriter struct {
	n    int64
	sum  uint32
	head []byte
}

func (s *sumWriter) Write(p []byte) (int, error) {
	if room := headSize - len(s.head); room > 0 {
		s.head = append(s.head, p[:min(room, len(p))]...)
	}
	s.n += int64(len(p))
	s.sum = crc32.Update(s.sum, crcTable, p)
	return len(p), nil
}

// offsetWriter writes at a place that moves on.
type offsetWriter struct {
	w   io.WriterAt
	off int64
}

func (o *offsetWriter) Write(p []byte) (int, error) {
	n, err := o.w.WriteAt(p, o.off)
	o.off += int64(n)
	return n, err
}
