//go:build freebsd || netbsd || openbsd || dragonfly

package faultfs

import "golang.org/x/sys/unix"

const errFileType = unix.EFTYPE

func fsync(fd int) error { return unix.Fsync(fd) }

func (f *osFile) datasync() error { return f.File.Sync() }
