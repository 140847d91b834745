package faultfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// FaultPlan describes an operation that must survive the failure of any call.
type FaultPlan struct {
	// New makes a file system for each run. Nil means NewCrash(1).
	New func() (FS, error)
	// Setup prepares it, undisturbed. May be nil.
	Setup func(FS) error
	// Op is the operation; it closes all that it opened. Its error is not
	// EachFault's, but handed to Check.
	Op func(FS) error
	// Check says what is wrong after a run: an acknowledgement (Err is nil)
	// of what is not there, or not there after a crash, litter left behind, a
	// next operation that does not work.
	Check func(FaultRun) error
	// Errors are injected in turn, each into the calls that may give it:
	// EMFILE where a handle is opened, ENOSPC and EDQUOT where space is
	// needed, Half into writes, others everywhere. Nil means EIO, ENOSPC,
	// EDQUOT, EMFILE and Half{ENOSPC}.
	Errors []error
	// Persist lets all such calls fail from the chosen one on, as on a disk
	// that stays full, instead of one only.
	Persist bool
}

// FaultRun is one run of the operation.
type FaultRun struct {
	FS       FS    // the file system below, now undisturbed
	Call     Call  // the call that failed first
	Injected error // with what
	Err      error // what Op returned
}

// FaultReport tells what EachFault tried.
type FaultReport struct {
	Runs int // runs in which a call was made to fail
}

// maxFaultRuns ends a plan whose operation never gets through.
const maxFaultRuns = 1_000_000

// EachFault runs an operation again and again, making its first call fail, then
// its second, until a run ends before the chosen call; and so for each error.
// It returns the first complaint of Check, or a handle left open.
func EachFault(p FaultPlan) (FaultReport, error) {
	var report FaultReport
	if p.Errors == nil {
		p.Errors = []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, Half{syscall.ENOSPC}}
	}
	for _, injected := range p.Errors {
		for n := 1; ; n++ {
			fired, err := p.run(n, injected)
			if err != nil {
				return report, err
			}
			if !fired {
				break
			}
			if report.Runs++; report.Runs > maxFaultRuns {
				return report, errors.New("fault test: no end")
			}
		}
	}
	return report, nil
}

// run makes the nth fitting call fail; it tells whether there was one.
func (p FaultPlan) run(n int, injected error) (bool, error) {
	fsys, err := p.prepare()
	if err != nil {
		return false, fmt.Errorf("fault test: setup: %w", err)
	}
	run := FaultRun{FS: fsys, Injected: injected}
	var mu sync.Mutex
	fault, fitting := NewFault(fsys), 0
	fault.Inject = func(c Call) error {
		mu.Lock()
		defer mu.Unlock()
		if fits(injected, c.Op) {
			fitting++
		}
		if !fits(injected, c.Op) || fitting < n || fitting > n && !p.Persist {
			return nil
		}
		if fitting == n {
			run.Call = c
		}
		return injected
	}
	run.Err = p.Op(fault)
	if left := fault.Open(); len(left) > 0 {
		err = fmt.Errorf("handles left open: %s", strings.Join(left, ", "))
	} else if p.Check != nil {
		err = p.Check(run)
	}
	if err != nil && run.Call.N > 0 {
		err = fmt.Errorf("with %w in call %v (operation returned: %v): %w", injected, run.Call, run.Err, err)
	}
	return run.Call.N > 0, err
}

func (p FaultPlan) prepare() (fsys FS, err error) {
	fsys = NewCrash(1)
	if p.New != nil {
		fsys, err = p.New()
	}
	if err == nil && p.Setup != nil {
		err = p.Setup(fsys)
	}
	if c, ok := fsys.(*Crash); ok && err == nil {
		c.SyncAll()
	}
	return fsys, err
}

// fits tells which calls may give an error.
func fits(err error, op Op) bool {
	if _, half := err.(Half); half {
		return op == OpWrite
	}
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return slices.Contains([]Op{OpOpenDir, OpOpen, OpCreate, OpNames}, op)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return slices.Contains([]Op{OpCreate, OpMkdir, OpLink, OpRename, OpWrite, OpTruncate, OpSync, OpSyncDir, OpClose}, op)
	}
	return true
}
