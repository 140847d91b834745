package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/queue"
)

// allOperations are those of operations, and the ones that need something before, or a question afterwards.
func allOperations() []operation {
	due := base.Add(2 * time.Hour)
	update := func(c queue.Change) func(queue.Store) error {
		return func(s queue.Store) error { return s.Update(context.Background(), idTwo, c) }
	}
	state := func(want queue.State) func(view) bool {
		return func(v view) bool { e := v[idTwo]; return e.State() == want }
	}
	first := func(ok func(j queue.Job) bool) func(view) bool {
		return func(v view) bool { return ok(v.jobs(idOne)[0]) }
	}
	never := func(v view) bool { return !v.has(idNew) }
	return append(operations(),
		operation{
			name: "Release", prepare: update(queue.Change{Op: queue.Hold}), run: update(queue.Change{Op: queue.Release}),
			before: state(queue.StateHold), after: state(queue.StateIncoming),
		},
		operation{
			name: "Retry", run: update(queue.Change{Op: queue.Retry, Due: due}),
			before: func(v view) bool { return v.jobs(idTwo)[0].Due.Before(due) && v.jobs(idTwo)[1].Due.Before(due) },
			after: func(v view) bool {
				return v.jobs(idTwo)[0].Due.Unix() == due.Unix() && v.jobs(idTwo)[1].Due.Unix() == due.Unix()
			},
		},
		operation{
			name: "PutHeld", run: putHeld, before: never,
			after: func(v view) bool { e := v[idNew]; return e.State() == queue.StateHold },
		},
		settleOp("SettleHold", idOne, queue.Settlement{Attempted: true, Open: []int{0}, Reasons: []string{"450 held"}, Due: due, Hold: true},
			first(func(j queue.Job) bool { return j.Attempts == 0 && j.State != queue.StateHold }),
			first(func(j queue.Job) bool { return j.Attempts == 1 && j.State == queue.StateHold })),
		settleOp("Noticed", idOne, queue.Settlement{Open: []int{0}, Due: due, Noticed: true},
			first(func(j queue.Job) bool { return !j.Noticed }), first(func(j queue.Job) bool { return j.Noticed && j.Attempts == 0 })),
		operation{
			name: "SecondOutcome", prepare: func(s queue.Store) error {
				return settleID(s, idOne, queue.Settlement{Attempted: true, Open: []int{0}, Reasons: []string{"451 first"}, Due: base})
			},
			run: func(s queue.Store) error {
				return settleID(s, idOne, queue.Settlement{Attempted: true, Open: []int{0}, Reasons: []string{"451 second"}, Due: due})
			},
			before: first(func(j queue.Job) bool { return j.Attempts == 1 && j.Reasons[0] == "451 first" }),
			after:  first(func(j queue.Job) bool { return j.Attempts == 2 && j.Reasons[0] == "451 second" }),
		},
		operation{
			name: "BounceLarge", run: bounceLarge, ends: idOne,
			before: func(v view) bool { return v.has(idOne) && !v.has(idNew) },
			after:  func(v view) bool { return !v.has(idOne) && v.has(idNew) },
		},
		operation{name: "PutKey", run: putKey, before: never, after: func(v view) bool { return v.has(idNew) }, then: keyKnown},
		operation{name: "KeyOutlives", prepare: putKey, run: keyedWork, before: func(view) bool { return true }, after: never, then: keyKnown, ends: idOne, slow: true},
		operation{
			name: "HeldThroughWork", prepare: update(queue.Change{Op: queue.Hold}), run: work, ends: idOne, slow: true,
			before: state(queue.StateHold), after: func(v view) bool { return state(queue.StateHold)(v) && !v.has(idOne) },
		},
	)
}

func putHeld(s queue.Store) error {
	m := Message("held", "h@x.example")
	m.Hold = true
	return putAs(s, idNew, m)
}

// bounceLarge ends a message with a report that is too large for a segment.
func bounceLarge(s queue.Store) error {
	report := Message("", "sender@example.org")
	report.Envelope.ID, report.Key = idNew, "report"
	ls, err := s.Claim(context.Background(), queue.ClaimRequest{ID: idOne, Max: 1})
	if err != nil || len(ls) == 0 {
		return errors.Join(err, errors.New("nothing to claim"))
	}
	report.Body = strings.NewReader(strings.Repeat("report ", 300))
	return s.Settle(context.Background(), ls[0], queue.Settlement{Attempted: true, New: []queue.Message{report}})
}

const crashKey = "the key"

func putKey(s queue.Store) error {
	m := Message("with a key", "k@x.example")
	m.Key, m.Since = crashKey, time.Now()
	return putAs(s, idNew, m)
}

// keyedWork ends the message with the key, and fills and cleans the segment that told of it.
func keyedWork(s queue.Store) error {
	return errors.Join(settleID(s, idNew, queue.Settlement{Attempted: true}), work(s))
}

// keyKnown puts the message with the key again: an application that was promised it, and asks once more after the crash, gets
// the old ID, and nothing is stored twice.
func keyKnown(s queue.Store, promised bool) error {
	m := Message("with a key", "k@x.example")
	m.Key, m.Since = crashKey, time.Now()
	id, err := s.Put(context.Background(), m)
	switch {
	case err != nil && !errors.Is(err, queue.ErrKnown):
		return err
	case promised && id != idNew:
		return fmt.Errorf("the key is forgotten: stored again as %s", id)
	}
	n := 0
	for _, err := range s.Entries(context.Background(), queue.Filter{ID: id, Brief: true}) {
		if err != nil {
			return err
		}
		n++
	}
	if n > 1 {
		return errors.New("one key, and two messages")
	}
	return nil
}
