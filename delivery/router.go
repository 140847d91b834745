package delivery

import (
	"context"
	"io"
	"log/slog"
	"net/netip"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
)

// Router sends each recipient's mail where the Directory says: into mailboxes of Store, through
// aliases, or to Relay for domains that are not ours. It is a goniec.Deliverer and a
// goniec.RcptVerifier; Directory and Store are required. Set the fields before use; it is safe for
// concurrent use.
type Router struct {
	Directory Directory
	Store     mailbox.Store

	// Relay takes mail for domains that are not ours, and for those of ClassRelay. nil: such
	// recipients get 451 4.3.0.
	Relay goniec.Deliverer

	// MayRelay decides, when a recipient of a foreign domain is announced, whether mail is taken
	// for it from where env comes. nil: from authenticated users only (Origin.User). Deliver does
	// not ask again: it is for mail that was accepted.
	MayRelay func(env *goniec.Envelope) bool

	// Postmaster receives mail for postmaster where the Directory has no such address. Zero: the
	// account "postmaster@domain" of Store does, or "postmaster" where no domain was given. An
	// address postmaster@domain stands for that account, for all of them.
	Postmaster goniec.Address

	// DeliveredTo says when Delivered-To fields are written.
	DeliveredTo DeliveredTo

	MaxAliasDepth   int // aliases behind one another; 0 = 10, negative = no limit
	MaxAliasTargets int // addresses one recipient can expand to; 0 = 1000, negative = no limit

	Spooler goniec.Spooler // for messages that go to more than one place
	Logger  *slog.Logger   // one line for each delivery; nil = silent
}

// DeliveredTo is a policy for the Delivered-To field, which loop detection looks for.
type DeliveredTo uint8

const (
	// DeliveredToSingle writes the field when an envelope has one local recipient. With several,
	// the message is stored once, without it, and linked into the other mailboxes.
	DeliveredToSingle DeliveredTo = iota
	// DeliveredToAlways writes the field for every recipient, so that each gets a copy of its own.
	DeliveredToAlways
)

// Authenticated is a MayRelay that lets authenticated users relay: what a nil MayRelay means.
func Authenticated(env *goniec.Envelope) bool { return env.Origin.User != "" }

// Trusted is a MayRelay that lets authenticated users and the hosts of some networks relay.
func Trusted(networks ...netip.Prefix) func(env *goniec.Envelope) bool {
	return func(env *goniec.Envelope) bool {
		if Authenticated(env) {
			return true
		}
		ip := env.Origin.Remote.Addr().Unmap()
		for _, n := range networks {
			if n.Contains(ip) {
				return true
			}
		}
		return false
	}
}

// VerifyRcpt implements goniec.RcptVerifier: 550 5.1.1 for an unknown user, 550 5.7.1 for a
// foreign domain from those who may not relay, 554 5.4.6 for an alias loop, 4xx when it can not be
// told now.
func (r *Router) VerifyRcpt(ctx context.Context, env *goniec.Envelope, to *goniec.Recipient) error {
	hops := r.expand(ctx, to.Address)
	direct := len(hops) == 1 && hops[0].Relay && hops[0].Address == to.Address
	if direct && !r.ours(ctx, to.Address) {
		mayRelay := r.MayRelay
		if mayRelay == nil {
			mayRelay = Authenticated
		}
		if !mayRelay(env) {
			return errNoRelay
		}
	}
	var errs goniec.RcptErrors
	for _, h := range hops {
		err := h.Err
		if h.Relay {
			err = r.verifyRelay(ctx, env, h.Address)
		}
		if err == nil {
			return nil // one place that takes it is enough
		}
		errs = append(errs, err)
	}
	return goniec.StatusOf(errs)
}

// ours reports whether a domain of ClassRelay sends addr to Relay: anybody may send there.
func (r *Router) ours(ctx context.Context, addr goniec.Address) bool {
	_, err := r.domain(ctx, addr)
	return err == nil
}

func (r *Router) verifyRelay(ctx context.Context, env *goniec.Envelope, addr goniec.Address) error {
	if r.Relay == nil {
		return errNoRoute
	}
	_, err := goniec.VerifyRcpt(ctx, r.Relay, env, &goniec.Recipient{Address: addr})
	return err
}

// Deliver implements goniec.Deliverer.
func (r *Router) Deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	p := r.plan(ctx, env)
	if p.places() > 1 || len(p.boxes) > 1 && r.DeliveredTo == DeliveredToAlways {
		c, closer, err := r.content(ctx, msg)
		if err != nil {
			return err
		}
		defer closer.Close()
		msg = goniec.NewReader(c)
	}
	if len(p.boxes) > 0 {
		r.deliverLocal(ctx, env, p, msg)
	}
	if len(p.relays) > 0 {
		if c, ok := goniec.AsContent(msg); ok {
			msg = goniec.NewReader(c)
		}
		r.deliverRelay(ctx, env, p, msg)
	}
	return p.outcomes().Err()
}

// content makes msg readable more than once.
func (r *Router) content(ctx context.Context, msg io.Reader) (goniec.Content, io.Closer, error) {
	if c, ok := goniec.AsContent(msg); ok {
		return c, io.NopCloser(nil), nil
	}
	s, err := r.Spooler.Spool(ctx, msg, -1) // whoever received the message has limited it
	return s, s, err
}

// plan is what happens to the recipients of one envelope.
type plan struct {
	temporary, permanent goniec.RcptErrors // the first of each, by recipient
	ok                   []bool            // by recipient: at least one place took the message
	boxes, relays        []*place          // each place once
}

// place is one final destination and the recipients it serves.
type place struct {
	Hop
	rcpts []int // indexes into env.To
}

func (p *plan) places() int { return min(len(p.boxes), 1) + min(len(p.relays), 1) }

// note records what became of a place for all recipients it serves.
func (p *plan) note(at *place, err error) {
	for _, i := range at.rcpts {
		switch {
		case err == nil:
			p.ok[i] = true
		case goniec.Permanent(err):
			p.permanent[i] = err
		default:
			p.temporary[i] = err
		}
	}
}

// outcomes gives one result for each recipient. A temporary failure at one of its places stands
// for the recipient: the sender tries again, and a duplicate elsewhere is better than a loss. A
// permanent one does only when no place took the message: one dead member does not bounce mail for
// a whole list.
func (p *plan) outcomes() goniec.RcptErrors {
	out := p.temporary
	for i := range out {
		if out[i] == nil && !p.ok[i] {
			out[i] = p.permanent[i]
		}
	}
	return out
}

func (r *Router) plan(ctx context.Context, env *goniec.Envelope) *plan {
	n := len(env.To)
	p := &plan{temporary: make(goniec.RcptErrors, n), permanent: make(goniec.RcptErrors, n), ok: make([]bool, n)}
	type key struct {
		user, folder string
		relay        goniec.Address
	}
	index := map[key]*place{}
	for i := range env.To {
		for _, h := range r.expand(ctx, env.To[i].Address) {
			switch {
			case h.Relay && r.Relay == nil:
				h.Err = errNoRoute
				fallthrough
			case h.Err != nil:
				p.note(&place{h, []int{i}}, h.Err)
				continue
			}
			k := key{user: h.User, folder: h.Folder}
			if h.Relay {
				k = key{relay: h.Address.Key()}
			}
			if at := index[k]; at != nil {
				at.rcpts = append(at.rcpts, i)
				continue
			}
			at := &place{h, []int{i}}
			index[k] = at
			if h.Relay {
				p.relays = append(p.relays, at)
			} else {
				p.boxes = append(p.boxes, at)
			}
		}
	}
	return p
}
