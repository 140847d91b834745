package dnsmx

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// STSMode is the mode of an MTA-STS policy (RFC 8461 §5).
type STSMode string

// The modes.
const (
	STSEnforce STSMode = "enforce" // verified TLS to listed hosts, or no delivery
	STSTesting STSMode = "testing" // deliver anyhow
	STSNone    STSMode = "none"    // the policy is withdrawn
)

// STSPolicy is a domain's MTA-STS policy as it was fetched (RFC 8461 §3.2).
type STSPolicy struct {
	Domain  string
	ID      string // of the TXT record when it was fetched
	Mode    STSMode
	MX      []string // host names, or patterns "*.example.org"
	MaxAge  time.Duration
	Fetched time.Time
}

// Expires is when the policy no longer counts.
func (p *STSPolicy) Expires() time.Time { return p.Fetched.Add(p.MaxAge) }

// Matches reports whether a host is listed. A "*" stands for exactly one label (RFC 8461 §4.1).
func (p *STSPolicy) Matches(host string) bool {
	for _, pattern := range p.MX {
		if strings.EqualFold(pattern, host) {
			return true
		}
		if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
			_, rest, found := strings.Cut(host, ".")
			if found && strings.EqualFold(suffix, "."+rest) {
				return true
			}
		}
	}
	return false
}

// STS finds the MTA-STS policies of domains and keeps them as long as they ask (RFC 8461). Set the
// fields before use; it is safe for concurrent use.
type STS struct {
	Resolver Resolver // required
	// Fetch gets the text of a domain's policy. nil = FetchPolicy over HTTPS.
	Fetch func(ctx context.Context, domain string) ([]byte, error)
	// Store keeps policies over restarts, so that an attacker gains nothing by waiting for one. nil =
	// in memory only.
	Store  PolicyStore
	Now    func() time.Time // nil = time.Now
	Logger *slog.Logger     // nil = silent

	mu     sync.Mutex
	known  map[string]*STSPolicy
	bytes  int // that known takes
	failed map[string]time.Time
}

// PolicyStore keeps policies by domain. Load returns nil without an error when it has none; an error means that it can not tell. One that has
//
//	Domains(ctx context.Context) iter.Seq2[string, error]
//
// lets STS.Refresh find them, and with
//
//	Delete(ctx context.Context, domain string) error
//
// it removes those that expired a month ago.
type PolicyStore interface {
	Load(ctx context.Context, domain string) (*STSPolicy, error)
	Save(ctx context.Context, p *STSPolicy) error
}

const (
	maxPolicies = 10_000          // in memory
	maxBytes    = 16 << 20        // octets in memory, by estimate
	maxAge      = 31_557_600      // seconds: RFC 8461 §3.2, one year
	maxPatterns = 200             // of one policy: what memory they may take
	refetchGap  = 5 * time.Minute // after a failed fetch
	freshFor    = 24 * time.Hour  // a policy older than this, or half its life, is fetched again
	// retireAfter is how long an expired policy stays in the store, where it counts for nothing: a clock that is wrong for a while must
	// not take away one that will count again.
	retireAfter = 30 * 24 * time.Hour
)

// Policy returns the policy that counts for a recipient's domain now: nil when it has none. A policy
// that was fetched and has not expired counts, whatever the DNS or the policy's host say now: that is
// the point of MTA-STS. The error is ctx's, or a *goniec.Status 451 4.3.0: the Store could not be read, no policy
// could be fetched anew, and so nobody knows whether there is one that has to be obeyed (RFC 8461 §5.1).
func (s *STS) Policy(ctx context.Context, domain string) (*STSPolicy, error) {
	cached, unknown := s.cached(ctx, domain)
	id, err := s.recordID(ctx, domain)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil || id == "":
		return cached, unknown // §5.1: no record now does not withdraw a policy
	case cached != nil && cached.ID == id && !s.stale(cached):
		return cached, nil
	case !s.mayFetch(domain):
		return cached, unknown
	}
	p, err := s.fetch(ctx, domain, id)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		s.note(domain, err)
		return cached, unknown
	}
	s.keep(ctx, p)
	return p, nil
}

// Refresh fetches policies again that grow old, also of domains to which no mail goes for a time: otherwise they would expire, and who can
// keep us from fetching has won (RFC 8461 §10.2). Call it once a day or so. It goes through the Store if that lists its domains, else
// through those in memory. The error is of the listing, or ctx's.
func (s *STS) Refresh(ctx context.Context) error {
	for domain, err := range s.domains(ctx) {
		if err != nil {
			return err
		}
		p, err := s.Policy(ctx, domain)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			s.log("MTA-STS policy can not be refreshed", domain, err)
		case p == nil:
			s.retire(ctx, domain)
		}
	}
	return context.Cause(ctx)
}

// retire removes a policy that expired long ago.
func (s *STS) retire(ctx context.Context, domain string) {
	store, ok := s.Store.(interface {
		Delete(ctx context.Context, domain string) error
	})
	if !ok {
		return
	}
	p, err := s.Store.Load(ctx, domain)
	if err != nil || p == nil || s.now().Before(p.Expires().Add(retireAfter)) {
		return
	}
	if err := store.Delete(ctx, domain); err != nil {
		s.log("expired MTA-STS policy can not be removed", domain, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(domain)
}

// domains are those with a known policy.
func (s *STS) domains(ctx context.Context) iter.Seq2[string, error] {
	if l, ok := s.Store.(interface {
		Domains(ctx context.Context) iter.Seq2[string, error]
	}); ok {
		return l.Domains(ctx)
	}
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.known))
	s.mu.Unlock()
	return func(yield func(string, error) bool) {
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
	}
}

func (s *STS) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// cached returns a policy that has not expired; unknown: whether there is one can not be told.
func (s *STS) cached(ctx context.Context, domain string) (p *STSPolicy, unknown error) {
	s.mu.Lock()
	p, ok := s.known[domain]
	s.mu.Unlock()
	if !ok && s.Store != nil {
		var err error
		if p, err = s.Store.Load(ctx, domain); err != nil {
			s.log("MTA-STS policy can not be loaded", domain, err)
			return nil, status(451, 4, 3, 0, "the MTA-STS policy of the domain can not be read now", err)
		}
		if p != nil {
			s.remember(p)
		}
	}
	if p == nil || !s.now().Before(p.Expires()) {
		return nil, nil
	}
	return p, nil
}

// stale reports whether a policy is to be fetched again; a time of fetching in the future is a clock that was wrong.
func (s *STS) stale(p *STSPolicy) bool {
	age := s.now().Sub(p.Fetched)
	return age < 0 || age > min(p.MaxAge/2, freshFor)
}

// recordID returns the id of the domain's TXT record, "" when there is no valid one (RFC 8461 §3.1).
func (s *STS) recordID(ctx context.Context, domain string) (string, error) {
	list, _, err := s.Resolver.LookupTXT(ctx, "_mta-sts."+domain)
	if absent(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	id, count := "", 0
	for _, text := range list {
		rest, ok := strings.CutPrefix(text, "v=STSv1")
		if rest = strings.TrimLeft(rest, " \t"); !ok || !strings.HasPrefix(rest, ";") {
			continue
		}
		count++
		for field := range strings.SplitSeq(rest, ";") {
			key, value, _ := strings.Cut(field, "=")
			if strings.TrimSpace(key) == "id" {
				id = strings.TrimSpace(value)
			}
		}
	}
	if count != 1 || !validID(id) { // several records count as none
		return "", nil
	}
	return id, nil
}

func validID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z') {
			return false
		}
	}
	return id != "" && len(id) <= 32
}

func (s *STS) fetch(ctx context.Context, domain, id string) (*STSPolicy, error) {
	get := s.Fetch
	if get == nil {
		get = (&PolicyFetcher{Resolver: s.Resolver}).Fetch
	}
	text, err := get(ctx, domain)
	if err != nil {
		return nil, err
	}
	p, err := ParseSTSPolicy(string(text))
	if err != nil {
		return nil, err
	}
	p.Domain, p.ID, p.Fetched = domain, id, s.now()
	return p, nil
}

// mayFetch keeps a domain whose policy can not be fetched from being asked with every message.
func (s *STS) mayFetch(domain string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.failed[domain]
	return !ok || s.now().Sub(at) > refetchGap || s.now().Before(at)
}

func (s *STS) note(domain string, err error) {
	s.mu.Lock()
	if s.failed == nil || len(s.failed) >= maxPolicies {
		s.failed = map[string]time.Time{}
	}
	s.failed[domain] = s.now()
	s.mu.Unlock()
	s.log("MTA-STS policy can not be fetched", domain, err)
}

func (s *STS) keep(ctx context.Context, p *STSPolicy) {
	s.remember(p)
	if s.Store == nil {
		return
	}
	if err := s.Store.Save(ctx, p); err != nil {
		s.log("MTA-STS policy can not be kept", p.Domain, err)
	}
}

func (s *STS) remember(p *STSPolicy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]*STSPolicy{}
	}
	s.drop(p.Domain)
	for domain := range s.known { // any: the store has it still
		if len(s.known) < maxPolicies && s.bytes+p.size() <= maxBytes {
			break
		}
		s.drop(domain)
	}
	s.bytes += p.size()
	s.known[p.Domain] = p
	delete(s.failed, p.Domain)
}

// drop forgets a policy. s.mu is held.
func (s *STS) drop(domain string) {
	if p := s.known[domain]; p != nil {
		s.bytes -= p.size()
		delete(s.known, domain)
	}
}

// size estimates the octets that a policy takes.
func (p *STSPolicy) size() int {
	n := 300 + len(p.Domain) + len(p.ID)
	for _, mx := range p.MX {
		n += 16 + len(mx)
	}
	return n
}

func (s *STS) log(msg, domain string, err error) {
	if s.Logger != nil {
		s.Logger.Warn(msg, "domain", domain, "error", err.Error())
	}
}

// ErrSTSPolicy is in the chain of ParseSTSPolicy's errors.
var ErrSTSPolicy = errors.New("invalid MTA-STS policy")

// ParseSTSPolicy reads the text of a policy (RFC 8461 §3.2). Domain, ID and Fetched stay empty.
func ParseSTSPolicy(text string) (*STSPolicy, error) {
	p := &STSPolicy{MaxAge: -1}
	version := ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, "\r \t")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%w: line without colon", ErrSTSPolicy)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case key == "version" && version == "": // §3.2: the first of several counts
			version = value
		case key == "mode" && p.Mode == "":
			p.Mode = STSMode(value)
		case key == "mx":
			if !validPattern(value) || len(p.MX) == maxPatterns {
				return nil, fmt.Errorf("%w: mx %.100q", ErrSTSPolicy, value)
			}
			p.MX = append(p.MX, strings.ToLower(value))
		case key == "max_age" && p.MaxAge < 0:
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil || len(value) > 10 {
				return nil, fmt.Errorf("%w: max_age %.20q", ErrSTSPolicy, value)
			}
			p.MaxAge = time.Duration(min(n, maxAge)) * time.Second
		}
	}
	switch {
	case version != "STSv1":
		return nil, fmt.Errorf("%w: not version STSv1", ErrSTSPolicy)
	case p.Mode != STSEnforce && p.Mode != STSTesting && p.Mode != STSNone:
		return nil, fmt.Errorf("%w: mode %.20q", ErrSTSPolicy, string(p.Mode))
	case p.MaxAge < 0:
		return nil, fmt.Errorf("%w: no max_age", ErrSTSPolicy)
	case len(p.MX) == 0 && p.Mode != STSNone:
		return nil, fmt.Errorf("%w: no mx", ErrSTSPolicy)
	}
	return p, nil
}

func validPattern(s string) bool {
	_, err := asciiName(strings.TrimPrefix(s, "*."))
	return err == nil && !strings.HasPrefix(s, "[")
}
