package smtp

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/goniec-mail/goniec"
)

// Tarpit slows clients down that collect refusals, as those that guess addresses do: after a few, each refusal takes longer. How many
// clients are held at one time is limited, so that the tarpit can not be used against the server. It is safe for concurrent use.
type Tarpit struct {
	// After is how many refusals of a connection are free. Zero means 3; negative means none.
	After int
	// Delay is the first delay; it grows by itself with each refusal. Zero means 1 s.
	Delay time.Duration
	// MaxDelay limits it. Zero means 20 s.
	MaxDelay time.Duration
	// MaxHeld limits the clients that are made to wait at one time; others are not delayed. Zero means 100.
	MaxHeld int

	held atomic.Int64
}

// Middleware delays refusals of MAIL and RCPT.
func (t *Tarpit) Middleware() Middleware {
	return WrapSession(func(_ *Conn, s Session) Session { return &tarpitSession{Wrapped: Wrapped{s}, t: t} })
}

type tarpitSession struct {
	Wrapped
	t       *Tarpit
	refused int
}

func (s *tarpitSession) Mail(ctx context.Context, env *goniec.Envelope) error {
	return s.hold(ctx, s.Session.Mail(ctx, env))
}

func (s *tarpitSession) Rcpt(ctx context.Context, env *goniec.Envelope, to *goniec.Recipient) error {
	return s.hold(ctx, s.Session.Rcpt(ctx, env, to))
}

// hold waits before err is answered.
func (s *tarpitSession) hold(ctx context.Context, err error) error {
	if !goniec.Permanent(err) {
		return err
	}
	s.refused++
	n := s.refused - max(orDefault(s.t.After, 3), 0)
	if n <= 0 {
		return err
	}
	defer s.t.held.Add(-1)
	if s.t.held.Add(1) > int64(orDefault(s.t.MaxHeld, 100)) {
		return err
	}
	d := min(time.Duration(n)*orDefault(s.t.Delay, time.Second), orDefault(s.t.MaxDelay, 20*time.Second))
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}
