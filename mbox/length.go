package mbox

import (
	"bytes"
	"io"
	"math"
	"strconv"
)

// lengthOf reads a Content-Length field; -1 when the line is none.
func lengthOf(line []byte) int64 {
	const name = "content-length:"
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return -1
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line[len(name):])), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/2 {
		return -1
	}
	return n
}

// lengthEnd returns where the message at r.r ends by its first Content-Length, -1 when it has none that
// is right.
func (r *Reader) lengthEnd() int64 {
	n, body := r.findLength()
	if n < 0 {
		return -1
	}
	end := r.base + int64(body) + n
	// A message without body has one empty line for its header's end and for its own.
	if prev := r.base + int64(body-r.lastBlank(body)); n == 0 && r.endsAt(prev) == yes {
		end = prev
	}
	if r.endsAt(end) == yes {
		r.report.Lengths++
		return end
	}
	r.report.WrongLengths++
	return -1
}

func (r *Reader) lastBlank(body int) int {
	if body >= 2 && r.buf[body-2] == '\r' {
		return 2
	}
	return 1
}

// findLength looks for the first Content-Length in the header; body is where the body begins in buf.
func (r *Reader) findLength() (n int64, body int) {
	for r.w-r.r < maxLengthHeader && r.fill() {
		continue
	}
	n = -1
	header := r.buf[r.r:min(r.w, r.r+maxLengthHeader)]
	for at := 0; at < len(header); {
		line := header[at:]
		end := bytes.IndexByte(line, '\n') + 1
		if end == 0 {
			return -1, 0
		}
		line = line[:end]
		at += end
		if n < 0 {
			n = lengthOf(line)
		}
		if blankLine(line) > 0 {
			return n, r.r + at
		}
	}
	return -1, 0
}

// endsAt tells whether a message can end at a file offset: an empty line and a From_ line follow, or
// nothing. Where the source can not be read ahead it is unknown.
func (r *Reader) endsAt(off int64) verdict {
	b := make([]byte, 0, maxFromLine+2)
	if in := off - r.base; in <= int64(r.w) {
		b = append(b, r.buf[in:min(int64(r.w), in+int64(cap(b)))]...)
	}
	if len(b) < cap(b) && r.err == nil {
		if r.at == nil {
			return unknown
		}
		n, err := r.at.ReadAt(b[:cap(b)], off)
		if err != nil && err != io.EOF {
			return unknown
		}
		if b = b[:n]; n == 0 && !r.reaches(off) {
			return no
		}
	} else if in := off - r.base; in > int64(r.w) {
		return no
	}
	blank := blankLine(b)
	if len(b) == blank {
		return yes
	}
	if blank == 0 {
		return no
	}
	line, _, _ := bytes.Cut(b[blank:], []byte("\n"))
	if _, ok := ParseFromLine(line); !ok {
		return no
	}
	return yes
}

// reaches tells whether the source has at least off octets.
func (r *Reader) reaches(off int64) bool {
	if off == 0 {
		return true
	}
	n, _ := r.at.ReadAt(make([]byte, 1), off-1)
	return n == 1
}

// maxDetect is how much of a file Detect reads.
const maxDetect = 64 << 20

// Detect tells by which dialect a file was written, from its first 64 MiB, with the counts that led to the
// answer. whole says that src ends where the file does; else the last message is not judged. Where
// dialects can not be told apart, as in a file without any quoted line, the answer is MboxRD, which reads them alike.
func Detect(src io.ReaderAt, whole bool) (Report, error) {
	r := NewReader(io.NewSectionReader(src, 0, maxDetect), MboxCL2)
	for _, err := range r.Messages() {
		if err != nil {
			return r.Report(), err
		}
		r.dec.dialect = MboxRD // only to count
		if _, err := io.Copy(io.Discard, readerOnly{r}); err != nil {
			return r.Report(), err
		}
	}
	rep := r.Report()
	if !whole {
		rep.Torn = false
	}
	rep.Dialect = rep.guess()
	return rep, nil
}

type readerOnly struct{ io.Reader }

func (r Report) guess() Dialect {
	switch {
	case r.Lengths > 0 && 2*r.Lengths >= r.Messages-1 && r.Quoted > 0:
		return MboxCL
	case r.Lengths > 0 && 2*r.Lengths >= r.Messages-1:
		return MboxCL2
	case r.Deeper == 0 && r.Unescaped > 0 && r.Quoted > 0:
		return MboxO // a careful writer of mboxrd leaves no From line alone
	default:
		return MboxRD
	}
}
