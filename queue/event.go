package queue

import (
	"fmt"
	"slices"
	"time"

	"github.com/goniec-mail/goniec"
)

// event tells the callback and the history.
func (q *Queue) event(e Event) {
	if q.Event == nil && q.History == nil {
		return
	}
	e.At = q.wall()
	if q.History != nil {
		_ = q.guard("History", e.kind, func() error {
			q.History.Add(e)
			return nil
		})
	}
	if q.Event == nil {
		return
	}
	_ = q.guard("Event", e.kind, func() error {
		q.Event(e)
		return nil
	})
}

// EventKind says what happened.
type EventKind uint8

// Kinds of events. Deferred, Delivered, Failed and Expired are told for each recipient, the others for a message.
const (
	Queued EventKind = iota + 1
	Deferred
	Delivered
	Failed  // refused for good
	Expired // given up
	Delayed // the sender has been told of a delay
	Reported
	Held     // by somebody
	Released // by somebody
	Removed  // by somebody, without a report
)

// eventNames are the kinds as in logs, listings and history files.
func eventNames() [11]string {
	return [...]string{"unknown", "queued", "deferred", "delivered", "failed", "expired", "delayed", "reported", "held", "released", "removed"}
}

// String returns the kind as in logs: "queued", …
func (k EventKind) String() string {
	names := eventNames()
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// MarshalText implements encoding.TextMarshaler by String.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. A name that is not known gives 0.
func (k *EventKind) UnmarshalText(b []byte) error {
	names := eventNames()
	*k = EventKind(max(slices.Index(names[:], string(b)), 0))
	return nil
}

// Event is something that happened to a message.
type Event struct {
	Kind    EventKind      `json:"kind"`
	ID      ID             `json:"id"`
	From    goniec.Address `json:"from"`
	Rcpt    goniec.Address `json:"rcpt,omitzero"` // zero for events of the whole message
	Dest    string         `json:"dest,omitempty"`
	Attempt int            `json:"attempt,omitempty"` // from 1
	Err     error          `json:"-"`                 // why Deferred, Failed or Expired; nil where there was no attempt
	Reason  string         `json:"reason,omitempty"`  // the same for people
	Due     time.Time      `json:"due,omitzero"`      // of Deferred: the next attempt
	GiveUp  time.Time      `json:"give_up,omitzero"`  // of Deferred
	At      time.Time      `json:"at"`                // wall clock

	kind Kind // of the message
}

// Text says what happened to a recipient in one line, the same in log and listing:
// "deferred bob@x.example: mx2.x.example said 451 4.7.1 greylisted; try 2 at 10:31; give up 26 Nov".
func (e *Event) Text() string {
	s := e.Kind.String()
	if !e.Rcpt.IsZero() {
		s += " " + e.Rcpt.String()
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Kind == Deferred && !e.Due.IsZero() {
		s += fmt.Sprintf("; try %d at %s; give up %s", e.Attempt+1, e.Due.Format("15:04"), e.GiveUp.Format("2 Jan"))
	}
	return s
}
