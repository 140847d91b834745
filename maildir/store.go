package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// Store keeps the mail of many users, one Maildir++ tree each. Set the fields before the first use
// and leave them alone then. It is safe for concurrent use; several processes may work on the same
// trees.
type Store struct {
	// Root is the pattern of an account's directory: {user} stands for the whole name, {local} and
	// {domain} for its halves around the last "@", as in "/srv/mail/{domain}/{local}/Maildir".
	// Without any of them "/{user}" is added. What a user's name may do to a path is escaped:
	// "/", "\", ":", "%", "{", "}" and a leading "." become "%2F" and so on; empty parts and control
	// characters are refused with mailbox.ErrNotFound.
	Root string
	// Locate, if not nil, gives the directory of a user's account in place of Root. Its answer is
	// trusted. An error that wraps mailbox.ErrNotFound says that there is no such user.
	Locate func(ctx context.Context, user string) (string, error)
	// NoCreate keeps accounts from being made at their first use: mailbox.ErrNotFound.
	NoCreate bool

	// CRLF stores messages as they come, with CRLF. The zero value stores LF, as other programs
	// on the machine expect, where every line ends in CRLF.
	CRLF bool
	// MaxMessage limits a message, in octets of network form: mailbox.ErrTooLarge above. Zero means
	// 256 MiB; negative means no limit.
	MaxMessage int64
	// QuotaOctets and QuotaMessages limit an account that has no limits of its own (mailbox.SetQuota, or a
	// maildirsize file): octets in network form, and messages, in all folders. Zero means no limit.
	QuotaOctets, QuotaMessages int64
	// IdleFolders is how many folders stay in memory when nobody has them open, with four
	// descriptors each, and up to ten more where many delivered at once. Zero means 64; negative means none.
	IdleFolders int
	// MaxWatches limits the directories that the system is asked to watch (Linux: inotify, each about 1 KiB of the
	// kernel's memory): two for a watched folder, three for each folder of a watched account. What is beyond is
	// polled. Zero means 32,768; negative means as many as the system allows.
	MaxWatches int

	// Host is the host's part of file names; "" means the system's host name. Hosts that share a
	// tree must differ in it.
	Host string
	// FS is the file system; nil means the real one.
	FS faultfs.FS
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets what is repaired or found broken; nil is silent.
	Logger *slog.Logger

	unsigned time.Duration // for tests: in place of lockUnsigned
	polled   time.Duration // for tests: in place of pollInterval
	spares   int           // for tests: in place of spareAfter

	setUp    sync.Once
	names    *namer
	mu       sync.Mutex
	accounts map[string]*account // by directory
	idle     []*folder           // not open, oldest first
	observer observer            // tells what other programs do to watched folders
	buffers  sync.Pool           // of *[]byte, for Derived
}

const (
	defaultMaxMessage  = 256 << 20
	defaultIdleFolders = 64
	defaultMaxWatches  = 32 << 10
)

func (s *Store) maxMessage() int64 {
	if s.MaxMessage == 0 {
		return defaultMaxMessage
	}
	return s.MaxMessage
}

func (s *Store) idleFolders() int {
	if s.IdleFolders == 0 {
		return defaultIdleFolders
	}
	return max(s.IdleFolders, 0)
}

func (s *Store) maxWatches() int {
	if s.MaxWatches == 0 {
		return defaultMaxWatches
	}
	return s.MaxWatches
}

func (s *Store) fs() faultfs.FS {
	if s.FS == nil {
		return faultfs.OS{}
	}
	return s.FS
}

func (s *Store) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *Store) log(msg string, args ...any) {
	if s.Logger != nil {
		s.Logger.Warn("maildir: "+msg, args...)
	}
}

func (s *Store) init() {
	s.setUp.Do(func() {
		s.names = newNamer(s.now, s.Host)
		s.accounts = make(map[string]*account)
	})
}

// Account implements mailbox.Store. Unless NoCreate is set, an account that is not there is made,
// durably.
func (s *Store) Account(ctx context.Context, user string) (mailbox.Account, error) {
	a, err := s.account(ctx, user)
	if err != nil {
		return nil, err
	}
	return &Account{account: a}, nil
}

// Close frees the folders that are kept while nobody has them open. The Store can be used again.
func (s *Store) Close() error {
	s.init()
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, f := range idle {
		f.drop()
	}
	return nil
}

// account returns the shared account of a user with one more reference; release gives it back.
func (s *Store) account(ctx context.Context, user string) (*account, error) {
	s.init()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	path, err := s.locate(ctx, user)
	if err != nil {
		return nil, err
	}
	root, err := s.openRoot(path)
	if err != nil {
		return nil, fmt.Errorf("account %.80q: %w", user, err)
	}
	return s.share(ctx, path, root)
}

func (s *Store) locate(ctx context.Context, user string) (string, error) {
	if s.Locate != nil {
		return s.Locate(ctx, user)
	}
	if s.Root == "" {
		return "", errors.New("maildir: Store.Root is not set")
	}
	return accountPath(s.Root, user)
}

// openRoot opens an account's directory, made if need be. What another process may have made a
// moment ago is synced again before anything is delivered below it.
func (s *Store) openRoot(path string) (faultfs.Dir, error) {
	root, err := s.fs().OpenDir(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	if s.NoCreate {
		return nil, mailbox.ErrNotFound
	}
	if err := faultfs.MkdirAll(s.fs(), path, 0o700); err != nil {
		return nil, err
	}
	return s.fs().OpenDir(path)
}

// share returns the account known under path if it is still the same directory, else a new one.
func (s *Store) share(ctx context.Context, path string, root faultfs.Dir) (*account, error) {
	info, err := root.Stat()
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	s.mu.Lock()
	a := s.accounts[path]
	if a != nil && sameDir(a.info, info) {
		a.refs++
		s.mu.Unlock()
		_ = root.Close()
		return a, nil
	}
	s.mu.Unlock()
	a = &account{store: s, path: path, root: root, info: info, refs: 1, folders: make(map[string]*folder), moves: make(ctxMutex, 1)}
	if err := a.prepare(ctx); err != nil {
		_ = root.Close()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.accounts[path]; other != nil && sameDir(other.info, info) {
		other.refs++ // somebody else was faster
		_ = root.Close()
		return other, nil
	}
	s.accounts[path] = a
	return a, nil
}

// sameDir is faultfs.SameFile, also where files have no numbers.
func sameDir(a, b faultfs.Info) bool {
	return a.Inode == b.Inode && a.Device == b.Device
}

func (s *Store) releaseAccount(a *account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.refs--; a.refs > 0 {
		return nil
	}
	if s.accounts[a.path] == a {
		delete(s.accounts, a.path)
	}
	return a.root.Close()
}

// acquire returns the shared state of a folder with one more reference; release gives it back.
func (s *Store) acquire(a *account, name string) (*folder, error) {
	dir, err := folderDir(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	f := a.folders[dir]
	if f != nil {
		s.take(f)
	}
	s.mu.Unlock()
	if f != nil {
		if f.stillThere() {
			return f, nil
		}
		if !f.broken.Load() {
			f.gone.Store(true)
		}
		s.release(f)
	}
	f, err = openFolder(a, dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := a.folders[dir]; other != nil {
		f.closeDirs()
		s.take(other)
		return other, nil
	}
	f.refs = 1
	a.folders[dir] = f
	a.refs++
	return f, nil
}

// take adds a reference to a folder; s.mu is held.
func (s *Store) take(f *folder) {
	if f.refs++; f.refs > 1 {
		return
	}
	for i, g := range s.idle {
		if g == f {
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
			return
		}
	}
}

// release gives a folder back. One that nobody has open stays for a while, unless something is wrong
// with it.
func (s *Store) release(f *folder) {
	s.mu.Lock()
	var old *folder
	// One that can only be read is given up with its last handle: perhaps the next one may write.
	unusable := f.gone.Load() || f.broken.Load() || f.refs == 1 && f.cannotWrite.Load()
	if unusable && f.acct.folders[f.dir] == f {
		delete(f.acct.folders, f.dir) // the next Open looks at the disk
	}
	if f.refs--; f.refs == 0 {
		if unusable {
			old = f
		} else if s.idle = append(s.idle, f); len(s.idle) > s.idleFolders() {
			old, s.idle = s.idle[0], s.idle[1:]
			delete(old.acct.folders, old.dir)
		}
	}
	s.mu.Unlock()
	if old != nil {
		old.drop()
	}
}

// forget makes all handles on a folder answer mailbox.ErrNotFound.
func (s *Store) forget(a *account, dir string) {
	s.mu.Lock()
	f := a.folders[dir]
	delete(a.folders, dir)
	if f != nil {
		f.gone.Store(true)
		s.take(f)
	}
	s.mu.Unlock()
	if f != nil {
		f.changed()
		s.release(f)
	}
}
