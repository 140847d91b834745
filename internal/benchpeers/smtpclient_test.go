package benchpeers

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"testing"

	peer "github.com/emersion/go-smtp"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// perRun is how many messages one iteration sends.
const perRun = 1000

// senders is how many goroutines send.
const senders = 8

// clientMessage is a message as an application has it: not dot-stuffed.
func clientMessage(size int) []byte {
	m := message(size)
	return m[:len(m)-3]
}

func hostOf(addr string) goniec.RouteHost {
	ap := netip.MustParseAddrPort(addr)
	return goniec.RouteHost{Addrs: []netip.Addr{ap.Addr()}, Port: ap.Port(), TLS: goniec.TLSNone}
}

func clientEnvelope() *goniec.Envelope {
	return &goniec.Envelope{From: goniec.MustAddress("a@example.com"), To: []goniec.Recipient{{Address: goniec.MustAddress("b@example.org")}}}
}

// spread calls send perRun times from several goroutines.
func spread(b *testing.B, send func() error) {
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range perRun / senders {
				if err := send(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkClientPool sends 1,000 messages to one host: over a pool, over a connection for each, and by go-smtp's client, which has no
// pool, over a connection for each. The server is ours.
func BenchmarkClientPool(b *testing.B) {
	addr := startServer(b, "goniec", nil)
	msg := clientMessage(2 << 10)
	ctx := context.Background()
	host, env := hostOf(addr), clientEnvelope()
	run := func(name string, send func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				spread(b, send)
			}
			b.ReportMetric(float64(b.N*perRun)/b.Elapsed().Seconds(), "msg/s")
		})
	}
	pool := &smtp.Pool{MaxConns: senders, MaxMessages: -1}
	defer pool.Close()
	run("pool", func() error {
		_, err := pool.Send(ctx, host, env, bytes.NewReader(msg))
		return err
	})
	d := &smtp.Dialer{}
	run("each", func() error {
		c, err := d.DialHost(ctx, host)
		if err != nil {
			return err
		}
		if _, err = c.Send(ctx, env, bytes.NewReader(msg)); err != nil {
			return err
		}
		return c.Quit(ctx)
	})
	run("go-smtp each", func() error {
		c, err := peer.Dial(addr)
		if err != nil {
			return err
		}
		if err := c.SendMail("a@example.com", []string{"b@example.org"}, bytes.NewReader(msg)); err != nil {
			return err
		}
		return c.Quit()
	})
}

// BenchmarkClientSession sends messages one after the other over one connection, by our client and go-smtp's, to each server.
func BenchmarkClientSession(b *testing.B) {
	for _, server := range []string{"goniec", "go-smtp"} {
		for size, name := range map[int]string{2 << 10: "2KB", 75 << 10: "75KB", 1 << 20: "1MB"} {
			msg := clientMessage(size)
			b.Run(server+" server/"+name+"/goniec", func(b *testing.B) { ourSession(b, startServer(b, server, nil), msg) })
			b.Run(server+" server/"+name+"/go-smtp", func(b *testing.B) { peerSession(b, startServer(b, server, nil), msg) })
		}
	}
}

func ourSession(b *testing.B, addr string, msg []byte) {
	ctx := context.Background()
	c, err := new(smtp.Dialer).DialHost(ctx, hostOf(addr))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	env := clientEnvelope()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Send(ctx, env, bytes.NewReader(msg)); err != nil {
			b.Fatal(err)
		}
	}
}

func peerSession(b *testing.B, addr string, msg []byte) {
	c, err := peer.Dial(addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.SendMail("a@example.com", []string{"b@example.org"}, bytes.NewReader(msg)); err != nil {
			b.Fatal(err)
		}
	}
}
