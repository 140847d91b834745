package smtp

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/goniec-mail/goniec"
)

// maxFlight is how many commands are sent before their replies are read (RFC 2920 §3.1: the replies to all of them must fit
// into the buffers on the way, or both sides wait for ever).
const maxFlight = 100

// warmTime is how long after the server's last reply a message may leave together with its envelope. After a longer pause the
// connection may be dead, and then it must be clear that the message was not sent.
const warmTime = time.Second

// Result tells what became of a message, recipient by recipient.
type Result struct {
	Host string // as it was asked for
	Addr string // of the connection
	TLS  bool   // it was encrypted

	// Rcpts has one outcome for each recipient of the envelope, in its order: nil means that the server has taken the message
	// for him. The errors are *StageError.
	Rcpts goniec.RcptErrors
	// Replies has the last reply about each recipient; nil if there was none. For one that was accepted it is the reply to the
	// message, which often tells the server's queue ID.
	Replies []*goniec.Status

	// DSN tells that the server reports on delivery itself. If it does not, who asked for NOTIFY=SUCCESS is owed a report that the
	// message was relayed into a world without (RFC 3461 §5.2.2).
	DSN bool
	// Dropped names extensions that the envelope wanted, that the server does not offer, and that mail may go without.
	Dropped []string
}

// Send sends one message to the recipients of an envelope. It uses what the server offers: commands in one flight
// (PIPELINING), the message by BDAT (CHUNKING), a small message together with its envelope, the parameters of the envelope whose
// extensions are there. What the server can not take is refused before anything is written, with 5.6.3, 5.6.7, 5.6.9 or 552 5.3.4,
// or converted by Dialer.Convert.
//
// The error is nil if all recipients were taken; one *StageError if all failed for one reason; else goniec.RcptErrors. The Result is
// never nil. If the outcome is ambiguous, StageError.Sent tells. After most errors the Client can be used further; Err tells.
// msg is read to its end at most once; a goniec.Content may be looked at before.
func (c *Client) Send(ctx context.Context, env *goniec.Envelope, msg io.Reader) (*Result, error) {
	p, err := load(msg)
	if err != nil {
		t := newTransaction(c, env, nil)
		t.fail(c.found(StageText, err))
		return t.result()
	}
	defer p.close()
	return c.send(ctx, env, p)
}

// transaction is one message on its way.
type transaction struct {
	c   *Client
	env *goniec.Envelope // the caller's
	p   *payload
	now time.Time
	res *Result

	mail   goniec.Envelope // as it is announced
	binary bool            // as BODY=BINARYMIME
	rcpts  []int           // recipients to announce, as indices of env.To

	pending  []int  // commands whose replies are to come: a step, or the index of a recipient
	mailed   bool   // MAIL was accepted
	accepted []int  // recipients that were
	asked    bool   // for the message, by 354
	sent     bool   // all of the message
	decided  []bool // recipients that have their outcome
	failure  error  // of an envelope without recipients
}

func newTransaction(c *Client, env *goniec.Envelope, p *payload) *transaction {
	n := len(env.To)
	return &transaction{c: c, env: env, p: p, now: time.Now(), decided: make([]bool, n), res: &Result{
		Host: c.host.Name, Addr: c.addr, TLS: c.tls != nil,
		Rcpts: make(goniec.RcptErrors, n), Replies: make([]*goniec.Status, n),
	}}
}

// send sends a payload.
func (c *Client) send(ctx context.Context, env *goniec.Envelope, p *payload) (*Result, error) {
	t := newTransaction(c, env, p)
	if c.err != nil {
		t.fail(c.stageError(StageIdle, c.err))
		return t.result()
	}
	if err := t.plan(ctx); err != nil {
		t.fail(c.found(StageMail, err))
		return t.result()
	}
	if len(t.rcpts) == 0 {
		return t.result()
	}
	c.sent++
	if err := c.within(ctx, t.run); err != nil {
		var e *StageError
		if !errors.As(err, &e) {
			e = c.stageError(StageMail, err) // ctx was over before we began
		}
		t.fail(e)
	}
	return t.result()
}

// decide settles one recipient.
func (t *transaction) decide(i int, s *goniec.Status, err error) {
	t.decided[i] = true
	t.res.Replies[i], t.res.Rcpts[i] = s, err
}

// fail gives an error to all recipients who have no outcome.
func (t *transaction) fail(err error) {
	if len(t.decided) == 0 {
		t.failure = err
	}
	for i, decided := range t.decided {
		if !decided {
			t.decide(i, t.res.Replies[i], err)
		}
	}
}

// result is what Send returns.
func (t *transaction) result() (*Result, error) {
	if len(t.res.Rcpts) == 0 {
		return t.res, t.failure
	}
	first := t.res.Rcpts[0]
	for _, err := range t.res.Rcpts {
		if err != first {
			return t.res, t.res.Rcpts.Err()
		}
	}
	return t.res, first
}
