package queue

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

// eventLog collects events of a queue.
type eventLog struct {
	mu  sync.Mutex
	all []Event
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// of returns the events of a message of one kind.
func (l *eventLog) of(id ID, kind EventKind) (found []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.ID == id && e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// DELIVERBY (RFC 2852): what is not delivered in time goes back in mode R, and goes on with a report in mode N,
// while attempts fail as while the destination is dead and nothing is tried.
func TestDeliverBy(t *testing.T) {
	for _, dead := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var up bool
			var mu sync.Mutex
			d := &sink{whole: func(env *goniec.Envelope) error {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case env.From.IsZero() || up:
					return nil
				case dead:
					return errors.New("connection refused")
				}
				return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "later")
			}}
			log := &eventLog{}
			q := &Queue{Store: memStore(t), Deliverer: d, Hostname: "mx.example.net", Event: log.add, Jitter: -1}
			runQueue(t, q)
			put := func(by *goniec.DeliverBy) ID {
				env := testEnvelope(t, "a@x.example")
				env.DeliverBy = by
				id, err := q.Enqueue(t.Context(), env, strings.NewReader(testBody), Options{})
				require.NoError(t, err)
				return id
			}
			start := time.Now()
			for range 3 { // which make the destination dead, or not
				put(nil)
			}
			back := put(&goniec.DeliverBy{Deadline: start.Add(20 * time.Minute), Return: true})
			on := put(&goniec.DeliverBy{Deadline: start.Add(20 * time.Minute)})
			time.Sleep(19 * time.Minute)
			require.Empty(t, log.of(back, Expired))
			require.Empty(t, log.of(on, Delayed))
			time.Sleep(3*time.Minute + time.Second)
			require.Len(t, log.of(back, Expired), 1)
			require.Len(t, log.of(back, Reported), 1)
			require.Len(t, log.of(on, Delayed), 1)
			require.Len(t, log.of(on, Reported), 1)
			time.Sleep(6 * time.Hour)
			require.Len(t, log.of(on, Delayed), 1, "one report of delay, whatever the reason")
			mu.Lock()
			up = true
			mu.Unlock()
			time.Sleep(3 * time.Hour)
			require.Len(t, log.of(on, Delivered), 1)
			require.Empty(t, log.of(back, Delivered))
			require.Zero(t, left(t, q.Store))
		})
	}
}

// FUTURERELEASE (RFC 4865): nothing happens before the time, a restart included; the message's age counts from then.
func TestHoldUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &sink{whole: func(*goniec.Envelope) error {
			return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "later")
		}}
		log := &eventLog{}
		q := &Queue{Store: memStore(t), Deliverer: d, Event: log.add, Jitter: -1, DelayAfter: -1}
		runQueue(t, q)
		env := testEnvelope(t, "a@x.example")
		env.HoldUntil = time.Now().Add(10 * 24 * time.Hour)
		id, err := q.Enqueue(t.Context(), env, strings.NewReader(testBody), Options{})
		require.NoError(t, err)
		time.Sleep(10*24*time.Hour - time.Second)
		require.Empty(t, d.calls())
		time.Sleep(3 * time.Second)
		require.Len(t, d.calls(), 1)
		time.Sleep(5*24*time.Hour - time.Minute)
		require.Empty(t, log.of(id, Expired), "five days from the release")
		time.Sleep(time.Hour)
		require.Len(t, log.of(id, Expired), 1)
	})
}

// MT-PRIORITY (RFC 6710): the urgent goes first, and nothing starves.
func TestPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &sink{}
		q := &Queue{Store: memStore(t), Deliverer: d, MaxActive: 1}
		put := func(to string, priority int8) {
			env := testEnvelope(t, to+"@x.example")
			env.Priority = priority
			require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader(testBody)))
		}
		put("low", -4)
		put("old", 0)
		time.Sleep(6 * time.Minute)
		put("first", 9)
		put("urgent", 1) // worth five minutes: not enough
		runQueue(t, q)
		time.Sleep(time.Minute)
		var order []string
		for _, c := range d.calls() {
			order = append(order, c.env.To[0].Address.Local())
		}
		require.Equal(t, []string{"first", "old", "urgent", "low"}, order)
	})
}
