package queue

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// History keeps what happened to messages beyond their end. Its methods are safe for concurrent use.
type History interface {
	// Add keeps an event, without its Err. It should return soon. Trouble is the History's own affair: mail
	// flows on.
	Add(e Event)
	// Of yields the events of a message that are still kept, the oldest first.
	Of(ctx context.Context, id ID) iter.Seq2[Event, error]
}

// HistoryOptions says how much a FileHistory keeps. The zero value is ready for use.
type HistoryOptions struct {
	// Keep is how long an event is kept at least, unless MaxBytes comes first. Zero means 5 days.
	Keep time.Duration
	// MaxBytes bounds all files together, in octets; an event takes some 200. Zero means 256 MiB; negative
	// means no limit.
	MaxBytes int64
	FS       faultfs.FS       // nil = faultfs.OS
	Now      func() time.Time // nil = time.Now
	Logger   *slog.Logger     // is told of trouble; nil = silent
}

// FileHistory is a History in the files of one directory, readable by people: a JSON object a line. Events
// are written within a second, so a crash of the process may lose that much, and they are not flushed to the disk, so a power cut
// may lose more: what must not be lost is in the Store. A look-up reads all files; at the
// default limit it takes some tenths of a second.
type FileHistory struct {
	o   HistoryOptions
	dir faultfs.Dir

	mu     sync.Mutex
	files  []historyFile // closed ones and the open one, the oldest first
	file   faultfs.File  // nil = none open
	out    *bufio.Writer
	timer  *time.Timer // flushes
	failed time.Time   // when a file could not be written
	closed bool
}

// historyFile is a file by its name, the time of its start. Times are in milliseconds of Unix time.
type historyFile struct {
	start, end int64 // of its events
	size       int64
}

const (
	historyParts   = 8           // a file holds so much of Keep and MaxBytes
	historyDelay   = time.Second // until an event is written
	historyRest    = time.Minute // after an error
	historySuffix  = ".jsonl"
	historyVersion = `{"goniec-queue-history":1}` + "\n"
	maxHistoryLine = 64 << 10
)

func (f historyFile) name() string { return fmt.Sprintf("h%013d%s", f.start, historySuffix) }

// OpenHistory opens the history in a directory, and makes the directory if it is not there.
func OpenHistory(path string, o HistoryOptions) (*FileHistory, error) {
	if o.FS == nil {
		o.FS = faultfs.OS{}
	}
	o.Keep, o.MaxBytes = or(o.Keep, 5*24*time.Hour), or(o.MaxBytes, 256<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := faultfs.MkdirAll(o.FS, path, 0o700); err != nil {
		return nil, err
	}
	dir, err := o.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	h := &FileHistory{o: o, dir: dir}
	if err := h.list(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	h.prune()
	return h, nil
}

// list finds the files of earlier runs. Foreign ones are left alone.
func (h *FileHistory) list() error {
	names, err := h.dir.Names()
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		var f historyFile
		if _, err := fmt.Sscanf(name, "h%d"+historySuffix, &f.start); err != nil || f.name() != name {
			continue
		}
		info, err := h.dir.Lstat(name)
		if err != nil {
			return err
		}
		f.size, f.end = info.Size, info.ModTime.UnixMilli()
		h.files = append(h.files, f)
	}
	return nil
}

// Add implements History.
func (h *FileHistory) Add(e Event) {
	line, err := json.Marshal(e)
	if err != nil || len(line) >= maxHistoryLine {
		h.o.Logger.Warn("queue: event not kept in the history", "id", string(e.ID), "len", len(line), "err", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.o.Now()
	if h.closed || !h.failed.IsZero() && now.Sub(h.failed).Abs() < historyRest {
		return
	}
	if err := h.room(now, len(line)+1); err != nil {
		h.fail(now, err)
		return
	}
	if h.out.Buffered() == 0 {
		h.timer.Reset(historyDelay)
	}
	_, err = h.out.Write(append(line, '\n'))
	if err != nil {
		h.fail(now, err)
		return
	}
	f := &h.files[len(h.files)-1]
	f.size, f.end = f.size+int64(len(line)+1), now.UnixMilli()
}

// fail gives the open file up. The next event after a while tries another.
func (h *FileHistory) fail(now time.Time, err error) {
	h.o.Logger.Error("queue: history can not be written; events are not kept for a while", "err", err)
	h.failed = now
	h.end()
}

// room sees to it that a file is open that may take a line.
func (h *FileHistory) room(now time.Time, line int) error {
	if h.file != nil {
		f := h.files[len(h.files)-1]
		full := h.o.MaxBytes > 0 && f.size+int64(line) > h.o.MaxBytes/historyParts
		if !full && now.UnixMilli()-f.start < h.o.Keep.Milliseconds()/historyParts {
			return nil
		}
		h.end()
	}
	f := historyFile{start: now.UnixMilli(), size: int64(len(historyVersion))}
	if n := len(h.files); n > 0 {
		f.start = max(f.start, h.files[n-1].start+1) // the clock may have gone back
	}
	file, err := h.dir.OpenFile(f.name(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h.file, h.out, h.failed = file, bufio.NewWriterSize(file, 32<<10), time.Time{}
	h.timer = time.AfterFunc(historyDelay, h.flush)
	h.files = append(h.files, f)
	h.prune()
	_, err = h.out.WriteString(historyVersion)
	return err
}

// flush writes what waits.
func (h *FileHistory) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return
	}
	if err := h.out.Flush(); err != nil {
		h.fail(h.o.Now(), err)
	}
}

// end closes the open file.
func (h *FileHistory) end() {
	if h.file == nil {
		return
	}
	h.timer.Stop()
	if err := errors.Join(h.out.Flush(), h.file.Close()); err != nil {
		h.o.Logger.Error("queue: history file", "err", err)
	}
	h.file, h.out = nil, nil
}

// prune removes the oldest files: those with nothing but events older than Keep, and what is beyond MaxBytes.
func (h *FileHistory) prune() {
	total := int64(0)
	for _, f := range h.files {
		total += f.size
	}
	old := h.o.Now().Add(-h.o.Keep).UnixMilli()
	for len(h.files) > int(bit(h.file != nil)) { // the open one stays
		f := h.files[0]
		big := h.o.MaxBytes > 0 && total > h.o.MaxBytes-h.o.MaxBytes/historyParts
		if f.end > old && !big {
			return
		}
		if err := h.dir.Remove(f.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.o.Logger.Warn("queue: old history file not removed", "file", f.name(), "err", err)
			return
		}
		total -= f.size
		h.files = h.files[1:]
	}
}

// Of implements History. Lines that are damaged are passed over.
func (h *FileHistory) Of(ctx context.Context, id ID) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		h.flush()
		h.mu.Lock()
		files := slices.Clone(h.files)
		h.mu.Unlock()
		for _, f := range files {
			err := h.search(ctx, f, id, yield)
			switch {
			case errors.Is(err, errStop):
				return
			case errors.Is(err, fs.ErrNotExist): // pruned meanwhile
			case err != nil:
				yield(Event{}, err)
				return
			}
		}
	}
}

var errStop = errors.New("queue: enough")

// search yields the events of a message in one file.
func (h *FileHistory) search(ctx context.Context, f historyFile, id ID, yield func(Event, error) bool) error {
	file, err := h.dir.Open(f.name())
	if err != nil {
		return err
	}
	defer file.Close()
	quoted, err := json.Marshal(id)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, 1<<62), maxHistoryLine)
	for {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull { // not ours: no line is that long
			continue
		}
		if err == io.EOF {
			return nil // what stands behind the last line end is torn
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var e Event
		if !bytes.Contains(line, quoted) || json.Unmarshal(line, &e) != nil || e.ID != id {
			continue
		}
		if !yield(e, nil) {
			return errStop
		}
	}
}

// Close writes what waits, flushes it to the disk, and ends the history: later events are dropped.
func (h *FileHistory) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	var err error
	if h.file != nil {
		err = errors.Join(h.out.Flush(), h.file.Sync(), h.dir.Sync())
		h.end()
	}
	return errors.Join(err, h.dir.Close())
}

// Past yields what is known of a message, queued or gone, the oldest first. ErrNotFound when nothing is;
// errors.ErrUnsupported without a History.
func (q *Queue) Past(ctx context.Context, id ID) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if q.History == nil {
			yield(Event{}, fmt.Errorf("queue: no history is kept: %w", errors.ErrUnsupported))
			return
		}
		found := false
		for e, err := range q.History.Of(ctx, id) {
			found = true
			if !yield(e, err) {
				return
			}
		}
		if !found {
			yield(Event{}, ErrNotFound)
		}
	}
}
