package goniec

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
)

// TLSLevel says how much TLS a connection to a next hop needs. The zero value is opportunistic, as
// between mail servers that know nothing of each other (RFC 7435); the levels above it refuse to
// go on in clear text.
type TLSLevel uint8

// The levels, from RFC 3207 (opportunistic) over RFC 8461 (verified) to RFC 7672 (DANE).
const (
	TLSOpportunistic TLSLevel = iota // encrypt when offered; no name is checked
	TLSNone                          // never use TLS: loopback and trusted links only
	TLSRequired                      // encrypt or fail; no name is checked
	TLSVerified                      // encrypt, and the certificate must be valid for one of the host's names
	TLSDANE                          // encrypt, and RouteHost.Verify must accept the certificate
)

// String returns the level as people write it: "opportunistic", "none", …
func (l TLSLevel) String() string {
	switch l {
	case TLSOpportunistic:
		return "opportunistic"
	case TLSNone:
		return "none"
	case TLSRequired:
		return "required"
	case TLSVerified:
		return "verified"
	case TLSDANE:
		return "dane"
	}
	return fmt.Sprintf("TLSLevel(%d)", uint8(l))
}

// Route is where mail for a domain goes: hosts in the order in which they are tried, and why. It is
// a value that can be printed and compared by eye; package dnsmx makes it from the DNS, a table or
// a test can make it by hand.
type Route struct {
	Domain string      // the domain that was asked for, as A-labels
	Hosts  []RouteHost // in order of preference; never empty without an error
	Why    string      // the rule that gave the route: "MX of example.org", "smarthost", …
}

// RouteHost is one next hop.
type RouteHost struct {
	Name  string       // host name, as A-labels; "" when only Addrs are known
	Port  uint16       // 0 = the protocol's default (25 for SMTP)
	Addrs []netip.Addr // in the order in which they are tried; empty = the dialer resolves Name

	// ServerName is the name that TLS asks for (SNI, RFC 6066 §3). "" = Name. A DANE host behind a CNAME is asked for its TLSA base
	// domain (RFC 7672 §8.1), whatever name the MX record gives it.
	ServerName string

	TLS      TLSLevel // what this host needs
	TLSNames []string // names of which one must be in the certificate at TLSVerified and TLSDANE; empty = Name
	// Verify judges the handshake at TLSDANE (RFC 7672). nil refuses every certificate at that level.
	Verify func(tls.ConnectionState) error

	Why string // the rule that gave the host and its level: "MX 10, TLS verified by MTA-STS policy …"
}

// String returns the route on several lines, one for each host with its addresses, level and reason.
func (r Route) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Domain, r.Why)
	for i, h := range r.Hosts {
		fmt.Fprintf(&b, "%3d %s", i+1, h.Name)
		for _, a := range h.Addrs {
			fmt.Fprintf(&b, " [%s]", a)
		}
		if h.Port != 0 {
			fmt.Fprintf(&b, ":%d", h.Port)
		}
		fmt.Fprintf(&b, " tls=%s", h.TLS)
		if h.Why != "" {
			fmt.Fprintf(&b, " (%s)", h.Why)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
