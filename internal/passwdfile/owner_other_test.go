//go:build !unix

package passwdfile

import (
	"testing"
	"time"
)

func owner(*testing.T, string) string { return "" }

func processorTime(*testing.T) time.Duration { return 0 }
