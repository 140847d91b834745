//go:build !unix

package system

import "os/exec"

// ownGroup does nothing; a Program can not run here, for want of a descriptor 3.
func ownGroup(*exec.Cmd) {}
