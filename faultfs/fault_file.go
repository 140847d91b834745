package faultfs

import (
	"errors"
	"syscall"
)

// faultFile is a file behind a Fault.
type faultFile struct {
	f     *Fault
	inner File
}

// faultConnFile lets the descriptor of a real file through, for locks.
type faultConnFile struct {
	*faultFile
	syscall.Conn
}

// Name implements File.
func (f *faultFile) Name() string { return f.inner.Name() }

// Read implements File.
func (f *faultFile) Read(p []byte) (n int, err error) {
	return f.transfer(OpRead, p, f.inner.Read)
}

// ReadAt implements File.
func (f *faultFile) ReadAt(p []byte, off int64) (n int, err error) {
	return f.transfer(OpRead, p, func(p []byte) (int, error) { return f.inner.ReadAt(p, off) })
}

// Write implements File.
func (f *faultFile) Write(p []byte) (int, error) {
	return f.transfer(OpWrite, p, f.inner.Write)
}

// WriteAt implements File.
func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	return f.transfer(OpWrite, p, func(p []byte) (int, error) { return f.inner.WriteAt(p, off) })
}

// transfer does a read or write; Half lets half of a write through.
func (f *faultFile) transfer(op Op, p []byte, do func([]byte) (int, error)) (n int, err error) {
	done := false
	err = f.f.call(op, f.Name(), "", func() error {
		done = true
		n, err = do(p)
		return err
	})
	var half Half
	if !done && op == OpWrite && errors.As(err, &half) {
		n, _ = do(p[:len(p)/2])
	}
	return n, err
}

// Seek implements File. It is not counted: it reaches no disk.
func (f *faultFile) Seek(offset int64, whence int) (int64, error) {
	return f.inner.Seek(offset, whence)
}

// Truncate implements File.
func (f *faultFile) Truncate(size int64) error {
	return f.f.call(OpTruncate, f.Name(), "", func() error { return f.inner.Truncate(size) })
}

// Stat implements File.
func (f *faultFile) Stat() (info Info, err error) {
	err = f.f.call(OpStat, f.Name(), "", func() error {
		info, err = f.inner.Stat()
		return err
	})
	return info, err
}

// Sync implements File.
func (f *faultFile) Sync() error { return f.f.sync(OpSync, f.Name(), f.inner, f.inner.Sync) }

// Datasync implements File.
func (f *faultFile) Datasync() error { return f.f.sync(OpSync, f.Name(), f.inner, f.inner.Datasync) }

// Close implements File.
func (f *faultFile) Close() error {
	f.f.closed(f)
	return f.f.close(f.Name(), f.inner.Close)
}
