package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

func from(ip, user, password string) *auth.Attempt {
	return &auth.Attempt{Mechanism: "PLAIN", User: user, Secret: auth.NewSecret(password), Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 999)}
}

// A02: 1000 guesses from one address: growing delays, then refusal, and the table is left in peace.
func TestA02_OneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spy := newTable("victim", "right")
		var events []auth.GuardEvent
		g := &auth.Guard{Event: func(e auth.GuardEvent) { events = append(events, e) }}
		a := g.Wrap(spy)
		var waits []time.Duration
		refused := 0
		for i := range 1000 {
			start := time.Now()
			_, err := a.Authenticate(context.Background(), from("192.0.2.1", fmt.Sprintf("user%d", i), "guess"))
			require.Error(t, err)
			if errors.Is(err, auth.ErrTooManyFailures) {
				require.Equal(t, 421, auth.StatusOf(err).Code)
				refused++
			} else {
				require.ErrorIs(t, err, auth.ErrCredentials)
				waits = append(waits, time.Since(start))
			}
		}
		require.Equal(t, []time.Duration{0, 0, 0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 16 * time.Second}, waits[:10])
		require.Less(t, spy.calls(), 40)
		require.Equal(t, 1000-spy.calls(), refused)
		require.NotEmpty(t, events)
		require.Equal(t, netip.MustParsePrefix("192.0.2.1/32"), events[0].Prefix)
		require.Empty(t, events[0].User)

		// Another address is not concerned; the same one is asked again after the refusal.
		_, err := a.Authenticate(context.Background(), from("192.0.2.2", "victim", "right"))
		require.NoError(t, err)
		_, err = a.Authenticate(context.Background(), from("192.0.2.1", "victim", "right"))
		require.ErrorIs(t, err, auth.ErrTooManyFailures)
		time.Sleep(31 * time.Minute)
		_, err = a.Authenticate(context.Background(), from("192.0.2.1", "victim", "right"))
		require.NoError(t, err)
	})
}

// A02: 1000 addresses guess at one user: strangers are refused, the user is not locked out from where
// they have logged in before, known or unknown name makes no difference.
func TestA02_ManyAddresses(t *testing.T) {
	for _, victim := range []string{"victim", "nobody"} {
		synctest.Test(t, func(t *testing.T) {
			spy := newTable("victim", "right")
			a := (&auth.Guard{}).Wrap(spy)
			_, err := a.Authenticate(context.Background(), from("203.0.113.5", "victim", "right"))
			require.NoError(t, err)
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Go(func() {
					_, err := a.Authenticate(context.Background(), from(fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), victim, fmt.Sprint(i)))
					if err == nil {
						t.Error("guess let in")
					}
				})
			}
			wg.Wait()
			require.Equal(t, 61, spy.calls(), "60 guesses of strangers and the login before them")
			start := time.Now()
			_, err = a.Authenticate(context.Background(), from("203.0.113.5", "victim", "right"))
			require.NoError(t, err)
			require.Zero(t, time.Since(start), "the known address does not even wait")
			if victim == "victim" {
				_, err = a.Authenticate(context.Background(), from("203.0.113.6", "victim", "right"))
				require.ErrorIs(t, err, auth.ErrTooManyFailures, "a new address waits until the attack is over")
			}
		})
	}
}

// A02: guesses at the same time count from their start, in SCRAM too.
func TestA02_Parallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spy := newTable("u", "right")
		a := (&auth.Guard{PairLimit: 5}).Wrap(spy)
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				_, _ = a.Authenticate(context.Background(), from("192.0.2.1", "u", fmt.Sprint(i)))
			})
		}
		wg.Wait()
		require.Equal(t, 5, spy.calls())
	})
}

// The limits hold at the limit and one beyond.
func TestGuardLimits(t *testing.T) {
	for name, c := range map[string]struct {
		guard *auth.Guard
		at    func(i int) *auth.Attempt
	}{
		"pair":    {&auth.Guard{PairLimit: 4, Delay: -1}, func(i int) *auth.Attempt { return from("192.0.2.1", "u", fmt.Sprint(i)) }},
		"address": {&auth.Guard{AddrLimit: 4, Delay: -1}, func(i int) *auth.Attempt { return from("192.0.2.1", fmt.Sprint(i), "x") }},
		"net 64":  {&auth.Guard{AddrLimit: 4, Delay: -1}, func(i int) *auth.Attempt { return from(fmt.Sprintf("2001:db8::%x", i+1), fmt.Sprint(i), "x") }},
		"mapped": {&auth.Guard{AddrLimit: 4, Delay: -1}, func(i int) *auth.Attempt {
			return from([]string{"192.0.2.1", "::ffff:192.0.2.1"}[i%2], fmt.Sprint(i), "x")
		}},
		"user": {&auth.Guard{UserLimit: 4, Delay: -1}, func(i int) *auth.Attempt {
			return from(fmt.Sprintf("192.0.2.%d", i+1), []string{"u@x.org", "U@X.ORG"}[i%2], "x")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			spy := newTable()
			a := c.guard.Wrap(spy)
			for i := range 4 {
				_, err := a.Authenticate(context.Background(), c.at(i))
				require.ErrorIs(t, err, auth.ErrCredentials)
			}
			_, err := a.Authenticate(context.Background(), c.at(4))
			require.ErrorIs(t, err, auth.ErrTooManyFailures)
			require.Equal(t, 4, spy.calls())
		})
	}
	a := (&auth.Guard{PairLimit: -1, AddrLimit: -1, UserLimit: -1, Delay: -1}).Wrap(newTable())
	for i := range 500 {
		_, err := a.Authenticate(context.Background(), from("192.0.2.1", "u", fmt.Sprint(i)))
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	exempt := (&auth.Guard{AddrLimit: 2, Delay: -1, Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}).Wrap(newTable())
	for i := range 20 {
		_, err := exempt.Authenticate(context.Background(), from("192.0.2.1", fmt.Sprint(i), "x"))
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
}

// Temporary trouble and success are not counted; the same wrong password counts once.
func TestGuardCountsFailuresOnly(t *testing.T) {
	ctx := context.Background()
	spy := newTable("u", "right")
	a := (&auth.Guard{PairLimit: 3, Delay: -1}).Wrap(spy)
	spy.err = errors.New("database is down")
	for i := range 20 {
		_, err := a.Authenticate(ctx, from("192.0.2.1", "u", fmt.Sprint(i)))
		require.ErrorIs(t, err, spy.err)
	}
	spy.err = nil
	for range 20 {
		_, err := a.Authenticate(ctx, from("192.0.2.1", "u", "right"))
		require.NoError(t, err)
	}
	for range 20 {
		_, err := a.Authenticate(ctx, from("192.0.2.1", "u", "the old one"))
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	_, err := a.Authenticate(ctx, from("192.0.2.1", "u", "right"))
	require.NoError(t, err)
	for i := range 2 {
		_, err := a.Authenticate(ctx, from("192.0.2.1", "u", fmt.Sprint(i)))
		require.ErrorIs(t, err, auth.ErrCredentials, "the success has wiped the count")
	}
	_, err = a.Authenticate(ctx, from("192.0.2.1", "u", "right"))
	require.NoError(t, err, "the attempt that reaches the limit is asked")
	_, err = a.Authenticate(ctx, from("192.0.2.1", "u", "right"))
	require.NoError(t, err, "and did not count, as it was right")
}

// Guessers with an account of their own do not wipe the count of their address.
func TestGuardOwnAccountDoesNotHelp(t *testing.T) {
	ctx := context.Background()
	a := (&auth.Guard{AddrLimit: 10, Delay: -1}).Wrap(newTable("mallory", "m", "victim", "right"))
	var err error
	for i := range 30 {
		_, _ = a.Authenticate(ctx, from("192.0.2.1", "mallory", "m"))
		_, err = a.Authenticate(ctx, from("192.0.2.1", fmt.Sprint("victim", i), "guess"))
	}
	require.ErrorIs(t, err, auth.ErrTooManyFailures)
	_, err = a.Authenticate(ctx, from("192.0.2.1", "mallory", "m"))
	require.NoError(t, err, "mallory is known there")
}

func TestGuardWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spy := newTable()
		a := (&auth.Guard{FreeFailures: -1}).Wrap(spy)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := a.Authenticate(ctx, from("192.0.2.1", "u", "x"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 454, auth.StatusOf(err).Code)
		require.Zero(t, spy.calls())
	})
}

// Memory is bounded, and a flood of names does not wash a refusal away.
func TestGuardIsBounded(t *testing.T) {
	ctx := context.Background()
	g := &auth.Guard{MaxEntries: 50, AddrLimit: 3, Delay: -1}
	a := g.Wrap(newTable())
	for i := range 4 {
		_, _ = a.Authenticate(ctx, from("192.0.2.1", fmt.Sprint(i), "x"))
	}
	for i := range 5000 {
		_, _ = a.Authenticate(ctx, from(fmt.Sprintf("10.%d.%d.1", i/250, i%250), fmt.Sprint("u", i), "x"))
	}
	_, err := a.Authenticate(ctx, from("192.0.2.1", "u", "x"))
	require.ErrorIs(t, err, auth.ErrTooManyFailures)
	var buf bytes.Buffer
	require.NoError(t, g.Save(&buf))
	require.LessOrEqual(t, strings.Count(buf.String(), "\n"), 4*50+1)
}

// A restart is no amnesty, and forgets no good address.
func TestGuardSaveLoad(t *testing.T) {
	ctx := context.Background()
	g := &auth.Guard{AddrLimit: 3, UserLimit: 3, Delay: -1}
	a := g.Wrap(newTable("u", "SECRET"))
	_, err := a.Authenticate(ctx, from("2001:db8::1", "u", "SECRET"))
	require.NoError(t, err)
	for i := range 3 {
		_, _ = a.Authenticate(ctx, from("192.0.2.1", "u", fmt.Sprint("SECRET", i)))
	}
	var buf bytes.Buffer
	require.NoError(t, g.Save(&buf))
	require.NotContains(t, buf.String(), "SECRET")

	next := &auth.Guard{AddrLimit: 3, UserLimit: 3, Delay: -1}
	require.NoError(t, next.Load(bytes.NewReader(buf.Bytes())))
	a = next.Wrap(newTable("u", "SECRET"))
	_, err = a.Authenticate(ctx, from("192.0.2.1", "other", "x"))
	require.ErrorIs(t, err, auth.ErrTooManyFailures)
	_, err = a.Authenticate(ctx, from("192.0.2.9", "u", "SECRET"))
	require.ErrorIs(t, err, auth.ErrTooManyFailures)
	_, err = a.Authenticate(ctx, from("2001:db8::2", "u", "SECRET"))
	require.NoError(t, err)

	for _, bad := range []string{"x", `{"format":"goniec-guard","version":2}`, `{"format":"goniec-guard","version":1}` + "\n{", `{"format":"goniec-guard","version":1}` + "\n" + strings.Repeat("x", 5000)} {
		require.Error(t, next.Load(strings.NewReader(bad)), bad)
	}
	future := `{"format":"goniec-guard","version":1}
{"table":"addr","prefix":"198.51.100.1/32","level":5,"at":"2990-01-01T00:00:00Z","until":"2999-01-01T00:00:00Z"}
{"table":"unknown","at":"2020-01-01T00:00:00Z"}
`
	late := &auth.Guard{Now: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }}
	require.NoError(t, late.Load(strings.NewReader(future)))
	buf.Reset()
	require.NoError(t, late.Save(&buf))
	require.Contains(t, buf.String(), `"until":"2026-01-01T00:30:00Z"`)
}

func BenchmarkGuard(b *testing.B) {
	a := (&auth.Guard{}).Wrap(auth.AuthenticatorFunc(func(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
		return auth.Identity{User: at.User}, nil
	}))
	at := from("192.0.2.1", "user@example.org", "secret")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(context.Background(), at); err != nil {
			b.Fatal(err)
		}
	}
}
