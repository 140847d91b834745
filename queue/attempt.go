package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mime"
)

// Why a lease is settled without an attempt.
const (
	expiredText = "delivery time expired"
	delayedText = "delivery is delayed"
	overdueText = "not delivered in the time that the sender set"
)

// outcome is what became of one recipient.
type outcome struct {
	rcpt   int // index in Envelope.To
	to     *goniec.Recipient
	kind   EventKind // Delivered, Deferred, Failed, Expired
	err    error
	reason string  // for people; public \n private
	info   Success // of Delivered
}

// attempt tries a lease and settles it. With why it is not tried: given up, or reported as delayed. It has reported the error, which
// says that there is no outcome, or none on record.
func (q *Queue) attempt(ctx context.Context, l *Lease, why string) (verdict, error) {
	a := &attempt{q: q, l: l, why: why, now: q.now()}
	body, err := q.Store.Open(ctx, l.ID)
	if err != nil {
		q.o.logger.Error("queue: message can not be opened", "id", string(l.ID), "err", err)
		return verdict{}, errors.Join(err, a.postpone(ctx))
	}
	defer body.Close()
	switch why {
	case expiredText:
		a.giveUp()
	case delayedText:
		a.keep()
	default:
		a.try(ctx, body)
	}
	if a.cancelled && a.undecided() {
		return verdict{}, a.postpone(ctx)
	}
	return a.verdict, a.settle(ctx, body)
}

// attempt is one attempt at a lease.
type attempt struct {
	q         *Queue
	l         *Lease
	why       string
	now       time.Time
	outcomes  []outcome
	verdict   verdict
	cancelled bool // we stopped; failures mean nothing
	toldDelay bool // there is a report of a delay
	due       time.Time
}

// try hands the message to the Deliverer.
func (a *attempt) try(ctx context.Context, body Body) {
	l := a.l
	env := new(goniec.Envelope)
	*env = *l.Envelope // a mailing shares it among its jobs: nothing that it refers to is changed
	env.To = make([]goniec.Recipient, 0, len(l.Rcpts))
	for _, r := range l.Rcpts {
		env.To = append(env.To, l.Envelope.To[r])
	}
	env.ID = string(l.ID) // as in listing and log; the Envelope's own may be anything, where it was not free or did not fit
	tryCtx, cancel := ctx, context.CancelFunc(func() {})
	if a.q.o.timeout > 0 {
		tryCtx, cancel = context.WithTimeout(ctx, a.q.o.timeout)
	}
	defer cancel()
	done := &successes{}
	err := a.q.guard("Deliverer", l.Kind, func() error {
		return a.q.Deliverer.Deliver(context.WithValue(tryCtx, successKey{}, done), env, goniec.NewReader(body))
	})
	a.cancelled = ctx.Err() != nil && err != nil
	a.verdict = judge(err)
	for i, e := range goniec.Outcomes(err, len(l.Rcpts)) {
		a.add(l.Rcpts[i], e, done.of(env.To[i].Address))
	}
}

// add classifies one recipient's result.
func (a *attempt) add(rcpt int, err error, info Success) {
	o := outcome{rcpt: rcpt, to: &a.l.Envelope.To[rcpt], err: err, info: info, kind: Delivered}
	if err != nil {
		o.reason = reasonOf(err)
		switch {
		case goniec.Permanent(err):
			o.kind = Failed
		case !a.now.Before(a.expiry()):
			o.kind = Expired
		default:
			o.kind = Deferred
		}
	}
	a.outcomes = append(a.outcomes, o)
}

// giveUp makes outcomes for a message that is not tried any more.
func (a *attempt) giveUp() { a.fromReasons(Expired) }

// keep makes outcomes for a message that is only reported as delayed.
func (a *attempt) keep() { a.fromReasons(Deferred) }

func (a *attempt) fromReasons(kind EventKind) {
	for i, r := range a.l.Rcpts {
		o := outcome{rcpt: r, to: &a.l.Envelope.To[r], kind: kind}
		if i < len(a.l.Reasons) {
			o.reason = a.l.Reasons[i]
		}
		a.outcomes = append(a.outcomes, o)
	}
}

// expiry is when the message is given up.
func (a *attempt) expiry() time.Time {
	at := a.l.Since.Add(a.q.o.expire)
	// RFC 2852 §4.1.4: by-mode R returns the message when its time is over.
	if by := a.l.Envelope.DeliverBy; by != nil && by.Return && by.Deadline.Before(at) {
		at = by.Deadline
	}
	return at
}

// undecided reports whether no recipient has an outcome that counts although the attempt was cut.
func (a *attempt) undecided() bool {
	for _, o := range a.outcomes {
		if o.kind == Delivered || o.kind == Failed {
			return false
		}
	}
	return true
}

// postpone gives the job back as it was; the store tells a cancelled attempt from a death.
func (a *attempt) postpone(ctx context.Context) error {
	l := a.l
	due := l.Due
	if !a.cancelled {
		due = a.now.Add(a.q.backoff(1)) // its data could not be read
	}
	return a.commit(ctx, Settlement{Open: l.Rcpts, Reasons: l.Reasons, Due: due, Noticed: l.Noticed})
}

// settle records the outcomes, with the reports that they cause, in one commit; then tells.
func (a *attempt) settle(ctx context.Context, body Body) error {
	st := Settlement{Attempted: a.why == "", Noticed: a.l.Noticed}
	for _, o := range a.outcomes {
		if o.kind == Deferred {
			st.Open = append(st.Open, o.rcpt)
			st.Reasons = append(st.Reasons, o.reason)
		}
	}
	if a.why == delayedText {
		a.due = a.l.Due
	} else {
		a.due = a.nextTry()
	}
	st.Due = a.due
	late := len(st.Open) > 0 && !a.l.Noticed && a.isLate()
	st.Noticed = st.Noticed || late
	st.New = a.reports(body, late)
	if err := a.commit(ctx, st); err != nil {
		return err
	}
	a.tell()
	for i := range st.New {
		m := &st.New[i]
		for _, g := range m.Groups {
			a.q.sched.mark(g.Dest, false)
		}
		a.q.event(Event{Kind: Reported, ID: a.l.ID, From: a.l.Envelope.From, kind: a.l.Kind})
	}
	if a.toldDelay && a.l.Kind == KindMail {
		a.q.Notice(NoticeDelay, fmt.Sprintf("%s from %s for %s is delayed", a.l.ID, a.l.Envelope.From.Path(), oneLine(a.l.Dest)))
	}
	if a.toldDelay {
		a.q.event(Event{Kind: Delayed, ID: a.l.ID, From: a.l.Envelope.From, Dest: a.l.Dest, kind: a.l.Kind})
	}
	return nil
}

// isLate reports whether the sender is owed a report of the delay.
func (a *attempt) isLate() bool {
	if a.q.o.delay > 0 && !a.now.Before(a.l.Since.Add(a.q.o.delay)) {
		return true
	}
	by := a.l.Envelope.DeliverBy
	return by != nil && !by.Return && !a.now.Before(by.Deadline)
}

// nextTry is when the deferred recipients are tried again: the last time when the message expires, and once when the
// sender's deadline is over.
func (a *attempt) nextTry() time.Time {
	now := a.q.now() // an attempt may take longer than the back-off
	due := now.Add(a.q.backoff(a.l.Attempts + 1))
	ends := [...]time.Time{a.expiry(), {}}
	if by := a.l.Envelope.DeliverBy; by != nil {
		ends[1] = by.Deadline
	}
	for _, end := range ends {
		if due.After(end) && end.After(a.now) { // or has passed during the attempt
			due = latest(end, now)
		}
	}
	return due
}

const settleRest = 30 * time.Second

// commit settles the lease. What was delivered was delivered: if the store has trouble, it is told
// again until it listens, or the Queue is closed.
func (a *attempt) commit(ctx context.Context, st Settlement) error {
	q := a.q
	for wait := time.Second; ; wait = min(2*wait, settleRest) {
		err := q.Store.Settle(context.WithoutCancel(ctx), *a.l, st)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrLeaseLost):
			q.o.logger.Warn("queue: the outcome comes too late; it may be tried again", "id", string(a.l.ID))
			return err
		}
		if a.l.Kind != KindNotice {
			q.Notice(NoticeResource, "an outcome can not be recorded: "+err.Error())
		}
		q.o.logger.Error("queue: outcome not recorded; trying again", "id", string(a.l.ID), "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// tell logs and reports what happened.
func (a *attempt) tell() {
	q, l := a.q, a.l
	if a.why == delayedText {
		return
	}
	for _, o := range a.outcomes {
		e := Event{
			Kind: o.kind, ID: l.ID, From: l.Envelope.From, Rcpt: o.to.Address, Dest: l.Dest, Attempt: l.Attempts + 1,
			Err: o.err, Reason: shownReason(o.reason), kind: l.Kind,
		}
		if o.kind == Deferred {
			e.Due, e.GiveUp = a.due, a.expiry()
		}
		level := slog.LevelInfo
		if o.kind != Delivered {
			level = slog.LevelWarn
		}
		q.o.logger.Log(context.Background(), level, e.Kind.String(), "id", string(l.ID), "to", o.to.Address.String(),
			"dest", l.Dest, "text", e.Text())
		q.event(e)
		a.noteOutcome(&o)
	}
}

// maxReason is how much of a reply is kept.
const maxReason = 500

// reasonOf makes the text that is kept of an error: what may be shown to the sender and, behind a line
// break, the private cause if there is more to it (L01: each is one clean line of bounded length).
func reasonOf(err error) string {
	s := goniec.StatusOf(err)
	public := s.Reply()
	switch host := remoteOf(err); {
	case host != "" && said(err):
		public = host + " said " + public
	case host != "":
		public = host + ": " + public
	}
	private := err.Error()
	if private == public || private == s.Reply() {
		return oneLine(public)
	}
	return oneLine(public) + "\n" + oneLine(private)
}

func oneLine(s string) string {
	if len(s) > 4*maxReason {
		s = s[:4*maxReason]
	}
	s = strings.Join(strings.Fields(mime.Display(s)), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}

// publicReason is what a sender may see, shownReason what the administrator sees.
func publicReason(r string) string {
	public, _, _ := strings.Cut(r, "\n")
	return public
}

func shownReason(r string) string {
	if _, private, ok := strings.Cut(r, "\n"); ok {
		return private
	}
	return r
}

// remoteOf names the server that gave a reply, "" if the error does not tell.
func remoteOf(err error) string {
	var r interface{ RemoteMTA() string }
	if errors.As(err, &r) {
		return r.RemoteMTA()
	}
	return ""
}

// said reports whether the reply in an error is what the server said: unless the error has a method RemoteReply that returns nil.
func said(err error) bool {
	var r interface{ RemoteReply() *goniec.Status }
	return !errors.As(err, &r) || r.RemoteReply() != nil
}

// judge says what a result tells about the destination. Replies to single recipients, and refusals for good,
// show that it lives; an error for the whole delivery, 421 and the network codes (RFC 3463 X.4.Y) that it does not.
func judge(err error) verdict {
	var p *panicError
	var each goniec.RcptErrors
	switch {
	case err == nil:
		return verdict{judged: true}
	case errors.As(err, &p):
		return verdict{}
	case goniec.Permanent(err):
		return verdict{judged: true}
	case errors.As(err, &each):
		for _, e := range each {
			if e == nil || !isDestinationError(e) {
				return verdict{judged: true}
			}
		}
	case !isDestinationError(err):
		return verdict{judged: true}
	}
	return verdict{judged: true, failed: true, reason: reasonOf(err)}
}

// isDestinationError reports whether an error would meet every message to the destination.
func isDestinationError(err error) bool {
	var s *goniec.Status
	if !errors.As(err, &s) {
		return goniec.Temporary(err) // no reply at all
	}
	return s.Code == 421 || s.Enhanced[0] == 4 && (s.Enhanced[1] == 4 || s.Enhanced[1] == 3)
}

// Success tells more of a delivery than that it worked, for success reports (RFC 3461).
type Success struct {
	// Relayed: another server took the message.
	Relayed bool
	// DSN: that server promised DSN and was told NOTIFY, so that it will report, not we.
	DSN bool
	// DeliverBy: that server promised DELIVERBY and was told the time, so that it will report (RFC 2852).
	DeliverBy bool
	// RemoteMTA names it.
	RemoteMTA string
}

type successKey struct{}

// successes collects what the Deliverer reports.
type successes struct {
	mu sync.Mutex
	m  map[goniec.Address]Success
}

func (s *successes) of(a goniec.Address) Success {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[a]
}

// ReportSuccess is for Deliverers that pass mail on to other servers: with the context that the Queue
// gave them, it says how the message got on. Without it a success counts as final delivery. Outside of a Queue it does nothing.
func ReportSuccess(ctx context.Context, to goniec.Address, how Success) {
	s, ok := ctx.Value(successKey{}).(*successes)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[goniec.Address]Success{}
	}
	s.m[to] = how
}
