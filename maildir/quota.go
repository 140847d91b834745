package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// sizeName is Maildir++'s file of limits and use: "<octets>S,<messages>C", then a line "<octets> <messages>"
// for each change, the first of which is the sum at the last count. All messages count, in octets of network form.
//
// The file is counted anew when it is longer than sizeLimit, and when it says that a message does not
// fit though it is older than sizeAge or has more than one line: other programs may have added wrongly.
const (
	sizeName  = "maildirsize"
	sizeLimit = 5120
	sizeAge   = 15 * time.Minute
)

// quota is the content of maildirsize.
type quota struct {
	mailbox.QuotaUse
	there bool
	lines int
	size  int64
	mtime time.Time
}

func (q *quota) limited() bool { return q.OctetLimit > 0 || q.MessageLimit > 0 }

func (q *quota) fits(octets, messages int64) bool {
	return (q.OctetLimit <= 0 || q.Octets+octets <= q.OctetLimit) &&
		(q.MessageLimit <= 0 || q.Messages+messages <= q.MessageLimit)
}

// readQuota reads the file; without one the limits are the Store's.
func (a *account) readQuota() (q quota, err error) {
	q.OctetLimit, q.MessageLimit = max(a.store.QuotaOctets, 0), max(a.store.QuotaMessages, 0)
	f, err := a.root.Open(sizeName)
	if errors.Is(err, fs.ErrNotExist) {
		return q, nil
	}
	if err != nil {
		return q, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return q, err
	}
	data := make([]byte, min(info.Size, 4*sizeLimit))
	n, _ := f.ReadAt(data, 0)
	q.there, q.size, q.mtime = true, info.Size, info.ModTime
	q.parse(string(data[:n]))
	return q, nil
}

func (q *quota) parse(text string) {
	header, rest, _ := strings.Cut(text, "\n")
	q.OctetLimit, q.MessageLimit = 0, 0
	for field := range strings.SplitSeq(strings.TrimSpace(header), ",") {
		if n, err := strconv.ParseInt(strings.TrimRight(field, "SC"), 10, 64); err == nil && n > 0 {
			switch field[len(field)-1] {
			case 'S':
				q.OctetLimit = n
			case 'C':
				q.MessageLimit = n
			}
		}
	}
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			q.size = sizeLimit + 1 // damaged: count anew
			continue
		}
		octets, err1 := strconv.ParseInt(fields[0], 10, 64)
		messages, err2 := strconv.ParseInt(fields[1], 10, 64)
		if err1 != nil || err2 != nil {
			q.size = sizeLimit + 1
			continue
		}
		q.Octets += octets
		q.Messages += messages
		q.lines++
	}
}

// charge makes room for messages, or returns ErrOverQuota. refund takes it back.
func (a *account) charge(ctx context.Context, octets, messages int64) (refund func(), err error) {
	nothing := func() {}
	a.quota.Lock()
	defer a.quota.Unlock()
	q, err := a.readQuota()
	if err != nil || !q.there && !q.limited() {
		return nothing, err
	}
	old := a.store.now().Sub(q.mtime) > sizeAge
	if !q.there || q.size > sizeLimit || !q.fits(octets, messages) && (old || q.lines > 1) {
		if q, err = a.recount(ctx, q); err != nil {
			return nothing, err
		}
	}
	if !q.fits(octets, messages) {
		return nothing, fmt.Errorf("%d octets in %d messages do not fit: %w", octets, messages, mailbox.ErrOverQuota)
	}
	if err := a.addQuota(octets, messages); err != nil {
		return nothing, err
	}
	return func() { a.credit(octets, messages) }, nil
}

// credit notes messages that went. Errors are left to the next count: deleting must work on a full disk.
func (a *account) credit(octets, messages int64) {
	if messages == 0 {
		return
	}
	if _, err := a.root.Lstat(sizeName); err == nil {
		if err := a.addQuota(-octets, -messages); err != nil {
			a.store.log("quota not updated", "account", a.path, "err", err)
		}
	}
}

// addQuota appends a line; a line this short is written whole or not at all.
func (a *account) addQuota(octets, messages int64) error {
	f, err := a.root.OpenFile(sizeName, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%d %d\n", octets, messages)
	return err
}

// recount counts all messages and writes the file anew with the limits of q.
func (a *account) recount(ctx context.Context, q quota) (quota, error) {
	lock, err := a.store.takeDotlock(ctx, a.root, sizeName)
	if err != nil {
		return q, err
	}
	defer lock.unlock()
	use, err := a.count()
	if err != nil {
		return q, err
	}
	use.OctetLimit, use.MessageLimit = q.OctetLimit, q.MessageLimit
	text := fmt.Sprintf("%dS,%dC\n%d %d\n", use.OctetLimit, use.MessageLimit, use.Octets, use.Messages)
	if err := faultfs.WriteFile(a.root, sizeName, []byte(text), 0o600); err != nil {
		return q, err
	}
	return quota{QuotaUse: use, there: true, lines: 1}, nil
}

// recountIfKept counts anew after a folder has gone, where a count is kept. It may fail: the file is then
// counted when a message does not fit.
func (a *account) recountIfKept(ctx context.Context) {
	a.quota.Lock()
	defer a.quota.Unlock()
	q, err := a.readQuota()
	if err == nil && q.there {
		_, err = a.recount(ctx, q)
	}
	if err != nil {
		a.store.log("quota not updated", "account", a.path, "err", err)
	}
}

// count adds up all folders from the sizes in file names.
func (a *account) count() (use mailbox.QuotaUse, err error) {
	dirs, err := a.folderDirs()
	if err != nil {
		return use, err
	}
	for _, dir := range dirs {
		base := a.root
		if dir != "" {
			if base, err = a.root.OpenDir(dir); err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				return use, err
			}
		}
		for _, sub := range []string{"new", "cur"} {
			if err == nil {
				err = countDir(base, sub, &use)
			}
		}
		if dir != "" {
			_ = base.Close()
		}
		if err != nil {
			return use, err
		}
	}
	return use, nil
}

func countDir(base faultfs.Dir, sub string, use *mailbox.QuotaUse) error {
	d, err := base.OpenDir(sub)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Names()
	for _, name := range names {
		if isMessage(name) {
			use.Octets += sizeOf(d, name)
			use.Messages++
		}
	}
	return err
}

// sizeOf returns what a file counts.
func sizeOf(d faultfs.Dir, name string) int64 {
	base, _ := splitInfo(name)
	if n := netSizeIn(base); n >= 0 {
		return n
	}
	if n := sizeIn(base, keyFileSize); n >= 0 {
		return n
	}
	info, err := d.Lstat(name)
	if err != nil {
		return 0
	}
	return info.Size
}

// Quota implements mailbox.QuotaKeeper.
func (a *Account) Quota(ctx context.Context) (mailbox.QuotaUse, error) {
	if err := a.begin(ctx); err != nil {
		return mailbox.QuotaUse{}, err
	}
	a.quota.Lock()
	defer a.quota.Unlock()
	q, err := a.readQuota()
	if err != nil || q.there && q.size <= sizeLimit {
		return q.QuotaUse, err
	}
	if q.limited() {
		q, err = a.recount(ctx, q)
		return q.QuotaUse, err
	}
	return a.count()
}

// SetQuota implements mailbox.QuotaKeeper. The limits are kept in maildirsize.
func (a *Account) SetQuota(ctx context.Context, octets, messages int64) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	a.quota.Lock()
	defer a.quota.Unlock()
	var q quota
	q.OctetLimit, q.MessageLimit = max(octets, 0), max(messages, 0)
	_, err := a.recount(ctx, q)
	return err
}
