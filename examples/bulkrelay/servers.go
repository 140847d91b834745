package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// temper is how a server behaves.
type temper struct {
	name  string
	what  string                       // for the legend
	set   func(*smtp.Server)           // changes the server; nil = nothing
	judge func(s *server, n int) error // asked before a message is taken; nil = everything is fine
}

// tempers are those that there are; servers take them in turn.
var tempers = [...]temper{
	{name: "steady", what: "takes everything"},
	{name: "moody", what: "421 for one message in 50", judge: func(s *server, _ int) error {
		return s.chance(50, goniec.NewStatus(421, goniec.EnhancedCode{4, 3, 2}, "not now"))
	}},
	{name: "slow", what: "20 ms for each message", judge: func(*server, int) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	}},
	{name: "narrow", what: "3 connections, 421 for more", set: func(s *smtp.Server) { s.MaxConnsPerIP = 3 }},
	{name: "grey", what: "451 at first sight", set: func(s *smtp.Server) {
		s.Handler = smtp.Chain(s.Handler, (&smtp.Greylist{Delay: 500 * time.Millisecond}).Middleware())
	}},
	{name: "picky", what: "550 for one in 100", judge: func(_ *server, n int) error {
		if n%100 == 0 { // the same every time it is asked
			return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "nobody of that name")
		}
		return nil
	}},
}

// server is the mail server of one domain.
type server struct {
	domain string
	temper temper
	book   *ledger
	smtp   *smtp.Server

	mu   sync.Mutex
	dice *rand.Rand
}

// startServers starts n servers on free ports of loopback.
func startServers(n int, seed uint64, book *ledger) ([]*server, error) {
	var all []*server
	for i := range n {
		t := tempers[i%len(tempers)]
		s := &server{domain: fmt.Sprintf("%s%d.test", t.name, i+1), temper: t, book: book, dice: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		s.smtp = &smtp.Server{Hostname: "mx." + s.domain, MaxConnsPerIP: -1, Handler: smtp.DeliverTo(goniec.DelivererFunc(s.deliver), s.domain)}
		if t.set != nil {
			t.set(s.smtp)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			closeAll(all)
			return nil, err
		}
		go func() { _ = s.smtp.Serve(l) }()
		<-s.smtp.Ready()
		all = append(all, s)
	}
	return all, nil
}

func closeAll(servers []*server) {
	for _, s := range servers {
		_ = s.smtp.Close()
	}
}

// deliver takes a message, or not. What it takes stands in the ledger before the 250 is sent.
func (s *server) deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	if _, err := io.Copy(io.Discard, msg); err != nil {
		return err
	}
	n := number(env.To[0].Address)
	if s.temper.judge != nil {
		if err := s.temper.judge(s, n); err != nil {
			return err
		}
	}
	s.book.take(n)
	return nil
}

// chance returns err once in n times.
func (s *server) chance(n int, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dice.IntN(n) == 0 {
		return err
	}
	return nil
}

// router knows the way to each domain's server, as the DNS would.
func router(servers []*server) smtp.Router {
	routes := map[string]goniec.Route{}
	for _, s := range servers {
		host, err := smtp.ParseHost(s.smtp.ListenAddr().String(), 25)
		host.Name, host.TLS = s.smtp.Hostname, goniec.TLSNone
		if err == nil {
			routes[s.domain] = goniec.Route{Domain: s.domain, Hosts: []goniec.RouteHost{host}, Why: "on this machine"}
		}
	}
	return smtp.RouterFunc(func(_ context.Context, domain string) (goniec.Route, error) {
		if r, ok := routes[domain]; ok {
			return r, nil
		}
		return goniec.Route{}, goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 2}, "no such domain")
	})
}
