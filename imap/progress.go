package imap

import (
	"sync"
	"time"
)

// progress tells a client that waits for the store that we are still at it (RFC 9585), which also keeps
// middle boxes from forgetting the connection.
type progress struct {
	c       *conn
	mu      sync.Mutex
	stopped bool
	timer   *time.Timer
}

// working begins to tell. Until stop is called the session's goroutine must write nothing.
func (c *conn) working() (stop func()) {
	if c.ProgressInterval < 0 {
		return func() {}
	}
	p := &progress{c: c}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(c.ProgressInterval, p.tell)
	return p.stop
}

func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.c.untagged("OK", `INPROGRESS ("`+p.c.tag+`" NIL NIL)`, "still at it")
	if p.c.flush() == nil {
		p.timer.Reset(p.c.ProgressInterval)
	}
}

// stop returns when nothing is being told any more.
func (p *progress) stop() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}
