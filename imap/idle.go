package imap

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/mailbox"
)

// idler lets a store's notifications reach the client while the session's goroutine waits for input. A
// session that idles has no goroutine but its own: one is started when something happened, tells it,
// and ends. At most one runs at a time, and however often it is woken meanwhile, it runs once more.
type idler struct {
	mu      sync.Mutex
	on      bool // notifications are wanted
	running bool
	again   bool // woken while running
	idle    sync.Cond
}

// start lets wake call tell. stop ends it.
func (i *idler) start() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.idle.L = &i.mu
	i.on, i.again = true, false
}

// wake may be called by anybody, and never blocks.
func (i *idler) wake(tell func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case !i.on:
	case i.running:
		i.again = true
	default:
		i.running = true
		go i.run(tell)
	}
}

func (i *idler) run(tell func()) {
	for more := true; more; {
		tell()
		i.mu.Lock()
		more = i.on && i.again
		i.again = false
		if !more {
			i.running = false
			i.idle.Broadcast()
		}
		i.mu.Unlock()
	}
}

// stop returns when nobody tells any more: the session belongs to its own goroutine again.
func (i *idler) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.on = false
	for i.running {
		i.idle.Wait()
	}
}

// idle waits for DONE and tells what happens meanwhile (RFC 2177, RFC 9051 §6.3.13).
func (c *conn) idle(ctx context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	c.enc.Raw("+ idling\r\n")
	if c.notifier != nil {
		return c.idleNotified()
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	if c.box != nil {
		c.idler.start()
		defer c.idler.stop()
		tell := func() { c.tellIdle(watch) }
		err := mailbox.Watch(watch, c.box.mb, c.PollInterval, func() { c.idler.wake(tell) })
		if err != nil {
			c.enc.Raw("* OK changes can not be told\r\n")
		}
		c.idler.wake(tell) // what happened before Watch began
	} else if err := c.flush(); err != nil {
		return err
	}
	err := c.awaitDone()
	stop()
	c.idler.stop()
	return c.endIdle(err)
}

// tellIdle tells changes while the session's goroutine waits.
func (c *conn) tellIdle(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			c.net.Recovered(v)
			_ = c.net.Close()
		}
	}()
	if ctx.Err() != nil {
		return
	}
	u, err := c.poll(ctx, mailbox.Everything)
	if err == nil {
		c.tell(u)
	}
	if c.flush() != nil || err != nil {
		_ = c.net.Close() // wakes the reader
	}
}

// awaitDone waits for the line that ends IDLE. Nothing is written by this goroutine until the idler has
// stopped.
func (c *conn) awaitDone() error {
	if c.in.Buffered() == 0 {
		err := c.net.BeginIdle(c.IdleTimeout)
		if err == nil {
			err = c.in.Wait()
			if e := c.net.EndIdle(); e != nil {
				err = e
			}
		}
		if err != nil {
			return err
		}
	}
	c.startCommand()
	line, err := c.in.ReadLine(maxDone)
	if err == nil && !strings.EqualFold(string(line), "DONE") {
		return errNotDone
	}
	return err
}

// maxDone is the longest line that ends IDLE.
const maxDone = 64

var errNotDone = errors.New("IDLE ends with DONE")

// endIdle makes a reply of the end of IDLE.
func (c *conn) endIdle(err error) error {
	var fault crlf.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotDone):
		return bad("IDLE ends with DONE")
	case errors.As(err, &fault):
		return grammar(&wire.Error{Text: fault.Error(), Fatal: !fault.InStep()})
	}
	return err
}
