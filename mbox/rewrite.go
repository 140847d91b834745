package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"

	"github.com/goniec-mail/goniec/faultfs"
)

// Messages are removed from the middle of a file in place, so that programs that wait for a lock of the open
// file find the right one. First the new end of the file is made durable in ".name.goniec-rewrite", then it is
// copied over the old one. After a crash the copying is done again.
//
//	goniec-mbox-rewrite 1 <from> <new size> <old size> <crc of the data> <crc of the line>
type rewrite struct {
	from, size, old int64
	sum             uint32
}

const rewriteFormat = "goniec-mbox-rewrite 1 %d %d %d %08x"

func rewriteName(name string) string { return "." + name + ".goniec-rewrite" }

func (r *rewrite) line() []byte {
	text := fmt.Sprintf(rewriteFormat, r.from, r.size, r.old, r.sum)
	text = fmt.Sprintf("%s %08x", text, crc32.Checksum([]byte(text), crcTable))
	return append(bytes.Repeat([]byte(" "), journalSize-1-len(text)), text+"\n"...)
}

// span is a part of the file.
type span struct{ from, to int64 }

// cut removes everything from an offset on but the kept spans. Once the rewrite file is durable it is done: when
// copying fails, the next one who opens the file does it again, and done is false.
func (h *held) cut(from int64, kept []span) (done bool, err error) {
	// No journal of an append may be taken for one of the file as it will be.
	if err := h.settle(); err != nil {
		return false, err
	}
	if err := h.writeRewrite(from, kept); err != nil {
		return false, err
	}
	return h.applyRewrite() == nil, nil
}

// settle makes durable that no append is under way.
func (h *held) settle() error {
	note, err := h.declare(nil)
	if err != nil {
		return err
	}
	return note.Close()
}

func (h *held) writeRewrite(from int64, kept []span) (err error) {
	tmp := rewriteName(h.name) + ".tmp"
	if err := h.dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := h.dir.Create(tmp, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = h.dir.Remove(tmp)
		}
	}()
	w := &offsetWriter{f, journalSize}
	sum := &sumWriter{}
	for _, s := range kept {
		if _, err = io.Copy(io.MultiWriter(w, sum), io.NewSectionReader(h.file, s.from, s.to-s.from)); err != nil {
			return err
		}
	}
	r := rewrite{from: from, size: from + sum.n, old: h.info.Size, sum: sum.sum}
	if _, err = f.WriteAt(r.line(), 0); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = h.dir.Rename(tmp, h.dir, rewriteName(h.name)); err != nil {
		return err
	}
	if err = h.dir.Sync(); err != nil { // take it back: nothing has been changed
		_ = h.dir.Remove(rewriteName(h.name))
	}
	return err
}

// applyRewrite does what the rewrite file says, if there is one, and removes it.
func (h *held) applyRewrite() error {
	f, err := h.dir.Open(rewriteName(h.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r, ok, err := readRewrite(f)
	if err != nil {
		return err
	}
	// The file shrinks last: a shorter one has been rewritten already.
	if ok && h.info.Size >= r.old {
		if err := h.overwrite(f, r); err != nil {
			return err
		}
	}
	if err := h.dir.Remove(rewriteName(h.name)); err != nil {
		return err
	}
	return h.dir.Sync()
}

func readRewrite(f faultfs.File) (r rewrite, ok bool, err error) {
	var line [journalSize]byte
	n, err := f.ReadAt(line[:], 0)
	if err != nil && err != io.EOF {
		return r, false, err
	}
	text := bytes.TrimSpace(line[:n])
	if _, err := fmt.Sscanf(string(text), rewriteFormat, &r.from, &r.size, &r.old, &r.sum); err != nil || !bytes.Equal(r.line(), line[:n]) {
		return r, false, nil
	}
	sum := &sumWriter{}
	if _, err := io.Copy(sum, io.NewSectionReader(f, journalSize, r.size-r.from)); err != nil {
		return r, false, err
	}
	return r, sum.sum == r.sum && sum.n == r.size-r.from, nil
}

// overwrite copies the new end over the old one, with what other programs have appended since.
func (h *held) overwrite(f faultfs.File, r rewrite) error {
	w := &offsetWriter{h.file, r.from}
	if _, err := io.Copy(w, io.NewSectionReader(f, journalSize, r.size-r.from)); err != nil {
		return err
	}
	if _, err := io.Copy(w, io.NewSectionReader(h.file, r.old, h.info.Size-r.old)); err != nil {
		return err
	}
	if err := h.file.Sync(); err != nil {
		return err
	}
	if err := h.file.Truncate(w.off); err != nil {
		return err
	}
	h.info.Size = w.off
	return h.file.Sync()
}

// recoverAll finishes what a crash has left of a rewrite or an append.
func (h *held) recoverAll(log *slog.Logger) error {
	if err := h.applyRewrite(); err != nil {
		return err
	}
	return h.recover(log)
}
