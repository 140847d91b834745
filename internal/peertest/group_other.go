//go:build !unix

package peertest

import (
	"os"
	"os/exec"
)

// Without process groups the process alone is stopped.
func ownGroup(*exec.Cmd)            {}
func endGroup(p *os.Process) error  { return p.Kill() }
func killGroup(p *os.Process) error { return p.Kill() }
