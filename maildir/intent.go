package maildir

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
)

// intentName is the note of a change to several messages that has begun. It is durable before the first file is
// touched and gone, durably, before the change is acknowledged, so that after a crash whoever has the
// folder next finishes the change: several messages change all or none.
//
//	goniec-intent 1
//	C<TAB>base<TAB>info     the file of base in cur/ gets this info
//	X<TAB>base              the file of base in cur/ goes
//	T<TAB>name<TAB>name     a file in tmp/ gets this name in cur/
//	end <CRC-32C of the lines before, in hex>
const (
	intentName   = "goniec-intent"
	intentHeader = "goniec-intent 1\n"
	intentLimit  = 1 << 30
)

// step is one line of the note. It applies to one file.
type step struct {
	kind   byte // C, X or T
	name   string
	target string
}

// declare writes the note when there are several steps; one rename needs none.
func (f *folder) declare(steps []step) error {
	if len(steps) < 2 {
		return nil
	}
	var b strings.Builder
	b.Grow(len(intentHeader) + len(steps)*(len(steps[0].name)+len(steps[0].target)+10))
	b.WriteString(intentHeader)
	for _, s := range steps {
		b.WriteByte(s.kind)
		b.WriteByte('\t')
		b.WriteString(s.name)
		if s.target != "" {
			b.WriteByte('\t')
			b.WriteString(s.target)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "end %08x\n", crc32.Checksum([]byte(b.String()), castagnoli))
	if err := faultfs.WriteFile(f.base, intentName, []byte(b.String()), 0o600); err != nil {
		_ = f.base.Remove(intentName) // nothing was done yet
		return err
	}
	f.declared = true
	return nil
}

// settle removes the note after the change is done, or undone, durably.
func (f *folder) settle() error {
	if !f.declared {
		return nil
	}
	f.declared = false
	if err := f.base.Remove(intentName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.failed(err)
	}
	return f.failed(f.base.Sync())
}

// abandon leaves the note of a change that could be neither done nor undone: the folder is opened anew for its
// next use, and the change is finished then.
func (f *folder) abandon() {
	if f.declared {
		f.declared = false
		f.broken.Store(true)
	}
}

// recover finishes the change of a process that has died. It reports whether there was one. f.owned is set.
func (f *folder) recover() (bool, error) {
	if _, err := f.base.Lstat(intentName); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	data, err := faultfs.ReadFile(f.base, intentName, intentLimit)
	if err != nil {
		return false, err
	}
	steps, err := parseIntent(string(data))
	if err != nil {
		f.acct.store.log("note of a change ignored", "folder", f.base.Name(), "err", err)
	}
	if len(steps) > 0 {
		if err := f.redo(steps); err != nil {
			return false, err
		}
	}
	f.declared = true
	return true, f.settle()
}

func parseIntent(text string) (steps []step, err error) {
	body, sum, ok := strings.Cut(text, "end ")
	if !ok || !strings.HasPrefix(body, intentHeader) ||
		strings.TrimSpace(sum) != fmt.Sprintf("%08x", crc32.Checksum([]byte(body), castagnoli)) {
		return nil, errors.New("goniec-intent is damaged")
	}
	for line := range strings.Lines(body[len(intentHeader):]) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		s := step{name: fields[min(1, len(fields)-1)]}
		if len(fields) > 2 {
			s.target = fields[2]
		}
		if len(fields) < 2 || len(fields[0]) != 1 {
			return nil, errors.New("goniec-intent has a strange line")
		}
		s.kind = fields[0][0]
		steps = append(steps, s)
	}
	return steps, nil
}

// redo does the steps that are not done yet.
func (f *folder) redo(steps []step) error {
	names, err := f.cur.Names()
	if err != nil {
		return err
	}
	byBase := make(map[string]string, len(names))
	for _, n := range names {
		base, _ := splitInfo(n)
		byBase[base] = n
	}
	for _, s := range steps {
		file, there := byBase[s.name]
		err = nil
		switch {
		case s.kind == 'T':
			err = f.tmp.Rename(s.name, f.cur.Dir, s.target)
		case s.kind == 'C' && there && file != s.name+s.target:
			err = f.cur.Rename(file, f.cur.Dir, s.name+s.target)
		case s.kind == 'X' && there:
			err = f.cur.Remove(file)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.failed(f.cur.Sync())
}
