package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

// slowClaims is a Store that takes a second for each claim.
type slowClaims struct{ Store }

func (s slowClaims) Claim(ctx context.Context, r ClaimRequest) ([]Lease, error) {
	time.Sleep(time.Second)
	return s.Store.Claim(ctx, r)
}

// The last attempt under way at a destination ends while the next is being claimed: what is known of the destination stays, so that
// no second window opens beside the first, and its death is seen.
func TestDestinationIsKeptDuringClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := goniec.DelivererFunc(func(context.Context, *goniec.Envelope, io.Reader) error {
			time.Sleep(1500 * time.Millisecond)
			return nil
		})
		q := &Queue{Store: slowClaims{&Memory{}}, Deliverer: d}
		runQueue(t, q)
		for range 2 { // the second is claimed from 1 s to 2 s; the first ends in between, at 1.5 s after it began
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader("x")))
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		require.Equal(t, []DestStats{{Name: "x.example", Active: 1, Window: 2}}, q.Dests())
		time.Sleep(time.Minute)
		require.Empty(t, q.Dests())
		require.Zero(t, left(t, q.Store))
	})
}

// countedClaims is a Store that counts claims for destinations.
type countedClaims struct {
	Store
	n atomic.Int64
}

func (s *countedClaims) Claim(ctx context.Context, r ClaimRequest) ([]Lease, error) {
	if r.Dest != "" && s.n.Add(1) > 1000 {
		return nil, errors.New("claimed again and again")
	}
	return s.Store.Claim(ctx, r)
}

// A single mail, for a destination whose mailing has all the places that mailings may have, goes at once, and is claimed once.
func TestSingleBesideFullMailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var single atomic.Int64
		d := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, _ io.Reader) error {
			if env.To[0].Address.Local() == "single" {
				single.Add(1)
				return nil
			}
			time.Sleep(10 * time.Minute)
			return nil
		})
		store := &countedClaims{Store: &Memory{}}
		q := &Queue{Store: store, Deliverer: d, MaxActive: 10, Window: 20, MaxRcpts: 1, DelayAfter: -1}
		runQueue(t, q)
		var to []string
		for i := range 40 {
			to = append(to, fmt.Sprintf("u%d@x.example", i))
		}
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, to...), strings.NewReader("x")))
		time.Sleep(time.Minute)
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "single@x.example"), strings.NewReader("x")))
		time.Sleep(time.Second)
		require.EqualValues(t, 1, single.Load())
		time.Sleep(2 * time.Hour)
		require.Zero(t, left(t, q.Store))
		require.Less(t, store.n.Load(), int64(300))
	})
}
