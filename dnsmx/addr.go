package dnsmx

import "net/netip"

// notPublic lists networks in which no mail exchanger of the internet is: RFC 6890's registries, for IPv6 within unicast.
var notPublic = func() [18]netip.Prefix {
	var list [18]netip.Prefix
	for i, s := range [...]string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "3fff::/20",
	} {
		list[i] = netip.MustParsePrefix(s)
	}
	return list
}()

var (
	unicast = netip.MustParsePrefix("2000::/3") // RFC 4291 §2.4: all else is local, reserved or an IPv4 address in disguise

	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixTo4 = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// Public reports whether an address can belong to a mail exchanger on the internet: it is in no
// private, loopback, link-local, multicast, documentation or otherwise reserved network, and if it
// carries an IPv4 address inside (mapped, NAT64, 6to4), neither is that.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return Public(netip.AddrFrom4([4]byte(b[12:16])))
	case sixTo4.Contains(a):
		return Public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return a.Is4() || unicast.Contains(a)
}
