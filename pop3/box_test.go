package pop3

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
)

// expunger counts what it is told to remove.
type expunger struct {
	mailbox.Mailbox
	n int
}

func (e *expunger) Expunge(_ context.Context, uids mailbox.UIDSet) (mailbox.UIDSet, error) {
	e.n = uids.Len()
	return uids, nil
}

// QUIT after DELE of every second of 200,000 messages takes time in proportion (set by set it took minutes).
func TestQuitIsLinear(t *testing.T) {
	took := func(n int) time.Duration {
		b := &box{deleted: map[int]bool{}}
		for i := range n {
			b.messages = append(b.messages, mailbox.Meta{UID: mailbox.UID(i + 1)})
			if i%2 == 0 {
				b.deleted[i] = true
			}
		}
		return peertest.Fastest(3, func() {
			e := &expunger{}
			b.inbox = e
			require.NoError(t, b.update(t.Context()))
			require.Equal(t, n/2, e.n)
		})
	}
	const n = 200_000
	few, many := took(n/16), took(n)
	require.Less(t, many, 80*few, "16 times as many messages")
}
