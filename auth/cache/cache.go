package cache

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/goniec-mail/goniec/auth"
)

// Versioned is an optional interface of an Authenticator whose table can tell that it has changed.
type Versioned interface {
	// Version returns a number that is another one after every change.
	Version() uint64
}

// Cache is the memory of one Authenticator, or of several that answer alike. The zero value is
// ready; the fields must not change once it is in use. Safe for concurrent use.
type Cache struct {
	TTL        time.Duration    // how long a success is remembered; zero or negative: 5 min
	MaxEntries int              // zero or negative: 100,000, of about 300 octets each
	Now        func() time.Time // nil: time.Now

	once    sync.Once
	entries *otter.Cache[key, entry]
	secret  [32]byte
	epoch   atomic.Uint64 // moved by Forget, so that an answer on its way is not remembered
	hits    atomic.Uint64
	misses  atomic.Uint64
}

type key [sha256.Size]byte

type entry struct {
	id      auth.Identity
	asked   string // Attempt.User
	expires time.Time
	version uint64
}

// Wrap returns an Authenticator that asks a only about passwords that are not remembered.
func (c *Cache) Wrap(a auth.Authenticator) auth.Authenticator {
	versioned, _ := a.(Versioned)
	version := func() uint64 {
		if versioned == nil {
			return 0
		}
		return versioned.Version()
	}
	return auth.WithAuthenticate(a, func(ctx context.Context, at *auth.Attempt) (auth.Identity, error) {
		c.ready()
		k, now, v, epoch := c.keyOf(at), c.now(), version(), c.epoch.Load()
		if e, ok := c.entries.GetIfPresent(k); ok && now.Before(e.expires) && e.version == v {
			c.hits.Add(1)
			return e.id, nil
		}
		c.misses.Add(1)
		id, err := a.Authenticate(ctx, at)
		if err == nil && c.epoch.Load() == epoch {
			c.entries.Set(k, entry{id, at.User, now.Add(c.ttl()), v})
		}
		return id, err
	})
}

// Forget forgets all logins of a user, by the name that was asked for or by that of the Identity.
// Both are compared folded (auth.FoldName). It looks at all entries.
func (c *Cache) Forget(user string) {
	c.ready()
	c.epoch.Add(1)
	want := fold(user)
	for k, e := range c.entries.All() {
		if fold(e.asked) == want || fold(e.id.User) == want {
			c.entries.Invalidate(k)
		}
	}
}

// ForgetAll forgets everything.
func (c *Cache) ForgetAll() {
	c.ready()
	c.epoch.Add(1)
	c.entries.InvalidateAll()
}

// Stats returns how many passwords were remembered, and how many were asked about.
func (c *Cache) Stats() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }

func (c *Cache) ready() {
	c.once.Do(func() {
		_, _ = rand.Read(c.secret[:])
		limit := c.MaxEntries
		if limit <= 0 {
			limit = 100_000
		}
		c.entries = otter.Must(&otter.Options[key, entry]{
			MaximumSize: limit,
			Executor:    func(task func()) { task() }, // no goroutines of its own
		})
	})
}

// keyOf digests all that a table may decide on.
func (c *Cache) keyOf(at *auth.Attempt) key {
	m := hmac.New(sha256.New, c.secret[:])
	var b []byte
	for _, f := range [...]string{at.User, at.AuthzID, at.Protocol, at.Secret.Reveal()} {
		b = binary.AppendUvarint(b[:0], uint64(len(f)))
		m.Write(append(b, f...))
	}
	b = append(b[:0], 0)
	if at.TLS != nil {
		b[0] = 1
	}
	remote, local := at.Remote.Addr().As16(), at.Local.Addr().As16()
	m.Write(append(append(b, remote[:]...), local[:]...))
	var k key
	m.Sum(k[:0])
	return k
}

func fold(name string) string {
	if folded, err := auth.FoldName(name); err == nil {
		return folded
	}
	return name
}

func (c *Cache) ttl() time.Duration {
	if c.TTL <= 0 {
		return 5 * time.Minute
	}
	return c.TTL
}

func (c *Cache) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}
