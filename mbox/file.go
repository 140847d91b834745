package mbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// File is a mailbox file that other programs use too: appending locks it, is durable, and is whole or
// not at all. Set the fields before the first use. It is safe for concurrent use.
type File struct {
	Path string // the file; it is made when it is not there, its directory must be
	// Dialect is how messages are written; Auto is MboxRD.
	Dialect Dialect
	// Owner is the user (its number) who must own the file. Zero means the one this process runs as;
	// negative means anybody.
	Owner int
	// LockTimeout bounds the wait for the locks. Zero means 30 seconds.
	LockTimeout time.Duration
	// MaxMessage limits a message, in octets of network form: mailbox.ErrTooLarge above. Zero means 256 MiB; negative
	// means no limit.
	MaxMessage int64
	FS         faultfs.FS       // nil means the real one
	Now        func() time.Time // nil means time.Now
	Logger     *slog.Logger     // gets what is repaired; nil is silent
}

// Append stores a message, durably, and returns where its From_ line begins. A zero from.Date is now. The file is locked by
// dotlock, fcntl and flock, in this order; one that stays locked is a temporary error that wraps mailbox.ErrInUse. Links,
// FIFOs and files of others are refused with the errors of faultfs. On any error the file is cut to its old size. What
// a crash has left of an earlier Append is removed first.
func (f *File) Append(ctx context.Context, from FromLine, msg io.Reader) (offset int64, err error) {
	c, done, err := contentOf(ctx, msg, f.maxMessage())
	if err != nil {
		return 0, tooLarge(err)
	}
	defer done()
	if from.Date.IsZero() {
		from.Date = f.now()
	}
	dir, name, err := f.dir()
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	rec, err := plan(ctx, f.Dialect.writable(), from, c, "")
	if err != nil {
		return 0, err
	}
	h, err := f.locks().open(ctx, dir, name, true, ownerOf(f.Owner))
	if err != nil {
		return 0, err
	}
	defer h.close()
	if err := h.recover(f.Logger); err != nil {
		return 0, err
	}
	offsets, err := h.append(ctx, rec)
	if err != nil {
		return 0, err
	}
	return offsets[0], nil
}

// Recover removes what a crash has left of an Append, as the next Append would.
func (f *File) Recover(ctx context.Context) error {
	dir, name, err := f.dir()
	if err != nil {
		return err
	}
	defer dir.Close()
	h, err := f.locks().open(ctx, dir, name, false, ownerOf(f.Owner))
	if err != nil {
		return err
	}
	defer h.close()
	return h.recover(f.Logger)
}

func (f *File) dir() (faultfs.Dir, string, error) {
	fsys := f.FS
	if fsys == nil {
		fsys = faultfs.OS{}
	}
	dir, err := fsys.OpenDir(filepath.Dir(f.Path))
	return dir, filepath.Base(f.Path), err
}

func (f *File) locks() *locks { return newLocks(f.LockTimeout, f.now) }

func newLocks(timeout time.Duration, now func() time.Time) *locks {
	if timeout <= 0 {
		timeout = defaultLockTimeout
	}
	return &locks{timeout, now}
}

func (f *File) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

const defaultMaxMessage = 256 << 20

func (f *File) maxMessage() int64 {
	if f.MaxMessage == 0 {
		return defaultMaxMessage
	}
	return f.MaxMessage
}

// tooLarge gives the root's error for a message above the limit the name it has in mailbox.
func tooLarge(err error) error {
	if errors.Is(err, goniec.ErrTooLarge) {
		return fmt.Errorf("%w: %w", mailbox.ErrTooLarge, err)
	}
	return err
}

// ownerOf resolves an Owner field for faultfs.CheckPrivate.
func ownerOf(owner int) int {
	if owner == 0 {
		return os.Geteuid() // -1 where users have no numbers: anybody
	}
	return owner
}

func (d Dialect) writable() Dialect {
	if d == Auto {
		return MboxRD
	}
	return d
}
