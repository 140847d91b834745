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
	case b.hold > 0 && env.HoldUntil.Sub(env.Received) > b.hold, !b.until.IsZero() && env.HoldUntil.After(b.until):
		return errors.New("held for longer than the limit")
	case by != nil && by.Return && by.Deadline.Sub(env.Received) < b.by:
		return errors.New("BY: shorter than the limit")
	}
	return nil
}
