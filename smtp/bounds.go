package smtp

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
)

// bounds are the limits that EHLO announced for promises about time. Zero values are none.
type bounds struct {
	hold  time.Duration // FUTURERELEASE: the longest HOLDFOR (RFC 4865 §4)
	until time.Time     // and the latest HOLDUNTIL
	by    time.Duration // DELIVERBY: the shortest time for mode R (RFC 2852 §4)
}

// set takes the limits from what is announced for an extension.
func (b *bounds) set(e extension, params string) {
	words := strings.Fields(params)
	if len(words) == 0 {
		return
	}
	n, err := strconv.ParseUint(words[0], 10, 31)
	if err != nil {
		return
	}
	switch e {
	case extFutureRelease:
		b.hold = time.Duration(n) * time.Second
		if len(words) > 1 {
			b.until, _ = time.Parse(time.RFC3339, words[1])
		}
	case extDeliverBy:
		b.by = time.Duration(n) * time.Second
	}
}

// check refuses what is beyond the limits.
func (b *bounds) check(env *goniec.Envelope) error {
	switch by := env.DeliverBy; {
	case b.tooLong(env):
		return errors.New("held for longer than the limit")
	case by != nil && by.Return && by.Deadline.Sub(env.Received) < b.by:
		return errors.New("BY: shorter than the limit")
	}
	return nil
}

// tooLong applies RFC 4865 §4: one limit is for HOLDFOR, the other for HOLDUNTIL. The envelope has only the time, but
// HOLDFOR makes it a whole number of seconds after Received, which hardly any HOLDUNTIL is.
func (b *bounds) tooLong(env *goniec.Envelope) bool {
	held := env.HoldUntil.Sub(env.Received)
	if held%time.Second == 0 || b.until.IsZero() {
		return b.hold > 0 && held > b.hold
	}
	return env.HoldUntil.After(b.until)
}
