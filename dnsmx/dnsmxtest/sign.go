package dnsmxtest

import (
	"crypto"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// signedZone is a zone whose answers are signed.
type signedZone struct {
	origin string
	key    *dns.DNSKEY
	signer crypto.Signer
	soa    dns.RR
	names  []string // owners in canonical order (RFC 4034 §6.1)
}

// Sign signs a zone, "example.org.": questions with the DO bit get the RRSIG, DNSKEY and NSEC records of DNSSEC (RFC 4035 §3), so that a
// real validating resolver can be put in front of the server. It returns the DS record that is the resolver's trust anchor.
func (s *Server) Sign(origin string) (anchor string) {
	s.t.Helper()
	z := &signedZone{origin: dns.CanonicalName(origin)}
	z.key = &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: z.origin, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := z.key.Generate(256)
	if err != nil {
		s.t.Fatal(err)
	}
	z.signer = private.(crypto.Signer)
	z.soa = s.parse(z.origin + " 60 IN SOA ns." + z.origin + " hostmaster." + z.origin + " 1 1 1 1 60")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, z.key, z.soa)
	for _, rr := range s.records {
		if name := dns.CanonicalName(rr.Header().Name); dns.IsSubDomain(z.origin, name) {
			z.names = append(z.names, name)
		}
	}
	slices.SortFunc(z.names, compareNames)
	z.names = slices.Compact(z.names)
	s.signed = append(s.signed, z)
	return z.key.ToDS(dns.SHA256).String()
}

// Spoil makes the signatures of a name's records wrong, as those of a forger or of a zone that was signed badly.
func (s *Server) Spoil(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoiled[dns.CanonicalName(name)] = true
}

func (s *Server) parse(record string) dns.RR {
	rr, err := dns.NewRR(record)
	if err != nil {
		s.t.Fatal(err)
	}
	return rr
}

// zoneOf returns the signed zone of a name, nil if it has none.
func (s *Server) zoneOf(name string) *signedZone {
	for _, z := range s.signed {
		if dns.IsSubDomain(z.origin, dns.CanonicalName(name)) {
			return z
		}
	}
	return nil
}

// compareNames is the canonical order: by labels, the last one first.
func compareNames(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y)
}

// prove adds the NSEC records that deny a name, or the type at it (RFC 4035 §3.1.3).
func (s *Server) prove(m *dns.Msg, z *signedZone, name string) {
	m.Ns = append(m.Ns, s.nsec(z, name))
	if m.Rcode != dns.RcodeNameError {
		return
	}
	encloser := name
	for !slices.ContainsFunc(z.names, func(n string) bool { return dns.IsSubDomain(encloser, n) }) {
		_, encloser, _ = strings.Cut(encloser, ".")
	}
	if wild := s.nsec(z, "*."+encloser); wild.Header().Name != m.Ns[len(m.Ns)-1].Header().Name {
		m.Ns = append(m.Ns, wild)
	}
}

// nsec returns the record at a name, or the one that covers it.
func (s *Server) nsec(z *signedZone, name string) *dns.NSEC {
	i, found := slices.BinarySearchFunc(z.names, name, compareNames)
	if !found {
		i--
	}
	owner := z.names[i]
	rr := &dns.NSEC{
		Hdr:        dns.RR_Header{Name: owner, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 60},
		NextDomain: z.names[(i+1)%len(z.names)], TypeBitMap: []uint16{dns.TypeRRSIG, dns.TypeNSEC},
	}
	for _, x := range s.records {
		if dns.CanonicalName(x.Header().Name) == owner {
			rr.TypeBitMap = append(rr.TypeBitMap, x.Header().Rrtype)
		}
	}
	slices.Sort(rr.TypeBitMap)
	rr.TypeBitMap = slices.Compact(rr.TypeBitMap)
	return rr
}

// sign adds a signature to each set of records.
func (s *Server) sign(section []dns.RR) []dns.RR {
	type set struct {
		name string
		kind uint16
	}
	sets := map[set][]dns.RR{}
	for _, rr := range section {
		k := set{dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype}
		sets[k] = append(sets[k], rr)
	}
	for k, list := range sets {
		z := s.zoneOf(k.name)
		if z == nil {
			continue
		}
		now := time.Now()
		sig := &dns.RRSIG{
			Hdr:       dns.RR_Header{Name: k.name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: list[0].Header().Ttl},
			Algorithm: z.key.Algorithm, KeyTag: z.key.KeyTag(), SignerName: z.origin,
			Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(time.Hour).Unix()),
		}
		if err := sig.Sign(z.signer, list); err != nil {
			s.t.Errorf("dnsmxtest: %v", err)
		}
		if s.spoiled[k.name] {
			sig.Expiration++ // which is not what was signed
		}
		section = append(section, sig)
	}
	return section
}
