package mime

import (
	"bytes"
	"io"
	"sync"
)

const (
	windowSize = 64 << 10
	// maxBoundary is the longest boundary that is honoured. RFC 2046 §5.1.1 allows 70 octets;
	// longer ones are seen.
	maxBoundary = 1000
	// maxDelimiterLine bounds the look-ahead for a delimiter line: "--", boundary, "--" and
	// transport padding.
	maxDelimiterLine = 4096
	// maxEmptyReads in a row mean that the reader is broken.
	maxEmptyReads = 100
)

// Windows are as large as an L2 cache likes, and borrowed, so that a parse allocates none.
var windows = sync.Pool{New: func() any { return new([windowSize]byte) }}

// A scanner is the one tokenizer of this package. It cuts a sequential reader into header
// fields and stretches of body, and finds delimiter lines. It knows no meaning: what a field
// says and which delimiters are active is its caller's business. Lines end with CRLF or LF; a
// CR alone is an ordinary octet.
type scanner struct {
	r      io.Reader
	window *[windowSize]byte
	lo, hi int   // window[lo:hi] is unread
	base   int64 // offset of window[0] in the message
	lines  int64 // LFs consumed so far
	last   byte  // the last octet consumed
	eof    bool
	err    error // a read error other than io.EOF

	bol    bool // the body position is the start of a line
	delims []delimiter
}

// A delimiter is the boundary of one open multipart.
type delimiter struct {
	boundary string
	frame    int // index of the multipart on its caller's stack
}

// A hit is a delimiter line: which of the open multiparts it belongs to (-1: none, the input
// ended).
type hit struct {
	level int
	close bool
}

func (s *scanner) start(r io.Reader) {
	delims := s.delims[:0]
	*s = scanner{r: r, window: windows.Get().(*[windowSize]byte), last: '\n', delims: delims}
}

// release gives the window back. What the scanner returned before is invalid from here on.
func (s *scanner) release() {
	if s.window != nil {
		windows.Put(s.window)
		s.window = nil
	}
}

// pos is the offset of the next unread octet.
func (s *scanner) pos() int64 { return s.base + int64(s.lo) }

// fill reads more octets; false means there are none, or the window is full of unread ones.
func (s *scanner) fill() bool {
	if s.eof {
		return false
	}
	if s.lo > 0 {
		copy(s.window[:], s.window[s.lo:s.hi])
		s.base += int64(s.lo)
		s.hi -= s.lo
		s.lo = 0
	}
	for tries := 0; s.hi < windowSize; tries++ {
		n, err := s.r.Read(s.window[s.hi:])
		s.hi += n
		switch {
		case err != nil || n == 0 && tries == maxEmptyReads:
			s.fail(err)
			return n > 0
		case n > 0:
			return true
		}
	}
	return false
}

// fail ends the input.
func (s *scanner) fail(err error) {
	s.eof = true
	switch err {
	case io.EOF:
	case nil:
		s.err = io.ErrNoProgress
	default:
		s.err = err
	}
}

// take consumes n octets and returns them; they stay valid until the next call.
func (s *scanner) take(n int) []byte {
	p := s.window[s.lo : s.lo+n]
	s.lo += n
	if n > 0 {
		s.lines += int64(bytes.Count(p, lf))
		s.last = p[n-1]
	}
	return p
}

var (
	lf       = []byte{'\n'}
	lfDashes = []byte("\n--")
)

// headerEvent is what scanner.field found.
type headerEvent uint8

const (
	headerField     headerEvent = iota // a field, whole or its first piece
	headerMore                         // a further piece of a field larger than the window
	headerBlank                        // the empty line that ends a header
	headerDelimiter                    // a delimiter line instead of it (not consumed)
	headerEOF                          // the end of input instead of it
)

// field returns the next header field with its continuation lines and line ends. inside says
// that the last call returned an unfinished piece; unfinished says the same of this one.
func (s *scanner) field(inside bool) (raw []byte, ev headerEvent, unfinished bool) {
	ev = headerField
	if inside {
		ev = headerMore
	}
	if !inside {
		end, full := s.lineEnd(0)
		line := s.window[s.lo : s.lo+end]
		switch {
		case end == 0:
			return nil, headerEOF, false
		case full && isBlank(line):
			return s.take(end), headerBlank, false
		case len(s.delims) > 0 && s.match(line).level >= 0:
			return nil, headerDelimiter, false
		case !full && !s.eof:
			return s.take(end), ev, true
		}
		return s.continued(end, ev)
	}
	return s.continued(0, ev)
}

// continued extends a field of n octets by the continuation lines that follow (RFC 5322
// §2.2.3).
func (s *scanner) continued(n int, ev headerEvent) ([]byte, headerEvent, bool) {
	midLine := n == 0 && s.last != '\n'
	for {
		if s.lo+n == s.hi && !s.fill() {
			return s.take(n), ev, !s.eof
		}
		if !midLine && !isWSP(s.window[s.lo+n]) {
			return s.take(n), ev, false
		}
		end, full := s.lineEnd(n)
		if !full && !s.eof && n > 0 {
			return s.take(n), ev, true // the line is looked at again when it is at the front of the window
		}
		if !full {
			return s.take(end), ev, !s.eof
		}
		n, midLine = end, false
	}
}

// lineEnd returns the length, counted from s.lo, of the line that starts at s.lo+from, LF
// included, reading more as needed. full is false when the window or the input ends before the
// LF.
func (s *scanner) lineEnd(from int) (n int, full bool) {
	n = from
	for {
		if i := bytes.IndexByte(s.window[s.lo+n:s.hi], '\n'); i >= 0 {
			return n + i + 1, true
		}
		n = s.hi - s.lo
		if !s.fill() {
			return n, false
		}
	}
}

// unread puts back the n octets taken last.
func (s *scanner) unread(n int) {
	s.lines -= int64(bytes.Count(s.window[s.lo-n:s.lo], lf))
	s.lo -= n
	s.last = '\n'
}

// peekLine returns, without consuming anything, the line that begins n octets ahead, as much of
// it as fits into the window. What was returned before is invalid.
func (s *scanner) peekLine(n int) []byte {
	end, _ := s.lineEnd(n)
	return s.window[s.lo+n : s.lo+end]
}

// body returns the next stretch of body. done says that the body ended after it: at a delimiter
// line, which is the hit and starts (with the line end that belongs to it, RFC 2046 §5.1.1)
// right at s.pos(), or at the end of input.
func (s *scanner) body() (data []byte, h hit, done bool) {
	for {
		data, h, done = s.stretch()
		if done || len(data) > 0 {
			return data, h, done
		}
		if !s.fill() && s.eof && s.lo == s.hi {
			return nil, hit{level: -1}, true
		}
	}
}

// stretch looks at what is in the window.
func (s *scanner) stretch() (data []byte, h hit, done bool) {
	w := s.window[s.lo:s.hi]
	if len(s.delims) == 0 {
		return s.take(len(w)), hit{level: -1}, s.eof
	}
	for i := 0; ; {
		start := 0 // of the candidate line
		if i > 0 || !s.bol {
			j := bytes.Index(w[i:], lfDashes)
			if j < 0 {
				return s.tail(w)
			}
			start = i + j + 1
		}
		line, sure := candidate(w[start:], s.eof)
		if !sure {
			return s.takeBody(textEnd(w, start)), hit{level: -1}, false
		}
		if h := s.match(line); h.level >= 0 {
			return s.takeBody(textEnd(w, start)), h, true
		}
		s.bol = false
		i = start
	}
}

// tail ends a window without delimiter: all but a possible beginning of a line end and "--" is
// body.
func (s *scanner) tail(w []byte) ([]byte, hit, bool) {
	if s.eof {
		return s.takeBody(len(w)), hit{level: -1}, true
	}
	return s.takeBody(max(len(w)-3, 0)), hit{level: -1}, false
}

func (s *scanner) takeBody(n int) []byte {
	if n > 0 {
		s.bol = false
	}
	return s.take(n)
}

// candidate cuts the line at the front of w, which is not sure while more octets may decide
// what it is.
func candidate(w []byte, eof bool) (line []byte, sure bool) {
	if len(w) > maxDelimiterLine {
		w, eof = w[:maxDelimiterLine], true
	}
	if i := bytes.IndexByte(w, '\n'); i >= 0 {
		return w[:i+1], true
	}
	return w, eof
}

// textEnd is where the body ends before the line that starts at start: its line end is part of
// the delimiter.
func textEnd(w []byte, start int) int {
	switch {
	case start >= 2 && w[start-1] == '\n' && w[start-2] == '\r':
		return start - 2
	case start >= 1 && w[start-1] == '\n':
		return start - 1
	}
	return start
}

// match compares a line with the open boundaries, the innermost first. The whole line counts
// but for white space at its end (RFC 2046 §5.1.1, transport-padding), so that a boundary may
// be the beginning of another.
func (s *scanner) match(line []byte) hit {
	n := len(line)
	for n > 0 && (isWSP(line[n-1]) || line[n-1] == '\n' || line[n-1] == '\r') {
		n--
	}
	line = line[:n]
	if n < 3 || line[0] != '-' || line[1] != '-' {
		return hit{level: -1}
	}
	line = line[2:]
	for i := len(s.delims) - 1; i >= 0; i-- {
		b := s.delims[i].boundary
		extra := len(line) - len(b)
		if extra == 0 && string(line) == b {
			return hit{level: i}
		}
		if extra == 2 && string(line[len(b):]) == "--" && string(line[:len(b)]) == b {
			return hit{level: i, close: true}
		}
	}
	return hit{level: -1}
}

// delimiterLine consumes the delimiter line that body or field stopped at.
func (s *scanner) delimiterLine() []byte {
	skip := 0
	if !s.atDashes(0) {
		skip = 1
		if s.window[s.lo] == '\r' {
			skip = 2
		}
	}
	end, _ := s.lineEnd(skip)
	return s.take(end)
}

func (s *scanner) atDashes(i int) bool {
	return s.lo+i < s.hi && s.window[s.lo+i] == '-'
}

func isBlank(line []byte) bool {
	return line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}

func isWSP(c byte) bool { return c == ' ' || c == '\t' }
