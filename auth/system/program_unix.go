//go:build unix

package system

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the end of the context kill what the program has started too.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
