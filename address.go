package goniec

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 §4.5.3.1, in octets.
const (
	MaxLocalPart = 64  // local part, as it stands between quotes
	MaxDomain    = 255 // domain, as given and as A-labels
	maxLabel     = 63
)

// ErrAddress is in the chain of every error of ParseAddress, ParsePath and NewAddress.
var ErrAddress = errors.New("invalid mail address")

// Address is a mailbox of RFC 5321 §4.1.2, internationalised by RFC 6531: a local part and a
// domain or address literal. The zero value is the null reverse-path "<>". An Address without
// domain is the reserved mailbox "postmaster" (RFC 5321 §4.5.1).
//
// It is made by ParseAddress, ParsePath or NewAddress only, so that it never holds a control
// character, and String always gives a form that parses back to the same value. The local part
// is kept byte by byte, without quoting; the domain is kept as given. Addresses compare with ==
// byte by byte; use Key where the domain's case and spelling must not matter.
type Address struct {
	local, domain string
}

// NewAddress makes an Address of a local part (not quoted) and a domain or address literal.
func NewAddress(local, domain string) (Address, error) {
	a := Address{local, domain}
	if err := checkLocal(local); err != nil {
		return Address{}, addressError(local+"@"+domain, err)
	}
	if domain == "" && strings.EqualFold(local, "postmaster") {
		return a, nil
	}
	if err := checkDomain(domain); err != nil {
		return Address{}, addressError(local+"@"+domain, err)
	}
	return a, nil
}

// ParseAddress parses a mailbox as it stands between the angle brackets of MAIL and RCPT, without
// them: local@domain, "quoted local"@domain, local@[192.0.2.1], local@[IPv6:2001:db8::1],
// postmaster. Nothing may stand before or behind it; comments and display names are no part of it
// (see package mime for header addresses).
func ParseAddress(s string) (Address, error) {
	a, rest, err := cutAddress(s)
	if err == nil && rest != "" {
		err = fmt.Errorf("unexpected %q after the address", clip(rest))
	}
	if err != nil {
		return Address{}, addressError(s, err)
	}
	return a, nil
}

// ParsePath parses the reverse-path or forward-path at the start of s, "<" ... ">", and returns
// what follows it: the ESMTP parameters. "<>" gives the zero Address. A source route
// ("<@a,@b:user@c>") is accepted and dropped, as RFC 5321 appendix C demands.
func ParsePath(s string) (a Address, rest string, err error) {
	in := s
	if !strings.HasPrefix(s, "<") {
		return Address{}, "", addressError(in, errors.New("path does not begin with <"))
	}
	s = s[1:]
	if strings.HasPrefix(s, ">") {
		return Address{}, s[1:], nil
	}
	if s, err = cutSourceRoute(s); err != nil {
		return Address{}, "", addressError(in, err)
	}
	if a, s, err = cutAddress(s); err != nil {
		return Address{}, "", addressError(in, err)
	}
	if !strings.HasPrefix(s, ">") {
		return Address{}, "", addressError(in, errors.New("path does not end with >"))
	}
	return a, s[1:], nil
}

// MustAddress is ParseAddress for constants in programs and tests: it panics on an error.
func MustAddress(s string) Address {
	a, err := ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// Local returns the local part, without quoting.
func (a Address) Local() string { return a.local }

// Domain returns the domain or address literal as it was given; "" for the null reverse-path and
// for postmaster without domain.
func (a Address) Domain() string { return a.domain }

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// IsASCII reports whether a can be sent to a server without SMTPUTF8 as it is.
func (a Address) IsASCII() bool { return isASCII(a.local) && isASCII(a.domain) }

// Literal returns the IP address of an address literal, and whether the domain is one.
func (a Address) Literal() (netip.Addr, bool) {
	ip, err := parseLiteral(a.domain)
	return ip, err == nil
}

// ASCIIDomain returns the domain in the form in which domains are compared and looked up: A-labels
// in lower case, address literals in their canonical spelling.
func (a Address) ASCIIDomain() string { return asciiDomain(a.domain) }

// SameDomain reports whether two domains or address literals are the same, whatever their case
// and whether they are written in A-labels or U-labels.
func SameDomain(a, b string) bool { return a == b || asciiDomain(a) == asciiDomain(b) }

// Key returns a form of a for use as a map key: the local part as it is (its case may matter to
// the domain that owns it, RFC 5321 §2.4) and the ASCIIDomain.
func (a Address) Key() Address { return Address{a.local, a.ASCIIDomain()} }

// String returns the address in the form of MAIL and RCPT, without angle brackets. The local part
// is quoted when it is no dot-string. The null reverse-path gives "".
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	local := a.local
	if !isDotString(local) {
		local = quoteLocal(local)
	}
	if a.domain == "" {
		return local
	}
	return local + "@" + a.domain
}

// Path returns the address in angle brackets: "<user@example.org>", "<>".
func (a Address) Path() string { return "<" + a.String() + ">" }

// MarshalText returns String, so that an Address can stand in JSON and configuration.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText parses as ParseAddress does; an empty text is the null reverse-path.
func (a *Address) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*a = Address{}
		return nil
	}
	p, err := ParseAddress(string(b))
	if err == nil {
		*a = p
	}
	return err
}

// cutAddress parses a mailbox at the start of s and returns what follows.
func cutAddress(s string) (Address, string, error) {
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, "", err
	}
	if !strings.HasPrefix(rest, "@") {
		if strings.EqualFold(local, "postmaster") {
			return Address{local: local}, rest, nil
		}
		return Address{}, "", errors.New("no @ with a domain behind the local part")
	}
	domain := rest[1:]
	if i := strings.IndexAny(domain, "> \t,"); i >= 0 {
		domain = domain[:i]
	}
	rest = rest[1+len(domain):]
	if err := checkDomain(domain); err != nil {
		return Address{}, "", err
	}
	return Address{local, domain}, rest, nil
}

// cutLocal returns the local part at the start of s, without quoting, and what follows it.
func cutLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s)
	}
	i := 0
	for i < len(s) && (isAtext(s[i]) || s[i] == '.') {
		i++
	}
	local, rest = s[:i], s[i:]
	if err := checkLocal(local); err != nil {
		return "", "", err
	}
	if !isDotString(local) {
		return "", "", errors.New("local part has an empty element between dots; quote it")
	}
	return local, rest, nil
}

// cutQuoted unquotes the Quoted-string at the start of s (RFC 5321 §4.1.2).
func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			local = b.String()
			return local, s[i+1:], checkLocal(local)
		case '\\':
			i++
			// quoted-pairSMTP covers printable ASCII only.
			if i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", errors.New(`"\" in a quoted local part needs a printable ASCII character after it`)
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("quoted local part does not end")
}

// cutSourceRoute drops "@a,@b:" in front of a mailbox.
func cutSourceRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	route, mailbox, ok := strings.Cut(s, ":")
	// A ":" inside an address literal or behind the path is not the route's end; routes name
	// domains only.
	if !ok || strings.ContainsAny(route, "<>\"[] ") {
		return "", errors.New(`source route does not end with ":"`)
	}
	for hop := range strings.SplitSeq(route, ",") {
		if !strings.HasPrefix(hop, "@") {
			return "", errors.New("source route has a hop without @")
		}
		if err := checkDomain(hop[1:]); err != nil {
			return "", err
		}
	}
	return mailbox, nil
}

// checkLocal refuses what no quoting can carry.
func checkLocal(s string) error {
	switch {
	case s == "":
		return errors.New("local part is empty")
	case len(s) > MaxLocalPart:
		return fmt.Errorf("local part has %d octets, %d are allowed", len(s), MaxLocalPart)
	case !utf8.ValidString(s):
		return errors.New("local part is not UTF-8")
	}
	for _, r := range s {
		if isControl(r) {
			return errors.New("local part holds a control character")
		}
	}
	return nil
}

// checkDomain accepts a domain of ASCII or internationalised labels, or an address literal.
func checkDomain(s string) error {
	switch {
	case s == "":
		return errors.New("domain is empty")
	case len(s) > MaxDomain:
		return fmt.Errorf("domain has %d octets, %d are allowed", len(s), MaxDomain)
	case s[0] == '[':
		_, err := parseLiteral(s)
		return err
	}
	ascii := s
	if !isASCII(s) || strings.Contains(strings.ToLower(s), "xn--") {
		var err error
		if ascii, err = toASCII(s); err != nil {
			return err
		}
		if len(ascii) > MaxDomain {
			return fmt.Errorf("domain has %d octets as A-labels, %d are allowed", len(ascii), MaxDomain)
		}
	}
	for ascii != "" {
		label, rest, more := strings.Cut(ascii, ".")
		if err := checkLabel(label); err != nil {
			return err
		}
		if more && rest == "" {
			return errors.New("domain ends with a dot")
		}
		ascii = rest
	}
	return nil
}

// checkLabel accepts letters, digits, hyphens inside, and underscores: RFC 5321 does not know the
// latter, but the DNS does (RFC 2181 §11) and mail from such hosts exists.
func checkLabel(s string) error {
	if s == "" {
		return errors.New("domain has an empty label")
	}
	if len(s) > maxLabel {
		return fmt.Errorf("domain label has %d octets, %d are allowed", len(s), maxLabel)
	}
	if s[0] == '-' || s[len(s)-1] == '-' {
		return errors.New("domain label begins or ends with a hyphen")
	}
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && c != '-' && c != '_' {
			return fmt.Errorf("domain holds %q", c)
		}
	}
	return nil
}

// parseLiteral parses "[192.0.2.1]" and "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3).
func parseLiteral(s string) (netip.Addr, error) {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, errors.New("address literal does not end with ]")
	}
	s = s[1 : len(s)-1]
	want6 := len(s) >= 5 && strings.EqualFold(s[:5], "IPv6:")
	if want6 {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Is4() == want6 || ip.Zone() != "" {
		return netip.Addr{}, fmt.Errorf(`address literal %q is no IPv4 address, nor an IPv6 one behind "IPv6:"`, clip(s))
	}
	return ip, nil
}

// toASCII returns the A-label form of a domain in U-labels.
func toASCII(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("domain is not UTF-8")
	}
	// The look-alikes of the full stop separate labels for IDNA, but not for RFC 5321: a domain
	// that two programs split differently is refused.
	if strings.ContainsAny(s, "\u3002\uff0e\uff61") {
		return "", errors.New("domain holds an ideographic full stop")
	}
	a, err := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.ValidateLabels(true)).ToASCII(s)
	if err != nil {
		return "", fmt.Errorf("domain is not a valid internationalised name: %w", err)
	}
	return a, checkULabels(s, a)
}

// checkULabels refuses what is no U-label and only becomes one by mapping: full-width letters, soft
// hyphens, decomposed letters. RFC 6531 §3.2 allows U-labels only, and the next hop may map otherwise
// or not at all. Upper case is let pass, as people type it.
func checkULabels(s, ascii string) error {
	u, err := idna.New().ToUnicode(ascii)
	if err != nil {
		return fmt.Errorf("domain is not a valid internationalised name: %w", err)
	}
	for label := range strings.SplitSeq(s, ".") {
		want, rest, _ := strings.Cut(u, ".")
		if u = rest; !isASCII(label) && strings.ToLower(label) != want {
			return fmt.Errorf("domain label %q is not in its normal form, which is %q", label, want)
		}
	}
	return nil
}

func asciiDomain(s string) string {
	if strings.HasPrefix(s, "[") {
		ip, err := parseLiteral(s)
		switch {
		case err != nil:
			return strings.ToLower(s)
		case ip.Is4():
			return "[" + ip.String() + "]"
		}
		return "[ipv6:" + ip.String() + "]"
	}
	if isASCII(s) {
		return strings.ToLower(s)
	}
	if a, err := toASCII(s); err == nil {
		return a
	}
	return s
}

// quoteLocal writes a Quoted-string: the one place where local parts are quoted.
func quoteLocal(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isDotString reports whether s is a Dot-string of RFC 5321 §4.1.2 (atext of RFC 6531 included).
func isDotString(s string) bool {
	dot := true // an element must follow
	for i := range len(s) {
		if s[i] == '.' {
			if dot {
				return false
			}
			dot = true
			continue
		}
		if !isAtext(s[i]) {
			return false
		}
		dot = false
	}
	return !dot
}

func isAtext(c byte) bool {
	return isAlnum(c) || c >= utf8.RuneSelf || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// isControl covers C0, DEL and C1: none of them may reach a log, a header or a wire.
func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func addressError(s string, err error) error {
	return fmt.Errorf("%w %q: %w", ErrAddress, clip(s), err)
}

// clip keeps hostile input out of error texts beyond a readable length.
func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
