package maildir

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/goniec-mail/goniec/faultfs"
)

// floorName is a folder's small file of what can not be found out again when the index is lost: numbers
// that no mod-sequence and no UID given so far exceeds. It is written ahead of them, so that
// most changes need not touch it.
const (
	floorName = "goniec-floor"

	// floorModSeqs is how far ahead mod-sequences are reserved: an hour, as they count microseconds.
	floorModSeqs = 3600e6
	// floorUIDs is how far ahead UIDs are reserved: as many may be skipped when the index is lost.
	floorUIDs = 1000
)

// floor is the file's content. Zero: there is none.
type floor struct {
	validity uint32
	uid      uint32
	modSeq   uint64
}

func (f *folder) readFloor() (fl floor, err error) {
	data, err := faultfs.ReadFile(f.base, floorName, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return fl, nil
	}
	if err == nil {
		if _, e := fmt.Sscanf(string(data), "goniec-floor 1\nV%d M%d U%d\n", &fl.validity, &fl.modSeq, &fl.uid); e != nil {
			return floor{}, nil // damaged: as if there were none
		}
	}
	return fl, err
}

// keepFloor raises the floor above the numbers in use. The clock backs it up: a disk too full for
// it must not keep messages from being deleted.
func (f *folder) keepFloor() {
	s := &f.state
	fl := &s.floor
	if fl.validity == s.list.validity && s.modSeq <= fl.modSeq && s.uidNext <= fl.uid {
		return
	}
	next := floor{s.list.validity, saturate(s.uidNext, floorUIDs), s.modSeq + floorModSeqs}
	if err := faultfs.WriteFile(f.base, floorName, next.text(), 0o600); err != nil {
		f.acct.store.log("floor of mod-sequences not raised", "folder", f.base.Name(), "err", err)
		f.index.sure = true // what is noted is above it
		return
	}
	*fl = next
}

func (fl floor) text() []byte {
	return fmt.Appendf(nil, "goniec-floor 1\nV%d M%d U%d\n", fl.validity, fl.modSeq, fl.uid)
}

func saturate(n, more uint32) uint32 {
	if n > 1<<32-1-more {
		return 1<<32 - 1
	}
	return n + more
}
