//go:build !unix || solaris || aix

package passwdfile

import (
	"context"

	"github.com/goniec-mail/goniec/faultfs"
)

// lock does nothing: File.editMu keeps the edits of one File apart; those of several processes are
// not kept apart on this system.
func lock(context.Context, faultfs.Dir, string) (unlock func(), err error) {
	return func() {}, nil
}

// copyOwner does nothing: there are no owners to copy.
func copyOwner(_, _ faultfs.File) error { return nil }
