package queue

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
)

// crowd is a Deliverer for what crowds the queue, and for single mails beside it.
type crowd struct {
	answer func() error // for the crowd
	done   atomic.Int64 // recipients of the crowd with success
	mu     sync.Mutex
	took   []time.Duration // single mails: from Deliver to here
}

func (c *crowd) Deliver(_ context.Context, env *goniec.Envelope, _ io.Reader) error {
	time.Sleep(2 * time.Millisecond) // a quick server
	if env.To[0].Address.Local() != "single" {
		if err := c.answer(); err != nil {
			return err
		}
		c.done.Add(int64(len(env.To)))
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, time.Since(env.Received))
	return nil
}

// singles sends mails to a living destination, one after each pause, until end is true but not fewer than least, and
// returns the time of delivery that 99 of 100 did not exceed.
func (c *crowd) singles(t *testing.T, q *Queue, pause time.Duration, least int, end func() bool) (p99 time.Duration, n int) {
	for n = 0; n < least || !end(); n++ {
		env := testEnvelope(t, fmt.Sprintf("single@living%d.example", n%2))
		env.Received = time.Now()
		require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader(testBody)))
		time.Sleep(pause)
	}
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.took) == n
	}, time.Minute, time.Millisecond)
	slices.Sort(c.took)
	return c.took[(n-1)*99/100], n
}

// crowdSize is the number of recipients or messages in the tests here, the pause between single mails, and how many of those.
func crowdSize() (size int, pause time.Duration, singles int) {
	if peertest.LongForm() {
		return 100_000, time.Second, 30
	}
	return 4_000, 20 * time.Millisecond, 50
}

// singleLimit is how long a single mail may take beside a crowd that took some time: 2 s. The short form allows for a slow machine.
func singleLimit(crowd time.Duration) time.Duration {
	if peertest.LongForm() {
		return 2 * time.Second
	}
	return 2*time.Second + crowd
}

func crowdQueue(t *testing.T, c *crowd, rcpts int) *Queue {
	s, err := OpenFiles(t.TempDir(), FileOptions{})
	require.NoError(t, err)
	q := &Queue{Store: s, Deliverer: c, MaxRcpts: rcpts}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	runQueue(t, q)
	return q
}

// A mailing to 100,000 recipients (4,000 in the short form), of one domain or of a domain each, beside single mails.
func TestMailingBesideSingles(t *testing.T) {
	for _, c := range []struct {
		name    string
		domains int // 0 = one for each recipient
		rcpts   int
	}{{"one domain", 1, 0}, {"one domain, one recipient at a time", 1, 1}, {"a domain each", 0, 0}} {
		t.Run(c.name, func(t *testing.T) {
			size, pause, singles := crowdSize()
			d := &crowd{answer: func() error { return nil }}
			q := crowdQueue(t, d, c.rcpts)
			env := testEnvelope(t, "x@example.org")
			env.To = make([]goniec.Recipient, size)
			for i := range env.To {
				domain := fmt.Sprintf("d%d.example", i)
				if c.domains > 0 {
					domain = fmt.Sprintf("d%d.example", i%c.domains)
				}
				env.To[i].Address = goniec.MustAddress(fmt.Sprintf("u%d@%s", i, domain))
			}
			start := time.Now()
			require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader(testBody)))
			accepted := time.Since(start)
			all := make(chan time.Duration, 1)
			go func() {
				for d.done.Load() < int64(size) {
					time.Sleep(time.Millisecond)
				}
				all <- time.Since(start)
			}()
			p99, n := d.singles(t, q, pause, singles, func() bool { return len(all) > 0 })
			took := <-all
			t.Logf("%d recipients accepted in %v, delivered by %v; %d single mails, p99 %v", size, accepted.Round(time.Millisecond), took.Round(time.Millisecond), n, p99)
			require.LessOrEqual(t, p99, singleLimit(took))
			require.Equal(t, int64(size), d.done.Load(), "nothing lost, nothing twice")
		})
	}
}

// 100,000 messages (4,000 in the short form) for a destination that does not answer, beside single mails.
func TestDeadBesideSingles(t *testing.T) {
	size, pause, singles := crowdSize()
	d := &crowd{answer: func() error {
		time.Sleep(50 * time.Millisecond)
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 1}, "no answer")
	}}
	q := crowdQueue(t, d, 0)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range size / 32 {
				if err := q.Deliver(context.Background(), testEnvelope(t, "x@dead.example"), strings.NewReader(testBody)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	start, all := time.Now(), make(chan time.Duration, 1)
	go func() {
		wg.Wait()
		all <- time.Since(start)
	}()
	p99, n := d.singles(t, q, pause, singles, func() bool { return len(all) > 0 })
	t.Logf("%d messages for a dead destination; %d single mails, p99 %v", size, n, p99)
	require.LessOrEqual(t, p99, singleLimit(<-all))
}
