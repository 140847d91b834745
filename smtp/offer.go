package smtp

import (
	"strconv"
	"time"
)

// Offer adds lines to the EHLO reply: extensions that the Handler keeps but that are not for everybody's mail (see Extender).
// On a submission server whose Deliverer is a queue.Queue, for example:
//
//	smtp.Chain(smtp.DeliverTo(q), smtp.RequireAuth(), smtp.Offer("DELIVERBY 60", "MT-PRIORITY"), smtp.FutureRelease(30*24*time.Hour))
//
// A stranger could raise the priority of junk (RFC 6710 §4 has such clients' lowered), and have reports of delay sent to
// people who never wrote (BY=1;N).
func Offer(extensions ...string) Middleware {
	return offering(func() []string { return extensions })
}

// FutureRelease offers FUTURERELEASE (RFC 4865): clients may have a message held, for as long as longest, in whole seconds.
// It is for submission servers, whose Deliverer keeps Envelope.HoldUntil, as queue.Queue does.
func FutureRelease(longest time.Duration) Middleware {
	return offering(func() []string {
		// RFC 4865 §4: both limits, for HOLDFOR and HOLDUNTIL.
		until := time.Now().Add(longest).UTC().Format(time.RFC3339)
		return []string{"FUTURERELEASE " + strconv.FormatInt(int64(longest/time.Second), 10) + " " + until}
	})
}

func offering(lines func() []string) Middleware {
	return WrapSession(func(_ *Conn, s Session) Session { return offerer{Wrapped{s}, lines} })
}

type offerer struct {
	Wrapped
	lines func() []string
}

// Extensions implements Extender.
func (s offerer) Extensions(offered []string) []string {
	return append(ExtensionsOf(s.Session, offered), s.lines()...)
}
