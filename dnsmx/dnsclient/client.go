package dnsclient

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/goniec-mail/goniec/dnsmx"
)

// Client asks recursive DNS servers. The zero value asks those of /etc/resolv.conf. Set the fields
// before use; it is safe for concurrent use.
type Client struct {
	// Servers are asked in order, "host:port" with IP addresses. Empty means those of
	// /etc/resolv.conf, read with each question, or 127.0.0.1:53 when there is none.
	Servers []string
	// TrustRemoteAD takes the AD bit from servers that are not on a loopback address too. Set it
	// only when nobody can change packets on the way to them.
	TrustRemoteAD bool
	// Timeout limits each try. Zero means 5 s; negative means that only ctx does.
	Timeout time.Duration
	// Rounds is how often the list of servers is gone through. Zero means 2.
	Rounds int
}

var _ dnsmx.Resolver = (*Client)(nil)

const (
	maxServers = 3 // as in the system's resolver
	maxAliases = 8
	udpSize    = 1232 // passes any path without fragments
)

// LookupMX implements dnsmx.Resolver.
func (c *Client) LookupMX(ctx context.Context, domain string) ([]dnsmx.MX, dnsmx.Meta, error) {
	return lookup(ctx, c, domain, dns.TypeMX, func(rr dns.RR) (dnsmx.MX, bool) {
		mx, ok := rr.(*dns.MX)
		if !ok {
			return dnsmx.MX{}, false
		}
		return dnsmx.MX{Pref: mx.Preference, Host: mx.Mx}, true
	})
}

// LookupAddrs implements dnsmx.Resolver.
func (c *Client) LookupAddrs(ctx context.Context, host, network string) ([]netip.Addr, dnsmx.Meta, error) {
	qtype := dns.TypeA
	if network == "ip6" {
		qtype = dns.TypeAAAA
	}
	return lookup(ctx, c, host, qtype, func(rr dns.RR) (netip.Addr, bool) {
		switch rr := rr.(type) {
		case *dns.A:
			a, ok := netip.AddrFromSlice(rr.A.To4())
			return a, ok
		case *dns.AAAA:
			a, ok := netip.AddrFromSlice(rr.AAAA.To16())
			return a, ok
		}
		return netip.Addr{}, false
	})
}

// LookupTXT implements dnsmx.Resolver. The strings of one record are joined (RFC 7208 §3.3).
func (c *Client) LookupTXT(ctx context.Context, name string) ([]string, dnsmx.Meta, error) {
	return lookup(ctx, c, name, dns.TypeTXT, func(rr dns.RR) (string, bool) {
		txt, ok := rr.(*dns.TXT)
		if !ok {
			return "", false
		}
		return strings.Join(txt.Txt, ""), true
	})
}

// LookupTLSA implements dnsmx.Resolver.
func (c *Client) LookupTLSA(ctx context.Context, name string) ([]dnsmx.TLSA, dnsmx.Meta, error) {
	return lookup(ctx, c, name, dns.TypeTLSA, func(rr dns.RR) (dnsmx.TLSA, bool) {
		t, ok := rr.(*dns.TLSA)
		if !ok {
			return dnsmx.TLSA{}, false
		}
		data, err := hex.DecodeString(t.Certificate)
		return dnsmx.TLSA{Usage: t.Usage, Selector: t.Selector, Matching: t.MatchingType, Data: data}, err == nil
	})
}

// LookupCNAME implements dnsmx.AliasResolver.
func (c *Client) LookupCNAME(ctx context.Context, name string) (string, dnsmx.Meta, error) {
	list, meta, err := lookup(ctx, c, name, dns.TypeCNAME, func(rr dns.RR) (string, bool) {
		cname, ok := rr.(*dns.CNAME)
		if !ok {
			return "", false
		}
		return strings.TrimSuffix(cname.Target, "."), true
	})
	if err != nil {
		return "", meta, err
	}
	return list[0], meta, nil
}

// LookupPTR implements dnsmx.Resolver.
func (c *Client) LookupPTR(ctx context.Context, addr netip.Addr) ([]string, dnsmx.Meta, error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, dnsmx.Meta{}, err
	}
	return lookup(ctx, c, name, dns.TypePTR, func(rr dns.RR) (string, bool) {
		ptr, ok := rr.(*dns.PTR)
		if !ok {
			return "", false
		}
		return strings.TrimSuffix(ptr.Ptr, "."), true
	})
}

// lookup asks one question and turns the records of its type into T.
func lookup[T any](ctx context.Context, c *Client, name string, qtype uint16, convert func(dns.RR) (T, bool)) ([]T, dnsmx.Meta, error) {
	records, meta, err := c.resolve(ctx, name, qtype)
	if err != nil {
		return nil, meta, fmt.Errorf("%s %s: %w", dns.TypeToString[qtype], strings.TrimSuffix(name, "."), err)
	}
	list := make([]T, 0, len(records))
	for _, rr := range records {
		if v, ok := convert(rr); ok {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return nil, meta, fmt.Errorf("%s %s: %w", dns.TypeToString[qtype], strings.TrimSuffix(name, "."), dnsmx.ErrNoData)
	}
	return list, meta, nil
}

// resolve follows CNAMEs that the server did not follow to their end.
func (c *Client) resolve(ctx context.Context, name string, qtype uint16) ([]dns.RR, dnsmx.Meta, error) {
	ch := &chain{name: dns.CanonicalName(name), ttl: maxTTL, authentic: true}
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, ch.meta(), fmt.Errorf("%q is no domain name: %w", name, dnsmx.ErrNXDomain)
	}
	for range maxAliases {
		reply, trusted, err := c.ask(ctx, ch.name, qtype)
		if err != nil {
			ch.authentic = false
			return nil, ch.meta(), err
		}
		ch.authentic = ch.authentic && trusted && reply.AuthenticatedData
		before := ch.aliases
		records := ch.follow(reply.Answer, qtype)
		switch {
		case len(records) > 0:
			return records, ch.meta(), nil
		case reply.Rcode == dns.RcodeNameError:
			ch.denied(reply.Ns)
			return nil, ch.meta(), dnsmx.ErrNXDomain
		case ch.aliases == before && len(reply.Answer) > 0 && !ch.mentioned(reply.Answer):
			ch.authentic = false
			return nil, ch.meta(), fmt.Errorf("answer is about other names: %w", dnsmx.ErrServFail)
		case ch.aliases == before:
			ch.denied(reply.Ns)
			return nil, ch.meta(), dnsmx.ErrNoData
		}
	}
	ch.authentic = false
	return nil, ch.meta(), fmt.Errorf("chain of CNAMEs is too long: %w", dnsmx.ErrServFail)
}

const maxTTL = 7 * 24 * time.Hour // RFC 8767 §4: nothing is believed longer

// chain is where a question has come to.
type chain struct {
	name      string // canonical, with trailing dot
	aliases   int
	ttl       time.Duration
	authentic bool
}

func (ch *chain) meta() dnsmx.Meta {
	return dnsmx.Meta{Name: strings.TrimSuffix(ch.name, "."), Aliases: ch.aliases, TTL: ch.ttl, Authentic: ch.authentic}
}

// follow walks along the CNAMEs of an answer and returns the records at its end. Records of other
// names are not looked at.
func (ch *chain) follow(answer []dns.RR, qtype uint16) []dns.RR {
	for range len(answer) + 1 {
		var records []dns.RR
		next := ""
		for _, rr := range answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || dns.CanonicalName(h.Name) != ch.name {
				continue
			}
			cname, isAlias := rr.(*dns.CNAME)
			switch {
			case h.Rrtype == qtype:
				records = append(records, rr)
			case isAlias:
				next = dns.CanonicalName(cname.Target)
			default:
				continue
			}
			ch.ttl = min(ch.ttl, time.Duration(h.Ttl)*time.Second)
		}
		if len(records) > 0 || next == "" {
			return records
		}
		ch.name, ch.aliases = next, ch.aliases+1
	}
	return nil // the CNAMEs of the answer run in a circle: asking again goes on until the limit
}

// mentioned reports whether an answer has any record of the name.
func (ch *chain) mentioned(answer []dns.RR) bool {
	return slices.ContainsFunc(answer, func(rr dns.RR) bool { return dns.CanonicalName(rr.Header().Name) == ch.name })
}

// denied takes the lifetime of a denial from its SOA record (RFC 2308 §5); without one it is not kept.
func (ch *chain) denied(authority []dns.RR) {
	ttl := time.Duration(0)
	for _, rr := range authority {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
		}
	}
	ch.ttl = min(ch.ttl, ttl)
}

// ask goes through the servers until one has an answer. trusted says whether its AD bit counts.
func (c *Client) ask(ctx context.Context, name string, qtype uint16) (reply *dns.Msg, trusted bool, err error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.AuthenticatedData = true // RFC 6840 §5.7: tell us
	m.SetEdns0(udpSize, false)
	servers := c.servers()
	var trouble error
	rounds := c.Rounds
	if rounds <= 0 {
		rounds = 2
	}
	for range rounds {
		for _, server := range servers {
			reply, err := c.exchange(ctx, m, server)
			if ctx.Err() != nil {
				return nil, false, context.Cause(ctx)
			}
			if err == nil {
				return reply, c.trusts(server), nil
			}
			trouble = fmt.Errorf("server %s: %w", server, err)
			if errors.Is(err, dnsmx.ErrBogus) {
				return nil, false, trouble // another server must not talk us out of it
			}
		}
	}
	return nil, false, trouble
}

// exchange asks one server; a cut answer is asked for again over TCP.
func (c *Client) exchange(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	timeout := c.Timeout
	switch {
	case timeout == 0:
		timeout = 5 * time.Second
	case timeout < 0:
		timeout = time.Hour
	}
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: timeout, UDPSize: udpSize}
		reply, err := roundTrip(ctx, client, m.Copy(), server)
		switch {
		case err != nil:
			return nil, err
		case reply.Truncated && network == "udp":
			continue
		case reply.Truncated:
			return nil, errors.New("answer is cut over TCP too")
		}
		return reply, judge(m, reply)
	}
	return nil, errors.New("no answer")
}

// roundTrip closes the socket when ctx ends: the library looks at its deadline only.
func roundTrip(ctx context.Context, client *dns.Client, m *dns.Msg, server string) (*dns.Msg, error) {
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	reply, _, err := client.ExchangeWithConnContext(ctx, m, conn)
	return reply, err
}

// judge turns response codes that are no answers into errors.
func judge(m, reply *dns.Msg) error {
	if len(reply.Question) != 1 || !strings.EqualFold(reply.Question[0].Name, m.Question[0].Name) || reply.Question[0].Qtype != m.Question[0].Qtype {
		return fmt.Errorf("answer to another question: %w", dnsmx.ErrServFail)
	}
	switch reply.Rcode {
	case dns.RcodeSuccess:
		if !reply.RecursionAvailable && !reply.Authoritative && len(reply.Answer) == 0 {
			return fmt.Errorf("lame: the server neither knows nor asks others: %w", dnsmx.ErrServFail)
		}
		return nil
	case dns.RcodeNameError:
		return nil
	case dns.RcodeServerFailure:
		if bogus(reply) {
			return dnsmx.ErrBogus
		}
	}
	return fmt.Errorf("%s: %w", dns.RcodeToString[reply.Rcode], dnsmx.ErrServFail)
}

// bogus reports whether a failure says that validation was the reason (RFC 8914 §4).
func bogus(reply *dns.Msg) bool {
	opt := reply.IsEdns0()
	if opt == nil {
		return false
	}
	for _, o := range opt.Option {
		ede, ok := o.(*dns.EDNS0_EDE)
		if ok && ede.InfoCode >= dns.ExtendedErrorCodeDNSBogus && ede.InfoCode <= dns.ExtendedErrorCodeNSECMissing {
			return true
		}
	}
	return false
}

func (c *Client) servers() []string {
	list := c.Servers
	if len(list) == 0 {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err == nil {
			for _, s := range conf.Servers {
				list = append(list, net.JoinHostPort(s, conf.Port))
			}
		}
	}
	if len(list) == 0 {
		list = []string{"127.0.0.1:53"}
	}
	return list[:min(len(list), maxServers)]
}

// trusts reports whether the AD bit of a server counts.
func (c *Client) trusts(server string) bool {
	if c.TrustRemoteAD {
		return true
	}
	ap, err := netip.ParseAddrPort(server)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}
