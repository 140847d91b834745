package queue

import (
	"os"
	"testing"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

// TestMain also runs the child processes of the kill tests.
func TestMain(m *testing.M) {
	if mode := os.Getenv("GONIEC_QUEUE_CHILD"); mode != "" {
		os.Exit(child(mode, os.Getenv("GONIEC_QUEUE_DIR")))
	}
	leaktest.VerifyTestMain(m)
}
