package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"sync"
	"time"
)

// Guard slows down and then refuses whoever guesses passwords. One Guard is shared by all servers
// of a process: Wrap each server's Authenticator with it, outside of Chain and inside of Names.
//
// It counts failures for each address (an IPv4 address, an IPv6 /64), each user name, known or
// not, and each pair of both. Beyond FreeFailures every further attempt waits, twice as long each time;
// at a limit the address, name or pair is refused with ErrTooManyFailures (421) for Refusal,
// and no table is asked. An attempt counts from its start and is taken back if it does not fail, so
// that many at once gain nothing. The same wrong password again, from a client that was not told of a
// new one, counts once.
//
// A user who logged in from an address before is asked from there whatever strangers do to the name or
// to the address; only the pair counts then. Temporary errors are never counted. In every limit
// zero means the default and a negative value no limit.
//
// Memory is bounded by MaxEntries in each of four tables of about 100 octets an entry; when one is full,
// mild entries make room. The fields must not change once the Guard is in use. Safe for concurrent use.
type Guard struct {
	FreeFailures int           // failures without a delay; 0: 3
	Delay        time.Duration // the first delay; 0: 500 ms
	MaxDelay     time.Duration // the longest delay; 0: 16 s

	PairLimit int // failures of one user from one address until refusal; 0: 10
	AddrLimit int // failures from one address; 0: 30
	UserLimit int // failures on one user, from addresses without a success; 0: 60

	Window   time.Duration // a full count drains to zero in this time; 0: 30 min; negative: never
	Refusal  time.Duration // how long a refusal lasts; 0: 30 min
	Remember time.Duration // how long a success is remembered; 0: 90 days

	MaxEntries int // in each table; 0: 100,000

	// Exempt are networks whose failures do not count for the address, as that of an own webmail,
	// which shows one address for all users. Name and pair still count.
	Exempt []netip.Prefix

	// Event, if not nil, is called when a refusal begins: for a log, or a firewall's ban list. It is
	// called by the goroutine of the attempt and must not block.
	Event func(GuardEvent)

	Now func() time.Time // nil: time.Now

	mu    sync.Mutex
	state guardState
}

// GuardEvent is the begin of a refusal.
type GuardEvent struct {
	Prefix   netip.Prefix // the address or network; invalid if a name is refused wherever it comes from
	User     string       // "" if an address is refused for all names. Sent by the client: quote it in logs
	Failures int
	Until    time.Time
}

// Wrap returns an Authenticator that asks a only when the guard allows.
func (g *Guard) Wrap(a Authenticator) Authenticator { return Intercept(a, g.intercept) }

func (g *Guard) intercept(ctx context.Context, op Op, at *Attempt, next func(context.Context, *Attempt) error) error {
	switch op {
	case OpAuthorize:
		return next(ctx, at)
	case OpObserve: // the attempt was counted when its keys were asked for
		err := next(ctx, at)
		g.settle(at, nil, err)
		return err
	}
	t, err := g.begin(ctx, at)
	if err != nil {
		return err
	}
	err = next(ctx, at)
	if (op == OpSCRAMKeys || op == OpSource) && (err == nil || Denied(err)) {
		return err // whether the proof is right is not known yet
	}
	g.settle(at, t, err)
	return err
}

// ticket is what an attempt was counted in.
type ticket struct {
	buckets []*bucket
	counted int // 1, or 0 for the same wrong password again
}

// begin counts an attempt as if it had failed, and waits or refuses.
func (g *Guard) begin(ctx context.Context, at *Attempt) (*ticket, error) {
	t, wait, err := g.count(at)
	if err != nil || wait <= 0 {
		return t, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return t, nil
	case <-ctx.Done():
		return nil, Unavailable(ctx.Err()) // stays counted: hanging up must not be cheaper than waiting
	}
}

// count adds one failure everywhere, unless somebody is refused already.
func (g *Guard) count(at *Attempt) (*ticket, time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	t := &ticket{buckets: g.buckets(at, now), counted: 1}
	for _, b := range t.buckets {
		if b.refused(now) {
			return nil, 0, ErrTooManyFailures
		}
	}
	pair, mark := t.buckets[0], g.state.mark(at)
	if mark != 0 && pair.mark == mark {
		t.counted = 0
	}
	pair.mark = mark
	worst := 0
	for _, b := range t.buckets {
		b.level += t.counted
		worst = max(worst, b.level)
		// The attempt that reaches the limit is still asked; those after it are not.
		if b.full() && t.counted > 0 {
			b.until = now.Add(orElse(g.Refusal, 30*time.Minute))
		}
	}
	return t, g.delay(worst), nil
}

// settle takes the count of an attempt back unless it failed. t is nil for one whose keys were given
// out in an earlier question.
func (g *Guard) settle(at *Attempt, t *ticket, err error) {
	for _, e := range g.settled(at, t, err) {
		if g.Event != nil {
			g.Event(e)
		}
	}
}

func (g *Guard) settled(at *Attempt, t *ticket, err error) (events []GuardEvent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if t == nil {
		t = &ticket{buckets: g.buckets(at, now), counted: 1}
	}
	for _, b := range t.buckets {
		if err != nil && Denied(err) {
			if b.full() && !b.told {
				b.told = true
				events = append(events, GuardEvent{Prefix: b.prefix, User: b.user, Failures: b.level, Until: b.until})
			}
			continue
		}
		b.level = max(b.level-t.counted, 0)
		if !b.full() {
			b.until = time.Time{}
		}
	}
	if err == nil {
		pair := g.keyOf(at)
		g.state.pairs.drop(pair)
		g.state.known.put(pair, g.maxEntries(), now).at = now
	}
	return events
}

// buckets returns what an attempt counts in, the pair first.
func (g *Guard) buckets(at *Attempt, now time.Time) []*bucket {
	s, pair := g.ready(), g.keyOf(at)
	add := func(t *guardTable, name guardName, limit int) *bucket {
		b := t.put(name, g.maxEntries(), now)
		b.limit, b.prefix, b.user = limit, name.prefix, name.user
		b.drain(now, orElse(g.Window, 30*time.Minute))
		return b
	}
	out := []*bucket{add(&s.pairs, pair, orElse(g.PairLimit, 10))}
	if s.known.get(pair, now) != nil {
		return out
	}
	if pair.prefix.IsValid() && !g.exempt(pair.prefix) {
		out = append(out, add(&s.addrs, guardName{prefix: pair.prefix}, orElse(g.AddrLimit, 30)))
	}
	if pair.user != "" {
		out = append(out, add(&s.users, guardName{user: pair.user}, orElse(g.UserLimit, 60)))
	}
	return out
}

// delay returns the wait before an attempt that may be the nth failure.
func (g *Guard) delay(n int) time.Duration {
	over := n - max(orElse(g.FreeFailures, 3), 0) - 1
	first, longest := orElse(g.Delay, 500*time.Millisecond), orElse(g.MaxDelay, 16*time.Second)
	if over < 0 || first < 0 {
		return 0
	}
	d := float64(first) * math.Pow(2, float64(min(over, 40)))
	if longest >= 0 {
		d = min(d, float64(longest))
	}
	return time.Duration(min(d, float64(24*time.Hour)))
}

// guardName names an entry of a table.
type guardName struct {
	prefix netip.Prefix
	user   string
}

// keyOf returns the pair of an attempt.
func (g *Guard) keyOf(at *Attempt) guardName {
	user, err := FoldName(at.User)
	if err != nil {
		user = at.User
	}
	return guardName{networkOf(at.Remote.Addr()), user}
}

// networkOf returns what counts as one address: a subscriber has a whole IPv6 /64 or more.
func networkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (g *Guard) exempt(p netip.Prefix) bool {
	for _, e := range g.Exempt {
		if e.Overlaps(p) {
			return true
		}
	}
	return false
}

func (g *Guard) maxEntries() int { return max(orElse(g.MaxEntries, 100_000), 1) }

func (g *Guard) now() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	return time.Now()
}

// ready returns the state, made at first use.
func (g *Guard) ready() *guardState {
	s := &g.state
	if s.pairs.m == nil {
		_, _ = rand.Read(s.key[:])
		for _, t := range [...]*guardTable{&s.addrs, &s.users, &s.pairs} {
			t.m, t.life = map[guardName]*bucket{}, orElse(g.Window, 30*time.Minute)+orElse(g.Refusal, 30*time.Minute)
		}
		s.known.m, s.known.life = map[guardName]*bucket{}, orElse(g.Remember, 90*24*time.Hour)
	}
	return s
}

// guardState is what a Guard knows.
type guardState struct {
	addrs, users, pairs, known guardTable
	key                        [32]byte // of marks
}

// mark tells two wrong passwords apart without keeping them. Zero: there is none.
func (s *guardState) mark(at *Attempt) uint64 {
	if at.Secret.Empty() {
		return 0
	}
	m := hmac.New(sha256.New, s.key[:])
	m.Write([]byte(at.Secret.Reveal()))
	return binary.BigEndian.Uint64(m.Sum(nil)) | 1
}

func orElse[T ~int | ~int64](value, standard T) T {
	if value == 0 {
		return standard
	}
	return value
}
