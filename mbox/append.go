package mbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/goniec-mail/goniec/faultfs"
)

// append writes records at the file's end, durably, all of them, or leaves the file as it was. It returns their offsets.
func (h *held) append(ctx context.Context, recs ...*record) (offsets []int64, err error) {
	old := h.info.Size
	lead, err := h.lead()
	if err != nil {
		return nil, err
	}
	j := &journal{size: old}
	if j.before, err = sumBefore(h.file, old); err != nil {
		return nil, err
	}
	for i, rec := range recs {
		sum := &sumWriter{}
		if i == 0 {
			if err := writeAll(sum, lead); err != nil {
				return nil, err
			}
		}
		offsets = append(offsets, old+j.length+sum.n)
		if err := rec.writeTo(ctx, sum); err != nil {
			return nil, err
		}
		j.parts = append(j.parts, part{sum.n, sum.sum, sum.head})
		j.length += sum.n
	}
	note, err := h.declare(j)
	if err != nil {
		return nil, err
	}
	defer note.Close()
	if err := h.write(ctx, lead, recs); err != nil {
		return nil, h.rollBack(note, old, err)
	}
	h.info.Size = old + j.length
	// Without a sync: after a power loss the records are recognised by their checksums.
	_, _ = note.WriteAt(h.doneLine(), 0)
	return offsets, nil
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
		return h.doneLine()
	}
	return j.text()
}

// doneLine is the line for the file as it is now.
func (h *held) doneLine() []byte {
	sum, err := sumBefore(h.file, h.info.Size)
	if err != nil {
		return doneLine(faultfs.Info{}, 0)
	}
	return doneLine(h.info, sum)
}

// syncName syncs the directory, unless the journal says that this was done for the file that has the name now.
func (h *held) syncName(note faultfs.File) error {
	line := make([]byte, journalSize)
	_, err := note.ReadAt(line, 0)
	if err == nil && !h.made && h.info.Inode != 0 && bytes.Equal(line, h.doneLine()) {
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

func (h *held) write(ctx context.Context, lead []byte, recs []*record) error {
	w := &offsetWriter{h.file, h.info.Size}
	if err := writeAll(w, lead); err != nil {
		return err
	}
	for _, rec := range recs {
		if err := rec.writeTo(ctx, w); err != nil {
			return err
		}
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
	_, _ = note.WriteAt(h.doneLine(), 0)
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
	j, err := readJournal(note)
	if err != nil || j == nil {
		return err
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
	if _, err := note.WriteAt(doneLine(faultfs.Info{}, 0), 0); err != nil {
		return err
	}
	return note.Sync()
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
