//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package mbox

import "github.com/goniec-mail/goniec/faultfs"

// Only the dotlock keeps others out here.
func lockFile(faultfs.File) (bool, error) { return true, nil }

func unlockFile(faultfs.File) {}

// processAlive can not tell: no lock is taken for stale.
func processAlive(int) bool { return true }
