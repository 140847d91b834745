package peertest

import (
	"runtime"
	"time"
)

// Fastest returns the processor time of the shortest of some runs of f, which must do its work in its own goroutine: what else the
// machine does only makes runs longer. Tests compare two results, to see how time grows with input.
func Fastest(runs int, f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := time.Hour
	for range runs {
		elapsed := cpuTime()
		f()
		least = min(least, elapsed())
	}
	return least
}
