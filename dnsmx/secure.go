package dnsmx

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/goniec-mail/goniec"
)

// secure decides how much TLS each host needs. DANE stands above MTA-STS (RFC 8461 §2): a host with
// authentic TLSA records is held to them; the others to the policy of the domain, if it has one.
// Hosts that may not be used now are dropped; when none is left, the mail waits.
func (r *Router) secure(ctx context.Context, domain string, mx Meta, hosts []*candidate) ([]*candidate, error) {
	var policy *STSPolicy
	if r.STS != nil {
		p, err := r.STS.Policy(ctx, domain)
		if err != nil {
			return nil, err
		}
		policy = p
	}
	var reason error
	kept := hosts[:0]
	for _, h := range hosts {
		err := r.secureHost(ctx, domain, mx, h, policy)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			reason = errors.Join(reason, fmt.Errorf("%s: %w", h.Name, err))
			continue
		}
		kept = append(kept, h)
	}
	if len(kept) == 0 {
		return nil, status(451, 4, 7, 5, "no mail exchanger can be used under the domain's TLS policy now", reason)
	}
	return kept, nil
}

func (r *Router) secureHost(ctx context.Context, domain string, mx Meta, h *candidate, policy *STSPolicy) error {
	if r.DANE && mx.Authentic {
		bases, err := r.tlsaBases(ctx, h)
		if err != nil {
			return err
		}
		done, err := r.dane(ctx, domain, mx, h, bases)
		if done || err != nil {
			return err
		}
	}
	switch {
	case policy == nil || policy.Mode == STSNone:
	case policy.Matches(h.Name):
		h.Why += ", MTA-STS " + string(policy.Mode)
		if policy.Mode == STSEnforce {
			h.TLS, h.TLSNames = goniec.TLSVerified, []string{h.Name}
		}
	case policy.Mode == STSEnforce:
		return fmt.Errorf("not among the hosts of the MTA-STS policy %v", policy.MX)
	default:
		h.Why += ", MTA-STS testing: the policy does not list it"
	}
	return nil
}

// tlsaBases are the names of a host under which TLSA records count.
func (r *Router) tlsaBases(ctx context.Context, h *candidate) ([]string, error) {
	switch {
	case h.authentic && h.alias != "": // RFC 7672 §2.2.3: the name behind a CNAME first, then the one in front of it
		return []string{h.alias, h.Name}, nil
	case h.authentic:
		return []string{h.Name}, nil
	case h.alias == "":
		return nil, nil
	}
	// §2.2.2: an alias in a signed zone that leads into one that is not. Its own name still counts, and the CNAME alone tells.
	_, meta, err := lookupCNAME(ctx, r.Resolver, h.Name)
	switch {
	case troubled(err) && !errors.Is(err, ErrUnsupported):
		// As with TLSA records: whoever makes the answer fail must not gain a connection without them.
		return nil, fmt.Errorf("whether %s is an alias that is signed can not be looked up: %w", h.Name, err)
	case err != nil || !meta.Authentic:
		return nil, nil
	}
	return []string{h.Name}, nil
}

// dane asks for the TLSA records of a host under some names (RFC 7672 §2.2). done: they decide.
func (r *Router) dane(ctx context.Context, domain string, mx Meta, h *candidate, bases []string) (done bool, err error) {
	port := h.Port
	if port == 0 {
		port = 25
	}
	for _, base := range bases {
		list, meta, err := r.Resolver.LookupTLSA(ctx, fmt.Sprintf("_%d._tcp.%s", port, base))
		switch {
		case absent(err):
			continue
		case err != nil:
			// §2.1.2: whoever makes the answer fail must not gain a connection without it.
			return false, fmt.Errorf("TLSA records can not be looked up: %w", err)
		case !meta.Authentic:
			continue
		}
		h.ServerName = base // RFC 7672 §8.1
		names := []string{base, h.Name, domain}
		if mx.Name != "" {
			names = append(names, mx.Name)
		}
		return h.requireDANE(list, slices.Compact(slices.Sorted(slices.Values(names)))), nil
	}
	return false, nil
}

// requireDANE holds a host to its TLSA records, and reports whether they decide. When none of them can
// be used, TLS is still a must (RFC 7672 §2.2), and MTA-STS may ask for more.
func (h *candidate) requireDANE(list []TLSA, names []string) bool {
	usable := slices.DeleteFunc(slices.Clone(list), func(t TLSA) bool { return !t.usable() })
	if len(usable) == 0 {
		h.TLS = goniec.TLSRequired
		h.Why += ", DANE: TLSA records that can not be used, so any TLS"
		return false
	}
	h.TLS, h.TLSNames = goniec.TLSDANE, names
	h.Verify = verifyDANE(usable, names)
	h.Why += fmt.Sprintf(", DANE with %d TLSA records", len(usable))
	return true
}
