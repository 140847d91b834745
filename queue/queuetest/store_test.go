package queuetest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/queuetest"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	queuetest.TestStore(t, func(*testing.T) queuetest.Target { return queuetest.Target{Store: &queue.Memory{}} })
}

// files opens file stores in a directory, again and again.
func files(t *testing.T, fsys faultfs.FS, dir string, o queue.FileOptions) queuetest.Target {
	t.Helper()
	o.FS = fsys
	var s *queue.FileStore
	open := func(t *testing.T) queue.Store {
		if s != nil {
			require.NoError(t, s.Close())
		}
		var err error
		s, err = queue.OpenFiles(dir, o)
		require.NoError(t, err)
		return s
	}
	target := queuetest.Target{Store: open(t), Reopen: open}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return target
}

func TestFiles(t *testing.T) {
	queuetest.TestStore(t, func(t *testing.T) queuetest.Target {
		return files(t, faultfs.OS{}, t.TempDir(), queue.FileOptions{SegmentSize: 1 << 20})
	})
}

// Small segments: everything rotates and is cleaned all the time.
func TestFilesSmall(t *testing.T) {
	queuetest.TestStore(t, func(t *testing.T) queuetest.Target {
		return files(t, faultfs.NewCrash(1), "/queue", queue.FileOptions{SegmentSize: 4 << 10})
	})
}

func ExampleMessage() {
	var s queue.Memory
	_, _ = s.Put(context.Background(), queuetest.Message("Subject: x\r\n\r\n", "ann@example.org"))
	// Output:
}
