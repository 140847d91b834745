package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
)

// Router says where mail for a domain goes. Package dnsmx has one that asks the DNS; Smarthost is one that does not.
type Router interface {
	// Route returns the hosts for a domain (as A-labels; "[192.0.2.1]" for an address literal; "" for the bare postmaster), in
	// the order in which they are tried. A *goniec.Status in the error's chain is the outcome for the domain's recipients;
	// anything else is temporary.
	Route(ctx context.Context, domain string) (goniec.Route, error)
}

// RouterFunc makes a Router of a function.
type RouterFunc func(ctx context.Context, domain string) (goniec.Route, error)

// Route calls f.
func (f RouterFunc) Route(ctx context.Context, domain string) (goniec.Route, error) {
	return f(ctx, domain)
}

// Smarthost returns a Router that sends all mail to the given hosts, the first one that works. Credentials are Dialer.Auth's
// or Dialer.TLSConfig's.
func Smarthost(hosts ...goniec.RouteHost) Router {
	return RouterFunc(func(_ context.Context, domain string) (goniec.Route, error) {
		return goniec.Route{Domain: domain, Hosts: hosts, Why: "smarthost"}, nil
	})
}

// The defaults of a Relay's limits.
const (
	defaultRelayHosts    = 10
	defaultRelayParallel = 5
)

// Relay is a goniec.Deliverer that passes mail on to other hosts. Fields must not change while it is in use; its methods
// are safe for concurrent use.
//
// Recipients with the same next hops share a transaction. The next host of a Route is tried for the recipients about whom the
// one before had nothing to say: no connection, a greeting that was not 220, no TLS as its level wants, a session that broke
// off, or an extension (SMTPUTF8, REQUIRETLS, 8BITMIME) that it does not offer. A reply to MAIL, RCPT or the message is final for this
// delivery, and an ambiguous outcome (StageError.Sent) is too. An outcome is nil or what went wrong last; a temporary failure
// at one host counts more than that another does not offer an extension.
type Relay struct {
	// Router finds the hosts. Required.
	Router Router
	// Pool keeps the connections. Nil means one of our own, which Close closes.
	Pool *Pool
	// MaxHosts limits the hosts that are tried for a destination. Zero means 10; negative means no limit.
	MaxHosts int
	// MaxParallel limits the destinations of one message that are served at the same time. Zero means 5; negative means no limit.
	MaxParallel int
	// Logger takes a record for each transaction. Nil is silent.
	Logger *slog.Logger
	// Observe is called after each transaction, by several goroutines at once: for metrics, and for the reports that are owed when a host
	// does not offer DSN (see Result.DSN). env has the recipients of this transaction. Nil observes nothing.
	Observe func(ctx context.Context, env *goniec.Envelope, res *Result, err error)

	own Pool
}

// hop is the recipients that share next hops.
type hop struct {
	route goniec.Route
	rcpts []int // indices of Envelope.To
}

// Deliver implements goniec.Deliverer.
func (r *Relay) Deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	if len(env.To) == 0 {
		return errors.New("smtp: envelope without recipients")
	}
	out := make(goniec.RcptErrors, len(env.To))
	hops := r.hops(ctx, env, out)
	p, err := load(msg)
	if err != nil {
		return err
	}
	defer p.close()
	if len(hops) == 1 {
		r.serve(ctx, env, p, hops[0], out)
		return out.Err()
	}
	content, err := p.keep(ctx)
	if err != nil {
		return err
	}
	r.each(hops, func(h *hop) {
		p, err := load(goniec.NewReader(content))
		if err != nil {
			h.fail(out, err)
			return
		}
		defer p.close()
		r.serve(ctx, env, p, h, out)
	})
	return out.Err()
}

// Close closes the Relay's own Pool.
func (r *Relay) Close() error { return r.own.Close() }

func (r *Relay) pool() *Pool {
	if r.Pool != nil {
		return r.Pool
	}
	return &r.own
}

// each runs f for every hop, some at a time.
func (r *Relay) each(hops []*hop, f func(*hop)) {
	limit := orDefault(r.MaxParallel, defaultRelayParallel)
	if limit < 0 {
		limit = len(hops)
	}
	slots := make(chan struct{}, max(limit, 1))
	var wg sync.WaitGroup
	for _, h := range hops {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(h)
		})
	}
	wg.Wait()
}

// fail gives an error to all recipients of a hop.
func (h *hop) fail(out goniec.RcptErrors, err error) {
	for _, i := range h.rcpts {
		out[i] = err
	}
}

// hops asks the Router about each domain, and puts domains with the same hosts together.
func (r *Relay) hops(ctx context.Context, env *goniec.Envelope, out goniec.RcptErrors) []*hop {
	var all []*hop
	byDomain := map[string]*hop{}
	byHosts := map[string]*hop{}
	for i := range env.To {
		domain := env.To[i].Address.ASCIIDomain()
		h := byDomain[domain]
		if h == nil {
			route, err := r.route(ctx, domain)
			if err != nil {
				out[i] = err // the next recipient of the domain asks again; a Router has a cache
				continue
			}
			key := hostsKey(route)
			if h = byHosts[key]; h == nil {
				h = &hop{route: route}
				byHosts[key] = h
				all = append(all, h)
			}
			byDomain[domain] = h
		}
		h.rcpts = append(h.rcpts, i)
	}
	return all
}

// route asks the Router.
func (r *Relay) route(ctx context.Context, domain string) (route goniec.Route, err error) {
	err = r.contained(func() error {
		route, err = r.Router.Route(ctx, domain)
		return err
	})
	if err == nil && len(route.Hosts) == 0 {
		err = fmt.Errorf("smtp: route for %s has no hosts", domain)
	}
	return route, err
}

// contained runs f, which calls what others have written: a Router, Verify, Convert. A panic in it is a temporary error.
func (r *Relay) contained(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("smtp: panic in a relay: %v", v)
			if r.Logger != nil {
				r.Logger.Error("smtp: panic in a relay", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
			}
		}
	}()
	return f()
}

// hostsKey tells sets of hosts apart. Functions can not be compared: hosts with a verifier are of their domain alone.
func hostsKey(route goniec.Route) string {
	var b strings.Builder
	for _, h := range route.Hosts {
		b.WriteString(destinationKey(h, ""))
		b.WriteByte('\n')
		if h.Verify != nil {
			b.WriteString(route.Domain)
		}
	}
	return b.String()
}

// serve sends a message to the recipients of a hop.
func (r *Relay) serve(ctx context.Context, env *goniec.Envelope, p *payload, h *hop, out goniec.RcptErrors) {
	err := r.contained(func() error {
		r.tryHosts(ctx, env, p, h, out)
		return nil
	})
	if err != nil {
		h.fail(out, err) // for those who were served too: better twice than not at all
	}
}

// tryHosts tries the hosts in order.
func (r *Relay) tryHosts(ctx context.Context, env *goniec.Envelope, p *payload, h *hop, out goniec.RcptErrors) {
	limit := orDefault(r.MaxHosts, defaultRelayHosts)
	left := h.rcpts
	for n, host := range h.route.Hosts {
		if limit > 0 && n == limit {
			return
		}
		if n > 0 && (!p.again() || ctx.Err() != nil) {
			return
		}
		if left = r.try(ctx, env, p, raised(host, env), left, out); len(left) == 0 {
			return
		}
	}
}

// raised is the level that REQUIRETLS wants (RFC 8689 §4.2.1).
func raised(host goniec.RouteHost, env *goniec.Envelope) goniec.RouteHost {
	if env.RequireTLS && (host.TLS == goniec.TLSOpportunistic || host.TLS == goniec.TLSRequired) {
		host.TLS = goniec.TLSVerified
	}
	return host
}

// try sends to one host, in several transactions if it takes fewer recipients in one (RFC 5321 §4.5.3.1.10), and returns the recipients for
// whom another host may be tried.
func (r *Relay) try(ctx context.Context, env *goniec.Envelope, p *payload, host goniec.RouteHost, rcpts []int, out goniec.RcptErrors) (left []int) {
	for {
		sub := env.Clone()
		sub.To = sub.To[:0]
		for _, i := range rcpts {
			sub.To = append(sub.To, env.To[i])
		}
		start := time.Now()
		res, err := r.pool().send(ctx, host, sub, p)
		r.log(env, res, err, time.Since(start))
		if r.Observe != nil {
			r.Observe(ctx, sub, res, err)
		}
		var crowded []int
		taken := false
		for k, i := range rcpts {
			e := res.Rcpts[k]
			out[i] = weigh(out[i], e)
			switch {
			case e == nil:
				taken = true
			case tooMany(e):
				crowded = append(crowded, i)
			case !settled(e):
				left = append(left, i)
			}
		}
		if !taken || len(crowded) == 0 || !p.again() || ctx.Err() != nil {
			return left
		}
		rcpts = crowded
	}
}

// weigh chooses between what a recipient had from one host and has from the next.
func weigh(before, now error) error {
	if goniec.Temporary(before) && goniec.Permanent(now) && !settled(now) {
		return before
	}
	return now
}

// tooMany reports whether a server takes no further recipients in this transaction.
func tooMany(err error) bool {
	var e *StageError
	var s *goniec.Status
	return errors.As(err, &e) && e.Stage == StageRcpt && errors.As(err, &s) &&
		(s.Code == 452 && (s.Enhanced == goniec.EnhancedCode{} || s.Enhanced == goniec.EnhancedCode{4, 5, 3}))
}

func (r *Relay) log(env *goniec.Envelope, res *Result, err error, took time.Duration) {
	if r.Logger == nil {
		return
	}
	attrs := []slog.Attr{
		slog.String(keyID, env.ID), slog.String("host", logText(res.Host)), slog.String(keyRemote, res.Addr),
		slog.Bool(keyTLS, res.TLS), slog.Int(keyRcpts, len(res.Rcpts)), slog.Int("failed", res.Rcpts.Failed()),
		slog.Int64(keyTime, took.Milliseconds()),
	}
	text := "smtp: sent"
	if err != nil {
		text = "smtp: not sent to all"
		attrs = append(attrs, slog.String(keyErr, logText(err.Error())))
	}
	r.Logger.LogAttrs(context.Background(), slog.LevelInfo, text, attrs...)
}
