package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// Memory is a Store that keeps everything in memory: the reference for what the interfaces mean, and
// a store for tests and for mail that may die with the process. It has every optional interface but UIDAppender.
// Accounts are made at their first use. The zero value is ready for use; the fields must not be
// changed afterwards. It is safe for concurrent use. What it holds is limited by quotas only.
type Memory struct {
	// Now tells the time; nil means time.Now.
	Now func() time.Time
	// MaxMessageBytes is the largest message. Zero means 50 MiB; negative means no limit. Above it
	// the error is ErrTooLarge.
	MaxMessageBytes int64
	// KeywordLimit is how many keywords a folder can have. Zero means MaxKeywords; negative none.
	KeywordLimit int
	// OctetLimit and MessageLimit are the quota of a new account. Zero means no limit.
	OctetLimit, MessageLimit int64
	// HistoryLimit is how many expunges a folder remembers for Changes. Zero means 1000; negative none.
	HistoryLimit int

	mu       sync.Mutex
	accounts map[string]*memoryAccount
	validity uint32 // the last UIDVALIDITY given
	ids      uint64 // the last message or folder identity given
}

// NewMemory returns an empty store in memory.
func NewMemory() *Memory { return &Memory{} }

const (
	defaultMemoryMessage = 50 << 20
	highValidity         = 4_000_000_000 // Unix time in the year 2096
	defaultMemoryHistory = 1000
)

// Account returns the account of user, made at its first use with an empty INBOX.
func (s *Memory) Account(ctx context.Context, user string) (Account, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	return s.account(user), nil
}

func (s *Memory) account(user string) *memoryAccount {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[user]; a != nil {
		return a
	}
	if s.accounts == nil {
		s.accounts = make(map[string]*memoryAccount)
	}
	a := &memoryAccount{
		store: s, folders: make(map[string]*memoryFolder), subscribed: make(map[string]bool),
		octetLimit: s.OctetLimit, messageLimit: s.MessageLimit,
	}
	a.folders["INBOX"] = s.newFolder(a, "INBOX", "")
	s.accounts[user] = a
	return a
}

// newFolder is called with s.mu held.
func (s *Memory) newFolder(a *memoryAccount, name string, use SpecialUse) *memoryFolder {
	s.validity = max(s.validity+1, uint32(s.now().Unix()))
	s.ids++
	return &memoryFolder{
		account: a, name: name, use: use, id: fmt.Sprintf("F%d", s.ids),
		validity: s.validity, next: 1, modseq: 1,
	}
}

// gave notes a UIDVALIDITY that a folder has taken over: no other gets it. One that the clock will not reach uses up none
// of those below it.
func (s *Memory) gave(validity uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if validity < highValidity {
		s.validity = max(s.validity, validity)
	}
}

func (s *Memory) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// uniqueID returns a new identity for UIDL.
func (s *Memory) uniqueID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return fmt.Sprintf("M%d", s.ids)
}

// receive reads a message to its end, within the limit.
func (s *Memory) receive(ctx context.Context, msg io.Reader) ([]byte, error) {
	limit := s.MaxMessageBytes
	if limit == 0 {
		limit = defaultMemoryMessage
	}
	if limit < 0 {
		limit = math.MaxInt64 - 1
	}
	body, err := io.ReadAll(io.LimitReader(&contextReader{ctx, msg}, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: its limit is %d octets", ErrTooLarge, limit)
	}
	return body, nil
}

// DeliverAll implements MultiDeliverer: all targets share one copy in memory.
func (s *Memory) DeliverAll(ctx context.Context, to []Target, msg io.Reader, o AppendOptions) []error {
	errs := make([]error, len(to))
	body, err := s.receive(ctx, msg)
	if err != nil {
		return fillErrors(errs, err)
	}
	for i, t := range to {
		a := s.account(t.User)
		_, errs[i] = a.insert(t.Folder(), []memoryNew{{body, o}})
	}
	return errs
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := ended(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if errors.Is(err, io.EOF) && r.ctx.Err() != nil {
		return n, context.Cause(r.ctx) // a sender that was cut off is not a whole message
	}
	return n, err
}

// ended returns the cause of a context that has ended, else nil.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
