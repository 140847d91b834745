package mailbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// UsualFolders are what people expect to find in a new account.
func UsualFolders() []Info {
	return []Info{
		{Name: "Drafts", SpecialUse: UseDrafts},
		{Name: "Sent", SpecialUse: UseSent},
		{Name: "Archive", SpecialUse: UseArchive},
		{Name: "Junk", SpecialUse: UseJunk},
		{Name: "Trash", SpecialUse: UseTrash},
	}
}

// WithFolders returns a Store whose new accounts get folders, made and subscribed when the account is
// opened for the first time: an account is new while it has no folder but INBOX. Who deletes one of
// them later does not get it back. A folder whose special use the store can not keep is made without.
// Everything else, optional interfaces included, is s's own.
func WithFolders(s Store, folders ...Info) Store {
	return &folderStore{Store: s, folders: folders, seen: map[string]struct{}{}}
}

type folderStore struct {
	Store
	folders []Info
	mu      sync.Mutex
	seen    map[string]struct{}
}

// maxSeen bounds the memory of accounts that were looked at; a further look costs one listing.
const maxSeen = 100_000

// Unwrap and Passes let every optional interface of the store through.
func (s *folderStore) Unwrap() any { return s.Store }

// Passes implements the protocol of As.
func (s *folderStore) Passes(Capability) bool { return true }

// Account implements Store.
func (s *folderStore) Account(ctx context.Context, user string) (Account, error) {
	a, err := s.Store.Account(ctx, user)
	if err != nil || s.known(user) {
		return a, err
	}
	if err := s.furnish(ctx, a); err != nil {
		_ = a.Close()
		return nil, fmt.Errorf("folders of a new account: %w", err)
	}
	s.remember(user)
	return a, nil
}

func (s *folderStore) known(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[user]
	return ok
}

func (s *folderStore) remember(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) >= maxSeen {
		clear(s.seen)
	}
	s.seen[user] = struct{}{}
}

// furnish makes the folders of an account that has none.
func (s *folderStore) furnish(ctx context.Context, a Account) error {
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return err
		}
		if info.Name != "INBOX" {
			return nil
		}
	}
	for _, f := range s.folders {
		err := a.Create(ctx, f.Name, CreateOptions{SpecialUse: f.SpecialUse})
		if errors.Is(err, ErrCannot) {
			err = a.Create(ctx, f.Name, CreateOptions{})
		}
		if err != nil && !errors.Is(err, ErrExists) { // another session may be doing the same
			return err
		}
		if err := Subscribe(ctx, a, f.Name, true); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}
