package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// validityName holds the highest UIDVALIDITY that was given in the account: no two folders get the same.
const (
	validityName   = "goniec-uidvalidity"
	validityHeader = "goniec-uidvalidity 1\n"
	// dovecotValidityName is Dovecot's file of the same kind: eight hexadecimal digits, the last one given.
	dovecotValidityName = "dovecot-uidvalidity"
	// highValidity is above what the clock gives until the year 2096. Who takes over such a one uses up none of
	// those below it.
	highValidity = 4_000_000_000
)

// nextValidity returns a UIDVALIDITY above min and all that were given before: the present second where
// that is higher. It is durable.
func (a *account) nextValidity(ctx context.Context, min uint32) (uint32, error) {
	lock, err := a.store.takeDotlock(ctx, a.root, validityName)
	if err != nil {
		return 0, err
	}
	defer lock.unlock()
	last, err := a.lastValidity()
	if err != nil {
		return 0, err
	}
	v := uint32(max(a.store.now().Unix(), 1))
	if v = max(v, last+1, min+1); v == 0 {
		return 0, mailbox.ErrUIDRange
	}
	return v, a.keepValidity(v)
}

// lastValidity reads the last UIDVALIDITY that we, or Dovecot, gave.
func (a *account) lastValidity() (uint32, error) {
	data, err := faultfs.ReadFile(a.root, validityName, 4096)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	var last uint64
	if text, ok := strings.CutPrefix(string(data), validityHeader); ok {
		last, _ = strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	}
	var theirs uint64
	if data, err := faultfs.ReadFile(a.root, dovecotValidityName, 4096); err == nil {
		if theirs, _ = strconv.ParseUint(strings.TrimSpace(string(data)), 16, 32); theirs >= highValidity {
			theirs = 0
		}
	}
	return uint32(max(last, theirs)), nil
}

func (a *account) keepValidity(v uint32) error {
	text := validityHeader + strconv.FormatUint(uint64(v), 10) + "\n"
	return faultfs.WriteFile(a.root, validityName, []byte(text), 0o600)
}

// claimValidity makes sure that a folder may take over a UIDVALIDITY from elsewhere, and keeps others from it until free is
// called: mailbox.ErrCannot when another folder has it.
func (a *account) claimValidity(ctx context.Context, dir string, v uint32) (free func(), err error) {
	lock, err := a.store.takeDotlock(ctx, a.root, validityName)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.unlock()
		}
	}()
	dirs, err := a.folderDirs()
	if err != nil {
		return nil, err
	}
	for _, other := range dirs {
		if other == dir {
			continue
		}
		is, err := a.validityIn(other)
		if err != nil {
			return nil, err
		}
		if is == v {
			return nil, fmt.Errorf("%w: the folder %q has UIDVALIDITY %d already", mailbox.ErrCannot, other, v)
		}
	}
	last, err := a.lastValidity()
	if err == nil && v > last && v < highValidity {
		err = a.keepValidity(v)
	}
	return lock.unlock, err
}

// validityIn reads the UIDVALIDITY of a folder; 0 when it has none yet, or is gone.
func (a *account) validityIn(dir string) (uint32, error) {
	base := a.root
	if dir != "" {
		d, err := a.root.OpenDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		defer d.Close()
		base = d
	}
	h, err := readListHeader(base)
	return h.validity, err
}
