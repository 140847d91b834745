package smtp

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
)

// Greylist defers the first mail of a client network, sender and recipient that were not seen together before: 451 4.7.1. A server tries again, and is
// accepted after Delay (RFC 6647 §2.3); most senders of junk do not. Authenticated clients are not asked to. It is safe for
// concurrent use.
type Greylist struct {
	// Store remembers. Nil means a MemoryGreyStore.
	Store GreyStore
	// Delay is how long a first try has to be past. Zero means 5 min.
	Delay time.Duration
	// Window is how long a first try counts. Zero means 2 days.
	Window time.Duration
	// Lifetime is how long a triple that came through is remembered after its last mail. Zero means 35 days.
	Lifetime time.Duration
	// Now is the clock. Nil means time.Now.
	Now func() time.Time

	once  sync.Once
	store GreyStore
}

// GreyStore keeps a Greylist's memory. It must be safe for concurrent use. To lose an entry costs a delay and nothing else.
type GreyStore interface {
	// Load returns the entry of key, the zero GreyEntry when there is none.
	Load(ctx context.Context, key string) (GreyEntry, error)
	// Save sets the entry of key. Entries may be forgotten after Expires.
	Save(ctx context.Context, key string, e GreyEntry) error
}

// GreyEntry is what is known of a triple.
type GreyEntry struct {
	First   time.Time // the first try
	Passed  bool      // it came again in time
	Expires time.Time // until when the entry counts
}

// Middleware asks at RCPT.
func (g *Greylist) Middleware() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return greySession{Wrapped{s}, c, g} })
}

type greySession struct {
	Wrapped
	c *Conn
	g *Greylist
}

// Rcpt asks the inner Session first: an unknown recipient is told so, and needs no memory.
func (s greySession) Rcpt(ctx context.Context, env *goniec.Envelope, to *goniec.Recipient) error {
	if err := s.Session.Rcpt(ctx, env, to); err != nil {
		return err
	}
	if _, ok := s.c.Identity(); ok || !s.c.Remote().IsValid() {
		return nil
	}
	pass, err := s.g.judge(ctx, greyKey(s.c.Remote().Addr(), env.From, to.Address))
	if err != nil { // a store in trouble must not stop the mail
		s.c.Logger().Error("greylist does not answer; mail is let through", keyErr, err)
		return nil
	}
	if !pass {
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "greylisted, try again in a few minutes")
	}
	return nil
}

// greyKey is the triple. Large senders try again from a neighbour, so that the client's network counts.
func greyKey(ip netip.Addr, from, to goniec.Address) string {
	bits := 24
	if ip = ip.Unmap(); ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p.String() + " " + from.Key().Path() + " " + to.Key().Path()
}

// judge reports whether the triple passes, and remembers it.
func (g *Greylist) judge(ctx context.Context, key string) (pass bool, err error) {
	g.once.Do(func() {
		if g.store = g.Store; g.store == nil {
			g.store = &MemoryGreyStore{}
		}
	})
	now := timeOf(g.Now)
	e, err := g.store.Load(ctx, key)
	if err != nil {
		return false, err
	}
	known := !e.First.IsZero() && now.Before(e.Expires)
	switch {
	case known && (e.Passed || now.Sub(e.First) >= orDefault(g.Delay, 5*time.Minute)):
		e.Passed, e.Expires = true, now.Add(orDefault(g.Lifetime, 35*24*time.Hour))
	case known:
		return false, nil
	default:
		e = GreyEntry{First: now, Expires: now.Add(orDefault(g.Window, 48*time.Hour))}
	}
	return e.Passed, g.store.Save(ctx, key, e)
}

// MemoryGreyStore is a GreyStore in memory. The zero value is ready.
type MemoryGreyStore struct {
	// Max limits the entries. When it is reached, expired ones are dropped, and any others after that. Zero means 100,000.
	Max int
	// Now is the clock. Nil means time.Now.
	Now func() time.Time

	mu      sync.Mutex
	entries map[string]GreyEntry
}

// Load implements GreyStore.
func (m *MemoryGreyStore) Load(_ context.Context, key string) (GreyEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[key], nil
}

// Save implements GreyStore.
func (m *MemoryGreyStore) Save(_ context.Context, key string, e GreyEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil {
		m.entries = make(map[string]GreyEntry)
	}
	if _, known := m.entries[key]; !known && len(m.entries) >= orDefault(m.Max, 100_000) {
		m.evict()
	}
	m.entries[key] = e
	return nil
}

// evict makes room: of some entries, in the order of the map, which is no order, the expired ones and else the first.
func (m *MemoryGreyStore) evict() {
	now := timeOf(m.Now)
	looked, dropped, first := 0, 0, ""
	for key, e := range m.entries {
		if looked == 0 {
			first = key
		}
		if e.Expires.Before(now) {
			delete(m.entries, key)
			dropped++
		}
		if looked++; looked == 100 {
			break
		}
	}
	if dropped == 0 {
		delete(m.entries, first)
	}
}
