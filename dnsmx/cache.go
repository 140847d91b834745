package dnsmx

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

// Cache is a Resolver that keeps the answers of another one, denials too, for their TTL within
// limits. Trouble is not kept. Set the fields before use; it is safe for concurrent use.
type Cache struct {
	Resolver Resolver      // required
	MaxBytes int           // octets that the answers kept may take, by a close estimate; 0 = 16 MiB; negative = no limit
	MinTTL   time.Duration // answers with a lower TTL are kept so long; 0 = 5 s; negative = none
	MaxTTL   time.Duration // 0 = 1 day
	MaxNoTTL time.Duration // longest time a denial is kept; 0 = 15 min (RFC 2308 §5 allows hours)

	once  sync.Once
	cache *otter.Cache[string, cached]
}

var _ Resolver = (*Cache)(nil)

// cached is an answer or a denial. list is a slice of the question's type and is never changed.
type cached struct {
	list any
	meta Meta
	err  error
	keep time.Duration
	at   time.Time
}

func (c *Cache) init() {
	c.once.Do(func() {
		c.cache = otter.Must(&otter.Options[string, cached]{
			MaximumWeight:    uint64(limit(c.MaxBytes, 16<<20)),
			Weigher:          weigh,
			ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, cached]) time.Duration { return e.Value.keep }),
		})
	})
}

// entryBytes is what an answer costs beside its records: the cache's own node, the key's and the value's headers.
const entryBytes = 300

// weigh estimates the octets of an answer.
func weigh(key string, v cached) uint32 {
	n := entryBytes + len(key) + len(v.meta.Name)
	switch list := v.list.(type) {
	case []MX:
		for _, x := range list {
			n += 24 + len(x.Host)
		}
	case []netip.Addr:
		n += 24 * len(list)
	case []string:
		for _, x := range list {
			n += 16 + len(x)
		}
	case []TLSA:
		for _, x := range list {
			n += 32 + len(x.Data)
		}
	}
	return uint32(n)
}

// ask answers from the cache, or asks and keeps.
func ask[T any](ctx context.Context, c *Cache, key string, question func() ([]T, Meta, error)) ([]T, Meta, error) {
	c.init()
	if hit, ok := c.cache.GetIfPresent(key); ok {
		list, _ := hit.list.([]T)
		meta := hit.meta
		meta.TTL = max(hit.meta.TTL-time.Since(hit.at), 0)
		return append([]T(nil), list...), meta, hit.err
	}
	if err := ctx.Err(); err != nil {
		return nil, Meta{}, err
	}
	list, meta, err := question()
	if err == nil || absent(err) {
		if keep := c.lifetime(meta.TTL, err); keep > 0 {
			c.cache.Set(key, cached{append([]T(nil), list...), meta, err, keep, time.Now()})
		}
	}
	return list, meta, err
}

func (c *Cache) lifetime(ttl time.Duration, denial error) time.Duration {
	orElse := func(d, def time.Duration) time.Duration {
		if d == 0 {
			return def
		}
		return max(d, 0)
	}
	ttl = min(max(ttl, orElse(c.MinTTL, 5*time.Second)), orElse(c.MaxTTL, 24*time.Hour))
	if denial != nil {
		ttl = min(ttl, orElse(c.MaxNoTTL, 15*time.Minute))
	}
	return ttl
}

// LookupMX implements Resolver.
func (c *Cache) LookupMX(ctx context.Context, domain string) ([]MX, Meta, error) {
	return ask(ctx, c, "MX "+domain, func() ([]MX, Meta, error) { return c.Resolver.LookupMX(ctx, domain) })
}

// LookupAddrs implements Resolver.
func (c *Cache) LookupAddrs(ctx context.Context, host, network string) ([]netip.Addr, Meta, error) {
	return ask(ctx, c, network+" "+host, func() ([]netip.Addr, Meta, error) { return c.Resolver.LookupAddrs(ctx, host, network) })
}

// LookupTXT implements Resolver.
func (c *Cache) LookupTXT(ctx context.Context, name string) ([]string, Meta, error) {
	return ask(ctx, c, "TXT "+name, func() ([]string, Meta, error) { return c.Resolver.LookupTXT(ctx, name) })
}

// LookupTLSA implements Resolver.
func (c *Cache) LookupTLSA(ctx context.Context, name string) ([]TLSA, Meta, error) {
	return ask(ctx, c, "TLSA "+name, func() ([]TLSA, Meta, error) { return c.Resolver.LookupTLSA(ctx, name) })
}

// LookupCNAME implements AliasResolver; ErrUnsupported if the other Resolver does not.
func (c *Cache) LookupCNAME(ctx context.Context, name string) (string, Meta, error) {
	list, meta, err := ask(ctx, c, "CNAME "+name, func() ([]string, Meta, error) {
		target, meta, err := lookupCNAME(ctx, c.Resolver, name)
		return []string{target}, meta, err
	})
	if len(list) == 0 {
		return "", meta, err
	}
	return list[0], meta, err
}

// LookupPTR implements Resolver.
func (c *Cache) LookupPTR(ctx context.Context, addr netip.Addr) ([]string, Meta, error) {
	return ask(ctx, c, fmt.Sprintf("PTR %s", addr), func() ([]string, Meta, error) { return c.Resolver.LookupPTR(ctx, addr) })
}
