package crlf

import "io"

// RawReader reads exactly n octets of a Reader: a BDAT chunk (RFC 3030 §2), an IMAP literal (RFC 9051 §4.3). It may be left and taken up
// again; what is left can be discarded. It is a small value, to be kept inside another and Reset.
type RawReader struct {
	r    *Reader
	left int64
}

// NewRawReader returns a RawReader of the next n octets of r.
func NewRawReader(r *Reader, n int64) *RawReader { return &RawReader{r, n} }

// Reset makes it read the next n octets of r.
func (x *RawReader) Reset(r *Reader, n int64) { x.r, x.left = r, max(n, 0) }

// Left returns the number of octets still to be read.
func (x *RawReader) Left() int64 { return x.left }

// Read returns io.EOF after the n octets, io.ErrUnexpectedEOF when the stream ended before.
func (x *RawReader) Read(p []byte) (int, error) {
	if x.left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > x.left {
		p = p[:x.left]
	}
	n, err := x.r.Read(p)
	x.left -= int64(n)
	if x.left > 0 {
		err = midway(err, 1)
	} else if n > 0 {
		err = nil // an error that came with the last octet belongs to what follows
	}
	return n, err
}

// Discard consumes what is left.
func (x *RawReader) Discard() error {
	n, err := x.r.Discard(x.left)
	x.left -= n
	return err
}
