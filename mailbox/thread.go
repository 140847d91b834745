package mailbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goniec-mail/goniec/mime"
)

// ThreadNode is a message in a list of threads: each stands before its children (pre-order), so that
// Depth says where it hangs. No recursion is needed to show threads, however deep.
type ThreadNode struct {
	UID   UID // 0: a message that is not there, which only has children (RFC 5256 §4)
	Depth int // 0: the root of a thread
}

// ThreadAlgorithm is an algorithm of THREAD (RFC 5256).
type ThreadAlgorithm string

// The algorithms.
const (
	ThreadOrderedSubject ThreadAlgorithm = "ORDEREDSUBJECT"
	ThreadReferences     ThreadAlgorithm = "REFERENCES"
)

// Thread puts messages into threads. Headers are read; UIDs without message are left out.
func Thread(ctx context.Context, m Mailbox, uids UIDSet, a ThreadAlgorithm) ([]ThreadNode, error) {
	if a != ThreadOrderedSubject && a != ThreadReferences {
		return nil, fmt.Errorf("%w: no algorithm %.40q", ErrCriteria, string(a))
	}
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	var items []*sortItem
	var open UIDSetBuilder
	for meta := range ch.Messages {
		if uids.Contains(meta.UID) {
			items = append(items, &sortItem{meta: meta})
			open.Add(meta.UID)
		}
	}
	nodes := make([]threadMessage, len(items))
	index := make(map[*sortItem]int, len(items))
	for i, item := range items {
		index[item] = i
	}
	err = readItems(ctx, m, open.Set(), items, func(i *sortItem, h *mime.Header) {
		nodes[index[i]] = newThreadMessage(i.meta, h, a)
	})
	if err != nil {
		return nil, err
	}
	nodes = slices.DeleteFunc(nodes, func(n threadMessage) bool { return n.uid == 0 })
	if a == ThreadOrderedSubject {
		return orderedSubject(nodes), nil
	}
	return newThreader(nodes).references(), nil
}

// threadMessage is what threading needs of a message.
type threadMessage struct {
	uid     UID
	sent    time.Time
	subject string // folded base subject
	reply   bool
	id      string
	refs    []string
}

func newThreadMessage(m Meta, h *mime.Header, a ThreadAlgorithm) threadMessage {
	t := threadMessage{uid: m.UID, sent: sentDate(h, m)}
	base, reply := BaseSubject(h.Value("Subject"))
	t.subject, t.reply = foldString(base), reply
	if a == ThreadOrderedSubject {
		return t
	}
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		t.id = ids[0]
	}
	// RFC 5256 §3 step 1: References, else the first valid id of In-Reply-To.
	if t.refs = h.MessageIDs("References"); len(t.refs) == 0 {
		if ids := h.MessageIDs("In-Reply-To"); len(ids) > 0 {
			t.refs = ids[:1]
		}
	}
	return t
}

func compareSent(a, b threadMessage) int {
	return cmp.Or(a.sent.Compare(b.sent), cmp.Compare(a.uid, b.uid))
}

// orderedSubject is RFC 5256 §3 "ORDEREDSUBJECT": sorted by subject and date; those with one subject
// are a thread, the first its root and the others its children; threads are sorted by the date of
// their roots.
func orderedSubject(nodes []threadMessage) []ThreadNode {
	slices.SortFunc(nodes, compareSent)
	roots := make(map[string]int) // subject -> index into threads
	var threads [][]ThreadNode
	for _, n := range nodes { // by date: each thread begins with its first message, and so does the list
		at, ok := roots[n.subject]
		if !ok {
			roots[n.subject] = len(threads)
			threads = append(threads, []ThreadNode{{n.uid, 0}})
			continue
		}
		threads[at] = append(threads[at], ThreadNode{n.uid, 1})
	}
	return slices.Concat(threads...)
}
