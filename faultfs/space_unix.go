//go:build linux || darwin || freebsd

package faultfs

import (
	"math"

	"golang.org/x/sys/unix"
)

func (d *unixDir) free() (Space, error) {
	var st unix.Statfs_t
	if err := d.self("statfs", func() error { return unix.Fstatfs(d.fd, &st) }); err != nil {
		return Space{}, err
	}
	s := Space{Bytes: math.MaxInt64, Files: -1}
	// FreeBSD goes below zero when only the reserve for root is left.
	blocks, size := max(0, int64(st.Bavail)), int64(st.Bsize)
	if size > 0 && blocks <= math.MaxInt64/size {
		s.Bytes = blocks * size
	}
	if st.Files > 0 { // btrfs has no inode table and says zero
		s.Files = max(0, int64(st.Ffree))
	}
	return s, nil
}
