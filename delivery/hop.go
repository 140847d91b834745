package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/goniec-mail/goniec"
)

// Hop is one place where mail for a recipient goes in the end, or the reason why it goes nowhere.
type Hop struct {
	Address goniec.Address // final address, after aliases
	User    string         // account of Router.Store; "" = not into a mailbox
	Folder  string         // "" = INBOX
	Relay   bool           // handed to Router.Relay
	Err     error          // a *goniec.Status, or temporary trouble of the Directory
	Why     []string       // the rules that led here, from the recipient onwards
}

// Limits of alias expansion: what Router's zero fields mean.
const (
	DefaultMaxAliasDepth   = 10
	DefaultMaxAliasTargets = 1000
)

var (
	errNoUser    = goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user here")
	errNoRelay   = goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "relaying denied: this server does not take mail for that domain from you")
	errNoRoute   = goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 0}, "no route yet: this server can not pass mail on")
	errAliasLoop = goniec.NewStatus(554, goniec.EnhancedCode{5, 4, 6}, "alias loop: the address leads back to itself or to too many others")
	errMailLoop  = goniec.NewStatus(554, goniec.EnhancedCode{5, 4, 6}, "mail loop: the message was delivered to this address before")
	errDirectory = goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 0}, "recipient can not be looked up now, try again later")
)

// Explain returns every hop of an address, with the rules that led to it. It has no side effect and
// does not ask whether anybody may send there.
func (r *Router) Explain(ctx context.Context, addr goniec.Address) []Hop {
	return r.expand(ctx, addr)
}

// pending is an address to be looked up, and how it was reached.
type pending struct {
	addr goniec.Address
	via  []goniec.Address // aliases on the way, the recipient first
	why  []string
}

// expand follows aliases breadth first, within limits, from one recipient to its hops. An alias
// that leads back to an address on its own way is a loop; one that leads to the same place on two
// ways is not, and gives one hop.
func (r *Router) expand(ctx context.Context, rcpt goniec.Address) []Hop {
	var hops []Hop
	seen := map[goniec.Address]bool{}
	todo := []pending{{addr: rcpt}}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if slices.ContainsFunc(p.via, func(a goniec.Address) bool { return sameMailbox(a, p.addr) }) {
			// An alias that names itself beside others keeps a copy in its own mailbox, if it
			// has one (as in aliases(5)); the way through the directory ends here.
			hops = append(hops, Hop{Address: p.addr, Err: errAliasLoop, Why: p.why})
			continue
		}
		key := mailboxKey(p.addr)
		if seen[key] {
			continue
		}
		seen[key] = true
		hop, targets := r.lookup(ctx, p)
		if hop != nil {
			hops = append(hops, *hop)
		}
		via := append(slices.Clone(p.via), p.addr)
		for _, t := range targets {
			if hop != nil && hop.User != "" && sameMailbox(t, p.addr) {
				continue // "user: user, other" has had its copy
			}
			todo = append(todo, pending{t, via, slices.Concat(p.why, hopWhy(hop, t))})
		}
		if len(todo) > 0 && (len(via) > limit(r.MaxAliasDepth, DefaultMaxAliasDepth) ||
			len(seen)+len(todo) > limit(r.MaxAliasTargets, DefaultMaxAliasTargets)) {
			return []Hop{{Address: rcpt, Err: errAliasLoop, Why: []string{"limit of alias depth or targets"}}}
		}
	}
	return hops
}

// lookup gives the hop of one address, and the targets of its alias; the hop is nil for a mere alias.
func (r *Router) lookup(ctx context.Context, p pending) (*Hop, []goniec.Address) {
	hop := &Hop{Address: p.addr, Why: p.why}
	domain, err := r.domain(ctx, p.addr)
	switch {
	case errors.Is(err, ErrNotFound):
		hop.Relay = true
		hop.Why = append(slices.Clone(p.why), "not our domain")
		return hop, nil
	case err != nil:
		hop.Err = errDirectory.WithCause(fmt.Errorf("directory: domain %q: %w", p.addr.Domain(), err))
		return hop, nil
	}
	e, err := r.Directory.Lookup(ctx, p.addr)
	switch {
	case err == nil:
	case !errors.Is(err, ErrNotFound):
		hop.Err = errDirectory.WithCause(fmt.Errorf("directory: %s: %w", p.addr, err))
		return hop, nil
	case domain.Class == ClassRelay:
		hop.Relay = true
		hop.Why = append(slices.Clone(p.why), domain.Why)
		return hop, nil
	case isPostmaster(p.addr):
		return r.postmaster(p)
	default:
		hop.Err = errNoUser
		return hop, nil
	}
	hop.Why = append(slices.Clone(p.why), e.Why)
	switch {
	case e.User != "":
		hop.User, hop.Folder = e.User, e.Folder
	case len(e.Targets) > 0:
		return nil, e.Targets
	case domain.Class == ClassRelay:
		hop.Relay = true
	default:
		hop.Err = errDirectory.WithCause(fmt.Errorf("directory: %s has neither user nor targets", p.addr))
	}
	return hop, e.Targets
}

// domain asks the Directory; an address without domain is postmaster and always ours.
func (r *Router) domain(ctx context.Context, a goniec.Address) (Domain, error) {
	if a.Domain() == "" {
		return Domain{Class: ClassMailbox, Why: "postmaster without domain"}, nil
	}
	return r.Directory.Domain(ctx, a.ASCIIDomain())
}

// postmaster gives mail for postmaster a place where the Directory has none: RFC 5321 §4.5.1 wants
// it accepted at every domain.
func (r *Router) postmaster(p pending) (*Hop, []goniec.Address) {
	if !r.Postmaster.IsZero() && !sameMailbox(p.addr, r.Postmaster) {
		return nil, []goniec.Address{r.Postmaster}
	}
	user := "postmaster"
	if p.addr.Domain() != "" {
		user += "@" + p.addr.ASCIIDomain()
	}
	return &Hop{Address: p.addr, User: user, Why: append(slices.Clone(p.why), "postmaster is always accepted")}, nil
}

func isPostmaster(a goniec.Address) bool { return Fold(a.Local()) == "postmaster" }

func sameMailbox(a, b goniec.Address) bool { return mailboxKey(a) == mailboxKey(b) }

// mailboxKey folds the local part too, as drivers do.
func mailboxKey(a goniec.Address) goniec.Address {
	k, err := goniec.NewAddress(Fold(a.Local()), a.ASCIIDomain())
	if err != nil {
		return a
	}
	return k
}

func hopWhy(hop *Hop, target goniec.Address) []string {
	if hop != nil && len(hop.Why) > 0 {
		return hop.Why[len(hop.Why)-1:]
	}
	return []string{"alias to " + target.String()}
}

func limit(set, def int) int {
	if set == 0 {
		return def
	}
	if set < 0 {
		return int(^uint(0) >> 1)
	}
	return set
}
