package dnsmx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec"
)

// Router finds routes by the MX rules of RFC 5321 §5.1, with the TLS policy of DANE and MTA-STS. It
// has the method that package smtp's Relay wants. Set the fields before use; it is safe for
// concurrent use.
type Router struct {
	Resolver Resolver // required; put a Cache around one that has none

	// Hostname and OwnNames are names under which we receive mail, OwnAddrs addresses: an exchanger
	// that is ourselves is not tried, nor one behind it in preference, so that mail does not go in circles.
	Hostname string
	OwnNames []string
	OwnAddrs []netip.Addr

	// AllowPrivate lets exchangers be in private, loopback and reserved networks (see Public). The
	// zero value refuses them: whoever owns a domain must not be able to make us talk to the inside.
	AllowPrivate bool

	// STS brings the MTA-STS policies of domains (RFC 8461). nil = none are asked for.
	STS *STS
	// DANE uses TLSA records that are authentic (RFC 7672). Turn it on only with a Resolver whose
	// Meta.Authentic can be trusted: a validating resolver on this machine.
	DANE bool

	MaxHosts int    // exchangers of one route; 0 = 10
	MaxAddrs int    // addresses of one route; 0 = 20
	Port     uint16 // of all hosts; 0 = 25
}

// The defaults of Router's limits, and the longest chain of CNAMEs that is followed (D02).
const (
	defaultMaxHosts = 10
	defaultMaxAddrs = 20
	maxAliases      = 8
)

// candidate is an exchanger on its way into the route.
type candidate struct {
	MX
	goniec.RouteHost
	authentic bool // its addresses
	alias     string
}

// Route returns the hosts for a domain or an address literal ("[192.0.2.1]"), in the order in which
// they are to be tried. The error is a *goniec.Status: 556 5.1.10 for a null MX, 550 5.1.2 for a
// domain that does not exist, 554 5.4.6 when we are its best exchanger, 550 5.4.4 when no exchanger
// can be reached, and 451 4.4.3 for any trouble of the DNS, which is never taken for an answer.
func (r *Router) Route(ctx context.Context, domain string) (goniec.Route, error) {
	name, err := asciiName(domain)
	if err != nil {
		return goniec.Route{}, status(550, 5, 1, 2, "domain name is not valid", err)
	}
	route := goniec.Route{Domain: name}
	if strings.HasPrefix(name, "[") {
		return r.literal(route, name)
	}
	list, meta, err := r.exchangers(ctx, name)
	if err != nil {
		return route, err
	}
	route.Why = describe(list, meta, name)
	hosts, err := r.resolve(ctx, list, name)
	if err != nil {
		return route, err
	}
	if hosts, err = r.secure(ctx, name, meta, hosts); err != nil {
		return route, err
	}
	for _, h := range hosts {
		route.Hosts = append(route.Hosts, h.RouteHost)
	}
	return route, nil
}

// literal is the route of an address literal.
func (r *Router) literal(route goniec.Route, name string) (goniec.Route, error) {
	a, err := goniec.NewAddress("postmaster", name)
	ip, ok := a.Literal()
	switch {
	case err != nil || !ok:
		return route, status(550, 5, 1, 2, "address literal is not valid", err)
	case r.ourAddr(ip):
		return route, status(554, 5, 4, 6, "address literal is our own", nil)
	case !r.AllowPrivate && !Public(ip):
		return route, status(550, 5, 4, 4, "address is in a private or reserved network", nil)
	}
	route.Why = "address literal"
	route.Hosts = []goniec.RouteHost{{Name: name, Addrs: []netip.Addr{ip}, Port: r.Port, Why: "address literal"}}
	return route, nil
}

// exchangers returns the MX list in order, or the implicit MX (RFC 5321 §5.1).
func (r *Router) exchangers(ctx context.Context, name string) ([]MX, Meta, error) {
	list, meta, err := r.Resolver.LookupMX(ctx, name)
	switch {
	case meta.Aliases > maxAliases:
		return nil, meta, status(451, 4, 4, 3, "chain of CNAMEs is too long", nil)
	case errors.Is(err, ErrNoData):
		return r.beforeUs([]MX{{Pref: 0, Host: name}}, meta, r.ourName)
	case errors.Is(err, ErrNXDomain):
		return nil, meta, status(550, 5, 1, 2, "domain does not exist", err)
	case err != nil:
		// RFC 5321 §5.1: no fall-back to the address when the question has no answer.
		return nil, meta, status(451, 4, 4, 3, "domain can not be looked up now", err)
	}
	if len(list) == 1 && isNull(list[0]) {
		return nil, meta, status(556, 5, 1, 10, "domain does not accept mail (null MX)", nil) // RFC 7505 §3
	}
	list = slices.DeleteFunc(list, isNull)
	if len(list) == 0 {
		return nil, meta, status(550, 5, 4, 4, "domain has no usable mail exchanger", nil)
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b MX) int { return cmp.Compare(a.Pref, b.Pref) })
	for i := range list {
		list[i].Host = strings.ToLower(strings.TrimSuffix(list[i].Host, "."))
	}
	return r.beforeUs(list, meta, r.ourName)
}

func isNull(m MX) bool { return m.Host == "." || m.Host == "" }

// beforeUs drops the first exchanger that is ourselves and all that are not preferred to it.
func (r *Router) beforeUs(list []MX, meta Meta, ours func(string) bool) ([]MX, Meta, error) {
	i := slices.IndexFunc(list, func(m MX) bool { return ours(m.Host) })
	if i < 0 {
		return list, meta, nil
	}
	best := list[i].Pref
	list = slices.DeleteFunc(list, func(m MX) bool { return m.Pref >= best })
	if len(list) == 0 {
		return nil, meta, errOurs()
	}
	return list, meta, nil
}

func errOurs() error {
	return status(554, 5, 4, 6, "we are the best mail exchanger of the domain, but it is not among ours", nil)
}

func (r *Router) ourName(host string) bool {
	return r.Hostname != "" && goniec.SameDomain(host, r.Hostname) ||
		slices.ContainsFunc(r.OwnNames, func(n string) bool { return goniec.SameDomain(host, n) })
}

// ourAddr compares in one form: "::ffff:192.0.2.1" leads to 192.0.2.1.
func (r *Router) ourAddr(a netip.Addr) bool {
	return slices.ContainsFunc(r.OwnAddrs, func(own netip.Addr) bool { return own.Unmap() == a.Unmap() })
}

// resolve looks up the addresses of exchangers, within limits. Trouble with one host leaves the
// others; trouble is the result only when no host remains.
func (r *Router) resolve(ctx context.Context, list []MX, domain string) ([]*candidate, error) {
	var (
		out     []*candidate
		trouble error // of the most preferred host that is in some
		sick    uint16
		refused bool
		addrs   = limit(r.MaxAddrs, defaultMaxAddrs)
	)
	for _, m := range list[:min(len(list), limit(r.MaxHosts, defaultMaxHosts))] {
		if addrs <= 0 {
			break
		}
		c, err := r.host(ctx, m)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case absent(err):
			continue
		case err != nil:
			if trouble == nil {
				trouble, sick = err, m.Pref
			}
			continue
		}
		if slices.ContainsFunc(c.Addrs, r.ourAddr) {
			out = slices.DeleteFunc(out, func(c *candidate) bool { return c.Pref >= m.Pref })
			switch {
			case len(out) > 0:
				return out, nil
			case trouble != nil && sick < m.Pref:
				return nil, errTrouble(trouble) // one before us may be well again later
			}
			return nil, errOurs()
		}
		if !r.AllowPrivate {
			n := len(c.Addrs)
			c.Addrs = slices.DeleteFunc(c.Addrs, func(a netip.Addr) bool { return !Public(a) })
			refused = refused || len(c.Addrs) < n
		}
		if len(c.Addrs) == 0 {
			continue
		}
		c.Addrs = c.Addrs[:min(len(c.Addrs), addrs)]
		addrs -= len(c.Addrs)
		out = append(out, c)
	}
	switch {
	case len(out) > 0:
		return out, nil
	case trouble != nil:
		return nil, errTrouble(trouble)
	case refused:
		return nil, status(550, 5, 4, 4, "mail exchangers are in private or reserved networks", nil)
	}
	return nil, status(550, 5, 4, 4, fmt.Sprintf("no mail exchanger of %s has an address", domain), nil)
}

func errTrouble(cause error) error {
	return status(451, 4, 4, 3, "mail exchangers can not be looked up now", cause)
}

// host looks up one exchanger's addresses of both families, and interleaves them.
func (r *Router) host(ctx context.Context, m MX) (*candidate, error) {
	if _, err := netip.ParseAddr(m.Host); err == nil {
		return nil, ErrNXDomain // RFC 5321 §5.1: an MX names a host, never an address
	}
	c := &candidate{MX: m}
	c.Name, c.Port, c.Why = m.Host, r.Port, fmt.Sprintf("MX %d", m.Pref)
	v6, meta6, err6 := r.Resolver.LookupAddrs(ctx, m.Host, "ip6")
	v4, meta4, err4 := r.Resolver.LookupAddrs(ctx, m.Host, "ip4")
	if max(meta6.Aliases, meta4.Aliases) > maxAliases {
		return nil, fmt.Errorf("%s: chain of CNAMEs is too long: %w", m.Host, ErrServFail)
	}
	for _, err := range []error{err6, err4} {
		// One family that is in trouble does not stop the other; without addresses it counts.
		if troubled(err) && len(v4)+len(v6) == 0 {
			return nil, fmt.Errorf("%s: %w", m.Host, err)
		}
	}
	if len(v4)+len(v6) == 0 {
		return nil, ErrNoData
	}
	// RFC 7672 §2.2.2: what was answered must be secure. A question without an answer does not count: whoever makes one fail must
	// not turn DANE off by it.
	c.authentic = (meta6.Authentic || troubled(err6)) && (meta4.Authentic || troubled(err4))
	if meta4.Aliases > 0 {
		c.alias = meta4.Name
	} else if meta6.Aliases > 0 {
		c.alias = meta6.Name
	}
	for i := range max(len(v4), len(v6)) {
		if i < len(v6) {
			c.Addrs = append(c.Addrs, v6[i])
		}
		if i < len(v4) {
			c.Addrs = append(c.Addrs, v4[i])
		}
	}
	return c, nil
}

func describe(list []MX, meta Meta, name string) string {
	why := "MX of " + name
	if len(list) == 1 && list[0].Host == name && list[0].Pref == 0 {
		why = "no MX, so the host " + name + " itself"
	}
	if meta.Aliases > 0 && meta.Name != "" {
		why += " (alias of " + meta.Name + ")"
	}
	return why
}

// asciiName is the form in which names are asked for.
func asciiName(domain string) (string, error) {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" {
		return "", errors.New("domain is empty")
	}
	a, err := goniec.NewAddress("postmaster", domain)
	if err != nil {
		return "", err
	}
	return a.ASCIIDomain(), nil
}

// limit applies the rule of all limits: zero means the default, negative none.
func limit(n, def int) int {
	switch {
	case n == 0:
		return def
	case n < 0:
		return math.MaxInt
	}
	return n
}

func status(code int, class, subject, detail uint16, text string, cause error) error {
	return &goniec.Status{Code: code, Enhanced: goniec.EnhancedCode{class, subject, detail}, Text: text, Err: cause}
}
