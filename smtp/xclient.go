package smtp

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
)

// The EHLO lines of Postfix's extensions (XCLIENT_README, XFORWARD_README).
const (
	xclientLine  = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
	xforwardLine = "XFORWARD NAME ADDR PORT PROTO HELO SOURCE"
)

// attributes are what XCLIENT or XFORWARD said of a client. Unset pointers were not mentioned.
type attributes struct {
	name, helo, login *string
	addr, destAddr    *netip.Addr
	port, destPort    *uint16
}

// mayXClient reports whether the peer is listed. It is the peer's own address that counts, not what an XCLIENT before has said.
func (c *conn) mayXClient() bool { return containsAddr(c.set.XClientFrom, c.nc.Remote().Addr()) }

// xclient is XCLIENT: the peer passes on somebody's session. What was learned before is forgotten, and a Session opened for the
// client it names.
func (c *conn) xclient(arg string) (reply, error) {
	a, err := c.parseAttributes(arg)
	if err != nil {
		return "", err
	}
	c.closeSession(ErrReset)
	c.helo, c.extended, c.offered, c.state = "", false, 0, fresh
	c.identity, c.authenticated, c.forward = noIdentity, false, nil
	c.apply(a)
	c.log = c.ownLog().With("via", c.nc.Remote().String())
	c.greet() // 220 or a refusal: both are in order
	return "", nil
}

// apply makes the connection that of the client named.
func (c *conn) apply(a *attributes) {
	var o goniec.Origin
	o.Remote, o.Local, o.RDNS, o.Helo = c.remote, c.local, c.rdns, c.helo
	a.apply(&o)
	c.remote, c.local, c.rdns, c.helo = o.Remote, o.Local, o.RDNS, o.Helo
	if a.login != nil && *a.login != "" {
		c.identity, c.authenticated = auth.Identity{User: *a.login}, true
	}
}

// xforward is XFORWARD: what the log and the Received field of the next message say; it gives no rights.
func (c *conn) xforward(arg string) (reply, error) {
	a, err := c.parseAttributes(arg)
	if err != nil {
		return "", err
	}
	if c.forward == nil {
		c.forward = a
	} else {
		c.forward.add(a)
	}
	return "250 2.0.0 OK\r\n", nil
}

// apply sets what was mentioned.
func (a *attributes) apply(o *goniec.Origin) {
	if a.addr != nil {
		o.RDNS = "" // a name that was found belongs to the address before
	}
	set(&o.RDNS, a.name)
	set(&o.Helo, a.helo)
	o.Remote = withAddr(o.Remote, a.addr, a.port)
	o.Local = withAddr(o.Local, a.destAddr, a.destPort)
}

// add takes over what b mentions: a long XFORWARD comes in several commands.
func (a *attributes) add(b *attributes) {
	for _, p := range [...]struct{ to, from **string }{{&a.name, &b.name}, {&a.helo, &b.helo}, {&a.login, &b.login}} {
		if *p.from != nil {
			*p.to = *p.from
		}
	}
	if b.addr != nil {
		a.addr = b.addr
	}
	if b.port != nil {
		a.port = b.port
	}
}

func set(field *string, value *string) {
	if value != nil {
		*field = *value
	}
}

func withAddr(ap netip.AddrPort, addr *netip.Addr, port *uint16) netip.AddrPort {
	ip, p := ap.Addr(), ap.Port()
	if addr != nil {
		ip = *addr
	}
	if port != nil {
		p = *port
	}
	return netip.AddrPortFrom(ip, p)
}

// parseAttributes parses NAME=value pairs, values being xtext, from a peer that is listed.
func (c *conn) parseAttributes(arg string) (*attributes, error) {
	if !c.mayXClient() {
		return nil, c.fault(550, goniec.EnhancedCode{5, 7, 0}, "insufficient authorisation")
	}
	a := new(attributes)
	words := strings.Fields(arg)
	if len(words) == 0 || len(words) > maxParams {
		return nil, c.fault(501, goniec.EnhancedCode{5, 5, 4}, "syntax: attribute=value ...")
	}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		text, err := decodeXtext(value)
		if err == nil {
			err = a.set(strings.ToUpper(name), text)
		}
		if err != nil {
			return nil, c.fault(501, goniec.EnhancedCode{5, 5, 4}, "bad "+clip(name, 20)+" attribute")
		}
	}
	return a, nil
}

// set takes one attribute. "[UNAVAILABLE]" and "[TEMPUNAVAIL]" mean that the peer does not know.
func (a *attributes) set(name, value string) (err error) {
	unknown := value == "[UNAVAILABLE]" || value == "[TEMPUNAVAIL]"
	if unknown {
		value = ""
	}
	switch name {
	case "NAME":
		a.name, err = helpfulName(value)
	case "HELO":
		a.helo, err = helpfulName(value)
	case "LOGIN":
		a.login = &value
	case "ADDR":
		a.addr, err = parseAddrAttribute(value)
	case "DESTADDR":
		a.destAddr, err = parseAddrAttribute(value)
	case "PORT":
		a.port, err = parsePort(value)
	case "DESTPORT":
		a.destPort, err = parsePort(value)
	case "PROTO", "SOURCE", "IDENT": // known, and of no use here
	default:
		err = errNoParam
	}
	return err
}

// helpfulName accepts a name fit for a Received field, or none.
func helpfulName(s string) (*string, error) {
	if s == "" {
		return &s, nil
	}
	return &s, validHelo(s)
}

func parseAddrAttribute(s string) (*netip.Addr, error) {
	if s == "" {
		return new(netip.Addr), nil
	}
	if len(s) > 5 && strings.EqualFold(s[:5], "IPV6:") {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	ip = ip.Unmap().WithZone("")
	return &ip, err
}

func parsePort(s string) (*uint16, error) {
	if s == "" {
		return new(uint16), nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	p := uint16(n)
	return &p, err
}
