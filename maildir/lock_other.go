//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package maildir

import (
	"context"

	"github.com/goniec-mail/goniec/faultfs"
)

// flock has no counterpart here: only one process may work on a tree.
func flock(context.Context, faultfs.File, bool) error { return nil }

func funlock(faultfs.File) {}
