package pop3

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	const n = 200_000
	e := &expunger{}
	b := &box{inbox: e, deleted: map[int]bool{}}
	for i := range n {
		b.messages = append(b.messages, mailbox.Meta{UID: mailbox.UID(i + 1)})
		if i%2 == 0 {
			b.deleted[i] = true
		}
	}
	start := time.Now()
	require.NoError(t, b.update(t.Context()))
	require.Equal(t, n/2, e.n)
	require.Less(t, time.Since(start), 5*time.Second)
}
