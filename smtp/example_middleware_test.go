package smtp_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/smtp"
)

// show tries a session of an outside client, from a@example.com to b@example.org, and prints the first refusal.
func show(m smtp.Middleware, change ...func(*smtp.Recording)) {
	rec := smtp.Recording{
		Remote: netip.MustParseAddrPort("203.0.113.7:1234"), Hostname: "mx.example.org", Helo: "client.example.com",
		From: goniec.MustAddress("a@example.com"), To: []goniec.Address{goniec.MustAddress("b@example.org")},
	}
	for _, f := range change {
		f(&rec)
	}
	h := smtp.Chain(smtp.DeliverTo(goniec.Discard(), "example.org"), m)
	for _, step := range smtp.Try(context.Background(), h, rec) {
		if step.Reply != nil {
			fmt.Println(step.Stage, step.Reply.Reply())
			return
		}
	}
	fmt.Println("accepted")
}

// A policy can be tried on a session as it was recorded, without network.
func ExampleTry() {
	h := smtp.Chain(smtp.DeliverTo(goniec.Discard(), "example.org"), smtp.NullSender(false))
	rec := smtp.Recording{
		Remote: netip.MustParseAddrPort("203.0.113.7:1234"), Helo: "client.example.com",
		To: []goniec.Address{goniec.MustAddress("b@example.org"), goniec.MustAddress("c@elsewhere.example")},
	}
	for _, step := range smtp.Try(context.Background(), h, rec) {
		if step.Reply != nil {
			fmt.Println(step.Stage, step.Subject, step.Reply.Reply())
		}
	}
	// Output:
	// rcpt <c@elsewhere.example> 550 5.7.1 relaying denied
}

func ExampleRequireAuth() {
	show(smtp.RequireAuth())
	show(smtp.RequireAuth(), func(r *smtp.Recording) { r.User = "alice" })
	// Output:
	// mail 530 5.7.0 authentication required
	// accepted
}

func ExampleRequireTLS() {
	show(smtp.RequireTLS())
	// Output:
	// mail 530 5.7.0 must issue a STARTTLS command first
}

// Trusted networks are those that a policy is not for.
func ExampleUnless() {
	office := smtp.FromNetworks(netip.MustParsePrefix("203.0.113.0/24"))
	show(smtp.Unless(office, smtp.RequireAuth()))
	show(smtp.Unless(office, smtp.RequireAuth()), func(r *smtp.Recording) { r.Remote = netip.MustParseAddrPort("192.0.2.1:1234") })
	// Output:
	// accepted
	// mail 530 5.7.0 authentication required
}

func ExampleAccessList() {
	f, err := os.CreateTemp("", "access")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(f.Name())
	fmt.Fprintln(f, "deny @example.com  no thanks")
	f.Close()

	list, err := smtp.OpenAccessList(f.Name())
	if err != nil {
		fmt.Println(err)
		return
	}
	show(list.Middleware())
	// Output:
	// mail 554 5.7.1 no thanks
}

func ExampleRateLimit() {
	limit := &smtp.RateLimit{PerClient: 1, Per: time.Minute}
	show(limit.Middleware())
	show(limit.Middleware())
	// Output:
	// accepted
	// mail 450 4.7.1 too much mail from this client, try again later
}

// In a real server the Resolver is left out: it is then net.DefaultResolver.
func ExampleDNSBL() {
	dns := &fakeDNS{hosts: map[string]string{"7.113.0.203.bl.example": "127.0.0.2"}}
	show((&smtp.DNSBL{Resolver: dns, Zones: []string{"bl.example"}}).Middleware())
	// Output:
	// mail 554 5.7.1 client [203.0.113.7] is listed by bl.example
}

func ExampleReverseDNS() {
	dns := &fakeDNS{ptrs: map[string]string{"203.0.113.7": "mail.example.com."}, hosts: map[string]string{"mail.example.com": "198.51.100.1"}}
	show((&smtp.ReverseDNS{Resolver: dns, Require: true}).Middleware())
	// Output:
	// mail 550 5.7.25 your address has no name that leads back to it
}

func ExampleHeloRules() {
	rules := &smtp.HeloRules{RequireFQDN: true}
	show(rules.Middleware(), func(r *smtp.Recording) { r.Helo = "mx.example.org" })
	show(rules.Middleware(), func(r *smtp.Recording) { r.Helo = "desktop" })
	// Output:
	// mail 550 5.7.1 your HELO name is mine
	// mail 550 5.7.1 your HELO name is not fully qualified
}

func ExampleGreylist() {
	now := time.Now()
	grey := &smtp.Greylist{Now: func() time.Time { return now }}
	show(grey.Middleware())
	now = now.Add(10 * time.Minute)
	show(grey.Middleware())
	// Output:
	// rcpt 451 4.7.1 greylisted, try again in a few minutes
	// accepted
}

// The memory of a greylist outlives the process in a file.
func ExampleOpenGreyFile() {
	dir, err := os.MkdirTemp("", "grey")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	now := time.Now()
	for range 2 {
		store, err := smtp.OpenGreyFile(faultfs.OS{}, dir, "greylist")
		if err != nil {
			fmt.Println(err)
			return
		}
		show((&smtp.Greylist{Store: store, Now: func() time.Time { return now }}).Middleware())
		now = now.Add(10 * time.Minute)
		store.Close()
	}
	// Output:
	// rcpt 451 4.7.1 greylisted, try again in a few minutes
	// accepted
}

// Refusals beyond the first few take longer and longer.
func ExampleTarpit() {
	tarpit := &smtp.Tarpit{After: -1, Delay: 10 * time.Millisecond}
	begin := time.Now()
	show(tarpit.Middleware(), func(r *smtp.Recording) { r.To[0] = goniec.MustAddress("b@elsewhere.example") })
	fmt.Println(time.Since(begin) >= 10*time.Millisecond)
	// Output:
	// rcpt 550 5.7.1 relaying denied
	// true
}

func ExampleNullSender() {
	show(smtp.NullSender(true), func(r *smtp.Recording) { r.From, r.User = goniec.Address{}, "alice" })
	// Output:
	// mail 550 5.7.1 give your address as the sender
}

func ExampleSenderLogin() {
	owners := func(_ context.Context, from goniec.Address) ([]string, error) {
		if from.Domain() != "example.com" {
			return nil, errors.New("no table for this domain")
		}
		return []string{"alice"}, nil
	}
	show(smtp.SenderLogin(owners), func(r *smtp.Recording) { r.User = "alice" })
	show(smtp.SenderLogin(owners), func(r *smtp.Recording) { r.User = "bob" })
	// Output:
	// accepted
	// mail 553 5.7.1 this sender address is not yours
}

func ExampleOneDomain() {
	show(smtp.OneDomain(), func(r *smtp.Recording) { r.To = append(r.To, goniec.MustAddress("c@example.net")) })
	// Output:
	// rcpt 452 4.5.3 one domain at a time, send this one separately
}

// Peers with a certificate of one's own authority may relay.
func ExampleCertificates() {
	peers := &smtp.Certificates{Roots: x509.NewCertPool()}
	receiver := smtp.DeliverTo(goniec.Discard(), "example.org")
	receiver.MayRelay = peers.MayRelay
	steps := smtp.Try(context.Background(), receiver, smtp.Recording{To: []goniec.Address{goniec.MustAddress("x@elsewhere.example")}})
	fmt.Println(steps[len(steps)-1].Reply.Reply())
	// Output:
	// 550 5.7.1 relaying denied
}
