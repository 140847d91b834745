package smtp

import (
	"context"
	"io"
	"net/netip"
	"slices"

	"github.com/goniec-mail/goniec"
)

// Receiver is the Handler for a goniec.Deliverer: it says which recipients are accepted, and never is an open relay. Fields must not
// change while it is in use.
//
// A recipient is accepted if the Deliverer is a goniec.RcptVerifier and says so; if it is none, or says nothing of other domains,
// if the recipient's domain is one of Domains. Everything else is 550 5.7.1, unless the client may relay: it has authenticated, or
// Trusted or MayRelay says so. To such a client a RcptVerifier's own 550 5.7.1 ("not ours") does not apply; what becomes of the message
// is then the Deliverer's decision.
type Receiver struct {
	// Deliverer takes the mail. Required. Two optional methods of it are used: goniec.RcptVerifier, and Extensions() []string,
	// the ESMTP extensions whose promises it keeps (see Extender): "DSN", "REQUIRETLS", ...
	Deliverer goniec.Deliverer

	// Domains are accepted from anybody. When the list is not empty, a RcptVerifier is asked only about these, except for
	// clients that may relay. When it is empty, a RcptVerifier decides alone: it must refuse what is not ours.
	Domains []string

	// Trusted lists networks whose clients may relay without AUTH. Empty means none.
	Trusted []netip.Prefix

	// MayRelay may allow further clients to relay, as those with a certificate (see TrustedCertificate). Nil means none.
	MayRelay func(c *Conn) bool
}

// DeliverTo returns the Handler that hands mail to d: for the recipients that d accepts if it is a goniec.RcptVerifier, else for
// the domains given here. Authenticated clients may send anywhere.
func DeliverTo(d goniec.Deliverer, domains ...string) *Receiver {
	return &Receiver{Deliverer: d, Domains: domains}
}

// NewSession implements Handler.
func (r *Receiver) NewSession(_ context.Context, c *Conn) (Session, error) {
	return &receiver{r, c}, nil
}

// receiver is a Receiver's Session. It keeps no state: all is in the envelope.
type receiver struct {
	*Receiver
	c *Conn
}

func (s *receiver) Mail(context.Context, *goniec.Envelope) error { return nil }

func (s *receiver) Rcpt(ctx context.Context, env *goniec.Envelope, to *goniec.Recipient) error {
	relay := s.mayRelay()
	listed := s.ours(to.Address)
	if !listed && !relay && len(s.Domains) > 0 {
		return errRelay()
	}
	asked, err := goniec.VerifyRcpt(ctx, s.Deliverer, env, to)
	switch {
	case !asked && !listed && !relay:
		return errRelay()
	case err != nil && relay && isNotOurs(err):
		return nil
	}
	return err
}

func (s *receiver) Data(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	return s.Deliverer.Deliver(ctx, env, msg)
}

func (s *receiver) Reset(*goniec.Envelope, error) {}
func (s *receiver) Close(error)                   {}

// Extensions implements Extender.
func (s *receiver) Extensions(offered []string) []string {
	if p, ok := s.Deliverer.(interface{ Extensions() []string }); ok {
		return append(offered, p.Extensions()...)
	}
	return offered
}

// mayRelay reports whether the client may send to domains that are not ours.
func (s *receiver) mayRelay() bool {
	if _, ok := s.c.Identity(); ok || containsAddr(s.Trusted, s.c.Remote().Addr()) {
		return true
	}
	return s.MayRelay != nil && s.MayRelay(s.c)
}

// ours reports whether an address is of a listed domain. RFC 5321 §4.5.1: postmaster without a domain is always ours.
func (s *receiver) ours(a goniec.Address) bool {
	if a.Domain() == "" {
		return true
	}
	return slices.ContainsFunc(s.Domains, func(d string) bool { return goniec.SameDomain(d, a.Domain()) })
}

// notOurs is the enhanced code of "delivery not authorised", which refuses relaying (RFC 3463 §3.8).
var notOurs = goniec.EnhancedCode{5, 7, 1}

func errRelay() error { return goniec.NewStatus(550, notOurs, "relaying denied") }

// isNotOurs reports whether a RcptVerifier refused to relay.
func isNotOurs(err error) bool { return goniec.StatusOf(err).Enhanced == notOurs }

// containsAddr reports whether one of the networks holds a.
func containsAddr(nets []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) })
}
