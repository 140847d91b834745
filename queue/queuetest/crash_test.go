package queuetest_test

import (
	"testing"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/queuetest"
)

func openSmall(fsys faultfs.FS) (queuetest.Closer, error) {
	return queue.OpenFiles("/queue", queue.FileOptions{FS: fsys, SegmentSize: 4 << 10, InlineBody: 700})
}

// F01, F02: every state that a power cut can leave.
func TestF02_Crash(t *testing.T) { queuetest.TestCrash(t, openSmall) }

// F04: every call fails once.
func TestF04_Faults(t *testing.T) { queuetest.TestFaults(t, openSmall) }
