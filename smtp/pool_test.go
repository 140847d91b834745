package smtp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

// counting counts the connections that are made.
type counting struct {
	total, open, most atomic.Int32
}

type countedConn struct {
	net.Conn
	once sync.Once
	c    *counting
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.c.open.Add(-1) })
	return c.Conn.Close()
}

func (c *counting) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.total.Add(1)
	n := c.open.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
		continue
	}
	return &countedConn{Conn: conn, c: c}, nil
}

func TestPoolReuse(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	count := &counting{}
	p := &smtp.Pool{Dialer: &smtp.Dialer{Net: count}, MaxMessages: 7}
	for range 20 {
		_, err := p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
		require.NoError(t, err)
	}
	require.Len(t, rec.got(), 20)
	require.EqualValues(t, 3, count.total.Load(), "7, 7 and 6 messages")
	require.NoError(t, p.Close())
	require.Zero(t, count.open.Load())
	_, err := p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
	require.ErrorIs(t, err, smtp.ErrClosed)
}

func TestPoolLimit(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	count := &counting{}
	p := &smtp.Pool{Dialer: &smtp.Dialer{Net: count}, MaxConns: 3}
	defer p.Close()
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			_, err := p.Send(t.Context(), host, envelope(fmt.Sprintf("u%d@example.org", i)), strings.NewReader(hello))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, rec.got(), 60)
	require.LessOrEqual(t, count.most.Load(), int32(3))

	// Who waits for a connection goes away with his context.
	slow := &smtp.Pool{Dialer: &smtp.Dialer{Net: dialerFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})}, MaxConns: 1}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for range 3 {
		wg.Go(func() {
			_, err := slow.Send(ctx, host, envelope("bob@example.org"), strings.NewReader(hello))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// An idle connection ends with QUIT when its time is over.
func TestPoolIdle(t *testing.T) {
	rec := &recorder{}
	srv, host := listen(t, rec, nil)
	count := &counting{}
	p := &smtp.Pool{Dialer: &smtp.Dialer{Net: count}, IdleTimeout: 30 * time.Millisecond}
	defer p.Close()
	_, err := p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return count.open.Load() == 0 }, time.Minute, 5*time.Millisecond)

	none := &smtp.Pool{Dialer: &smtp.Dialer{Net: count}, IdleTimeout: -1}
	_, err = none.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
	require.NoError(t, err)
	require.NoError(t, none.Close())
	require.Zero(t, count.open.Load())

	// A server that goes away while a connection is idle is noticed before the next message.
	keep := &smtp.Pool{Dialer: &smtp.Dialer{Net: count}}
	defer keep.Close()
	_, err = keep.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
	require.NoError(t, err)
	require.NoError(t, srv.Close())
	require.Eventually(t, func() bool { return count.open.Load() == 0 }, time.Minute, 5*time.Millisecond)
}

// Connections of one identity are not used for another.
func TestPoolIdentity(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.TLSConfig, s.Auth = serverTLS(), users })
	host.TLS = goniec.TLSVerified
	count := &counting{}
	p := &smtp.Pool{
		Dialer: &smtp.Dialer{Net: count, TLSConfig: trusting()},
		Auth: func(_ context.Context, env *goniec.Envelope, _ goniec.RouteHost) (string, []auth.ClientMechanism, error) {
			switch user := env.From.Local(); user {
			case "nobody":
				return "", nil, nil
			case "lost":
				return "", nil, errors.New("no such sender")
			default:
				return user, auth.PasswordClients(user, auth.NewSecret("wonder")), nil
			}
		},
	}
	defer p.Close()
	send := func(from string) error {
		env := envelope("bob@example.org")
		env.From = goniec.MustAddress(from + "@example.com")
		_, err := p.Send(t.Context(), host, env, strings.NewReader(hello))
		return err
	}
	for range 2 {
		require.NoError(t, send("alice"))
		require.NoError(t, send("nobody"))
	}
	require.EqualValues(t, 2, count.total.Load())
	require.Equal(t, "alice@example.org", rec.got()[2].env.Origin.User)
	require.Empty(t, rec.got()[3].env.Origin.User)
	require.ErrorContains(t, send("mallory"), "PLAIN failed: 535")
	require.ErrorContains(t, send("lost"), "no such sender")
}

// DANE's verifier is asked again when a connection is used again.
func TestPoolDANE(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, func(s *smtp.Server) { s.TLSConfig = serverTLS() })
	host.TLS = goniec.TLSDANE
	p := &smtp.Pool{}
	defer p.Close()
	send := func() error {
		_, err := p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(hello))
		return err
	}
	require.ErrorContains(t, send(), "without RouteHost.Verify")
	host.Verify = acceptAny
	require.NoError(t, send())
	host.Verify = refuseAny
	require.ErrorContains(t, send(), "record has changed")
	require.Len(t, rec.got(), 1)
}

func acceptAny(tls.ConnectionState) error { return nil }
func refuseAny(tls.ConnectionState) error { return errors.New("record has changed") }
