package imap

import (
	"bytes"
	"io"
	"sync"
)

// lineScanner reads lines with their ends through a pooled buffer. A line longer than the buffer comes
// in pieces, of which only the first begins it.
type lineScanner struct {
	r         io.Reader
	buf       *[]byte
	pos, end  int
	midLine   bool
	exhausted bool
}

// copyBuffer is the size of the buffers with which messages are read.
const copyBuffer = 32 << 10

// copyBuffers holds *[]byte of copyBuffer octets: free memory, not state.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

func newLineScanner(r io.Reader) *lineScanner {
	return &lineScanner{r: r, buf: copyBuffers.Get().(*[]byte)}
}

// close gives the buffer back. Lines are no longer valid.
func (s *lineScanner) close() { copyBuffers.Put(s.buf) }

// next returns a line, or a piece of one, valid until the next call, and whether it begins the line.
func (s *lineScanner) next() (line []byte, begins bool, err error) {
	for {
		have := (*s.buf)[s.pos:s.end]
		n := bytes.IndexByte(have, '\n') + 1
		if n == 0 && (s.exhausted || len(have) == len(*s.buf)) {
			n = len(have)
		}
		if n > 0 {
			begins, s.midLine = !s.midLine, have[n-1] != '\n'
			s.pos += n
			return have[:n], begins, nil
		}
		if s.exhausted {
			return nil, false, io.EOF
		}
		if err := s.fill(); err != nil {
			return nil, false, err
		}
	}
}

func (s *lineScanner) fill() error {
	s.end = copy(*s.buf, (*s.buf)[s.pos:s.end])
	s.pos = 0
	n, err := s.r.Read((*s.buf)[s.end:])
	s.end += n
	if err == io.EOF {
		s.exhausted = true
		return nil
	}
	return err
}
