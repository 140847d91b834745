package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Searcher is an optional interface of a Mailbox: it answers searches from an index of its own. It
// returns errors.ErrUnsupported for what it can not answer exactly; the function Search then
// evaluates the criteria itself.
type Searcher interface {
	Search(ctx context.Context, c Criterion) (SearchResult, error)
}

// SearchResult is the answer of Search.
type SearchResult struct {
	UIDs UIDSet
	// ModSeq is the highest mod-sequence of the messages found; 0 when none was (RFC 7162 §3.1.5).
	ModSeq ModSeq
}

// searchWorkers is how many goroutines read messages for one search.
const searchWorkers = 2

// Search finds the messages of a folder that match. Messages are opened only for what their Meta can
// not tell, nor the header fields that were kept of them with a store that is Derived (Subject, From, To, Cc,
// Bcc, Message-ID, In-Reply-To, References, Date: a first search for these reads all headers, later ones only those
// of new messages). They are read no further than needed; two are read at a time, in pieces. A message that can
// not be read makes the search fail: the answer would be wrong. Messages expunged meanwhile are
// passed over. When ctx ends, so does the search, at the next message. The search of a session is KeyAnd of KeyUIDs with View.UIDSet and the client's keys.
func Search(ctx context.Context, m Mailbox, c Criterion) (SearchResult, error) {
	if err := c.check(); err != nil {
		return SearchResult{}, err
	}
	if s, ok := As[Searcher](m); ok {
		res, err := s.Search(ctx, c)
		if !errors.Is(err, errors.ErrUnsupported) {
			return res, err
		}
	}
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return SearchResult{}, err
	}
	now := time.Now()
	q := compileSearch(&c, ch.State, now)
	found, open, err := q.byMeta(ctx, ch)
	if err != nil {
		return SearchResult{}, err
	}
	if !open.Empty() {
		s := &contentSearch{m: m, keeper: newHeaderKeeper(ctx, m), compile: func() *query { return compileSearch(&c, ch.State, now) }}
		if err := s.run(ctx, ch, open, q.keptHeaders); err != nil {
			return SearchResult{}, err
		}
		found = found.Union(s.found.Set())
	}
	return SearchResult{found, highestModSeq(ch, found)}, nil
}

func highestModSeq(ch *Changes, found UIDSet) (high ModSeq) {
	for meta := range ch.Messages {
		if meta.ModSeq > high && found.Contains(meta.UID) {
			high = meta.ModSeq
		}
	}
	return high
}

// byMeta returns the messages that match by their Meta alone, and those that must be opened.
func (q *query) byMeta(ctx context.Context, ch *Changes) (found, open UIDSet, err error) {
	var yes, unknown UIDSetBuilder
	n := 0
	for meta := range ch.Messages {
		if n++; n%searchBlock == 0 && ctx.Err() != nil {
			return nil, nil, ended(ctx)
		}
		q.start(meta)
		switch q.holds() {
		case holdsYes:
			yes.Add(meta.UID)
		case holdsUnknown:
			unknown.Add(meta.UID)
		}
	}
	return yes.Set(), unknown.Set(), nil
}

// searchBlock is how many messages a worker takes at a time.
const searchBlock = 64

// contentSearch is the part of a search that the Metas do not decide.
type contentSearch struct {
	m       Mailbox
	keeper  *headerKeeper
	compile func() *query

	missing UIDSet // messages of which no header is kept, but should be
	mu      sync.Mutex
	found   UIDSetBuilder
}

// run looks at what is kept of the headers, if that is of use, and then into the messages.
func (s *contentSearch) run(ctx context.Context, ch *Changes, uids UIDSet, kept bool) (err error) {
	if kept && s.keeper.derived {
		if uids, err = s.searchKept(ch, uids); err != nil {
			return err
		}
		defer s.keeper.flush()
	}
	return eachBlock(ctx, uids, searchBlock, func(ctx context.Context) func(UIDSet) error {
		q := s.compile()
		return func(block UIDSet) error {
			set, err := s.read(ctx, q, block)
			s.add(set)
			return err
		}
	})
}

func (s *contentSearch) add(found UIDSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.AddSet(found)
}

// searchKept returns the messages that must be opened.
func (s *contentSearch) searchKept(ch *Changes, uids UIDSet) (open UIDSet, err error) {
	var rest UIDSetBuilder
	metas := make([]Meta, 0, uids.Len())
	for meta := range ch.Messages {
		if uids.Contains(meta.UID) {
			metas = append(metas, meta)
		}
	}
	s.missing, err = s.keeper.eachKept(uids, func() (func(UID, []byte), func()) {
		q := s.compile()
		var yes, unknown UIDSetBuilder
		one := func(uid UID, block []byte) {
			i, ok := slices.BinarySearchFunc(metas, uid, func(m Meta, u UID) int { return cmp.Compare(m.UID, u) })
			if !ok {
				return
			}
			q.start(metas[i])
			q.block = block
			switch q.holds() {
			case holdsYes:
				yes.Add(uid)
			case holdsUnknown:
				unknown.Add(uid)
			}
		}
		return one, func() {
			s.add(yes.Set())
			s.mu.Lock()
			defer s.mu.Unlock()
			rest.AddSet(unknown.Set())
		}
	})
	return rest.Set().Union(s.missing), err
}

// chunks cuts a set into sets of at most n UIDs.
func chunks(uids UIDSet, n int) func(func(UIDSet) bool) {
	return func(yield func(UIDSet) bool) {
		var block UIDSet
		left := n
		for _, r := range uids {
			for first := r.First; ; {
				last := min(r.Last, first+UID(left-1))
				if last < first { // beyond MaxUID
					last = r.Last
				}
				block = append(block, UIDRange{first, last})
				if left -= int(last-first) + 1; left == 0 {
					if !yield(block) {
						return
					}
					block, left = nil, n
				}
				if last == r.Last {
					break
				}
				first = last + 1
			}
		}
		if block != nil {
			yield(block)
		}
	}
}

// read opens messages one after the other and returns those that match.
func (s *contentSearch) read(ctx context.Context, q *query, uids UIDSet) (UIDSet, error) {
	var found UIDSetBuilder
	for msg, err := range s.m.Read(ctx, uids) {
		if msg.UID != 0 && errors.Is(err, ErrGone) {
			continue
		}
		if err == nil {
			err = ended(ctx)
		}
		if err != nil {
			return nil, err
		}
		ok, err := q.message(msg)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("search UID %d: %w", msg.UID, err)
		}
		if ok {
			found.Add(msg.UID)
		}
		if q.header != nil && s.missing.Contains(msg.UID) {
			s.keeper.keep(msg.UID, q.header)
		}
	}
	return found.Set(), nil
}
