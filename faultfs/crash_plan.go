package faultfs

import (
	"fmt"
	"strings"
	"time"
)

// CrashPlan describes an operation that must survive a power cut at any moment.
type CrashPlan struct {
	// Seed and Model are those of the Crash; Now, too.
	Seed  uint64
	Model Model
	Now   func() time.Time
	// Limit bounds the states tried at each point. Zero means 1000, negative
	// no limit.
	Limit int
	// Setup prepares the disk; all it does is made durable. May be nil.
	Setup func(*Crash) error
	// Op is the operation. It runs once, and must succeed.
	Op func(*Crash) error
	// Check says what is wrong with a state: State.Done or State.Marks tell
	// what had been promised, State.FS what is left.
	Check func(*CrashState) error
}

// CrashReport tells what EachCrash tried.
type CrashReport struct {
	Points  int // moments of the cut: before the first changing call, and after each
	States  int // different states checked
	Sampled int // points at which the limits allowed only a sample
}

// EachCrash runs an operation once and cuts the power before its first call that
// changes something and after each such call, leaving in turn every state the
// disk may then have. It returns the first error, saying where the cut was and
// what was lost. A state that comes up again with the same promises is not
// checked twice, so Check should not ask for Point or After. Op may use goroutines
// if they have ended when it returns.
func EachCrash(p CrashPlan) (CrashReport, error) {
	points, err := p.recordPoints()
	if err != nil {
		return CrashReport{}, err
	}
	var report CrashReport
	seen := map[uint64]bool{}
	for _, snap := range points {
		report.Points++
		en := newEnumerator(snap, p.Limit, seen)
		en.run(func(s *CrashState) bool {
			report.States++
			err = p.Check(s)
			if err != nil {
				err = &CrashError{State: s, Err: err}
			}
			return err == nil
		})
		if en.sampled {
			report.Sampled++
		}
		if err != nil {
			return report, err
		}
	}
	return report, nil
}

// recordPoints runs Setup and Op and keeps a snapshot for each point.
func (p CrashPlan) recordPoints() ([]*snapshot, error) {
	c := NewCrash(p.Seed)
	c.Model, c.Now = p.Model, p.Now
	if p.Setup != nil {
		if err := p.Setup(c); err != nil {
			return nil, fmt.Errorf("crash test: setup: %w", err)
		}
	}
	c.SyncAll()
	var points []*snapshot
	record := func(after string) {
		snap := c.snapshot(after)
		snap.point = len(points)
		points = append(points, snap)
	}
	record("nothing")
	c.record = record
	if err := p.Op(c); err != nil {
		return nil, fmt.Errorf("crash test: operation: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record = nil
	record("return")
	points[len(points)-1].done = true
	return points, nil
}

// CrashError tells in which state Check found something wrong.
type CrashError struct {
	State *CrashState
	Err   error
}

// Error says where the cut was and which directory changes were lost.
func (e *CrashError) Error() string {
	lost := "no directory change"
	if len(e.State.Lost) > 0 {
		lost = strings.Join(e.State.Lost, ", ")
	}
	return fmt.Sprintf("power cut after call %d (%s), lost: %s: %v", e.State.Point, e.State.After, lost, e.Err)
}

// Unwrap gives Check's error.
func (e *CrashError) Unwrap() error { return e.Err }
