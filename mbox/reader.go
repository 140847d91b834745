package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// ErrFormat is in the chain of the error for a file that does not begin with a From_ line.
var ErrFormat = errors.New("not an mbox file")

// Message is one message of a Reader.
type Message struct {
	FromLine
	// Offset is where its From_ line begins in the file, Start where the message itself begins.
	Offset, Start int64
}

// Report counts what a Reader has seen so far.
type Report struct {
	Dialect  Dialect // by which it reads
	Messages int
	// Unescaped counts lines that begin with "From " and do not begin a message: no empty line comes before, they are not
	// plausible, or Content-Length says that they belong to the body. The first is at UnescapedAt.
	Unescaped   int
	UnescapedAt int64
	// Quoted counts lines that lost a ">", Deeper those of them that keep another. Only messages that were
	// read are counted, not those passed over.
	Quoted, Deeper int
	// Lengths counts messages whose Content-Length is right, WrongLengths those where it is not; it is
	// disregarded there.
	Lengths, WrongLengths int
	// Torn tells that the last message does not end with an empty line, as if its writer had been stopped.
	Torn bool
}

const (
	readerBuffer = 256 << 10
	// maxLengthHeader is how far into a message Content-Length and status fields are looked for.
	maxLengthHeader = 64 << 10
	// heldBack is what stays in the buffer when nothing is known of what follows: an empty line and a part
	// of "From ".
	heldBack = 16
)

// Reader reads an mbox file from start to end. It is not safe for concurrent use.
//
// A message begins at a plausible From_ line (see ParseFromLine) at the start of the file or after
// an empty line. A Content-Length is believed in the dialects that have it, if the file goes on with a From_
// line there or ends; that can be known when the source is an io.ReaderAt or the message fits the
// buffer of 256 KiB.
type Reader struct {
	src     io.Reader
	at      io.ReaderAt // src, when it can
	dialect Dialect
	report  Report

	buf    []byte
	r, w   int   // what is in buf and not given yet
	base   int64 // file offset of buf[0]
	err    error // of src
	opened bool

	in      bool  // a message has begun and its end was not seen
	start   int64 // where it begins
	end     int64 // where the last one ended, without the empty line
	next    int   // when !in: the next From_ line in buf
	until   int64 // end by Content-Length; -1: not known
	dec     decoder
	out     []byte // decoded and not given yet
	outBuf  []byte
	outDone bool
}

// NewReader reads from src, from its present place. Auto looks at the first 256 KiB.
func NewReader(src io.Reader, d Dialect) *Reader {
	r := &Reader{src: src, dialect: d}
	r.at, _ = src.(io.ReaderAt)
	return r
}

// Report tells what has been seen.
func (r *Reader) Report() Report {
	rep := r.report
	rep.Dialect = r.dialect
	rep.Quoted += r.dec.quoted
	rep.Deeper += r.dec.deeper
	return rep
}

// Messages yields the messages; each is read with Read before the next step. An error ends it.
func (r *Reader) Messages() iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for {
			m, err := r.Next()
			if err == io.EOF {
				return
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Next goes to the next message, passing over what is left of this one; io.EOF after the last. The error
// wraps ErrFormat when the file does not begin with a From_ line.
func (r *Reader) Next() (*Message, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	if _, err := r.Skip(); err != nil {
		return nil, err
	}
	r.r = r.next
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	from, ok := ParseFromLine(line)
	if !ok {
		return nil, fmt.Errorf("%w: no From_ line at offset %d", ErrFormat, r.base+int64(r.r))
	}
	m := &Message{FromLine: from, Offset: r.base + int64(r.r), Start: r.base + int64(r.r+len(line))}
	r.r += len(line)
	r.begin(m)
	return m, nil
}

// begin prepares for the message's content.
func (r *Reader) begin(m *Message) {
	r.report.Messages++
	r.report.Quoted += r.dec.quoted
	r.report.Deeper += r.dec.deeper
	r.in, r.start, r.until = true, m.Start, -1
	r.out, r.outDone = nil, false
	r.dec = decoder{dialect: r.dialect, raw: m.has(markRaw)}
	if m.has(markQuoted) {
		r.dec.dialect = MboxRD
	}
	if r.dialect.hasLength() {
		r.until = r.lengthEnd()
	}
	if m.has(markLength) {
		r.dropLengthLine()
	}
}

// dropLengthLine passes over the Content-Length that a Writer has put first.
func (r *Reader) dropLengthLine() {
	line, err := r.line()
	if err == nil && lengthOf(line) >= 0 {
		r.r += len(line)
	}
}

// open looks at the beginning of the file.
func (r *Reader) open() error {
	if r.opened {
		return nil
	}
	r.opened = true
	if r.buf == nil {
		r.buf = make([]byte, readerBuffer)
	}
	r.fill()
	if r.dialect == Auto {
		rep, err := Detect(bytes.NewReader(r.buf[:r.w]), r.err == io.EOF)
		if err != nil && r.w > 0 {
			return err
		}
		r.dialect = rep.Dialect
	}
	for r.next < r.w && (r.buf[r.next] == '\n' || r.buf[r.next] == '\r') { // some files begin with an empty line
		r.next++
	}
	return nil
}

// fill reads more into the buffer, moving what is needed to its start; false when there is no more.
func (r *Reader) fill() bool {
	if r.err != nil {
		return false
	}
	if keep := r.r - 4; keep > 0 && r.w == len(r.buf) { // line ends before r.r are looked at
		copy(r.buf, r.buf[keep:r.w])
		r.base += int64(keep)
		r.r -= keep
		r.w -= keep
		r.next -= keep
	}
	before := r.w
	for r.w < len(r.buf) && r.err == nil {
		var n int
		n, r.err = r.src.Read(r.buf[r.w:])
		r.w += n
	}
	return r.w > before
}

// failed returns the source's error, nil for its end.
func (r *Reader) failed() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// line returns the line at r.r with its end, at most maxFromLine octets; io.EOF when nothing is left.
func (r *Reader) line() ([]byte, error) {
	for {
		b := r.buf[r.r:r.w]
		if i := bytes.IndexByte(b[:min(len(b), maxFromLine)], '\n'); i >= 0 {
			return b[:i+1], nil
		}
		if len(b) >= maxFromLine {
			return b[:maxFromLine], nil
		}
		if !r.fill() {
			if err := r.failed(); err != nil {
				return nil, err
			}
			if len(r.buf[r.r:r.w]) == 0 {
				return nil, io.EOF
			}
			return r.buf[r.r:r.w], nil
		}
	}
}

// Skip passes over what is left of the message and returns where it ends in the file, without the empty line
// that belongs to the format.
func (r *Reader) Skip() (end int64, err error) {
	for {
		piece, err := r.piece()
		if err != nil || piece == nil {
			return r.end, err
		}
	}
}

// Read reads the message's content in network form, without quotes; io.EOF at its end.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.outDone {
			return 0, io.EOF
		}
		piece, err := r.piece()
		if err != nil {
			return 0, err
		}
		if piece == nil {
			r.outDone = true
			r.out = r.dec.finish(r.outBuf[:0])
			continue
		}
		r.outBuf = r.dec.append(r.outBuf[:0], piece)
		r.out = r.outBuf
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// piece returns the next octets of the message as they lie in the file; nil at its end.
func (r *Reader) piece() ([]byte, error) {
	for r.in {
		to, ended := r.reach()
		if to > r.r {
			piece := r.buf[r.r:to]
			r.r = to
			if ended {
				r.in, r.end = false, r.base+int64(to)
			}
			return piece, nil
		}
		if ended {
			r.in, r.end = false, r.base+int64(to)
			break
		}
		if !r.fill() {
			if err := r.failed(); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// reach tells how far the message's octets go in the buffer, and whether it ends there; then next is set.
func (r *Reader) reach() (to int, ended bool) {
	if r.until >= 0 {
		return r.reachLength()
	}
	from := r.r
	for {
		i := bytes.Index(r.buf[from:r.w], fromWord)
		if i < 0 {
			break
		}
		i += from - 1 // the octet before it
		from = i + 2
		if i < 0 || r.buf[i] != '\n' {
			continue
		}
		switch sep, blank := r.separator(i); {
		case sep == yes:
			r.next = i + 1
			return blank, true
		case sep == unknown:
			return max(blank, r.r), false
		}
		r.unescaped(i + 1)
	}
	if r.err == nil {
		return max(r.w-heldBack, r.r), false
	}
	return r.reachEnd()
}

type verdict uint8

const (
	no verdict = iota
	yes
	unknown // more of the file is needed
)

// separator judges the LF at buf[i] that stands before "From ". blank is where the empty line before
// begins.
func (r *Reader) separator(i int) (v verdict, blank int) {
	blank = i
	if i > 0 && r.buf[i-1] == '\r' {
		blank = i - 1
	}
	if blank == 0 || r.buf[blank-1] != '\n' || r.base+int64(blank) < r.start {
		return no, 0
	}
	line := r.buf[i+1 : min(r.w, i+1+maxFromLine)]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	} else if r.err == nil && len(line) < maxFromLine {
		return unknown, blank
	}
	if _, ok := ParseFromLine(line); !ok {
		return no, 0
	}
	return yes, blank
}

func (r *Reader) unescaped(at int) {
	if off := r.base + int64(at); r.report.Unescaped == 0 || off > r.report.UnescapedAt {
		if r.report.Unescaped == 0 {
			r.report.UnescapedAt = off
		}
		r.report.Unescaped++
	}
}

// reachEnd is reach where the file ends: an empty line at its end is the format's.
func (r *Reader) reachEnd() (int, bool) {
	to := r.w
	b := r.buf[max(r.r-1, 0):r.w]
	switch {
	case bytes.HasSuffix(b, []byte("\n\n")):
		to--
	case bytes.HasSuffix(r.buf[max(r.r-1, 0):r.w], []byte("\n\r\n")):
		to -= 2
	default:
		r.report.Torn = true
	}
	r.next = r.w
	return max(to, r.r), true
}

// reachLength is reach for a message whose end is known.
func (r *Reader) reachLength() (int, bool) {
	if left := r.until - r.base; left > int64(r.w) {
		return r.w, false
	}
	to := int(r.until - r.base)
	if to > r.r {
		return to, false
	}
	// Behind it: the empty line, and the next From_ line or the file's end.
	for r.w-to < heldBack && r.fill() {
		to = int(r.until - r.base)
	}
	r.next = to + blankLine(r.buf[to:r.w])
	return to, true
}

// blankLine returns the length of an empty line at the start of b, 0 when there is none.
func blankLine(b []byte) int {
	switch {
	case bytes.HasPrefix(b, []byte("\n")):
		return 1
	case bytes.HasPrefix(b, []byte("\r\n")):
		return 2
	}
	return 0
}
