package faultfs

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

const errFileType = unix.ELOOP // Linux answers ELOOP for a link

// usualRecord is the length of a directory record with a maildir name.
const usualRecord = 48

func fsync(fd int) error { return unix.Fsync(fd) }

func (f *osFile) datasync() error { return f.control(unix.Fdatasync) }

// readNames lists a directory and closes fd. The names of one getdents64 share one
// string: a list of 100,000 costs some hundred allocations instead of 100,000.
func readNames(fd int, _ string) ([]string, error) {
	defer unix.Close(fd)
	var blocks []string
	size := 0
	buf := make([]byte, 64<<10)
	for {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Getdents(fd, buf)
			return err
		})
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			break
		}
		blocks = append(blocks, string(buf[:n]))
		size += n
	}
	names := make([]string, 0, size/usualRecord)
	for _, block := range blocks {
		names = appendNames(names, block)
	}
	return names, nil
}

// appendNames takes the names out of linux_dirent64 records: inode (8), offset (8),
// record length (2), type (1), name, NUL.
func appendNames(names []string, records string) []string {
	const nameAt = 19
	for len(records) > nameAt {
		size := int(binary.NativeEndian.Uint16([]byte(records[16:18])))
		if size <= nameAt || size > len(records) {
			return names
		}
		name := records[nameAt:size]
		if end := strings.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if name != "." && name != ".." {
			names = append(names, name)
		}
		records = records[size:]
	}
	return names
}
