//go:build !linux

package peertest

import "errors"

// shutdownFS is not to be had here.
func shutdownFS(string, bool) error { return errors.ErrUnsupported }
