package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// Account is one user's Maildir++ tree: a handle from Store.Account. It implements mailbox.Account
// and the optional interfaces mailbox.Copier, mailbox.Mover, mailbox.Subscriber, mailbox.QuotaKeeper,
// mailbox.SpecialUser, mailbox.ACLKeeper, mailbox.AccountWatcher and mailbox.Metadata (of the account itself). It is safe for
// concurrent use.
type Account struct {
	*account
	closed atomic.Bool
}

// account is what all handles on one tree share.
type account struct {
	store *Store
	path  string
	root  faultfs.Dir
	info  faultfs.Info

	refs    int                // guarded by Store.mu
	folders map[string]*folder // by directory; guarded by Store.mu

	moves  ctxMutex      // one Move at a time
	passed atomic.Uint32 // the last UIDVALIDITY that was given and not written down
	quota  sync.Mutex    // maildirsize
	watch  accountWatch
	tree   sync.Mutex // creation, deletion, renaming of folders, and the files beside them
}

var errClosed = fmt.Errorf("maildir: %w", fs.ErrClosed)

// prepare makes the three directories of a new account durable, and finishes what a crash has left.
func (a *account) prepare(ctx context.Context) error {
	if err := makeDirs(a.root); err != nil {
		return err
	}
	err := a.recoverTree(ctx)
	if denied(err) {
		a.store.log("a renaming that is only half done can not be finished", "account", a.path, "err", err)
		err = nil
	}
	return err
}

// makeDirs makes tmp, new and cur where they are missing. Another process may have made them just
// now: the directory is synced in any case, before anything is delivered below it.
func makeDirs(d faultfs.Dir) error {
	for _, name := range subDirs {
		if _, err := d.Lstat(name); err == nil {
			continue
		}
		if err := d.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return d.Sync()
}

// Close implements mailbox.Account. Folders opened from it stay open.
func (a *Account) Close() error {
	if a.closed.Swap(true) {
		return nil
	}
	return a.store.releaseAccount(a.account)
}

func (a *Account) begin(ctx context.Context) error {
	if a.closed.Load() {
		return errClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Mailboxes implements mailbox.Account. Directories whose names are not canonical modified UTF-7 are
// left out; Check tells them.
func (a *Account) Mailboxes(ctx context.Context) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) {
		err := a.begin(ctx)
		var dirs []string
		if err == nil {
			dirs, err = a.folderDirs()
		}
		if err != nil {
			yield(mailbox.Info{}, err)
			return
		}
		for _, dir := range dirs {
			info, err := a.describe(dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted meanwhile
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

// folderDirs lists the directories of all folders, "" first.
func (a *account) folderDirs() ([]string, error) {
	names, err := a.root.Names()
	if err != nil {
		return nil, err
	}
	dirs := []string{""}
	for _, n := range names {
		if name, ok := folderName(n); !ok || name == inbox {
			continue
		}
		info, err := a.root.Lstat(n)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && info.IsDir() {
			dirs = append(dirs, n)
		}
	}
	slices.Sort(dirs)
	return dirs, nil
}

func (a *account) describe(dir string) (mailbox.Info, error) {
	info := mailbox.Info{Name: inbox}
	base := a.root
	if dir != "" {
		info.Name, _ = folderName(dir)
		d, err := a.root.OpenDir(dir)
		if err != nil {
			return info, err
		}
		defer d.Close()
		base = d
	}
	use, err := readUse(base)
	if err != nil {
		return info, err
	}
	info.SpecialUse = use
	info.ID, err = readID(base)
	return info, err
}

// readID reads the folder's identity from the header of its uidlist; "" before its first use.
func readID(base faultfs.Dir) (string, error) {
	h, err := readListHeader(base)
	return h.id, err
}

// readListHeader reads the first line of a folder's uidlist; zero where there is none, or the next Open must repair it.
func readListHeader(base faultfs.Dir) (listHeader, error) {
	f, err := base.Open(listName)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return listHeader{}, err
	}
	defer f.Close()
	var buf [512]byte
	n, _ := f.ReadAt(buf[:], 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	h, _, err := parseListHeader(line)
	if err != nil {
		return listHeader{}, nil
	}
	return h, nil
}

// Open implements mailbox.Account.
func (a *Account) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	f, err := a.store.acquire(a.account, name)
	if err != nil {
		return nil, err
	}
	return &Mailbox{f: f, name: mailbox.CanonicalName(name)}, nil
}

// Create implements mailbox.Account. Parents are not made: Maildir++ does not need them.
func (a *Account) Create(ctx context.Context, name string, opts mailbox.CreateOptions) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	dir, err := folderDir(name)
	if err != nil {
		return err
	}
	if dir == "" {
		return mailbox.ErrExists
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	if _, err := a.root.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, mailbox.ErrExists)
	}
	if err := a.freeUse(opts.SpecialUse); err != nil {
		return err
	}
	defer a.watch.look(false)
	return a.makeFolder(ctx, dir, opts)
}

// makeFolder builds the folder under a name that is no folder's and renames it: a crash leaves it whole
// or not at all.
func (a *account) makeFolder(ctx context.Context, dir string, opts mailbox.CreateOptions) (err error) {
	validity, err := a.nextValidity(ctx, 0)
	if err != nil {
		return err
	}
	building := unfinishedPrefix + a.store.names.next()
	if err = a.root.Mkdir(building, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			a.discard(building)
		}
	}()
	d, err := a.root.OpenDir(building)
	if err != nil {
		return err
	}
	defer d.Close()
	header := listHeader{validity: validity, next: 1, id: newFolderID()}
	if err = faultfs.WriteFile(d, listName, []byte(header.line()), 0o600); err != nil {
		return err
	}
	if err = faultfs.WriteFile(d, folderMark, nil, 0o600); err != nil {
		return err
	}
	if opts.SpecialUse != "" {
		if err = writeUse(d, opts.SpecialUse); err != nil {
			return err
		}
	}
	if err = makeDirs(d); err != nil {
		return err
	}
	if err = a.root.Rename(building, a.root, dir); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = mailbox.ErrExists
		}
		return err
	}
	return a.root.Sync()
}

const (
	// folderMark is the empty file that tells Maildir++ folders from accounts (for Courier's
	// deliverquota: the quota file lies one level up).
	folderMark = "maildirfolder"
	// unfinishedPrefix begins the names of folders that are being made or removed. Names without
	// a dot in front are not folders to any program.
	unfinishedPrefix = "goniec-unfinished."
)

// discard removes a directory of ours with what is in it. Errors are left to the next clean-up.
func (a *account) discard(name string) {
	d, err := a.root.OpenDir(name)
	if err != nil {
		return
	}
	defer d.Close()
	removeTree(d, 3)
	_ = a.root.Remove(name)
}

// removeTree empties a directory, at most depth levels down.
func removeTree(d faultfs.Dir, depth int) {
	names, err := d.Names()
	if err != nil || depth == 0 {
		return
	}
	for _, n := range names {
		if d.Remove(n) == nil {
			continue
		}
		if sub, err := d.OpenDir(n); err == nil {
			removeTree(sub, depth-1)
			_ = sub.Close()
			_ = d.Remove(n)
		}
	}
}

// Delete implements mailbox.Account: the folder gets another name in one step, and is then emptied.
func (a *Account) Delete(ctx context.Context, name string) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	dir, err := folderDir(name)
	if err != nil {
		return err
	}
	if dir == "" {
		return mailbox.ErrCannot
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	if err := a.noteValidity(ctx, dir); err != nil {
		return notFound(err)
	}
	trash := unfinishedPrefix + a.store.names.next()
	if err := a.root.Rename(dir, a.root, trash); err != nil {
		return notFound(err)
	}
	a.store.forget(a.account, dir)
	defer a.watch.look(false)
	if err := a.root.Sync(); err != nil {
		return err
	}
	a.discard(trash)
	a.recountIfKept(ctx)
	return nil
}

// noteValidity keeps the UIDVALIDITY of a folder that goes, so that one made under its name gets a
// higher one.
func (a *account) noteValidity(ctx context.Context, dir string) error {
	d, err := a.root.OpenDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	h, err := readListHeader(d)
	if err != nil || h.validity == 0 {
		return err
	}
	_, err = a.nextValidity(ctx, h.validity)
	return err
}
