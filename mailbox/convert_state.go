package mailbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

// convertState is the state file of a Converter: a line with name and version, then a line of JSON for each Run that
// began and for each note, each synced before the next. The last note of a folder counts. A torn line at the end never
// happened: after a power cut it may be short, or have zeros for what had not come to the disk.
type convertState struct {
	name  string
	file  faultfs.File // nil: none, or only read
	size  int64        // of what is right
	text  []byte
	notes map[string]*folderNote
}

// convertLine is a line of the file.
type convertLine struct {
	Pid  int         `json:",omitempty"` // of a Run that begins
	Note *folderNote `json:",omitempty"`
}

// folderNote is what is known of a folder's copying.
type folderNote struct {
	From, To       string
	SourceValidity uint32
	Done           UID    // all messages up to this one are copied, or in Failed
	Failed         string `json:",omitempty"` // a UID set
	TargetValidity uint32
	TargetNext     UID    // the target's UIDNEXT when this was noted
	Furnished      bool   `json:",omitempty"` // what the folder has beside messages is copied
	Sums           []byte `json:",omitempty"` // of the messages that were copied since the note before

	pending UID // Done, once it is noted
	failed  UIDSet
}

// digest tells messages apart by their content.
type digest [16]byte

func digestOf(ctx context.Context, c goniec.Content) (d digest, err error) {
	h := sha256.New()
	_, err = io.Copy(h, &contextReader{ctx, goniec.NewReader(c)})
	copy(d[:], h.Sum(nil))
	return d, err
}

func (n *folderNote) add(d digest) { n.Sums = append(n.Sums, d[:]...) }

const (
	convertHeader   = "goniec-convert 1\n"
	maxConvertState = 1 << 30
)

var errState = errors.New("it is not the state of a conversion, or damaged")

func folderKey(from, to string) string { return from + "\n" + to }

// loadState opens the state file, locked.
func (c *Converter) loadState() (*convertState, error) {
	s := &convertState{name: c.StateName, notes: make(map[string]*folderNote)}
	if c.StateDir == nil {
		return s, nil
	}
	load := s.load
	if c.DryRun {
		load = s.look
	}
	if err := load(c.StateDir); err != nil {
		s.close()
		return nil, fmt.Errorf("state of the conversion, %s/%s: %w", c.StateDir.Name(), c.StateName, err)
	}
	return s, nil
}

// look only reads, also while another Run is at work.
func (s *convertState) look(dir faultfs.Dir) (err error) {
	s.text, err = faultfs.ReadFile(dir, s.name, maxConvertState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.parse()
}

func (s *convertState) load(dir faultfs.Dir) (err error) {
	if s.text, err = s.open(dir); err != nil {
		return err
	}
	if err = s.parse(); err != nil {
		return err
	}
	return s.begin(dir)
}

// open opens and locks the file.
func (s *convertState) open(dir faultfs.Dir) ([]byte, error) {
	var err error
	if s.file, err = dir.OpenFile(s.name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	ok, err := faultfs.TryLock(s.file)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(s.file, maxConvertState+1))
	if err == nil && len(text) > maxConvertState {
		err = ErrTooLarge
	}
	if err == nil && !ok {
		err = fmt.Errorf("%w: %s is at work with it", ErrInUse, lastRun(text))
	}
	return text, err
}

// lastRun names the process of the last Run.
func lastRun(text []byte) string {
	who := "another process"
	for line := range bytes.Lines(text) {
		var l convertLine
		if json.Unmarshal(line, &l) == nil && l.Pid > 0 {
			who = fmt.Sprintf("process %d", l.Pid)
		}
	}
	return who
}

// parse takes in the lines.
func (s *convertState) parse() error {
	if begin := bytes.TrimRight(s.text, "\x00"); len(begin) < len(convertHeader) {
		s.text = begin // not even the first line had come to the disk
	}
	lines, ok := bytes.CutPrefix(s.text, []byte(convertHeader))
	if !ok && bytes.HasPrefix([]byte(convertHeader), s.text) {
		return nil // new, or torn at its beginning
	}
	if !ok {
		return errState
	}
	s.size = int64(len(convertHeader))
	for line := range bytes.Lines(lines) {
		var l convertLine
		err := json.Unmarshal(line, &l)
		last := int(s.size)+len(line) == len(s.text)
		if last && (err != nil || !bytes.HasSuffix(line, []byte("\n"))) {
			return nil
		}
		if err == nil && l.Note != nil {
			err = s.take(l.Note)
		}
		if err != nil {
			return fmt.Errorf("%w (at offset %d)", errState, s.size)
		}
		s.size += int64(len(line))
	}
	return nil
}

func (s *convertState) take(n *folderNote) (err error) {
	n.failed, err = ParseUIDSet(n.Failed)
	n.pending, n.Sums = n.Done, nil
	s.notes[folderKey(n.From, n.To)] = n
	return err
}

// begin cuts a torn end and says who is at work.
func (s *convertState) begin(dir faultfs.Dir) error {
	s.text = s.text[:s.size]
	if err := s.file.Truncate(s.size); err != nil {
		return err
	}
	if s.size == 0 {
		if err := s.write([]byte(convertHeader)); err != nil {
			return err
		}
		if err := dir.Sync(); err != nil {
			return err
		}
	}
	return s.append(convertLine{Pid: os.Getpid()})
}

func (s *convertState) append(l convertLine) error {
	line, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return s.write(append(line, '\n'))
}

// write appends, durably.
func (s *convertState) write(b []byte) error {
	n, err := s.file.WriteAt(b, s.size)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = s.file.Datasync()
	}
	if err == nil {
		s.size += int64(len(b))
		s.text = append(s.text, b...)
	}
	return err
}

// folder returns the note of a folder, a new one at first.
func (s *convertState) folder(from, to string) *folderNote {
	key := folderKey(from, to)
	if s.notes[key] == nil {
		s.notes[key] = &folderNote{From: from, To: to}
	}
	return s.notes[key]
}

// save writes a note. Without a file its sums stay with it.
func (s *convertState) save(n *folderNote) error {
	if s.file == nil {
		return nil
	}
	n.Failed = n.failed.String()
	if err := s.append(convertLine{Note: n}); err != nil {
		return err
	}
	n.Sums = nil
	return nil
}

// sums returns the messages of a folder that were ever copied, and how often.
func (s *convertState) sums(n *folderNote) (map[digest]int, error) {
	all := make(map[digest]int)
	add := func(sums []byte) {
		for ; len(sums) >= len(digest{}); sums = sums[len(digest{}):] {
			all[digest(sums[:len(digest{})])]++
		}
	}
	add(n.Sums)
	for line := range bytes.Lines(bytes.TrimPrefix(s.text, []byte(convertHeader))) {
		var l convertLine
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, err
		}
		if l.Note != nil && l.Note.From == n.From && l.Note.To == n.To {
			add(l.Note.Sums)
		}
	}
	return all, nil
}

func (s *convertState) close() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}
