package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec"
)

// Queue is a goniec.Deliverer that stores each message durably and later hands it to another
// Deliverer, again and again until every recipient has an outcome. Store and Deliverer are
// required; everything else has a usable zero. Set the fields before use; the methods are safe for
// concurrent use.
//
// Deliver may be called at any time; deliveries are made while Run runs.
type Queue struct {
	// Store keeps the messages. The Queue does not close it.
	Store Store
	// Deliverer takes messages out of the queue. It gets the envelope with those recipients only
	// that go to one destination together, and the message as a Content. What its errors mean is
	// said in the package comment.
	Deliverer goniec.Deliverer

	// Route names the destination of a recipient: what shares a connection, a concurrency window
	// and a fate. It must be quick and not ask the network. nil: the domain; "local" for an
	// address without one.
	Route func(to *goniec.Recipient) string
	// Verifier is asked by VerifyRcpt. nil: Deliverer if it is a goniec.RcptVerifier, else nobody
	// is accepted.
	Verifier goniec.RcptVerifier

	MaxActive int // deliveries at a time; 0 = 100
	Window    int // deliveries at a time with which a destination starts; 0 = 2
	MaxWindow int // to which the window grows; 0 = 20
	MaxRcpts  int // recipients handed over together; 0 = 100

	// Rate is how many deliveries begin in a second, over all and for each destination. 0 = no limit.
	Rate, DestRate float64
	// Limits gives a destination limits of its own: a local store bears more from the start than a
	// stranger's server. It must be quick. nil: all have those above.
	Limits func(dest string) Limits

	// MinBackoff is the time to the second attempt, which doubles with each further one up to
	// MaxBackoff. 0 = 300 s and 4000 s. Jitter is the part by which it varies at random; 0 = 0.2,
	// negative = none. A destination that does not answer is left alone for the same times.
	MinBackoff, MaxBackoff time.Duration
	Jitter                 float64

	// ExpireAfter is how long a message is tried, from its arrival or the end of its HoldUntil.
	// 0 = 5 days. The last attempt is made at that time.
	ExpireAfter time.Duration
	// DelayAfter is when the sender is told of a delay. 0 = 4 hours, negative = never.
	DelayAfter time.Duration
	// AttemptTimeout is the longest that one attempt may take. 0 = 1 hour, negative = no limit.
	AttemptTimeout time.Duration

	// Hostname is the name under which reports are made. "" = os.Hostname.
	Hostname string
	// Postmaster gets notices of bounces that can not be delivered. Zero: they are only logged.
	Postmaster goniec.Address
	// Notices says of what else Postmaster is told: see Notice. Zero = nothing.
	Notices Notices
	// MaxReturn is the largest message of which more than the header is returned in a report, in
	// octets. 0 = 50 KiB, negative = never more than the header.
	MaxReturn int64
	// ReportText writes the part of a report that people read. nil = ReportText.
	ReportText func(r *Report) string

	// Event is told what happens, one call at a time for each message but not over all. It should
	// return soon. nil = nobody is told.
	Event func(Event)
	// History keeps events for Past, when the message may be long gone. nil = nothing is kept. The Queue does not
	// close it.
	History History
	// Now is the wall clock, for dates that are shown and kept. Intervals are measured by the
	// monotonic clock, so that a jump of the wall clock changes nothing while the Queue runs.
	// nil = time.Now.
	Now func() time.Time
	// Logger gets one line for each outcome. nil = silent.
	Logger *slog.Logger

	once   sync.Once
	o      settled
	sched  scheduler
	panics atomic.Int64
	notes  noticeState
}

// settled are the settings with their defaults.
type settled struct {
	logger               *slog.Logger
	route                func(*goniec.Recipient) string
	active, window, most int
	rcpts                int
	minBack, maxBack     time.Duration
	jitter               float64
	expire, delay        time.Duration
	timeout              time.Duration
	host                 string
	maxReturn            int64
	text                 func(*Report) string
	base, start          time.Time // wall time and monotonic time of the beginning
}

func or[T int | int64 | float64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// init settles the settings, at the first use.
func (q *Queue) init() {
	q.once.Do(func() {
		o := &q.o
		if o.logger = q.Logger; o.logger == nil {
			o.logger = slog.New(slog.DiscardHandler)
		}
		if o.route = q.Route; o.route == nil {
			o.route = domainRoute
		}
		o.active, o.window, o.most, o.rcpts = or(q.MaxActive, 100), or(q.Window, 2), or(q.MaxWindow, 20), or(q.MaxRcpts, 100)
		o.most = max(o.most, o.window)
		o.minBack, o.maxBack, o.jitter = or(q.MinBackoff, 300*time.Second), or(q.MaxBackoff, 4000*time.Second), max(or(q.Jitter, 0.2), 0)
		o.maxBack = max(o.maxBack, o.minBack)
		o.expire, o.delay, o.timeout = or(q.ExpireAfter, 5*24*time.Hour), or(q.DelayAfter, 4*time.Hour), or(q.AttemptTimeout, time.Hour)
		if o.host = q.Hostname; o.host == "" {
			o.host = hostname()
		}
		o.maxReturn = or(q.MaxReturn, 50<<10)
		if o.text = q.ReportText; o.text == nil {
			o.text = ReportText
		}
		o.start = time.Now()
		o.base = q.wall()
		// A clock that went back while we were away must not make mail younger.
		if s, ok := q.Store.(interface{ Time() time.Time }); ok && s.Time().After(o.base) {
			o.base = s.Time()
		}
		q.sched.init(q.limitsOf)
	})
}

func hostname() string {
	if h, err := os.Hostname(); err == nil && h != "" {
		return h
	}
	return "localhost"
}

// domainRoute is the Route of those who set none.
func domainRoute(to *goniec.Recipient) string {
	if d := to.Address.ASCIIDomain(); d != "" {
		return d
	}
	return "local"
}

// wall is the time that people see.
func (q *Queue) wall() time.Time {
	if q.Now != nil {
		return q.Now()
	}
	return time.Now()
}

// now is the queue's own time: it starts at the wall clock's and runs evenly.
func (q *Queue) now() time.Time { return q.o.base.Add(time.Since(q.o.start)) }

// Deliver implements goniec.Deliverer: when it returns nil, the message is durable.
func (q *Queue) Deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	_, err := q.Enqueue(ctx, env, msg, Options{})
	return err
}

// Options are what Enqueue offers beside the envelope.
type Options struct {
	// Key makes a repeated Enqueue harmless: while the Store remembers the key, the ID of the first
	// message comes back and nothing is sent. "" = none.
	Key string
	// Hold keeps the message until it is released.
	Hold bool
	// Repeated, if it is not nil, is set to whether Enqueue met a Key that was known, so that nothing was queued.
	Repeated *bool `json:"-"`
}

// Enqueue is Deliver for programs: it returns the ID. Errors are as for goniec.Deliverer: 553 5.1.3 or 554 5.5.1 without recipients, 452 4.3.1 when
// there is no space, 451 4.3.2 when the Queue is closed; an error of msg as it is. A repetition (see Options.Key) is no error, and no event.
func (q *Queue) Enqueue(ctx context.Context, env *goniec.Envelope, msg io.Reader, o Options) (ID, error) {
	q.init()
	if o.Repeated != nil {
		*o.Repeated = false
	}
	if q.sched.closing() {
		return "", goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 2}, "the queue is closed").WithCause(ErrClosed)
	}
	if err := checkRcpts(env); err != nil {
		return "", err
	}
	m := Message{Envelope: env, Groups: q.groups(env, nil), Body: msg, Key: o.Key, Hold: o.Hold, Since: q.now()}
	if env.HoldUntil.After(m.Since) {
		m.Since = env.HoldUntil.Add(time.Second - 1).Truncate(time.Second) // RFC 4865: time held does not count; stores keep seconds
		m.Due = m.Since
	}
	id, err := q.Store.Put(ctx, m)
	switch {
	case errors.Is(err, ErrKnown):
		if o.Repeated != nil {
			*o.Repeated = true
		}
		q.o.logger.Info("queued before", "id", string(id), "from", env.From.String())
		return id, nil
	case errors.Is(err, ErrFull):
		q.Notice(NoticeResource, "mail is refused: "+err.Error())
		return "", goniec.NewStatus(452, goniec.EnhancedCode{4, 3, 1}, "insufficient system storage").WithCause(err)
	case errors.Is(err, ErrClosed):
		return "", goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 2}, "the queue is closed").WithCause(err)
	case err != nil:
		return "", err
	}
	q.announce(id, &m)
	return id, nil
}

// checkRcpts refuses what nobody could deliver, and no store could read again.
func checkRcpts(env *goniec.Envelope) error {
	if len(env.To) == 0 {
		return goniec.NewStatus(554, goniec.EnhancedCode{5, 5, 1}, "no recipients")
	}
	for i := range env.To {
		if env.To[i].Address.IsZero() {
			return goniec.NewStatus(553, goniec.EnhancedCode{5, 1, 3}, "a recipient has no address")
		}
	}
	return nil
}

// announce tells the scheduler and the log of a new message.
func (q *Queue) announce(id ID, m *Message) {
	if m.Due.IsZero() && !m.Hold {
		for _, g := range m.Groups {
			q.sched.mark(g.Dest, len(m.Groups) > bulkJobs)
		}
	}
	q.sched.poke()
	q.o.logger.Info("queued", "id", string(id), "from", m.Envelope.From.String(), "rcpts", len(m.Envelope.To))
	q.event(Event{Kind: Queued, ID: id, From: m.Envelope.From})
}

// groups routes recipients; only those given, if any.
func (q *Queue) groups(env *goniec.Envelope, only []int) []Group {
	if only == nil {
		only = make([]int, len(env.To))
		for i := range only {
			only[i] = i
		}
	}
	dests := make([]string, len(only))
	for i, r := range only {
		dests[i] = q.o.route(&env.To[r])
	}
	groups := GroupBy(dests, q.o.rcpts)
	for _, g := range groups {
		for i, k := range g.Rcpts {
			g.Rcpts[i] = only[k]
		}
	}
	return groups
}

// VerifyRcpt implements goniec.RcptVerifier by asking Verifier or the Deliverer behind the queue.
func (q *Queue) VerifyRcpt(ctx context.Context, env *goniec.Envelope, to *goniec.Recipient) error {
	v := q.Verifier
	if v == nil {
		v, _ = q.Deliverer.(goniec.RcptVerifier)
	}
	if v == nil {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "relaying denied")
	}
	return v.VerifyRcpt(ctx, env, to)
}

// Promises are the lines of an EHLO reply for promises that a Queue keeps, but that are for submission servers,
// not for strangers (see smtp.Offer): DELIVERBY with the shortest time for mode R, and MT-PRIORITY. It keeps
// FUTURERELEASE too, whose limits smtp.FutureRelease announces.
func Promises() []string {
	return []string{"DELIVERBY " + strconv.Itoa(int(sweepEvery/time.Second)), "MT-PRIORITY"}
}

// Extensions names the ESMTP extensions whose promises the Queue keeps: smtp.Receiver asks. REQUIRETLS and
// others that need the next hop are up to the Deliverer, which is asked too.
func (q *Queue) Extensions() []string {
	ext := []string{"DSN"}
	if p, ok := q.Deliverer.(interface{ Extensions() []string }); ok {
		for _, e := range p.Extensions() {
			if e != "DSN" {
				ext = append(ext, e)
			}
		}
	}
	return ext
}

// Panics tells how many panics of Deliverer, Route, Event and ReportText were survived.
func (q *Queue) Panics() int64 { return q.panics.Load() }

// guard runs a function of somebody else; a panic becomes an error. kind is that of the message in hand: of a panic over a notice there
// is no notice, which would only bring the next one.
func (q *Queue) guard(what string, kind Kind, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			q.panics.Add(1)
			if kind != KindNotice {
				q.Notice(NoticeSoftware, fmt.Sprintf("panic in %s: %v", what, p))
			}
			q.o.logger.Error("panic", "in", what, "panic", p, "stack", string(debug.Stack()))
			err = &panicError{what, p}
		}
	}()
	return f()
}

// panicError is what a panic of a callback becomes: an unknown, hence temporary, error.
type panicError struct {
	what  string
	value any
}

func (e *panicError) Error() string { return "panic in " + e.what }
