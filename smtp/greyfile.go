package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// greyHeader is the first line of a greylist file: name and version of the format.
const greyHeader = "goniec-greylist 1\n"

// Limits of a greylist file.
const (
	maxGreyFile   = 256 << 20 // octets
	greyCompactAt = 4         // it is rewritten at opening when it has that many times the lines it needs
)

// FileGreyStore is a GreyStore in a file that grows by a line for each change, and is made small again when it is opened. It is
// not synced: after a power cut the last entries may be missing, which costs a delay. One process at a time may use the file. Close it.
type FileGreyStore struct {
	mem  MemoryGreyStore
	mu   sync.Mutex
	dir  faultfs.Dir
	file faultfs.File
}

// OpenGreyFile opens the greylist file name in the directory dir of fsys (faultfs.OS for a real one), and makes it if it is not there. A line
// that is cut off or damaged is dropped; a file that is something else is an error.
func OpenGreyFile(fsys faultfs.FS, dir, name string) (*FileGreyStore, error) {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	s := &FileGreyStore{dir: d}
	if err := s.open(name, time.Now()); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("greylist: %w", err)
	}
	return s, nil
}

func (s *FileGreyStore) open(name string, now time.Time) error {
	b, err := faultfs.ReadFile(s.dir, name, maxGreyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, ok := strings.CutPrefix(string(b), greyHeader)
	if !ok && len(b) > 0 && !strings.HasPrefix(greyHeader, string(b)) {
		return fmt.Errorf("%s is no greylist file of this version", name)
	}
	lines, whole := s.read(text, now)
	if !ok || !whole || lines > greyCompactAt*(len(s.mem.entries)+100) {
		if err := faultfs.WriteFile(s.dir, name, s.image(), 0o600); err != nil {
			return err
		}
	}
	s.file, err = s.dir.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	return err
}

// read takes the entries of text into memory. whole is false when the last line is cut off or a line is damaged.
func (s *FileGreyStore) read(text string, now time.Time) (lines int, whole bool) {
	whole = true
	for line := range strings.Lines(text) {
		lines++
		key, e, ok := parseGreyLine(line)
		if !ok {
			whole = false
			continue
		}
		if e.Expires.After(now) {
			_ = s.mem.Save(context.Background(), key, e)
		}
	}
	return lines, whole
}

// image is the file that holds what is in memory.
func (s *FileGreyStore) image() []byte {
	var b bytes.Buffer
	b.WriteString(greyHeader)
	for key, e := range s.mem.entries {
		b.Write(appendGreyLine(nil, key, e))
	}
	return b.Bytes()
}

// appendGreyLine appends "first expires passed key".
func appendGreyLine(b []byte, key string, e GreyEntry) []byte {
	b = strconv.AppendInt(b, e.First.Unix(), 10)
	b = strconv.AppendInt(append(b, ' '), e.Expires.Unix(), 10)
	b = strconv.AppendBool(append(b, ' '), e.Passed)
	b = strconv.AppendQuoteToASCII(append(b, ' '), key)
	return append(b, '\n')
}

func parseGreyLine(line string) (key string, e GreyEntry, ok bool) {
	parts := strings.SplitN(line, " ", 4)
	if len(parts) != 4 || !strings.HasSuffix(line, "\n") {
		return "", e, false
	}
	first, err1 := strconv.ParseInt(parts[0], 10, 64)
	expires, err2 := strconv.ParseInt(parts[1], 10, 64)
	passed, err3 := strconv.ParseBool(parts[2])
	key, err4 := strconv.Unquote(strings.TrimSuffix(parts[3], "\n"))
	return key, GreyEntry{First: time.Unix(first, 0), Expires: time.Unix(expires, 0), Passed: passed}, errors.Join(err1, err2, err3, err4) == nil
}

// Load implements GreyStore.
func (s *FileGreyStore) Load(ctx context.Context, key string) (GreyEntry, error) {
	return s.mem.Load(ctx, key)
}

// Save implements GreyStore.
func (s *FileGreyStore) Save(ctx context.Context, key string, e GreyEntry) error {
	_ = s.mem.Save(ctx, key, e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return fs.ErrClosed
	}
	_, err := s.file.Write(appendGreyLine(nil, key, e))
	return err
}

// Close closes the file. Later Saves fail.
func (s *FileGreyStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.file.Sync(), s.file.Close(), s.dir.Close())
	s.file = nil
	return err
}
