package peertest

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns a clock of what this thread has computed, which does not depend on what else the machine does.
func cpuTime() (elapsed func() time.Duration) {
	start := threadTime()
	return func() time.Duration { return threadTime() - start }
}

func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
