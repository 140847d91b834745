package smtp

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
)

// RateLimit limits how many messages a client and a sender may begin within a time. What is too much is deferred: 450 4.7.1. The
// null reverse-path has no sender limit, for bounces must come through. It is safe for concurrent use.
type RateLimit struct {
	// PerClient is for one IPv4 address or IPv6 /64. Zero or negative means no limit.
	PerClient int
	// PerSender is for one authenticated user, or else for one reverse-path. Zero or negative means no limit.
	PerSender int
	// Per is the time in which that many messages are allowed; as many may come at once. Zero means an hour.
	Per time.Duration
	// MaxTracked limits how many clients and senders are remembered, each. Beyond it new ones are not limited until old ones have
	// had their time. Zero means 100,000.
	MaxTracked int
	// Now is the clock. Nil means time.Now.
	Now func() time.Time

	clients, senders bucketTable
}

// Middleware counts messages at MAIL.
func (r *RateLimit) Middleware() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return rateSession{Wrapped{s}, c, r} })
}

type rateSession struct {
	Wrapped
	c *Conn
	r *RateLimit
}

func (s rateSession) Mail(ctx context.Context, env *goniec.Envelope) error {
	r := s.r
	now := timeOf(r.Now)
	if !r.clients.take(clientKey(s.c.Remote().Addr()), r.PerClient, r.Per, r.MaxTracked, now) {
		return errTooFast("client")
	}
	if !r.senders.take(senderKey(s.c, env), r.PerSender, r.Per, r.MaxTracked, now) {
		return errTooFast("sender")
	}
	return s.Session.Mail(ctx, env)
}

func errTooFast(who string) error {
	return goniec.NewStatus(450, goniec.EnhancedCode{4, 7, 1}, "too much mail from this "+who+", try again later")
}

// clientKey is what counts as one client: an IPv4 address, or the /64 that one host has at its command; "" is not limited.
func clientKey(ip netip.Addr) string {
	ip = ip.Unmap()
	if !ip.IsValid() {
		return ""
	}
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.String()
	}
	return ip.String()
}

func senderKey(c *Conn, env *goniec.Envelope) string {
	if id, ok := c.Identity(); ok {
		return "user " + id.User
	}
	return env.From.Key().String()
}

// bucketTable is a token bucket for each key, kept as the one time at which it would be full again.
type bucketTable struct {
	mu   sync.Mutex
	full map[string]time.Time
}

// take takes one of limit tokens per time from key's bucket, and reports whether there was one.
func (t *bucketTable) take(key string, limit int, per time.Duration, max int, now time.Time) bool {
	if limit <= 0 || key == "" {
		return true
	}
	per = orDefault(per, time.Hour)
	max = orDefault(max, 100_000)
	t.mu.Lock()
	defer t.mu.Unlock()
	full, known := t.full[key]
	if full.Before(now) {
		full = now
	}
	full = full.Add(per / time.Duration(limit))
	if full.Sub(now) > per {
		return false
	}
	if !known && len(t.full) >= max && !t.forget(now) {
		return true
	}
	if t.full == nil {
		t.full = make(map[string]time.Time)
	}
	t.full[key] = full
	return true
}

// forget drops what is full again, and reports whether that made room. It looks at a few at a time, so that a full table does
// not cost each message a walk through it.
func (t *bucketTable) forget(now time.Time) bool {
	looked, dropped := 0, 0
	for key, full := range t.full {
		if full.Before(now) {
			delete(t.full, key)
			dropped++
		}
		if looked++; looked == 100 {
			break
		}
	}
	return dropped > 0
}

func timeOf(now func() time.Time) time.Time {
	if now != nil {
		return now()
	}
	return time.Now()
}
