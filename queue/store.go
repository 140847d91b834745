package queue

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/goniec-mail/goniec"
)

// ID names a queued message: the Envelope's ID where that is free and fits the store, so that one
// word finds a mail in every log.
type ID string

// Store keeps messages and what is known of them. A message has jobs, one for each group of
// recipients that go to one destination together; a job is claimed by a worker (a Lease), tried,
// and settled. The interface allows several processes to share a store, through leases that end;
// the file store belongs to one process.
//
// All methods are safe for concurrent use. Durable means: it survives a power cut after the
// method returned nil. queuetest.TestStore says what a Store must do.
type Store interface {
	// Put stores a message durably and returns its ID. Concurrent Puts share their flushes. When
	// the message has a Key that the store remembers, nothing is stored and the old ID comes back with ErrKnown.
	// An error of m.Body is returned as it is and leaves nothing behind. ErrFull: no space.
	Put(ctx context.Context, m Message) (ID, error)

	// Due yields each destination with jobs that are due at now and free, then one more whose
	// job comes due next (Earliest is after now), if there is one.
	Due(ctx context.Context, now time.Time) iter.Seq2[Dest, error]

	// Claim leases free jobs to a worker. Unless the request is for aged jobs, the attempt is
	// recorded before Claim returns, so that a message that kills the process is found out;
	// that record need not be durable. A job whose data are damaged becomes corrupt instead.
	Claim(ctx context.Context, r ClaimRequest) ([]Lease, error)

	// Extend gives a lease more time, counted from now; none or less gives the job back as it was.
	// ErrLeaseLost: it has ended.
	Extend(ctx context.Context, l Lease, ttl time.Duration) error

	// Settle ends a lease: what became of the job, and new messages (reports), in one durable
	// commit. ErrLeaseLost, and nothing is stored, if the lease has ended or the message is gone. After any other
	// error the lease is still held, and Settle may be tried again.
	Settle(ctx context.Context, l Lease, s Settlement) error

	// Open returns the body of a message. ErrNotFound, ErrCorrupt. The caller closes it.
	Open(ctx context.Context, id ID) (Body, error)

	// Entries yields the messages that pass the filter, in no certain order. Messages that come or
	// go meanwhile may be missed.
	Entries(ctx context.Context, f Filter) iter.Seq2[Entry, error]

	// Update changes a message durably. ErrNotFound. A removal ends its leases; other changes
	// leave jobs alone that are leased. Reroute of a message with leases: ErrBusy.
	Update(ctx context.Context, id ID, c Change) error

	// Wake receives a value some time after jobs may have become due by other means than time.
	Wake() <-chan struct{}
}

// Errors of a Store, found by errors.Is.
var (
	ErrNotFound  = errors.New("no such message in the queue")
	ErrLeaseLost = errors.New("lease has ended")
	ErrFull      = errors.New("no space for the queue")
	ErrCorrupt   = errors.New("message is damaged on disk")
	ErrClosed    = errors.New("queue is closed")
	ErrBusy      = errors.New("message is being delivered")
	ErrKnown     = errors.New("a message with that key came before")
)

// Body is the message as it was put, in network form.
type Body interface {
	goniec.Content
	io.Closer
}

// Kind says who made a message: whether its failure may be reported.
type Kind uint8

// Kinds of messages.
const (
	KindMail   Kind = iota // came from outside
	KindReport             // a delivery status notification of ours
	KindNotice             // a notice to postmaster of ours
)

// Message is what Put takes.
type Message struct {
	Envelope *goniec.Envelope
	Groups   []Group   // every recipient is in exactly one; see GroupBy
	Body     io.Reader // read once, to its end

	Key   string    // idempotency key; "" = none
	Kind  Kind      // zero = mail
	Since time.Time // its age counts from here
	Due   time.Time // no attempt before; zero = at once
	Hold  bool      // held from the start
}

// Group is a set of recipients, as indices of Envelope.To, that go to one destination together.
type Group struct {
	Dest  string
	Rcpts []int
}

// bulkJobs is how many jobs make a message a mailing, which must not hold up single mails.
const bulkJobs = 10

// GroupBy makes groups of recipients with the same destination, in the order of their first
// recipients, each of at most limit recipients.
func GroupBy(dests []string, limit int) []Group {
	var groups []Group
	open := make(map[string]int, 1)
	for i, d := range dests {
		g, ok := open[d]
		if !ok || len(groups[g].Rcpts) >= limit {
			g = len(groups)
			open[d] = g
			groups = append(groups, Group{Dest: d})
		}
		groups[g].Rcpts = append(groups[g].Rcpts, i)
	}
	return groups
}

// Dest is a destination with jobs.
type Dest struct {
	Name     string
	Jobs     int       // due and free; 0 if Earliest is still to come
	Bulk     bool      // all of them belong to mailings of many jobs
	Earliest time.Time // when the first came, or comes, due
}

// ClaimRequest says which jobs to lease. Exactly one of Dest, ID, ArrivedBefore and
// DeadlineBefore chooses.
type ClaimRequest struct {
	// Now is the time by which jobs are due.
	Now time.Time
	// Dest asks for due jobs of a destination: the most urgent first (due time, five minutes
	// earlier for each step of Priority), single mails and mailings in turn.
	Dest string
	// Single leaves the mailings out: with Dest only.
	Single bool
	// ID asks for all free jobs of one message, due or not, held ones too.
	ID ID
	// ArrivedBefore asks for free jobs, due or not, whose Since is before it; with Unnoticed only
	// those for which no delay was reported. Held and corrupt jobs are never aged.
	ArrivedBefore time.Time
	Unnoticed     bool
	// DeadlineBefore asks for free jobs, due or not, whose Envelope.DeliverBy is before it; of those that are not
	// to be returned then (mode N), only the ones for which no delay was reported.
	DeadlineBefore time.Time

	Max    int           // at most so many; 0 = 1
	TTL    time.Duration // how long the leases last; 0 = 15 minutes
	Worker string        // who asks, for people
}

// aged reports whether the jobs are claimed for their age: no attempt is made, or only the last.
func (r *ClaimRequest) aged() bool { return !r.ArrivedBefore.IsZero() || !r.DeadlineBefore.IsZero() }

// Lease is a claimed job.
type Lease struct {
	ID    ID
	Group int    // number of the group in the message
	Token uint64 // tells leases of one job apart

	Dest     string
	Rcpts    []int            // recipients still open, as indices of Envelope.To
	Envelope *goniec.Envelope // the whole one, as it was put; may be shared, so never changed
	Size     int64            // of the body
	Kind     Kind
	Since    time.Time
	Due      time.Time
	Attempts int  // before this one
	Noticed  bool // a delay was reported
	Bulk     bool // one of many jobs of its message
	// Deaths is how often the process died during an attempt at this message, the last ones in a row.
	Deaths int
	// Reasons are the last replies for Rcpts; nil if there was no attempt.
	Reasons []string
}

// Settlement is the end of a lease.
type Settlement struct {
	Open      []int     // recipients that stay open, a subset of Lease.Rcpts; empty ends the job
	Reasons   []string  // why, one for each of Open
	Due       time.Time // when Open are tried again
	Attempted bool      // counts as an attempt
	Noticed   bool      // a delay has been reported
	Hold      bool      // the job is held from now on
	New       []Message // reports; stored with the rest or not at all
}

// State is the state of a job; see the table in the package comment.
type State uint8

// States of a job.
const (
	StateIncoming State = iota // not tried yet
	StateActive                // leased
	StateDeferred              // tried, and to be tried again
	StateHold                  // waits for a release
	StateCorrupt               // its data are damaged, or it killed the process again and again
)

// String returns the state as in listings: "incoming", …
func (s State) String() string {
	return [...]string{"incoming", "active", "deferred", "hold", "corrupt"}[min(s, StateCorrupt)]
}

// Entry is a message as inspection shows it.
type Entry struct {
	ID       ID
	Envelope *goniec.Envelope // nil if it can not be read any more
	Size     int64            // of the body
	Kind     Kind
	Since    time.Time
	Jobs     []Job // those not yet done
}

// State returns the most lively state of the jobs: a message with a job under way is active.
func (e *Entry) State() State {
	s := StateCorrupt
	for _, rank := range [...]State{StateHold, StateDeferred, StateIncoming, StateActive} {
		for _, j := range e.Jobs {
			if j.State == rank {
				s = rank
			}
		}
	}
	return s
}

// Job is a group of recipients as inspection shows it.
type Job struct {
	Group    int
	Dest     string
	Rcpts    []int    // still open
	Reasons  []string `json:",omitempty"`
	State    State
	Attempts int
	Due      time.Time
	Noticed  bool
}

// Filter chooses messages. Zero fields choose all.
type Filter struct {
	ID    ID
	Dest  string  // messages with an open job for it
	State []State // messages with a job in one of these states
	// Brief leaves out what has to be read from disk: Envelope, Size, Kind and Reasons.
	Brief bool
}

// Change is a change of a message.
type Change struct {
	Op     ChangeOp
	Due    time.Time // for Retry and Reroute; zero = now
	Groups []Group   // for Reroute
}

// ChangeOp is a kind of change.
type ChangeOp uint8

// Kinds of changes.
const (
	Hold    ChangeOp = iota + 1 // no attempts until Release
	Release                     // ends Hold and Corrupt; the message's deaths are forgotten
	Retry                       // open jobs come due at Due
	Remove                      // the message is gone, without report
	Reroute                     // open recipients get new groups, as from now on Route says; attempts start at zero
)
