package smtp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
)

// AccessList allows and denies clients and senders by a file, which is read again when it changes. Each line is an action, what
// it is for, and the text of the refusal, which may be left out; the first line that fits decides:
//
//	allow  192.0.2.0/24                 clients, by network or address
//	deny   2001:db8::/32   go away
//	deny   .dialup.example              clients, by the name of HELO or a confirmed host name: this domain and below
//	deny   mail.example                 this name
//	allow  boss@spam.example            senders
//	deny   @spam.example                senders, by domain
//
// "#" begins a comment. Denied clients are refused at MAIL with 554 5.7.1, as senders are, so that the log says whose mail it was.
// It is safe for concurrent use.
type AccessList struct {
	// Path is the file. Required.
	Path string
	// Interval is how often the file is looked at, at most. Zero means 5 s; negative means that it is read once.
	Interval time.Duration
	// Logger is told when a changed file could not be read; the rules from before then stay. Nil is silent.
	Logger *slog.Logger

	mu      sync.Mutex
	rules   []accessRule
	looked  time.Time
	changed time.Time
	size    int64
	err     error
}

// maxAccessFile is the largest file, in octets.
const maxAccessFile = 16 << 20

// accessRule is a line of the file.
type accessRule struct {
	allow  bool
	net    netip.Prefix // of the client; or else
	sender string       // "user@domain", "@domain"; or else
	name   string       // "host.domain", ".domain"
	text   string
}

// OpenAccessList reads the file at path. The error names the line and what is wrong with it.
func OpenAccessList(path string) (*AccessList, error) {
	l := &AccessList{Path: path}
	l.load()
	return l, l.err
}

// Middleware asks the list about each client and sender. When the file could never be read, mail is deferred (451 4.3.0): a list
// that is not there must not open the door.
func (l *AccessList) Middleware() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return accessSession{Wrapped{s}, c, l} })
}

type accessSession struct {
	Wrapped
	c *Conn
	l *AccessList
}

func (s accessSession) Mail(ctx context.Context, env *goniec.Envelope) error {
	if err := s.l.check(s.c, env.From); err != nil {
		return err
	}
	return s.Session.Mail(ctx, env)
}

// check returns nil where the first rule that fits allows, or none fits.
func (l *AccessList) check(c *Conn, from goniec.Address) error {
	rules, err := l.current()
	if err != nil {
		return err
	}
	for i := range rules {
		r := &rules[i]
		if !r.fits(c, from) {
			continue
		}
		if r.allow {
			return nil
		}
		return goniec.NewStatus(554, goniec.EnhancedCode{5, 7, 1}, r.text)
	}
	return nil
}

func (r *accessRule) fits(c *Conn, from goniec.Address) bool {
	switch {
	case r.net.IsValid():
		return r.net.Contains(c.Remote().Addr().Unmap())
	case r.sender != "":
		local, domain, _ := cutLast(r.sender, "@")
		return (local == "" || local == from.Local()) && !from.IsZero() && goniec.SameDomain(domain, from.Domain())
	}
	return matchName(r.name, c.Helo()) || matchName(r.name, c.RDNS())
}

// matchName reports whether name is pattern, or below it where it begins with a dot.
func matchName(pattern, name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if strings.HasPrefix(pattern, ".") {
		return strings.HasSuffix(name, pattern) || name == pattern[1:]
	}
	return name == pattern && name != ""
}

// current returns the rules, read again if the file has changed.
func (l *AccessList) current() ([]accessRule, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	interval := orDefault(l.Interval, 5*time.Second)
	if l.looked.IsZero() || interval > 0 && time.Since(l.looked) >= interval {
		l.loadLocked()
	}
	if l.rules == nil && l.err != nil {
		return nil, l.err
	}
	return l.rules, nil
}

func (l *AccessList) load() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loadLocked()
}

func (l *AccessList) loadLocked() {
	l.looked = time.Now()
	info, err := os.Stat(l.Path)
	if err == nil && info.ModTime().Equal(l.changed) && info.Size() == l.size {
		return
	}
	var rules []accessRule
	if err == nil {
		rules, err = readAccessFile(l.Path, info.Size())
	}
	if err == nil {
		l.rules, l.err, l.changed, l.size = rules, nil, info.ModTime(), info.Size()
		return
	}
	if l.Logger != nil {
		l.Logger.Error("access list not read; the rules from before stay", "path", l.Path, keyErr, err)
	}
	l.err = err
}

func readAccessFile(path string, size int64) ([]accessRule, error) {
	if size > maxAccessFile {
		return nil, fmt.Errorf("%s: larger than %d octets", path, maxAccessFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rules := []accessRule{}
	for i, line := range slices.Collect(strings.Lines(string(b))) {
		r, ok, err := parseAccessRule(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		if ok {
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// parseAccessRule parses a line; ok is false for one without a rule.
func parseAccessRule(line string) (r accessRule, ok bool, err error) {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 0 {
		return r, false, nil
	}
	switch words[0] {
	case "allow":
		r.allow = true
	case "deny":
	default:
		return r, false, fmt.Errorf("%q is neither allow nor deny", words[0])
	}
	if len(words) == 1 {
		return r, false, fmt.Errorf("%s what? a network, a name or a sender", words[0])
	}
	r.text = "access denied"
	if len(words) > 2 {
		r.text = strings.Join(words[2:], " ")
	}
	err = r.setSubject(words[1])
	return r, err == nil, err
}

// setSubject tells networks, senders and names apart.
func (r *accessRule) setSubject(s string) error {
	if ip, err := netip.ParseAddr(s); err == nil {
		r.net = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())
		return nil
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("%q is no network: %w", s, err)
		}
		r.net = p.Masked()
		return nil
	}
	if local, domain, ok := cutLast(s, "@"); ok {
		if local == "" {
			local = "any"
		}
		if _, err := goniec.NewAddress(local, domain); err != nil {
			return err
		}
		r.sender = s
		return nil
	}
	if err := validHelo(strings.TrimPrefix(s, ".")); err != nil {
		return fmt.Errorf("%q is neither a network nor a name nor a sender", s)
	}
	r.name = strings.ToLower(s)
	return nil
}

// cutLast cuts s at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
