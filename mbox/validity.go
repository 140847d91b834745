package mbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// The file beside INBOX that holds the highest UIDVALIDITY that was given in the account: no two folders get the same.
const (
	validityName   = ".goniec-mbox-validity"
	validityFormat = "goniec-mbox-validity 1 %d\n"
	// highValidity is above what the clock gives until the year 2096. Who takes over such a one uses up none of
	// those below it.
	highValidity = 4_000_000_000
)

// newValidity returns a UIDVALIDITY above all that the account has had.
func (a *account) newValidity(ctx context.Context) (v uint32, err error) {
	err = a.validity(ctx, func(last uint32) (uint32, error) {
		v = max(last+1, uint32(a.store.now().Unix()))
		return v, nil
	}, func() error { return nil })
	return v, err
}

// takeOver gives a folder a UIDVALIDITY from elsewhere by calling write: mailbox.ErrCannot when another folder has it.
func (a *account) takeOver(ctx context.Context, title string, v uint32, write func() error) error {
	return a.validity(ctx, func(last uint32) (uint32, error) {
		for info, err := range a.Mailboxes(ctx) {
			if err != nil {
				return 0, err
			}
			if info.Name != title && a.validityIn(info.Name) == v {
				return 0, fmt.Errorf("%w: %.80q has UIDVALIDITY %d already", mailbox.ErrCannot, info.Name, v)
			}
		}
		if v < highValidity {
			last = max(last, v)
		}
		return last, nil
	}, write)
}

// validityIn reads the UIDVALIDITY of a folder from its index; 0 when it has none.
func (a *account) validityIn(name string) (v uint32) {
	dir, file, err := a.place(name, false)
	if err != nil {
		return 0
	}
	defer dir.Close()
	f, err := dir.Open(indexName(file))
	if err != nil {
		return 0
	}
	defer f.Close()
	var buf [64]byte
	n, _ := f.ReadAt(buf[:], 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	_, _ = fmt.Sscanf(line, indexHeader+"%d", &v)
	return v
}

// validity calls choose with the highest UIDVALIDITY given so far, keeps what it returns, durably, and only then calls use:
// after a power cut between the two a UIDVALIDITY is unused, where it would else be given once more.
func (a *account) validity(ctx context.Context, choose func(last uint32) (uint32, error), use func() error) error {
	dir, err := a.store.fs().OpenDir(filepath.Dir(a.inbox))
	if err != nil {
		return err
	}
	defer dir.Close()
	lock, err := a.store.locks().dotlock(ctx, dir, validityName)
	if err != nil {
		return err
	}
	defer lock.release()
	text, err := faultfs.ReadFile(dir, validityName, 100)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var last uint32
	_, _ = fmt.Sscanf(string(text), validityFormat, &last)
	v, err := choose(last)
	if err == nil && v != last {
		err = faultfs.WriteFile(dir, validityName, fmt.Appendf(nil, validityFormat, v), 0o600)
	}
	if err != nil {
		return err
	}
	return use()
}
