package maildir

import (
	"context"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// popLockName is the file whose lock a POP3 session holds (RFC 1939 §4).
const popLockName = "goniec-pop3-lock"

func (f *folder) lockPOP(ctx context.Context) (faultfs.File, error) {
	file, err := openLock(f.base, popLockName)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, file, false); err != nil {
		_ = file.Close()
		return nil, mailbox.ErrInUse
	}
	return file, nil
}
