// Package leaktest fails a package's tests when goroutines are left after the last one. It is go.uber.org/goleak with the patience that a busy
// machine needs: goleak alone waits for less than half a second.
package leaktest

import (
	"time"

	"go.uber.org/goleak"
)

// limit is how long goroutines may take to end after the last test.
const limit = 30 * time.Second

// VerifyTestMain is for TestMain: it runs the tests, fails them when goroutines are left, and exits.
func VerifyTestMain(m goleak.TestingM) { goleak.VerifyTestMain(patient{m, limit}) }

// patient gives goroutines the time to end.
type patient struct {
	goleak.TestingM
	limit time.Duration
}

func (p patient) Run() int {
	code := p.TestingM.Run()
	for start := time.Now(); code == 0 && goleak.Find() != nil && time.Since(start) < p.limit; {
		time.Sleep(10 * time.Millisecond)
	}
	return code
}
