package crlf

import "io"

// TextReader passes on message text that comes without dots, in chunks of counted octets (BDAT, RFC 3030; an APPEND literal), under
// the same rules as a DotReader: the end is where its source says io.EOF, and a CR at the end of one chunk may find its LF in
// the next.
//
// A fault is reported by the Read that meets it, and the octets of that read are withheld; discarding the rest of the chunk
// is the business of its owner. A TextReader is not safe for concurrent use.
type TextReader struct {
	src   io.Reader
	cr    bool // the last octet was a CR
	pend  []byte
	small [8]byte // for reads too short to replace anything in
	later error   // came together with octets
	err   error   // a fault; final
	text
}

// NewTextReader returns a TextReader of src.
func NewTextReader(src io.Reader, o TextOptions) *TextReader {
	t := new(TextReader)
	t.Reset(src, o)
	return t
}

// Reset starts the next message.
func (t *TextReader) Reset(src io.Reader, o TextOptions) {
	*t = TextReader{src: src}
	t.text.reset(o)
}

// Read reads text. It returns ErrBareCR, ErrBareLF, ErrLineTooLong or ErrTooLarge for a fault, and passes on what the source returns.
func (t *TextReader) Read(p []byte) (int, error) {
	if len(t.pend) == 0 && len(p) >= len(t.small) {
		return t.fill(p)
	}
	if len(t.pend) == 0 && len(p) > 0 {
		n, err := t.fill(t.small[:])
		if t.pend = t.small[:n]; err != nil {
			t.pend = nil
			return 0, err
		}
	}
	n := copy(p, t.pend)
	t.pend = t.pend[n:]
	return n, nil
}

// fill reads text into p, which has room for something.
func (t *TextReader) fill(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	var n int
	var err error
	if t.opts.Bare == Normalise {
		n, err = t.normalised(p)
	} else {
		n, err = t.inspected(p)
	}
	t.octets(p[:n])
	switch {
	case t.fault != 0:
		t.err = t.fault
	case t.tooLarge():
		t.err = ErrTooLarge
	default:
		return n, err
	}
	return 0, t.err
}

// read reads from the source; an error that comes with octets is kept for the next call.
func (t *TextReader) read(p []byte) (int, error) {
	if t.later != nil {
		return 0, t.later
	}
	n, err := t.src.Read(p)
	if n > 0 {
		t.later, err = err, nil
	}
	return n, err
}

// inspected reads text that stays as it is.
func (t *TextReader) inspected(p []byte) (int, error) {
	n, err := t.read(p)
	if n > 0 {
		t.inspect(p[:n])
	} else if err == io.EOF && t.cr {
		t.bare('\r')
	}
	return n, err
}

// inspect looks for bare CRs and LFs in b, which is not empty, and measures its lines.
func (t *TextReader) inspect(b []byte) {
	if t.cr {
		t.cr = false
		if b[0] == '\n' {
			t.line = 0
			b = b[1:]
		} else {
			t.bare('\r')
		}
	}
	for {
		b = b[t.pass(b):]
		k := indexEOL(b)
		if k < 0 {
			t.grow(len(b))
			return
		}
		t.grow(k)
		switch judgeEOL(b[k:]) {
		case wholeEOL:
			t.line = 0
			b = b[k+2:]
		case bareEOL:
			t.bare(b[k])
			b = b[k+1:]
		case cutEOL:
			t.cr = true
			return
		}
	}
}

// normalised reads text and replaces bare CRs and LFs. It reads into less than half of p, at the end, and spreads that from the
// beginning: even if every octet becomes two, the text is never written over before it is looked at.
func (t *TextReader) normalised(p []byte) (int, error) {
	raw := p[len(p)-(len(p)-len(newline))/2:]
	n, err := t.read(raw)
	if n > 0 {
		return t.spread(p, raw[:n]), nil
	}
	if err == io.EOF && t.cr {
		t.bare('\r')
		t.cr = false
		return copy(p, newline), nil
	}
	return 0, err
}

// spread copies raw to p with a CRLF for every bare CR and LF, and returns the length.
func (t *TextReader) spread(p, raw []byte) int {
	out := 0
	if t.cr { // it was kept back
		t.cr, t.line = false, 0
		out = copy(p, newline)
		if raw[0] == '\n' {
			raw = raw[1:]
		} else {
			t.bare('\r')
		}
	}
	for {
		n := t.pass(raw)
		out += copy(p[out:], raw[:n])
		raw = raw[n:]
		k := indexEOL(raw)
		if k < 0 {
			t.grow(len(raw))
			return out + copy(p[out:], raw)
		}
		t.grow(k)
		out += copy(p[out:], raw[:k])
		switch judgeEOL(raw[k:]) {
		case wholeEOL:
			raw = raw[k+2:]
		case bareEOL:
			t.bare(raw[k])
			raw = raw[k+1:]
		case cutEOL:
			t.cr = true
			return out
		}
		out += copy(p[out:], newline)
		t.line = 0
	}
}
