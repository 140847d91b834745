package mbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// Store keeps the mail of many users in mbox files: one file as INBOX, a directory of files as the other
// folders, or both. Set the fields before the first use and leave them alone then. It is safe for
// concurrent use; several processes, and programs that honour the locks, may work on the same files.
//
// The folder "Lists/Go" is the file "Lists.sbd/Go" (the way of Mozilla's programs, in which a folder can have
// messages and children), or "Lists/Go" where that directory is there already.
type Store struct {
	// Inbox is the pattern of the file that is INBOX, as "/var/mail/{user}"; {user} stands for the user's
	// name with "/", a leading "." and so on escaped. "" means the file INBOX in Root.
	Inbox string
	// Root is the pattern of the directory of the other folders, as "/home/{user}/mail"; it is made when it is not
	// there. "" means that INBOX is the only folder.
	Root string
	// ReadOnly changes nothing on disk and takes no lock: UIDs are the messages' places, and hold while the file is
	// the same. It is for reading other programs' files once; while one of them writes, a message may look torn.
	ReadOnly bool
	// Dialect is how files are read and written. The zero value is MboxRD. Auto detects for each file, when the
	// folder is opened; new files are MboxRD then.
	Dialect Dialect
	// Owner, LockTimeout and MaxMessage are as for File.
	Owner       int
	LockTimeout time.Duration
	MaxMessage  int64
	FS          faultfs.FS       // nil means the real one
	Now         func() time.Time // nil means time.Now
	Logger      *slog.Logger     // gets what is repaired or found broken; nil is silent

	mu       sync.Mutex
	accounts map[string]*account // by user
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
		s.Logger.Warn("mbox: "+msg, args...)
	}
}

func (s *Store) maxMessage() int64 { return (&File{MaxMessage: s.MaxMessage}).maxMessage() }

// escapeUser makes one path element of a user's name; ErrNotFound for what can not be one.
func escapeUser(user string) (string, error) {
	if user == "" || len(user) > 200 || strings.ContainsFunc(user, func(r rune) bool { return r < ' ' || r == 0x7F || r == 0xFFFD }) {
		return "", mailbox.ErrNotFound
	}
	var b strings.Builder
	for i := range len(user) {
		if c := user[i]; strings.IndexByte(`/\:%{}`, c) >= 0 || c == '.' && i == 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// Account implements mailbox.Store.
func (s *Store) Account(ctx context.Context, user string) (mailbox.Account, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	name, err := escapeUser(user)
	if err != nil {
		return nil, err
	}
	if s.Inbox == "" && s.Root == "" {
		return nil, errors.New("mbox: neither Store.Inbox nor Store.Root is set")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[user]
	if a == nil {
		a = &account{store: s, folders: make(map[string]*folder)}
		a.root = strings.ReplaceAll(s.Root, "{user}", name)
		if a.inbox = strings.ReplaceAll(s.Inbox, "{user}", name); a.inbox == "" {
			a.inbox = filepath.Join(a.root, inboxName)
		}
		if s.accounts == nil {
			s.accounts = make(map[string]*account)
		}
	}
	if err := a.prepare(); err != nil {
		return nil, err
	}
	s.accounts[user] = a
	return a, nil
}

// Close forgets what is known of folders. The Store can be used again; handles that are open can not.
func (s *Store) Close() error {
	s.mu.Lock()
	all := s.accounts
	s.accounts = nil
	s.mu.Unlock()
	for _, a := range all {
		a.forget("")
	}
	return nil
}

// account is one user's folders.
type account struct {
	store       *Store
	inbox, root string

	mu      sync.Mutex // guards folders
	folders map[string]*folder
	tree    sync.Mutex // creation, deletion, renaming
}

// prepare makes the directories.
func (a *account) prepare() error {
	for _, dir := range []string{filepath.Dir(a.inbox), a.root} {
		if dir == "" {
			continue
		}
		d, err := a.store.fs().OpenDir(dir)
		if err == nil {
			_ = d.Close()
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) || a.store.ReadOnly {
			return err
		}
		if err := faultfs.MkdirAll(a.store.fs(), dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// Close implements mailbox.Account. Folders opened from it stay open.
func (a *account) Close() error { return nil }

// forget makes the handles on a folder and its children answer ErrNotFound; "" means all folders.
func (a *account) forget(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, f := range a.folders {
		if name == "" || n == name || strings.HasPrefix(n, name+"/") {
			delete(a.folders, n)
			f.gone.Store(true)
			f.drop()
		}
	}
}

func (s *Store) locks() *locks { return newLocks(s.LockTimeout, s.now) }
