//go:build !unix || solaris || aix

package queue

import "github.com/goniec-mail/goniec/faultfs"

// tryLock does nothing where there is no flock: see the limits in the package comment.
func tryLock(faultfs.File) (bool, error) { return true, nil }
