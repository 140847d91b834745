package faultfs

import "errors"

// Space is what a file system has left for a user without privileges.
type Space struct {
	Bytes int64 // octets
	Files int64 // inodes; negative where they are not limited
}

// Free tells what is left where d lies. Its error is errors.ErrUnsupported for a
// Dir that cannot tell: a Crash, or OS on systems other than Linux, macOS and
// FreeBSD.
func Free(d Dir) (Space, error) {
	if s, ok := d.(interface{ free() (Space, error) }); ok {
		return s.free()
	}
	return Space{}, errors.ErrUnsupported
}

func (d *faultDir) free() (Space, error) { return Free(d.inner) }
