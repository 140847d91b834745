//go:build !linux

package mime

import "time"

var started = time.Now()

// cpuTime is the wall clock where a thread's own time is not to be had.
func cpuTime() time.Duration { return time.Since(started) }
