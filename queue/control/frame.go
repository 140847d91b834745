package control

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/goniec-mail/goniec"
)

// maxFrame bounds a frame.
const maxFrame = 1 << 20

// frameReader reads a message in frames.
type frameReader struct {
	r    io.Reader
	left uint32
	end  bool
}

func (f *frameReader) Read(p []byte) (int, error) {
	if f.left == 0 && !f.end {
		var b [4]byte
		if _, err := io.ReadFull(f.r, b[:]); err != nil {
			return 0, unexpected(err)
		}
		f.left = binary.BigEndian.Uint32(b[:])
		f.end = f.left == 0
		if f.left > maxFrame {
			return 0, errors.New("control: frame is too long")
		}
	}
	if f.end {
		return 0, io.EOF
	}
	n, err := f.r.Read(p[:min(uint32(len(p)), f.left)])
	f.left -= uint32(n)
	return n, unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frameWriter writes each piece as a frame.
type frameWriter struct{ w io.Writer }

func (f frameWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxFrame)]
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(len(part)))
		if _, err := f.w.Write(b[:]); err != nil {
			return n, err
		}
		m, err := f.w.Write(part)
		if n += m; err != nil {
			return n, err
		}
		p = p[len(part):]
	}
	return n, nil
}

func (f frameWriter) end() error {
	_, err := f.w.Write(make([]byte, 4))
	return err
}

// limitReader refuses a message that is too large.
type limitReader struct {
	r    io.Reader
	left int64
}

func (l *limitReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, goniec.NewStatus(552, goniec.EnhancedCode{5, 3, 4}, "message is too large")
	}
	return n, err
}
