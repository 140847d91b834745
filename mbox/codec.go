package mbox

import "bytes"

var fromWord = []byte("From ")

// lineMatcher follows the beginning of lines: any number of ">" and then "From ". What it has matched of
// "From " at the end of a piece is held back until the next piece decides.
type lineMatcher struct {
	inLine  bool // the beginning of the line has been decided
	marks   int  // ">" at the beginning of the line
	matched int  // octets of fromWord after them
}

// encoder turns a message into its form in the file, piece by piece.
type encoder struct {
	dialect Dialect
	raw     bool // keep CRs
	lineMatcher
}

// append encodes src behind dst.
func (e *encoder) append(dst, src []byte) []byte {
	for len(src) > 0 {
		if !e.inLine {
			dst, src = e.begin(dst, src)
			continue
		}
		end := bytes.IndexByte(src, '\n') + 1
		line := src
		if end > 0 {
			line = src[:end]
			e.lineMatcher = lineMatcher{}
		}
		src = src[len(line):]
		dst = e.put(dst, line)
	}
	return dst
}

// begin works on octets of a line's beginning until it is decided or src ends.
func (e *encoder) begin(dst, src []byte) ([]byte, []byte) {
	if e.matched == 0 && src[0] == '>' {
		e.marks++
		return append(dst, '>'), src[1:]
	}
	if src[0] == fromWord[e.matched] {
		if e.matched++; e.matched < len(fromWord) {
			return dst, src[1:]
		}
		// The additional mark may stand behind the others: they are all the same.
		if e.dialect.quotes(e.marks) {
			dst = append(dst, '>')
		}
		e.inLine = true
		return append(dst, fromWord...), src[1:]
	}
	dst = append(dst, fromWord[:e.matched]...)
	e.inLine = true
	return dst, src
}

// put appends a part of a line. In the LF form every CR precedes an LF, and is left out.
func (e *encoder) put(dst, line []byte) []byte {
	if e.raw {
		return append(dst, line...)
	}
	for {
		i := bytes.IndexByte(line, '\r')
		if i < 0 {
			return append(dst, line...)
		}
		dst = append(dst, line[:i]...)
		line = line[i+1:]
	}
}

// finish ends the message: what was held back, and in the raw form the LF that is not the message's.
func (e *encoder) finish(dst []byte) []byte {
	if !e.inLine {
		dst = append(dst, fromWord[:e.matched]...)
	}
	if e.raw {
		dst = append(dst, '\n')
	}
	return dst
}

// decoder is the inverse of encoder: it takes quotes off, and gives LFs without CR one.
type decoder struct {
	dialect Dialect
	raw     bool // octets as they are, but for the quotes and the last LF
	lineMatcher
	cr      bool // the last octet was CR
	heldEnd bool // raw: an LF that is the last one unless more comes
	quoted  int  // lines that lost a mark
	deeper  int  // those of them that keep others
}

// append decodes src behind dst.
func (d *decoder) append(dst, src []byte) []byte {
	if d.raw && len(src) > 0 {
		if d.heldEnd {
			dst = d.lines(dst, []byte{'\n'})
			d.heldEnd = false
		}
		if last := len(src) - 1; src[last] == '\n' {
			d.heldEnd = true
			src = src[:last]
		}
	}
	return d.lines(dst, src)
}

func (d *decoder) lines(dst, src []byte) []byte {
	for len(src) > 0 {
		if !d.inLine {
			dst, src = d.begin(dst, src)
			continue
		}
		end := bytes.IndexByte(src, '\n')
		if end < 0 {
			d.cr = src[len(src)-1] == '\r'
			return append(dst, src...)
		}
		cr := d.cr
		if end > 0 {
			cr = src[end-1] == '\r'
		}
		dst = append(dst, src[:end]...)
		if !cr && !d.raw {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		src = src[end+1:]
		d.lineMatcher, d.cr = lineMatcher{}, false
	}
	return dst
}

// begin works on octets of a line's beginning. One mark is held back until the line is decided; which one
// does not matter.
func (d *decoder) begin(dst, src []byte) ([]byte, []byte) {
	if d.matched == 0 && d.marks == 0 && src[0] != '>' && src[0] != 'F' {
		d.inLine = true
		return dst, src
	}
	if d.matched == 0 && src[0] == '>' {
		if d.marks++; d.marks > 1 {
			dst = append(dst, '>')
		}
		return dst, src[1:]
	}
	if src[0] == fromWord[d.matched] {
		if d.matched++; d.matched < len(fromWord) {
			return dst, src[1:]
		}
		return d.decided(dst, true), src[1:]
	}
	return d.decided(dst, false), src
}

// decided writes what was held back of a line's beginning; from tells that it is a "From " line.
func (d *decoder) decided(dst []byte, from bool) []byte {
	d.inLine = true
	if from && d.marks > 0 && d.dialect.unquotes(d.marks) {
		if d.quoted++; d.marks > 1 {
			d.deeper++
		}
	} else if d.marks > 0 {
		dst = append(dst, '>')
	}
	return append(dst, fromWord[:d.matched]...)
}

// finish ends the message.
func (d *decoder) finish(dst []byte) []byte {
	if !d.inLine {
		dst = d.decided(dst, false)
	}
	return dst
}
