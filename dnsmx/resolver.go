package dnsmx

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Resolver asks the DNS. Names are A-labels without trailing dot. It follows CNAMEs itself and says
// in Meta what it came to. An empty answer is always an error: ErrNXDomain (the name does not exist)
// or ErrNoData (it has no such record); both are answers. Everything else that goes wrong is
// trouble (ErrServFail, ErrBogus, a network error), and never means that something does not exist.
// A Resolver must be safe for concurrent use.
//
// Package dnsmx/dnsclient is one for real DNS servers; Static answers from a table.
type Resolver interface {
	LookupMX(ctx context.Context, domain string) ([]MX, Meta, error)
	// LookupAddrs looks up addresses of one family: network is "ip4" (A) or "ip6" (AAAA).
	LookupAddrs(ctx context.Context, host, network string) ([]netip.Addr, Meta, error)
	LookupTXT(ctx context.Context, name string) ([]string, Meta, error)
	LookupTLSA(ctx context.Context, name string) ([]TLSA, Meta, error)
	LookupPTR(ctx context.Context, addr netip.Addr) ([]string, Meta, error)
}

// AliasResolver is an optional interface of a Resolver: it looks up the CNAME record of a name, and does not follow it. Meta speaks of that
// record alone. DANE needs it for aliases in signed zones that lead to unsigned ones (RFC 7672 §2.2.2). Static, Cache and
// dnsclient.Client have it.
type AliasResolver interface {
	LookupCNAME(ctx context.Context, name string) (target string, meta Meta, err error)
}

// lookupCNAME asks a Resolver that can be asked; the others give ErrUnsupported.
func lookupCNAME(ctx context.Context, r Resolver, name string) (string, Meta, error) {
	if a, ok := r.(AliasResolver); ok {
		return a.LookupCNAME(ctx, name)
	}
	return "", Meta{}, ErrUnsupported
}

// MX is a mail exchanger (RFC 5321 §5.1).
type MX struct {
	Pref uint16
	Host string // "." is the null MX of RFC 7505
}

// TLSA is a TLSA record (RFC 6698 §2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Meta goes with every answer, also with ErrNXDomain and ErrNoData.
type Meta struct {
	Name      string        // the name that has the records, after CNAMEs; "" = the one that was asked for
	Aliases   int           // how many CNAMEs were followed
	TTL       time.Duration // how long the answer may be kept; 0 = not at all
	Authentic bool          // the answer, or the denial, was validated by DNSSEC on a path that we trust
}

// Errors of a Resolver, in the chain of what it returns.
var (
	ErrNXDomain    = errors.New("no such domain name")
	ErrNoData      = errors.New("name has no record of that type")
	ErrServFail    = errors.New("DNS server failed")
	ErrBogus       = errors.New("DNSSEC validation failed")
	ErrUnsupported = errors.New("resolver does not support this question")
)

// absent reports whether err is an answer: there is no such record.
func absent(err error) bool { return errors.Is(err, ErrNXDomain) || errors.Is(err, ErrNoData) }

// troubled reports whether err means that there is no answer.
func troubled(err error) bool { return err != nil && !absent(err) }
