//go:build unix

package maildir

import "syscall"

// processGone reports that there is no process with the number on this host.
func processGone(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == syscall.ESRCH }
