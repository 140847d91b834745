package mailbox

import (
	"context"
	"errors"
	"fmt"
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
// not tell, and then read no further than needed; two are read at a time, in pieces. A message that can
// not be read makes the search fail: the answer would be wrong. Messages expunged meanwhile are
// passed over. The search of a session is KeyAnd of KeyUIDs with View.UIDSet and the client's keys.
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
	found, open := q.byMeta(ch)
	if !open.Empty() {
		more, err := searchContent(ctx, m, open, func() *query { return compileSearch(&c, ch.State, now) })
		if err != nil {
			return SearchResult{}, err
		}
		found = found.Union(more)
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
func (q *query) byMeta(ch *Changes) (found, open UIDSet) {
	var yes, unknown UIDSetBuilder
	for meta := range ch.Messages {
		q.start(meta)
		switch q.holds() {
		case holdsYes:
			yes.Add(meta.UID)
		case holdsUnknown:
			unknown.Add(meta.UID)
		}
	}
	return yes.Set(), unknown.Set()
}

// searchBlock is how many messages a worker takes at a time.
const searchBlock = 64

// searchContent opens messages, by as many workers as there are.
func searchContent(ctx context.Context, m Mailbox, uids UIDSet, compile func() *query) (found UIDSet, err error) {
	var mu sync.Mutex
	err = eachBlock(ctx, uids, func(ctx context.Context) func(UIDSet) error {
		q := compile()
		return func(block UIDSet) error {
			set, err := q.read(ctx, m, block)
			mu.Lock()
			defer mu.Unlock()
			found = found.Union(set)
			return err
		}
	})
	return found, err
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
func (q *query) read(ctx context.Context, m Mailbox, uids UIDSet) (UIDSet, error) {
	var found UIDSetBuilder
	for msg, err := range m.Read(ctx, uids) {
		if msg.UID != 0 && errors.Is(err, ErrGone) {
			continue
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
	}
	return found.Set(), nil
}
