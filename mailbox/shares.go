package mailbox

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// ShareIndex tells which owners share folders with an identifier, so that a user's listing need not look at
// every account. It holds pairs (identifier, owner), may hold pairs that are out of date (the lists of the
// owner's folders decide), and must not miss one: what is missing is not reachable. It must be safe for
// concurrent use. In SQL it is a table of two columns. See NewShares and OpenShareFiles.
type ShareIndex interface {
	// Owners returns the owners paired with id, in any order, at most limit of them.
	Owners(ctx context.Context, id Identifier, limit int) ([]string, error)
	// Has reports whether a pair is there.
	Has(ctx context.Context, id Identifier, owner string) (bool, error)
	// Add puts a pair in, durably, if it is not there.
	Add(ctx context.Context, id Identifier, owner string) error
	// Remove takes a pair out if it is there.
	Remove(ctx context.Context, id Identifier, owner string) error
}

// NewShares returns a ShareIndex in memory, for stores that die with the process too.
func NewShares() ShareIndex { return &memoryShares{owners: map[Identifier]map[string]struct{}{}} }

type memoryShares struct {
	mu     sync.Mutex
	owners map[Identifier]map[string]struct{}
}

func (s *memoryShares) Owners(ctx context.Context, id Identifier, limit int) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Sorted(maps.Keys(s.owners[id]))
	return all[:min(len(all), limit)], ended(ctx)
}

func (s *memoryShares) Has(ctx context.Context, id Identifier, owner string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.owners[id][owner]
	return ok, ended(ctx)
}

func (s *memoryShares) Add(ctx context.Context, id Identifier, owner string) error {
	if err := ended(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owners[id] == nil {
		s.owners[id] = make(map[string]struct{})
	}
	s.owners[id][owner] = struct{}{}
	return nil
}

func (s *memoryShares) Remove(ctx context.Context, id Identifier, owner string) error {
	if err := ended(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.owners[id], owner); len(s.owners[id]) == 0 {
		delete(s.owners, id)
	}
	return nil
}
