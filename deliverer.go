package goniec

import (
	"context"
	"io"
)

// Deliverer takes responsibility for a message, or says why not. It is to mail what http.Handler
// is to requests: a queue, an SMTP client, delivery into mailboxes, an alias expander, a filter
// are all Deliverers, or func(Deliverer) Deliverer.
//
// The result is nil when every recipient is taken care of (durably, if the Deliverer stores);
// RcptErrors, through their Err method, with one outcome for each env.To; a *Status, the reply to
// give; any other error is a temporary failure whose text stays in our log.
//
// msg is the message in network form (CRLF line ends), read once from start to end; it may also
// be a Content (see AsContent). A Deliverer never changes env (use env.Clone) and keeps neither
// env nor msg after it returned. It must be safe for concurrent use. When ctx ends, it returns
// soon; if it can not tell whether the message was taken, it returns an error: a duplicate is
// better than a loss.
type Deliverer interface {
	Deliver(ctx context.Context, env *Envelope, msg io.Reader) error
}

// DelivererFunc makes a Deliverer of a function.
type DelivererFunc func(ctx context.Context, env *Envelope, msg io.Reader) error

// Deliver calls f.
func (f DelivererFunc) Deliver(ctx context.Context, env *Envelope, msg io.Reader) error {
	return f(ctx, env, msg)
}

// RcptVerifier is an optional interface of a Deliverer, asked when a recipient is announced (SMTP
// RCPT): so a receiver answers 550 5.1.1 at once instead of bouncing later. nil accepts; errors
// are as for Deliverer. It has no side effect, and may be called before env has any recipient.
// A Deliverer that wraps another one passes the question on (see VerifyRcpt).
type RcptVerifier interface {
	VerifyRcpt(ctx context.Context, env *Envelope, to *Recipient) error
}

// VerifyRcpt asks d about a recipient: if d is a RcptVerifier its answer, else ok is false and
// the caller decides.
func VerifyRcpt(ctx context.Context, d Deliverer, env *Envelope, to *Recipient) (ok bool, err error) {
	v, ok := d.(RcptVerifier)
	if !ok {
		return false, nil
	}
	return true, v.VerifyRcpt(ctx, env, to)
}

// Discard returns a Deliverer that reads each message to its end and forgets it: for tests and
// benchmarks.
func Discard() Deliverer {
	return DelivererFunc(func(_ context.Context, _ *Envelope, msg io.Reader) error {
		_, err := io.Copy(io.Discard, msg)
		return err
	})
}
