package queue

import (
	"context"
	"io"
	"strings"
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
