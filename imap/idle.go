package imap

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/mailbox"
)

// idler lets a store's notifications reach the client while the session's goroutine waits for input. A
// session that waits has no goroutine but its own: one is started when something happened, tells it,
// and ends. At most one runs at a time, and however often it is woken meanwhile, it runs once more.
type idler struct {
	mu      sync.Mutex
	on      bool   // news may be told: between start and stop
	tell    func() // tells what happened; it finds out what
	woken   bool   // and not told yet
	running bool
	rest    sync.Cond // not running any more
}

// start lets news be told by tell until stop is called; what has happened meanwhile is told at once.
func (i *idler) start(tell func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rest.L = &i.mu
	i.on, i.tell = true, tell
	i.begin()
}

// wake says that there are news. It may be called by anybody, and never blocks.
func (i *idler) wake() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.woken = true
	i.begin()
}

// begin starts a goroutine if there is a need for one. i.mu is held.
func (i *idler) begin() {
	if i.on && i.woken && !i.running {
		i.running = true
		go i.run()
	}
}

func (i *idler) run() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.on && i.woken {
		i.woken = false
		i.mu.Unlock()
		i.tell()
		i.mu.Lock()
	}
	i.running = false
	i.rest.Broadcast()
}

// stop returns when nobody tells any more: the session belongs to its own goroutine again.
func (i *idler) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.on = false
	for i.running {
		i.rest.Wait()
	}
}

// askAgain lets a session that waits ask again for news of a mailbox that could not be had: the store tells them once. n may be nil.
func (c *conn) askAgain(n *notifier, name string) {
	if n != nil {
		n.add(name)
	}
	after := max(c.PollInterval, 0)
	if after == 0 {
		after = mailbox.DefaultPoll
	}
	if c.again == nil {
		c.again = time.AfterFunc(after, c.idler.wake)
		return
	}
	c.again.Reset(after)
}

// idling is an IDLE that was begun.
type idling struct {
	cmd  *command
	tell func()             // for the idler
	stop context.CancelFunc // ends the store's notifications
}

// errIdling says that a handler has begun IDLE: the command ends with the client's next line. Until
// then the session waits for it as it waits for commands.
var errIdling = errors.New("idling")

// idle begins to tell what happens (RFC 2177, RFC 9051 §6.3.13).
func (c *conn) idle(ctx context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	c.enc.Raw("+ idling\r\n")
	watch, stop := context.WithCancel(ctx)
	c.idling = &idling{tell: func() { c.tellIdle(watch) }, stop: stop}
	if c.notifier != nil {
		c.notifier.idling = true
	} else if c.box != nil {
		if err := mailbox.Watch(watch, c.box.mb, c.PollInterval, c.idler.wake); err != nil {
			c.enc.Raw("* OK changes can not be told\r\n")
		}
	}
	return errIdling
}

// tellIdle tells changes while the session's goroutine waits.
func (c *conn) tellIdle(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			c.net.Recovered(v)
			_ = c.net.Close()
		}
	}()
	if ctx.Err() != nil || c.box == nil { // woken by the news of a mailbox that is selected no more
		return
	}
	u, err := c.poll(ctx, mailbox.Everything)
	if err == nil {
		c.tell(u)
	}
	c.sendTold(err)
}

// sendTold sends what was told while the session's goroutine waits. After an error the session is at its end.
func (c *conn) sendTold(err error) {
	if err != nil {
		_ = c.flushAll() // the goodbye, behind large replies perhaps
	} else {
		err = c.flush()
	}
	if err != nil {
		_ = c.net.Close() // wakes the reader
	}
}

// stopIdling ends what idle began.
func (c *conn) stopIdling() {
	if c.idling == nil {
		return
	}
	c.idling.stop()
	c.idling = nil
	if c.notifier != nil {
		c.notifier.idling = false
	}
}

// maxDone is the longest line that ends IDLE.
const maxDone = 64

// endIdle reads the line that ends IDLE, and ends the command.
func (c *conn) endIdle(ctx context.Context) error {
	cmd := c.idling.cmd
	c.stopIdling()
	err := c.readDone()
	if end := c.conclude(ctx, cmd, cmd.verb, err); end != nil {
		return end
	}
	return c.countErrors(err)
}

func (c *conn) readDone() error {
	line, err := c.in.ReadLine(maxDone)
	var fault crlf.Error
	switch {
	case errors.As(err, &fault):
		return grammar(&wire.Error{Text: fault.Error(), Fatal: !fault.InStep()})
	case err == nil && !strings.EqualFold(string(line), "DONE"):
		return bad("IDLE ends with DONE")
	}
	return err
}
