package mailbox

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec/mime"
)

// KeptHeader is a kind of Derived. Search, Sort and Thread open a message once for the fields that they ask for most
// (Subject, From, To, Cc, Bcc, Message-ID, In-Reply-To, References, Date), and keep these with the store.
// The value is a header block of these fields alone, octet for octet and in the order of the message, so that what is read
// from it is what is read from the message.
const KeptHeader = "mailbox.header/1"

// Limits of what is kept.
const (
	// keptHeaderLimit is how many octets of one message are kept; one with more is read each time.
	keptHeaderLimit = 16 << 10
	// keptBatch and keptBatchOctets are how much is handed to the store at once.
	keptBatch       = 1024
	keptBatchOctets = 1 << 20
	// keptBlock is how many messages are asked for at once.
	keptBlock = 2048
)

// keptFields are the fields of KeptHeader. Another list is another version.
var keptFields = [...]string{"Subject", "From", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Date"}

// isKeptField compares as mime.Header does.
func isKeptField(name string) bool {
	return slices.ContainsFunc(keptFields[:], func(f string) bool { return strings.EqualFold(f, name) })
}

// keptHeader returns what is kept of a header, nil when it is too long, or would not read back as it is
// (a field without line end can only be the last).
func keptHeader(h *mime.Header) []byte {
	block := []byte{} // not nil: that a message has none of the fields is worth knowing
	n := 0
	for _, f := range h.All() {
		if !isKeptField(f.Name()) {
			continue
		}
		if len(block)+len(f.Raw()) > keptHeaderLimit {
			return nil
		}
		block = append(block, f.Raw()...)
		n++
	}
	if mime.ParseHeader(block).Len() != n {
		return nil
	}
	return block
}

// headerKeeper collects what was read, and hands it to the store. It is safe for concurrent use.
type headerKeeper struct {
	ctx     context.Context
	m       Mailbox
	derived bool // m keeps anything at all

	mu     sync.Mutex
	batch  map[UID][]byte
	octets int
}

func newHeaderKeeper(ctx context.Context, m Mailbox) *headerKeeper {
	_, ok := As[Derived](m)
	return &headerKeeper{ctx: ctx, m: m, derived: ok}
}

// eachKept hands the headers that are kept to several goroutines, and returns the messages of which nothing
// is. worker gives each goroutine a function for a header, which is valid until it returns, and one that is called after each block of them.
func (k *headerKeeper) eachKept(uids UIDSet, worker func() (one func(UID, []byte), done func())) (missing UIDSet, err error) {
	if !k.derived || uids.Empty() {
		return uids, nil
	}
	var mu sync.Mutex
	var seen UIDSetBuilder
	err = eachBlock(k.ctx, uids, keptBlock, func(ctx context.Context) func(UIDSet) error {
		one, done := worker()
		return func(block UIDSet) error {
			var b UIDSetBuilder
			for uid, value := range DerivedOf(ctx, k.m, KeptHeader, block) {
				if ctx.Err() != nil { // a thousand keys take their time at each message
					break
				}
				one(uid, value)
				b.Add(uid)
			}
			done()
			mu.Lock()
			defer mu.Unlock()
			seen.AddSet(b.Set())
			return ended(ctx)
		}
	})
	return uids.Subtract(seen.Set()), err
}

// keep takes the header of a message of which nothing was kept.
func (k *headerKeeper) keep(uid UID, h *mime.Header) {
	if !k.derived {
		return
	}
	value := keptHeader(h)
	if value == nil {
		return
	}
	k.mu.Lock()
	if k.batch == nil {
		k.batch = make(map[UID][]byte)
	}
	k.batch[uid] = value
	k.octets += len(value)
	full := len(k.batch) >= keptBatch || k.octets >= keptBatchOctets
	k.mu.Unlock()
	if full {
		k.flush()
	}
}

// flush hands over what was collected. It is a cache: an error only costs time, the next time.
func (k *headerKeeper) flush() {
	k.mu.Lock()
	batch := k.batch
	k.batch, k.octets = nil, 0
	k.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	uids := make([]UID, 0, len(batch))
	for u := range batch {
		uids = append(uids, u)
	}
	slices.Sort(uids)
	_ = SetDerived(k.ctx, k.m, KeptHeader, func(yield func(UID, []byte) bool) {
		for _, u := range uids {
			if !yield(u, batch[u]) {
				return
			}
		}
	})
}
