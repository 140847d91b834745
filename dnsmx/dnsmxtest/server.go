package dnsmxtest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server answers from a zone in memory. Its methods are safe for concurrent use.
type Server struct {
	Addr string // "127.0.0.1:port", UDP and TCP

	t         testing.TB
	mu        sync.Mutex
	records   []dns.RR
	authentic bool
	rcodes    map[string]int
	override  func(q dns.Question, m *dns.Msg, network string) bool
	questions []string
	signed    []*signedZone
	spoiled   map[string]bool
}

// NewServer starts a server with records in the form of zone files, one a line, and stops it when
// the test ends.
func NewServer(t testing.TB, zone string) *Server {
	t.Helper()
	s := &Server{t: t, rcodes: map[string]int{}, spoiled: map[string]bool{}}
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "zone")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		s.records = append(s.records, rr)
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = tcp.Addr().String()
	serve := func(srv *dns.Server, network string) {
		ready := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(ready) }
		srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.answer(w, m, network) })
		go func() { _ = srv.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	serve(&dns.Server{Listener: tcp}, "tcp")
	serve(&dns.Server{PacketConn: udp}, "udp")
	return s
}

// SetAuthentic makes the server set the AD bit, as a validating resolver does.
func (s *Server) SetAuthentic(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authentic = on
}

// Fail makes questions about a name fail with a response code such as dns.RcodeServerFailure.
func (s *Server) Fail(name string, rcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcodes[dns.CanonicalName(name)] = rcode
}

// Override lets f change answers before they are sent, by network "udp" or "tcp"; false sends none.
func (s *Server) Override(f func(q dns.Question, m *dns.Msg, network string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.override = f
}

// Questions returns what was asked so far, as "MX example.org.".
func (s *Server) Questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.questions...)
}

func (s *Server) answer(w dns.ResponseWriter, req *dns.Msg, network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(req)
	q := req.Question[0]
	s.questions = append(s.questions, dns.TypeToString[q.Qtype]+" "+q.Name)
	m.RecursionAvailable, m.AuthenticatedData, m.Authoritative = true, s.authentic, s.zoneOf(q.Name) != nil
	if rcode, ok := s.rcodes[dns.CanonicalName(q.Name)]; ok {
		m.Rcode = rcode
	} else {
		s.fill(m, q)
	}
	size := dns.MinMsgSize
	if opt := req.IsEdns0(); opt != nil {
		if opt.Do() {
			m.Answer, m.Ns, size = s.sign(m.Answer), s.sign(m.Ns), int(opt.UDPSize())
		}
		m.SetEdns0(opt.UDPSize(), opt.Do())
	}
	if s.override != nil && !s.override(q, m, network) {
		return
	}
	if network == "udp" {
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

// fill answers a question, along CNAMEs.
func (s *Server) fill(m *dns.Msg, q dns.Question) {
	name := dns.CanonicalName(q.Name)
	for range len(s.records) + 1 {
		next, exists := "", false
		for _, rr := range s.records {
			h := rr.Header()
			owner := dns.CanonicalName(h.Name)
			exists = exists || owner == name || strings.HasSuffix(owner, "."+name)
			cname, isAlias := rr.(*dns.CNAME)
			switch {
			case owner != name:
			case h.Rrtype == q.Qtype:
				m.Answer = append(m.Answer, rr)
			case isAlias:
				m.Answer = append(m.Answer, rr)
				next = dns.CanonicalName(cname.Target)
			}
		}
		if next == "" {
			if !exists {
				m.Rcode = dns.RcodeNameError
			}
			s.deny(m, q, name)
			return
		}
		name = next
	}
}

// deny adds a SOA record to an answer without records, for its lifetime, and the proof where the zone is signed.
func (s *Server) deny(m *dns.Msg, q dns.Question, name string) {
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == q.Qtype {
			return
		}
	}
	if z := s.zoneOf(name); z != nil {
		m.Ns = append(m.Ns, z.soa)
		s.prove(m, z, name)
		return
	}
	m.Ns = append(m.Ns, s.parse(". 60 IN SOA ns. hostmaster. 1 1 1 1 60"))
}
