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
	told    bool
	timer   *time.Timer
}

// working begins to tell. Until stop is called the session's goroutine must write nothing.
func (c *conn) working() (stop func()) {
	stopped := c.workingFor(0)
	return func() { stopped() }
}

// workingFor is working for a command that has been silent for a while already. stop reports whether the client was told.
func (c *conn) workingFor(silent time.Duration) (stop func() (told bool)) {
	if c.ProgressInterval < 0 {
		return func() bool { return false }
	}
	p := &progress{c: c}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(max(c.ProgressInterval-silent, 0), p.tell)
	return p.stop
}

func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.told = true
	p.c.untagged("OK", `INPROGRESS ("`+p.c.tag+`" NIL NIL)`, "still at it")
	if p.c.flush() == nil {
		p.timer.Reset(p.c.ProgressInterval)
	}
}

// stop returns when nothing is being told any more.
func (p *progress) stop() (told bool) {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	return p.told
}
