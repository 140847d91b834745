package mime

import (
	"io"
	"strings"
)

// event is what the parser tells its caller: Parse, which keeps the structure, and Reader,
// which hands out the bytes. The data of all events together is the message, octet for octet.
type event uint8

const (
	evField   event = iota // one header field of the current part, or a piece of it
	evBody                 // the header is over (data: its empty line); the Part is filled in but for its end
	evData                 // a stretch of a leaf's body
	evGap                  // preamble, delimiter line, epilogue
	evPartEnd              // the innermost open part is complete
	evEnd                  // the message is over
)

// parser states: what comes next in the input.
type state uint8

const (
	stHeader    state = iota // fields of the newest part
	stBody                   // a leaf, preamble or epilogue, up to a delimiter line
	stUnwind                 // parts that the delimiter or the end of input closes
	stDelimiter              // the delimiter line itself
	stDone
)

// A frame is an open part: one on the way from the message to what is being read. The stack of
// frames is what other parsers use recursion for; its height is limited.
type frame struct {
	part   int   // index in the structure
	kind   Kind  // of that part
	delim  bool  // its boundary is among scan.delims
	digest bool  // children are message/rfc822 by default (RFC 2046 §5.1.5)
	child  int   // the last child so far, 0 = none
	lines  int64 // LFs before its body
}

// parser makes parts of what the scanner finds.
type parser struct {
	scan   scanner
	limits limits
	out    *Structure
	parts  []Part // where Parse collects them, before it takes as many as there are
	state  state
	stack  []frame
	hit    hit
	opened int // the part of the last evBody

	header headerState
	params paramParser
	err    error // read error, or the *Warning of a strict parse
}

// start begins a message.
func (p *parser) start(r io.Reader, o Options, out *Structure) {
	p.scan.start(r)
	p.limits = o.limits()
	p.params.max = p.limits.params
	p.params.slab = nil
	p.out = out
	p.state, p.stack, p.err = stHeader, p.stack[:0], nil
	p.header.total = 0
	p.startPart(-1)
}

// startPart begins the header of a new part.
func (p *parser) startPart(parent int) {
	part := Part{Parent: parent, HeaderStart: p.scan.pos()}
	if n := len(p.stack); n > 0 {
		top := &p.stack[n-1]
		if top.child > 0 {
			p.out.Parts[top.child].next = len(p.out.Parts)
		}
		top.child = len(p.out.Parts)
	}
	p.out.Parts = append(p.out.Parts, part)
	p.header.reset(parent < 0 || p.stack[len(p.stack)-1].kind == Embedded)
	p.state = stHeader
}

// current is the part whose header is being read.
func (p *parser) current() *Part { return &p.out.Parts[len(p.out.Parts)-1] }

// top is the innermost open part.
func (p *parser) top() *frame { return &p.stack[len(p.stack)-1] }

// warn notes an oddity; strict makes it the end.
func (p *parser) warn(k WarningKind, offset int64, part int) {
	w := Warning{Kind: k, Offset: offset, Part: part}
	if p.limits.strict && p.err == nil {
		p.err = &w
	}
	switch k {
	case WarnDepth, WarnParts, WarnHeaderBytes:
		p.out.Truncated = true
	}
	if len(p.out.Warnings) < p.limits.warnings {
		p.out.Warnings = append(p.out.Warnings, w)
	}
}

// next goes one step. After an error it returns evEnd; see p.err.
func (p *parser) next() (event, []byte) {
	for p.err == nil {
		var ev event
		var data []byte
		ok := false
		switch p.state {
		case stHeader:
			ev, data, ok = p.headerStep()
		case stBody:
			ev, data, ok = p.bodyStep()
		case stUnwind:
			ev, ok = evPartEnd, p.unwindStep()
		case stDelimiter:
			ev, data, ok = evGap, p.delimiterStep(), true
		case stDone:
			p.err = p.scan.err
			return evEnd, nil
		}
		if ok {
			return ev, data
		}
	}
	return evEnd, nil
}

// headerStep reads one field or ends the header.
func (p *parser) headerStep() (event, []byte, bool) {
	h := &p.header
	raw, ev, unfinished := p.scan.field(h.inside)
	switch ev {
	case headerField:
		n, body := splitField(raw)
		if n > 0 {
			h.inside = unfinished
			p.beginField(raw, n, body)
			return evField, raw, true
		}
		if raw, ok := p.scan.oddLine(raw, h.fields, unfinished); ok {
			h.inside = unfinished
			p.malformed(raw)
			return evField, raw, true
		}
		h.inside = false
		p.warn(WarnMissingBlankLine, p.scan.pos(), len(p.out.Parts)-1)
		p.openBody()
		return evBody, nil, true
	case headerMore:
		h.inside = unfinished
		p.continueField(raw)
		return evField, raw, true
	case headerBlank:
		p.openBody()
		return evBody, raw, true
	}
	if ev == headerDelimiter || h.fields > 0 {
		p.warn(WarnMissingBlankLine, p.scan.pos(), len(p.out.Parts)-1)
	}
	p.openBody()
	return evBody, nil, true
}

// openBody decides what the current part is and goes on with what is inside.
func (p *parser) openBody() {
	part, n := p.current(), len(p.out.Parts)-1
	p.opened = n
	digest := len(p.stack) > 0 && p.top().digest
	p.finishHeader(part, digest)
	part.BodyStart = p.scan.pos()
	f := frame{part: n, kind: p.kindOf(part, n), lines: p.scan.lines}
	part.Kind = f.kind
	p.scan.bol = true
	p.state = stBody
	switch f.kind {
	case Multipart:
		f.delim = true
		f.digest = part.Type.Subtype == "digest"
		p.scan.delims = append(p.scan.delims, delimiter{boundary: boundaryOf(part), frame: len(p.stack)})
		p.stack = append(p.stack, f)
	case Embedded:
		p.stack = append(p.stack, f)
		p.startPart(n)
	default:
		p.stack = append(p.stack, f)
	}
}

func boundaryOf(part *Part) string {
	return strings.TrimRight(part.Type.Params.Get("boundary"), " \t\r\n")
}

// kindOf tells containers that can be opened from leaves.
func (p *parser) kindOf(part *Part, n int) Kind {
	kind := Leaf
	switch {
	case part.Type.Type == "multipart":
		if b := boundaryOf(part); b == "" || len(b) > maxBoundary {
			p.warn(WarnBoundary, part.HeaderStart, n)
			return Leaf
		}
		kind = Multipart
	case part.Type.Type == "message" && (part.Type.Subtype == "rfc822" || part.Type.Subtype == "global"):
		// RFC 2046 §5.2.1 forbids encodings here; RFC 6532 §3.7 allows them for message/global.
		// Offsets into an encoded message would mean nothing, so it is a leaf.
		kind = Embedded
	}
	if kind == Leaf {
		return Leaf
	}
	if !isIdentity(part.Encoding) {
		p.warn(WarnEncoding, part.HeaderStart, n)
		if kind == Embedded {
			return Leaf
		}
	}
	if len(p.stack) >= p.limits.depth {
		p.warn(WarnDepth, part.HeaderStart, n)
		return Leaf
	}
	if kind == Embedded && len(p.out.Parts) >= p.limits.parts {
		p.warn(WarnParts, part.HeaderStart, n)
		return Leaf
	}
	return kind
}

// bodyStep reads a stretch of the innermost open part.
func (p *parser) bodyStep() (event, []byte, bool) {
	data, h, done := p.scan.body()
	ev := evGap
	if p.top().kind == Leaf {
		ev = evData
	}
	switch {
	case !done:
	case h.level >= 0 && !h.close && len(p.out.Parts) >= p.limits.parts:
		p.warn(WarnParts, p.scan.pos(), len(p.out.Parts)-1)
		p.scan.delims = p.scan.delims[:0]
	default:
		p.hit, p.state = h, stUnwind
	}
	return ev, data, len(data) > 0
}

// unwindStep closes the innermost part, until the multipart of the delimiter is the innermost.
func (p *parser) unwindStep() bool {
	n := len(p.stack)
	if n == 0 {
		p.state = stDone
		return false
	}
	if p.hit.level >= 0 && p.scan.delims[p.hit.level].frame == n-1 {
		p.state = stDelimiter
		return false
	}
	p.closePart()
	return true
}

// closePart completes the innermost part at the current position.
func (p *parser) closePart() {
	f := p.top()
	part := &p.out.Parts[f.part]
	part.BodyEnd = p.scan.pos()
	part.Lines = p.scan.lines - f.lines
	if part.BodyEnd > part.BodyStart && p.scan.last != '\n' {
		part.Lines++
	}
	if f.kind == Multipart && f.child == 0 {
		p.warn(WarnNoParts, part.BodyStart, f.part)
	}
	if f.delim {
		p.warn(WarnNotClosed, part.BodyEnd, f.part)
		if n := len(p.scan.delims); n > 0 {
			p.scan.delims = p.scan.delims[:n-1]
		}
	}
	p.stack = p.stack[:len(p.stack)-1]
}

// delimiterStep consumes a delimiter line: a new part or the epilogue follows.
func (p *parser) delimiterStep() []byte {
	f := p.top()
	if p.hit.close {
		f.delim = false
		p.scan.delims = p.scan.delims[:p.hit.level]
		line := p.scan.delimiterLine()
		p.scan.bol = true
		p.state = stBody
		return line
	}
	line := p.scan.delimiterLine()
	p.startPart(f.part)
	return line
}
