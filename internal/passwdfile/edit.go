package passwdfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
)

// Change says what becomes of one user's line. old is nil if there is none. The result replaces
// it; nil deletes it. An error ends the edit; the file stays as it was.
type Change func(old *Entry) (*Entry, error)

// Edit applies changes, by user name, and loads the result. The file is replaced durably and as a
// whole: after a crash it is the old or the new one. Lines that are not concerned, comments and bad
// ones too, stay as they are; new users come at the end. The file is made, with mode 0600, if it does
// not exist. A lock beside the file (.NAME.lock) keeps two edits apart, in several processes too
// where the system has flock; other programs do not know it.
//
// Edit costs as much as copying the file. If only its last step fails, the new file is visible but
// not known to be durable.
func (f *File) Edit(ctx context.Context, changes map[string]Change) error {
	f.editMu.Lock()
	defer f.editMu.Unlock()
	dir, name, err := f.openForEdit()
	if err != nil {
		return err
	}
	defer dir.Close()
	unlock, err := lock(ctx, dir, "."+name+".lock")
	if err != nil {
		return fmt.Errorf("%s: lock: %w", f.Path, err)
	}
	defer unlock()
	if err := f.replace(ctx, dir, name, changes); err != nil {
		return err
	}
	return f.Load()
}

// openForEdit is open for a file that may not exist yet.
func (f *File) openForEdit() (faultfs.Dir, string, error) {
	dir, name, err := f.open()
	if !errors.Is(err, fs.ErrNotExist) {
		return dir, name, err
	}
	if _, err := os.Lstat(f.Path); f.FS == nil && err == nil {
		return nil, "", fmt.Errorf("%s: symbolic link to nothing", f.Path)
	}
	file := File{Path: f.Path, FS: faultfs.OS{}}
	return file.open()
}

// replace writes the new file beside the old one and puts it in its place.
func (f *File) replace(ctx context.Context, dir faultfs.Dir, name string, changes map[string]Change) (err error) {
	old, err := dir.Open(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mode := fs.FileMode(0o600)
	if old != nil {
		defer old.Close()
		info, err := old.Stat()
		if err != nil {
			return err
		}
		if info.Size > f.maxBytes() {
			return fmt.Errorf("%s: file has %d octets, limit is %d", f.Path, info.Size, f.maxBytes())
		}
		mode = info.Mode.Perm()
	}
	temp := "." + name + ".tmp"
	if err := dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return err
	}
	file, err := dir.Create(temp, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = dir.Remove(temp)
		}
	}()
	if err := f.fill(ctx, file, old, changes); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := dir.Rename(temp, dir, name); err != nil {
		return err
	}
	return dir.Sync()
}

// fill writes the edited text and makes it durable. old may be nil.
func (f *File) fill(ctx context.Context, file, old faultfs.File, changes map[string]Change) error {
	w := bufio.NewWriterSize(file, 64<<10)
	e := editor{file: f, w: w, changes: make(map[string]Change, len(changes)), done: map[string]bool{}}
	for name, change := range changes {
		e.changes[f.key(name)] = change
	}
	if old != nil {
		if err := copyOwner(old, file); err != nil {
			return fmt.Errorf("%s: keep the owner: %w", f.Path, err)
		}
		if err := e.copy(ctx, old); err != nil {
			return err
		}
	}
	if err := e.rest(changes); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Sync()
}

// editor copies a file and applies changes on the way.
type editor struct {
	file    *File
	w       *bufio.Writer
	changes map[string]Change // by compared name; what was applied is removed
	done    map[string]bool   // compared names whose change was applied
}

func (e *editor) copy(ctx context.Context, old io.Reader) error {
	r := bufio.NewReaderSize(old, 64<<10)
	for {
		line, err := readLine(r, e.file.maxLine())
		if err == io.EOF && line == "" {
			return nil
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s: %w", e.file.Path, err)
		}
		if !strings.HasSuffix(line, "\n") {
			line += "\n" // the last line, behind which others may come
		}
		if err := e.line(line); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// line writes a line of the old file, or what a change makes of it.
func (e *editor) line(line string) error {
	old, ok, err := parse(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	if !ok || err != nil {
		_, err := e.w.WriteString(line)
		return err
	}
	key := e.file.key(old.Name)
	if e.done[key] {
		return nil // a second line, which did not count, must not count from now on
	}
	change, ok := e.changes[key]
	if !ok {
		_, err := e.w.WriteString(line)
		return err
	}
	delete(e.changes, key)
	e.done[key] = true
	return e.apply(change, &old)
}

// rest applies the changes of users who had no line, in the order of their names.
func (e *editor) rest(changes map[string]Change) error {
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		change, ok := e.changes[e.file.key(name)]
		if !ok {
			continue
		}
		delete(e.changes, e.file.key(name))
		if err := e.apply(change, nil); err != nil {
			return err
		}
	}
	return nil
}

func (e *editor) apply(change Change, old *Entry) error {
	entry, err := change(old)
	if err != nil || entry == nil {
		return err
	}
	line, err := entry.Line()
	if err != nil {
		return err
	}
	if len(line) > e.file.maxLine() {
		return fmt.Errorf("line of user %q is longer than %d octets", entry.Name, e.file.maxLine())
	}
	if e.file.Check != nil {
		if _, err := e.file.Check(*entry); err != nil {
			return err
		}
	}
	_, err = e.w.WriteString(line + "\n")
	return err
}

var errLineTooLong = errors.New("a line is longer than the limit; shorten it first")

// readLine returns a line with its end. Its memory is bounded by limit.
func readLine(r *bufio.Reader, limit int) (string, error) {
	var b strings.Builder
	for {
		part, err := r.ReadSlice('\n')
		if b.Len()+len(part) > limit+2 && limit+2 > limit {
			return "", errLineTooLong
		}
		b.Write(part)
		if err != bufio.ErrBufferFull {
			return b.String(), err
		}
	}
}
