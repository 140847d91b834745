//go:build !linux

package peertest

import "time"

// cpuTime returns a wall clock where a thread's own time is not to be had.
func cpuTime() (elapsed func() time.Duration) {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
