package dnsmx

import (
	"context"
	"net/netip"
	"strings"
	"time"
)

// Static is a Resolver that answers from tables: for tests, and for sites without DNS. Keys are
// names in lower case without trailing dot. A name that no table has does not exist (ErrNXDomain).
// It is safe for concurrent use while nobody changes it.
type Static struct {
	MX    map[string][]MX
	Addrs map[string][]netip.Addr
	TXT   map[string][]string
	TLSA  map[string][]TLSA // "_25._tcp.mx.example.org"
	PTR   map[netip.Addr][]string
	CNAME map[string]string

	// Errors gives names that are in trouble, for any question; "CNAME " before a name means that one question.
	Errors map[string]error
	// Authentic says that all answers count as validated by DNSSEC; Insecure lists exceptions.
	Authentic bool
	Insecure  map[string]bool
	TTL       time.Duration
}

var _ Resolver = (*Static)(nil)

// follow resolves CNAMEs; a chain that does not end is a failure, as a real server says.
func (s *Static) follow(name string) (Meta, error) {
	m := Meta{Name: strings.ToLower(strings.TrimSuffix(name, ".")), TTL: s.TTL, Authentic: s.Authentic}
	for {
		if err := s.Errors[m.Name]; err != nil {
			return m, err
		}
		m.Authentic = m.Authentic && !s.Insecure[m.Name]
		next, ok := s.CNAME[m.Name]
		if !ok {
			return m, nil
		}
		m.Name = next
		if m.Aliases++; m.Aliases > 100 {
			return m, ErrServFail
		}
	}
}

// exists reports whether any table has a name, or a name below it.
func (s *Static) exists(name string) bool {
	has := func(k string) bool { return k == name || strings.HasSuffix(k, "."+name) }
	return anyKey(s.MX, has) || anyKey(s.Addrs, has) || anyKey(s.TXT, has) || anyKey(s.TLSA, has) || anyKey(s.CNAME, has)
}

func anyKey[V any](m map[string]V, has func(string) bool) bool {
	for k := range m {
		if has(k) {
			return true
		}
	}
	return false
}

// answer looks a name up in one table.
func answer[T any](s *Static, ctx context.Context, table map[string][]T, name string) ([]T, Meta, error) {
	if err := ctx.Err(); err != nil {
		return nil, Meta{}, err
	}
	m, err := s.follow(name)
	if err != nil {
		return nil, m, err
	}
	if list := table[m.Name]; len(list) > 0 {
		return append([]T(nil), list...), m, nil
	}
	if s.exists(m.Name) {
		return nil, m, ErrNoData
	}
	return nil, m, ErrNXDomain
}

// LookupMX implements Resolver.
func (s *Static) LookupMX(ctx context.Context, domain string) ([]MX, Meta, error) {
	return answer(s, ctx, s.MX, domain)
}

// LookupAddrs implements Resolver.
func (s *Static) LookupAddrs(ctx context.Context, host, network string) ([]netip.Addr, Meta, error) {
	all, m, err := answer(s, ctx, s.Addrs, host)
	if err != nil {
		return nil, m, err
	}
	var list []netip.Addr
	for _, a := range all {
		if a.Is4() == (network == "ip4") {
			list = append(list, a)
		}
	}
	if list == nil {
		return nil, m, ErrNoData
	}
	return list, m, nil
}

// LookupTXT implements Resolver.
func (s *Static) LookupTXT(ctx context.Context, name string) ([]string, Meta, error) {
	return answer(s, ctx, s.TXT, name)
}

// LookupTLSA implements Resolver.
func (s *Static) LookupTLSA(ctx context.Context, name string) ([]TLSA, Meta, error) {
	return answer(s, ctx, s.TLSA, name)
}

// LookupCNAME implements AliasResolver.
func (s *Static) LookupCNAME(ctx context.Context, name string) (string, Meta, error) {
	m := Meta{Name: strings.ToLower(strings.TrimSuffix(name, ".")), TTL: s.TTL}
	m.Authentic = s.Authentic && !s.Insecure[m.Name]
	target, ok := s.CNAME[m.Name]
	switch err := ctx.Err(); {
	case err != nil:
		return "", Meta{}, err
	case s.Errors["CNAME "+m.Name] != nil:
		return "", m, s.Errors["CNAME "+m.Name]
	case ok:
		return target, m, nil
	case s.exists(m.Name):
		return "", m, ErrNoData
	}
	return "", m, ErrNXDomain
}

// LookupPTR implements Resolver.
func (s *Static) LookupPTR(ctx context.Context, addr netip.Addr) ([]string, Meta, error) {
	m := Meta{TTL: s.TTL, Authentic: s.Authentic}
	if list := s.PTR[addr.Unmap()]; len(list) > 0 {
		return append([]string(nil), list...), m, ctx.Err()
	}
	return nil, m, ErrNXDomain
}
