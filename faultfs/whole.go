package faultfs

import (
	"errors"
	"io"
)

// WholeReader is an optional interface of a Dir: ReadWhole with fewer system calls than Open, Stat,
// ReadAt and Close. The function ReadWhole falls back to these.
type WholeReader interface {
	// ReadWhole is the function of that name. It is safe for concurrent use.
	ReadWhole(name string, buf []byte) (n int, info Info, err error)
}

// ReadWhole reads an existing file into buf when all of it fits: n is its size then, info.Size. A longer
// file is not read, and n is 0; info tells. What Open refuses is refused.
func ReadWhole(d Dir, name string, buf []byte) (n int, info Info, err error) {
	if w, ok := d.(WholeReader); ok {
		return w.ReadWhole(name, buf)
	}
	f, err := d.Open(name)
	if err != nil {
		return 0, info, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err = f.Stat(); err != nil || info.Size > int64(len(buf)) {
		return 0, info, err
	}
	if n, err = f.ReadAt(buf[:info.Size], 0); int64(n) == info.Size {
		err = nil
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF // somebody cuts it at this moment
	}
	return n, info, err
}
