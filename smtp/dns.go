package smtp

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
)

// Resolver is what checks by DNS need. *net.Resolver is one.
type Resolver interface {
	// LookupNetIP looks up addresses; network is "ip", "ip4" or "ip6".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	// LookupAddr looks up the names of an address.
	LookupAddr(ctx context.Context, addr string) (names []string, err error)
}

var _ Resolver = (*net.Resolver)(nil)

// defaultDNSTimeout is for all questions of one check.
const defaultDNSTimeout = 10 * time.Second

// notFound reports whether err says that there is no such record, and not that nobody could tell.
func notFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}

// DNSBL refuses clients that a DNS block list names (RFC 5782): 554 5.7.1. They are looked up once, at the first MAIL;
// authenticated clients are not. A list that does not answer lists nobody. It is safe for concurrent use.
type DNSBL struct {
	// Resolver asks. Nil means net.DefaultResolver.
	Resolver Resolver
	// Zones are the lists, asked in order: "zen.spamhaus.org".
	Zones []string
	// Timeout is for all lists together. Zero means 10 s.
	Timeout time.Duration
}

// Middleware asks the lists.
func (d *DNSBL) Middleware() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return &dnsblSession{Wrapped: Wrapped{s}, c: c, d: d} })
}

type dnsblSession struct {
	Wrapped
	c       *Conn
	d       *DNSBL
	asked   bool
	refused error
}

func (s *dnsblSession) Mail(ctx context.Context, env *goniec.Envelope) error {
	if _, ok := s.c.Identity(); !ok {
		if !s.asked {
			s.asked, s.refused = true, s.d.check(ctx, s.c)
		}
		if s.refused != nil {
			return s.refused
		}
	}
	return s.Session.Mail(ctx, env)
}

func (d *DNSBL) check(ctx context.Context, c *Conn) error {
	ip := c.Remote().Addr()
	if !ip.IsValid() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, orDefault(d.Timeout, defaultDNSTimeout))
	defer cancel()
	for _, zone := range d.Zones {
		addrs, err := resolver(d.Resolver).LookupNetIP(ctx, "ip4", reversed(ip)+"."+zone)
		if err != nil && !notFound(err) {
			c.Logger().Warn("block list did not answer", "zone", zone, keyErr, err)
		}
		if slices.ContainsFunc(addrs, isListing) {
			return goniec.NewStatus(554, goniec.EnhancedCode{5, 7, 1}, "client ["+ip.String()+"] is listed by "+zone)
		}
	}
	return nil
}

func resolver(r Resolver) Resolver {
	if r != nil {
		return r
	}
	return net.DefaultResolver
}

// isListing reports whether an answer means "listed". RFC 5782 §2.1: those in 127.0.0.0/8; 127.255.255.0/24 are errors of the
// asker's, by the convention of Spamhaus and others; anything else is a domain that was sold and answers everything.
func isListing(a netip.Addr) bool {
	if a = a.Unmap(); !a.Is4() {
		return false
	}
	b := a.As4()
	return b[0] == 127 && (b[1] != 255 || b[2] != 255)
}

// reversed writes an address as block lists want it (RFC 5782 §2.1, §2.4): octets or nibbles, the last first.
func reversed(ip netip.Addr) string {
	ip = ip.Unmap()
	var parts []string
	if ip.Is4() {
		parts = strings.Split(ip.String(), ".")
	} else {
		b := ip.As16()
		parts = strings.Split(hex.EncodeToString(b[:]), "")
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// ReverseDNS finds the client's confirmed host name: one of its address, whose addresses include it (RFC 8601 §2.7.3 calls that
// iprev). The name is then in Conn.RDNS, Origin.RDNS and the Received field. It is looked up once, at the first MAIL. It is safe for
// concurrent use.
type ReverseDNS struct {
	// Resolver asks. Nil means net.DefaultResolver.
	Resolver Resolver
	// Require refuses clients without a confirmed name, 550 5.7.25 (RFC 7372), or defers them when the DNS does not answer,
	// 451 4.7.25. Authenticated clients are not refused.
	Require bool
	// Timeout is for all questions. Zero means 10 s.
	Timeout time.Duration
}

// maxPTR is how many names of an address are tried.
const maxPTR = 5

// Middleware looks the name up.
func (r *ReverseDNS) Middleware() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return &rdnsSession{Wrapped: Wrapped{s}, c: c, r: r} })
}

type rdnsSession struct {
	Wrapped
	c     *Conn
	r     *ReverseDNS
	asked bool
	err   error
}

func (s *rdnsSession) Mail(ctx context.Context, env *goniec.Envelope) error {
	if !s.asked && s.c.RDNS() == "" && s.c.Remote().IsValid() {
		s.asked = true
		s.c.rdns, s.err = s.r.confirmed(ctx, s.c.Remote().Addr())
	}
	if env.Origin.Remote == s.c.Remote() { // not what XFORWARD named
		env.Origin.RDNS = s.c.rdns
	}
	if _, ok := s.c.Identity(); s.err != nil && s.r.Require && !ok {
		return s.err
	}
	return s.Session.Mail(ctx, env)
}

// confirmed returns the confirmed name of ip, or the reply for a client that must have one.
func (r *ReverseDNS) confirmed(ctx context.Context, ip netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(r.Timeout, defaultDNSTimeout))
	defer cancel()
	names, err := resolver(r.Resolver).LookupAddr(ctx, ip.Unmap().String())
	unsure := err != nil && !notFound(err)
	for _, name := range names[:min(len(names), maxPTR)] {
		name = strings.TrimSuffix(name, ".")
		if validHelo(name) != nil {
			continue
		}
		addrs, err := resolver(r.Resolver).LookupNetIP(ctx, "ip", name)
		unsure = unsure || err != nil && !notFound(err)
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == ip.Unmap() }) {
			return name, nil
		}
	}
	if unsure {
		return "", goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 25}, "the name of your address can not be verified now, try again later")
	}
	return "", goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 25}, "your address has no name that leads back to it")
}
