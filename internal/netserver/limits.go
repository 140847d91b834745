package netserver

import (
	"net"
	"net/netip"
	"time"
)

const (
	rateWindow = time.Minute
	// maxTracked bounds the memory of the rate limit: addresses beyond it go uncounted until the window ends.
	maxTracked = 65_536
	// refusalLogGap keeps a connection storm from becoming a storm of log records.
	refusalLogGap = time.Second
)

// over tells whether one more would exceed limit; a negative limit is none.
func over(have, limit int) bool { return limit >= 0 && have >= limit }

// ipKey is what counts as one client: an IPv4 address, or an IPv6 /64, since a single host commands all of it.
func ipKey(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}

// contains ignores an address's zone, which no prefix has.
func contains(list []netip.Prefix, a netip.Addr) bool {
	a = a.WithZone("")
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// claimIP counts a connection from a, and returns the key to release. Addresses that are none (a unix socket's) or exempt
// are not counted. The caller holds mu.
func (s *Server) claimIP(cfg *Config, a netip.Addr) (netip.Addr, error) {
	if !a.IsValid() || contains(cfg.Exempt, a) {
		return netip.Addr{}, nil
	}
	key := ipKey(a)
	if over(s.perIP[key], cfg.MaxConnsPerIP) {
		return netip.Addr{}, ErrTooManyPerIP
	}
	if cfg.RatePerIP > 0 && !s.rates.allow(key, cfg.RatePerIP, time.Now()) {
		return netip.Addr{}, ErrTooFast
	}
	s.perIP[key]++
	return key, nil
}

// releaseIP undoes claimIP. The caller holds mu.
func (s *Server) releaseIP(key netip.Addr) {
	if !key.IsValid() {
		return
	}
	if s.perIP[key]--; s.perIP[key] <= 0 {
		delete(s.perIP, key)
	}
}

// rateTable counts connections per address in a window that slides by weighing the last full window with the part of it
// that is still within reach. It forgets whole windows, so it needs neither timers nor a sweep.
type rateTable struct {
	start     time.Time // of cur
	cur, last map[netip.Addr]int
}

func (t *rateTable) allow(key netip.Addr, limit int, now time.Time) bool {
	t.slide(now)
	rest := rateWindow - now.Sub(t.start)
	weighted := float64(t.last[key]) * float64(rest) / float64(rateWindow)
	n, known := t.cur[key]
	if float64(n)+weighted+1 > float64(limit) {
		return false
	}
	if known || len(t.cur) < maxTracked {
		t.cur[key] = n + 1
	}
	return true
}

func (t *rateTable) slide(now time.Time) {
	age := now.Sub(t.start)
	if t.cur != nil && age < rateWindow {
		return
	}
	t.last = nil
	if age < 2*rateWindow {
		t.last = t.cur
		t.start = t.start.Add(rateWindow)
	} else {
		t.start = now
	}
	t.cur = make(map[netip.Addr]int)
}

// refusalLog remembers when a refusal was last logged.
type refusalLog struct{ at time.Time }

// noteRefusal says whether this refusal is to be logged, and how many there were in all.
func (s *Server) noteRefusal(now time.Time) (total int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.refusals.at) < refusalLogGap {
		return 0, false
	}
	s.refusals.at = now
	return s.refused.Load(), true
}

// addrPort is a's address in one form: IPv4 is never written as IPv6. It is invalid for what is no IP address.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case nil:
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
