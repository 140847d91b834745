//go:build !unix || solaris || aix

package faultfs

// TryLock does nothing where there is no flock: true.
func TryLock(File) (bool, error) { return true, nil }

// Unlock does nothing here.
func Unlock(File) {}
