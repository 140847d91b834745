package mailbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/goniec-mail/goniec/faultfs"
)

// convertState is the state file of a Converter: a line with name and version, then JSON.
type convertState struct {
	Folders map[string]*folderNote // by source and target name
}

// folderNote is what is known of a folder's copying.
type folderNote struct {
	SourceValidity uint32
	Done           UID    // all messages up to this one are copied, or in Failed
	Failed         string // a UID set
	TargetValidity uint32
	TargetNext     UID // the target's UIDNEXT when this was noted

	pending UID // Done, once it is noted
	failed  UIDSet
}

const (
	convertHeader   = "goniec-convert 1\n"
	maxConvertState = 64 << 20
)

func (c *Converter) loadState() (*convertState, error) {
	s := &convertState{Folders: make(map[string]*folderNote)}
	if c.StateDir == nil {
		return s, nil
	}
	text, err := faultfs.ReadFile(c.StateDir, c.StateName, maxConvertState)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(text, []byte(convertHeader))
	if ok {
		err = json.Unmarshal(rest, s)
	}
	if !ok || err != nil || s.Folders == nil {
		return nil, fmt.Errorf("%s is not the state of a conversion: %w", c.StateName, errors.Join(errState, err))
	}
	for _, n := range s.Folders {
		if n == nil {
			return nil, errState
		}
		if n.failed, err = ParseUIDSet(n.Failed); err != nil {
			return nil, err
		}
		n.pending = n.Done
	}
	return s, nil
}

var errState = errors.New("the file is of another kind or damaged")

// folder returns the note of a folder, a new one at first.
func (s *convertState) folder(from, to string) *folderNote {
	key := from + "\n" + to
	if s.Folders[key] == nil {
		s.Folders[key] = &folderNote{}
	}
	return s.Folders[key]
}

func (r *conversion) saveState() error {
	if r.StateDir == nil {
		return nil
	}
	text, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	return faultfs.WriteFile(r.StateDir, r.StateName, append([]byte(convertHeader), text...), 0o600)
}
