package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/dnsmx"
	"github.com/goniec-mail/goniec/dnsmx/dnsclient"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mime"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

// road is where mail for other domains goes: nowhere in the demo, to -next-hop, or by MX; then there are also policies to be kept fresh.
func (o *options) road(logger *slog.Logger) (goniec.Deliverer, *dnsmx.STS, error) {
	if o.demo && o.nextHop == "" {
		return &demoRoad{tried: map[string]bool{}}, nil, nil
	}
	relay := &smtp.Relay{
		Logger:  logger,
		Pool:    &smtp.Pool{Dialer: &smtp.Dialer{Hostname: o.hostname, Convert: mime.Convert}, MaxConns: 20},
		Observe: relayed,
	}
	if o.nextHop != "" {
		host, err := smtp.ParseHost(o.nextHop, 25)
		if err != nil {
			return nil, nil, fmt.Errorf("-next-hop: %w", err)
		}
		// An address can not be verified, and the way to loopback needs no protection.
		if _, err := netip.ParseAddr(host.Name); err == nil || loopback(o.nextHop) {
			host.TLS = goniec.TLSOpportunistic
		}
		relay.Router = smtp.Smarthost(host)
		return relay, nil, nil
	}
	policies := filepath.Join(o.data, "mta-sts")
	if err := os.MkdirAll(policies, 0o700); err != nil {
		return nil, nil, err
	}
	dir, err := faultfs.OS{}.OpenDir(policies)
	if err != nil {
		return nil, nil, err
	}
	dns := &dnsmx.Cache{Resolver: &dnsclient.Client{}}
	sts := &dnsmx.STS{Resolver: dns, Store: &dnsmx.PolicyDir{Dir: dir}, Logger: logger}
	// DANE counts with a validating resolver on loopback only.
	relay.Router = &dnsmx.Router{Resolver: dns, Hostname: o.hostname, DANE: true, STS: sts}
	return relay, sts, nil
}

// limits lets our own mailboxes be filled by many hands from the first message on: nobody there must be spared, as a
// stranger's server must.
func (o *options) limits(dest string) queue.Limits {
	if slices.ContainsFunc(o.domains, func(d string) bool { return goniec.SameDomain(d, dest) }) {
		return queue.Limits{Window: 20}
	}
	return queue.Limits{}
}

// relayed tells the queue that another server took the message, and whether it reports itself: who
// asked for a report of success is owed one otherwise (RFC 3461 §5.2.2).
func relayed(ctx context.Context, env *goniec.Envelope, res *smtp.Result, _ error) {
	if res == nil {
		return
	}
	for i, err := range res.Rcpts {
		if err == nil {
			queue.ReportSuccess(ctx, env.To[i].Address, queue.Success{
				Relayed: true, DSN: res.DSN, RemoteMTA: res.Host, DeliverBy: !slices.Contains(res.Dropped, "DELIVERBY"),
			})
		}
	}
}

// demoRoad stands for the rest of the world in the demo: later.test takes mail at the second try,
// gone.test never, and nothing leaves this machine.
type demoRoad struct {
	mu    sync.Mutex
	tried map[string]bool
}

// Deliver implements goniec.Deliverer.
func (d *demoRoad) Deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	if _, err := io.Copy(io.Discard, msg); err != nil {
		return err
	}
	errs := make(goniec.RcptErrors, len(env.To))
	for i, to := range env.To {
		errs[i] = d.answer(env.ID, to.Address)
	}
	return errs.Err()
}

func (d *demoRoad) answer(id string, to goniec.Address) error {
	switch to.ASCIIDomain() {
	case "later.test":
		d.mu.Lock()
		defer d.mu.Unlock()
		key := id + " " + to.String()
		if d.tried[key] {
			delete(d.tried, key)
			return nil
		}
		d.tried[key] = true
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "later.test is busy, as always: try again")
	case "gone.test":
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "everybody at gone.test has left")
	}
	return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, "the demo sends nothing to other machines")
}
