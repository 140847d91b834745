package crlf

import (
	"bytes"
	"encoding/binary"
)

// Bare is what happens to a bare CR or a bare LF in the text of a message.
type Bare uint8

const (
	// Reject makes it an error. RFC 5321 §2.3.8: CR and LF occur only together; what one hop lets through the next may read as a
	// line end, or as the end of the message.
	Reject Bare = iota
	// Normalise makes each a CRLF. A dot behind it was not at the start of a line and stays.
	Normalise
)

// TextOptions says what text of a message is accepted. The zero value rejects bare CR and LF and has no other limit.
type TextOptions struct {
	// Bare is the policy for a bare CR or LF.
	Bare Bare
	// MaxLine is the longest text line accepted, in octets without its CRLF and without a stuffed dot. Zero means no limit: a
	// line is never split, and takes no memory. RFC 5321 §4.5.3.1.6 lets a peer count on 998.
	MaxLine int
	// MaxBytes is the largest content accepted, in octets with all CRLFs and without stuffed dots. Zero means no limit.
	MaxBytes int64
}

// Stats tells what the text of a message was made of.
type Stats struct {
	Octets      int64 // of content: with all CRLFs, without stuffed dots
	LongestLine int   // in octets, without CRLF
	EightBit    bool  // an octet above 127 was seen
	NUL         bool  // a NUL octet was seen
	BareCR      bool  // a bare CR was seen, be it rejected or normalised
	BareLF      bool  // likewise
}

// text gathers Stats and enforces TextOptions, for dots and chunks alike.
type text struct {
	cursor
	opts  TextOptions
	stats Stats // without LongestLine, which is the cursor's
	fault Error // the first fault; 0 = none
}

func (t *text) reset(o TextOptions) { *t = text{opts: o} }

// flaw records a fault, unless there is one already.
func (t *text) flaw(e Error) {
	if t.fault == 0 {
		t.fault = e
	}
}

// bare records a bare CR or LF and reports whether it is to be replaced; otherwise it is a fault.
func (t *text) bare(c byte) (replace bool) {
	e := ErrBareCR
	if c == '\n' {
		e = ErrBareLF
	}
	t.stats.BareCR = t.stats.BareCR || e == ErrBareCR
	t.stats.BareLF = t.stats.BareLF || e == ErrBareLF
	if t.opts.Bare == Reject {
		t.flaw(e)
	}
	return t.opts.Bare != Reject
}

// Stats tells what was seen so far; after io.EOF it covers the message.
func (t *text) Stats() Stats {
	s := t.stats
	s.LongestLine = t.longest
	return s
}

// octets accounts for content that the cursor has passed.
func (t *text) octets(b []byte) {
	t.stats.Octets += int64(len(b))
	t.stats.EightBit = t.stats.EightBit || eightBit(b)
	t.stats.NUL = t.stats.NUL || bytes.IndexByte(b, 0) >= 0
	if t.opts.MaxLine > 0 && t.longest > t.opts.MaxLine {
		t.flaw(ErrLineTooLong)
	}
}

// tooLarge reports whether the content so far is larger than the limit.
func (t *text) tooLarge() bool { return t.opts.MaxBytes > 0 && t.stats.Octets > t.opts.MaxBytes }

// eightBit reports whether an octet is above 127, 32 octets at a step.
func eightBit(b []byte) bool {
	const high = 0x8080808080808080
	le := binary.LittleEndian
	for len(b) >= 32 {
		if (le.Uint64(b)|le.Uint64(b[8:])|le.Uint64(b[16:])|le.Uint64(b[24:]))&high != 0 {
			return true
		}
		b = b[32:]
	}
	for _, c := range b {
		if c > 127 {
			return true
		}
	}
	return false
}
