package imap

import (
	"context"
	"errors"
	"time"
)

// errSearchTime is the cause of a context whose command has searched for too long.
var errSearchTime = errors.New("search takes too long")

// searchTime is what one command has left of Server.SearchTimeout. What it does beside searching, such as waiting for the
// client's literals, does not count.
type searchTime struct {
	c      *conn
	left   time.Duration
	silent time.Duration // of the work, since the client was told something
}

func (c *conn) searchTime() searchTime { return searchTime{c: c, left: c.SearchTimeout} }

// up reports whether nothing is left.
func (t *searchTime) up() bool { return t.left == 0 }

// told notes that the client was told something.
func (t *searchTime) told() { t.silent = 0 }

// spend is limit for the work of a command: the client is told meanwhile that it goes on.
func (t *searchTime) spend(ctx context.Context, work func(context.Context) error) error {
	began, stop := time.Now(), t.c.workingFor(t.silent)
	defer func() {
		if t.silent += time.Since(began); stop() {
			t.told()
		}
	}()
	return t.limit(ctx, work)
}

// limit does some of the work, and ends it when the time is up.
func (t *searchTime) limit(ctx context.Context, work func(context.Context) error) error {
	if t.c.SearchTimeout < 0 {
		return work(ctx)
	}
	began := time.Now()
	ctx, stop := context.WithTimeoutCause(ctx, t.left, errSearchTime)
	defer stop()
	err := work(ctx)
	t.left = max(t.left-time.Since(began), 0)
	if err != nil && context.Cause(ctx) == errSearchTime {
		return t.over()
	}
	return err
}

// over is the answer when the time is up.
func (t *searchTime) over() error {
	return no("LIMIT", "search takes longer than %s", t.c.SearchTimeout) // RFC 5530 §3
}
