package mailbox

import (
	"context"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
)

// Source is the least that somebody writes to show a database as mail: FromSource makes a Store of
// it. It must be safe for concurrent use. A Source may also be a SourceAppender and a SourceDeleter.
type Source interface {
	// Folders yields a user's folders. INBOX need not be among them: it is empty then.
	Folders(ctx context.Context, user string) iter.Seq2[Info, error]
	// List yields what is in a folder, in any order; new items get their UIDs in the order of the list.
	List(ctx context.Context, user, folder string) iter.Seq2[Item, error]
	// Read gives an item's content, in network form: a whole message with its header. When the
	// Content is an io.Closer it is closed after use. ErrNotFound when the item is gone.
	Read(ctx context.Context, user, folder, key string) (goniec.Content, error)
	// SetFlags replaces an item's flags. ErrReadOnly is fine; ErrNotFound when the item is gone.
	SetFlags(ctx context.Context, user, folder, key string, f FlagList) error
	// Notify gives a channel that says when something may have changed, until ctx ends. nil: the
	// Source is polled.
	Notify(ctx context.Context, user string) <-chan struct{}
}

// Item is a message in a Source's list.
type Item struct {
	// Key names the item in its folder: it stays while the item exists and its content is the same,
	// and is not used for another one. It may have any octets.
	Key   string
	Date  time.Time // INTERNALDATE; zero = none
	Size  int64     // octets of the content; -1 = not known without reading
	Flags FlagList  // keywords that IMAP can not show are passed over
}

// SourceAppender is a Source to which messages can be added.
type SourceAppender interface {
	// AppendItem stores a message durably and returns its key.
	AppendItem(ctx context.Context, user, folder string, msg io.Reader, o AppendOptions) (key string, err error)
}

// SourceDeleter is a Source from which items can be removed.
type SourceDeleter interface {
	// DeleteItems removes items, durably, all or none of them. Those that are gone already are passed over.
	DeleteItems(ctx context.Context, user, folder string, keys []string) error
}

// SourceState keeps the UIDs of a SourceStore's folders, so that they survive a restart: a file or a
// database row for each folder. It must be safe for concurrent use.
type SourceState interface {
	// LoadState returns what SaveState was given last; nil when there is nothing.
	LoadState(ctx context.Context, user, folder string) ([]byte, error)
	// SaveState keeps the state of a folder, durably and as a whole: UIDs are shown only afterwards.
	SaveState(ctx context.Context, user, folder string, state []byte) error
}

// SourceStore is a Store over a Source. It gives items stable UIDs and mod-sequences by comparing the
// Source's list with the one before. A folder's list (48 octets and the key for each item) stays in
// memory once it was opened. What it can not do: make, delete and rename folders (ErrCannot). The
// fields must not be changed after first use. It is safe for concurrent use.
type SourceStore struct {
	Source Source
	// ReadOnly refuses every change without asking the Source.
	ReadOnly bool
	// State keeps UIDs over restarts. nil: each folder gets a new UIDVALIDITY when the program
	// starts, and clients load their mail again.
	State SourceState
	// MaxAge is how old a list may be: Changes asks the Source again when it is older, or Notify said
	// so. Zero means a second; negative asks every time.
	MaxAge time.Duration
	// Now tells the time; nil means time.Now.
	Now func() time.Time

	mu       sync.Mutex
	folders  map[sourceName]*sourceFolder
	watches  map[string]*sourceWatch // by user
	validity uint32
}

// FromSource makes a Store of a Source.
func FromSource(s Source) *SourceStore { return &SourceStore{Source: s} }

const defaultSourceAge = time.Second

type sourceName struct{ user, folder string }

// Account implements Store. The Source is not asked whether it knows the user.
func (s *SourceStore) Account(ctx context.Context, user string) (Account, error) {
	return &sourceAccount{s, user}, ended(ctx)
}

func (s *SourceStore) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *SourceStore) stale(read time.Time) bool {
	switch {
	case s.MaxAge < 0 || read.IsZero():
		return true
	case s.MaxAge == 0:
		return s.now().Sub(read) > defaultSourceAge
	}
	return s.now().Sub(read) > s.MaxAge
}

// newValidity returns a UIDVALIDITY above all before, also those of earlier runs.
func (s *SourceStore) newValidity() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.validity = max(s.validity+1, uint32(s.now().Unix()))
	return s.validity
}

func (s *SourceStore) folder(user, name string) *sourceFolder {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sourceName{user, name}
	if f := s.folders[key]; f != nil {
		return f
	}
	if s.folders == nil {
		s.folders = make(map[sourceName]*sourceFolder)
	}
	f := &sourceFolder{store: s, sourceName: key, turn: make(chan struct{}, 1)}
	s.folders[key] = f
	return f
}

type sourceAccount struct {
	s    *SourceStore
	user string
}

func (a *sourceAccount) Close() error { return nil }

func (a *sourceAccount) Mailboxes(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := ended(ctx); err != nil {
			yield(Info{}, err)
			return
		}
		seen := make(map[string]bool)
		for info, err := range a.s.Source.Folders(ctx, a.user) {
			if err != nil {
				yield(Info{}, err)
				return
			}
			info.Name = CanonicalName(info.Name)
			if seen[info.Name] || CheckName(info.Name) != nil {
				continue // a name that no protocol can carry
			}
			seen[info.Name] = true
			if !yield(info, nil) {
				return
			}
		}
		if !seen["INBOX"] {
			yield(Info{Name: "INBOX"}, nil)
		}
	}
}

func (a *sourceAccount) Open(ctx context.Context, name string) (Mailbox, error) {
	name = CanonicalName(name)
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		if info.Name == name && !info.NoSelect {
			return &sourceMailbox{a.s.folder(a.user, name), info.ID}, nil
		}
	}
	return nil, ErrNotFound
}

func (a *sourceAccount) Create(ctx context.Context, name string, _ CreateOptions) error {
	return a.refuse(ctx, name, ErrExists)
}

func (a *sourceAccount) Delete(ctx context.Context, _ string) error {
	return a.refuse(ctx, "", nil)
}

func (a *sourceAccount) Rename(ctx context.Context, _, _ string) error {
	return a.refuse(ctx, "", nil)
}

// refuse says why a folder can not be made or changed: exists when there is one of the name.
func (a *sourceAccount) refuse(ctx context.Context, name string, exists error) error {
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return err
		}
		if exists != nil && info.Name == CanonicalName(name) {
			return exists
		}
	}
	return ErrCannot
}
