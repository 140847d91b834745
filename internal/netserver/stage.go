package netserver

import "time"

// Pace limits the time that a peer may take for one unit of reading.
type Pace struct {
	// Total is for the whole unit; nothing extends it. Zero means Config.ReadTimeout, or no limit if there is a MinRate;
	// negative means no limit.
	Total time.Duration
	// MinRate, in octets a second, is what the peer must keep up while we wait for it; the time we spend elsewhere (a slow
	// disk) is not held against it. Zero or negative means none.
	MinRate int
	// Grace is how far the peer may fall behind MinRate. Speed beforehand earns no more than that. Zero means 1 min.
	Grace time.Duration
}

// stage is a Pace being kept. With octets coming in at MinRate, budget stays at Grace; the wait for them is taken from it,
// and the read deadline is where it would be used up. So no timer or goroutine watches.
type stage struct {
	Pace
	deadline time.Time
	budget   time.Duration
}

// next is the deadline of a read that begins now, and what its passing means.
func (s *stage) next(now time.Time) (time.Time, error) {
	t := now.Add(s.budget)
	if !s.deadline.IsZero() && !s.deadline.After(t) {
		return s.deadline, ErrStageTimeout
	}
	return t, ErrTooSlow
}

func (s *stage) progress(n int, waited time.Duration) {
	earned := time.Duration(n) * time.Second / time.Duration(s.MinRate)
	s.budget = min(s.budget-waited+earned, s.Grace)
}

// StartStage begins a unit of reading: a command, a message, a literal. It replaces the stage before.
func (c *Conn) StartStage(p Pace) {
	setDefault(&p.Grace, time.Minute)
	if p.Total == 0 && p.MinRate <= 0 {
		p.Total = c.l.cfg.ReadTimeout
	}
	c.stage = stage{Pace: p, budget: p.Grace}
	if p.Total > 0 {
		c.stage.deadline = time.Now().Add(p.Total)
	}
	if p.MinRate <= 0 { // else each Read sets its own
		c.setReadDeadline(c.stage.deadline)
	}
}

// Deadline is the end of the current stage; zero when its total is not limited.
func (c *Conn) Deadline() time.Time { return c.stage.deadline }

// BeginIdle says that the handler now waits for a command, at most d for all of it: a stage of its own, with d as Pace.Total. It
// returns ErrServerClosed when the server is shutting down: say goodbye and return.
func (c *Conn) BeginIdle(d time.Duration) error {
	c.mu.Lock()
	if c.drained {
		c.mu.Unlock()
		return ErrServerClosed
	}
	c.idle = true
	c.mu.Unlock()
	c.StartStage(Pace{Total: d})
	return nil
}

// EndIdle says that a command was read, or that reading it failed. It returns ErrServerClosed when Shutdown came between:
// the command must not be begun, and no further read will succeed. The stage goes on.
func (c *Conn) EndIdle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drained { // only while idle, else BeginIdle had refused; idle stays, so that reads stay cut off
		return ErrServerClosed
	}
	c.idle = false
	return nil
}

// Draining reports whether Shutdown or Close was called. Handlers that wait for something other than input watch
// ShutdownStarted.
func (c *Conn) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drained
}

// ShutdownStarted is closed when Shutdown or Close is called.
func (c *Conn) ShutdownStarted() <-chan struct{} { return c.l.srv.Done() }

func (c *Conn) isIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle
}

// drain is Shutdown's word to one connection. An idle handler is woken by a deadline long past; one that is active asks at
// its next BeginIdle; a connection still being set up is closed.
func (c *Conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drained = true
	switch {
	case c.setup:
		_ = c.sock.Close()
	case c.idle:
		_ = c.sock.SetReadDeadline(time.Unix(1, 0))
	}
}

// setReadDeadline leaves the deadline alone by which drain woke, or is about to wake, an idle handler.
func (c *Conn) setReadDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.drained || !c.idle {
		_ = c.sock.SetReadDeadline(t)
	}
}

// timeoutError is a timeout with its reason. Both are found by errors.Is.
type timeoutError struct{ why, err error }

func (e *timeoutError) Error() string   { return e.why.Error() }
func (e *timeoutError) Unwrap() []error { return []error{e.why, e.err} }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return false }
